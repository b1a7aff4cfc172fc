//! Word pools of the generated company, plain ones and ones made to break quoting.

pub const FIRST: [&str; 24] = [
    "Ada", "Bjørn", "Chloé", "Dmitri", "Eve", "Fatima", "Grace", "Hiro", "Ines", "Jürgen", "Kofi", "Lena",
    "Mia", "Noor", "Óscar", "Priya", "Quentin", "Rosa", "Søren", "Tomáš", "Uma", "Väinö", "Wei", "Zoë",
];
pub const LAST: [&str; 24] = [
    "Anderson", "Bauer", "Costa", "Diaz", "Evans", "Fischer", "García", "Hughes", "Ito", "Jensen", "Kumar",
    "Larsen", "Müller", "Nakamura", "O'Brien", "Petrov", "Quinn", "Rossi", "Smith", "Tanaka", "Usman",
    "van Dijk", "Wójcik", "Young",
];
pub const CITIES: [&str; 16] = [
    "Sydney",
    "Stockholm",
    "München",
    "São Paulo",
    "東京",
    "New York",
    "Kraków",
    "Lagos",
    "Lima",
    "Oslo",
    "Paris",
    "Québec",
    "Zürich",
    "Austin",
    "Delhi",
    "Cairo",
];
pub const COUNTRIES: [&str; 12] = [
    "Australia",
    "Sweden",
    "Germany",
    "Brazil",
    "Japan",
    "United States",
    "Poland",
    "Côte d'Ivoire",
    "Peru",
    "Norway",
    "France",
    "Canada",
];
pub const VENDORS: [&str; 10] = [
    "Contoso",
    "Northwind",
    "Initech",
    "Globex & Sons",
    "Umbrella \"Labs\"",
    "Hooli",
    "Vandelay",
    "Stark / Wayne",
    "Ångström AB",
    "100% Cloud",
];
pub const DEPARTMENTS: [&str; 8] =
    ["Engineering", "Finance", "Legal", "People & Culture", "Sales", "R&D", "IT Operations", "Marketing"];
pub const APPS: [&str; 10] =
    ["Payroll", "Intranet", "CRM", "Ticketing", "Data Lake", "Badge", "Wiki", "Billing", "Chat", "Search"];
pub const SYSTEMS: [&str; 6] =
    ["Debian 12", "Ubuntu 24.04", "Windows Server 2022", "RHEL 9", "FreeBSD 14", "AIX 7.3 (legacy)"];
pub const CRITICALITY: [&str; 4] = ["Tier 1", "Tier 2", "Tier 3", "tier 1"];
pub const ENGINES: [&str; 4] = ["PostgreSQL", "Oracle", "MySQL", "SQL Server"];
pub const SKILLS: [&str; 8] = ["Rust", "SQL", "C++", "C#", "Négociation", "Go", "sql", "Excel, advanced"];
pub const TAGS: [&str; 10] =
    ["prod", "Prod", "staging", "dev", "pci", "50%", "legacy_v1", "back\\up", "\"gold\"", "ünïcode"];
pub const VERSIONS: [&str; 6] = ["9.6", "12", "15.4", "15.10", "16", "8.0.36"];
pub const CURRENCIES: [&str; 4] = ["EUR", "USD", "SEK", "JPY"];

/// Texts that a careless writer or reader of AQL, JSON or SQL gets wrong.
pub const EDGE: [&str; 36] = [
    "plain",
    "Plain",
    "PLAIN",
    "",
    " leading space",
    "trailing space ",
    "  ",
    "two  spaces",
    "100%",
    "50% off_sale",
    "a_b",
    "axb",
    "back\\slash",
    "ends with backslash\\",
    "say \"hello\"",
    "\"",
    "O'Brien",
    "semi;colon: dot. question? equals=",
    "(paren) [bracket] {brace}",
    "comma, separated, list",
    "名前",
    "Straße",
    "STRASSE",
    "İstanbul",
    "naïve café",
    "nai\u{308}ve cafe\u{301}",
    "🚀 launch",
    "line\nbreak",
    "tab\there",
    "NULL",
    "empty",
    "true",
    "0042",
    "1e3",
    "<p>rich &amp; <b>bold</b></p>",
    "ITSM-1001",
];
