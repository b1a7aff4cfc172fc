//! What joins are made of: local tables with keys of every kind beside the foreign ones.

/// Local tables, made of what the copies hold.
pub const TABLES: &str = r#"
CREATE SCHEMA loc;
CREATE TABLE loc.some AS
    WITH s AS (SELECT *, row_number() OVER (ORDER BY id) r FROM copy_itsm.server),
         e AS (SELECT *, row_number() OVER (ORDER BY id) r FROM copy_itsm.employee),
         p AS (SELECT *, row_number() OVER (ORDER BY id) r FROM copy_own.numbers)
    SELECT s.r::int AS n, CASE WHEN s.r % 4 = 0 THEN e.key ELSE s.key END AS k, s.owner_key AS ref, s.id,
           CASE WHEN s.r % 2 = 0 THEN p.letters ELSE s.name END AS t, s.memory_gb AS i, s.memory_gb::int AS i4,
           s.memory_gb + CASE WHEN s.r % 3 = 0 THEN 0.5 ELSE 0 END AS num, s.price AS x, s.purchased AS day,
           s.last_backup AS at, s.virtual AS flag, s.ip_address AS ip, s.tags AS ts,
           ARRAY[s.key, s.owner_key, NULL] AS ks
    FROM s LEFT JOIN e USING (r) LEFT JOIN p USING (r) WHERE s.r <= 40;
INSERT INTO loc.some
    SELECT 100 + n::int, k, k, CASE WHEN n % 2 = 0 THEN -n ELSE NULL END, k, n, n, n, n, NULL, NULL, NULL, NULL, ARRAY[k], ARRAY[k]
    FROM unnest(ARRAY[NULL, '', ' ', 'ITSM-999999', 'itsm-12', E'a\tb', 'no"quote', E'back\\slash', repeat('x', 3000), 'ß',
                      'web01 ', '{x}']) WITH ORDINALITY o(k, n);
INSERT INTO loc.some SELECT n + 200, k, ref, id, t, i, i4, num, x, day, at, flag, ip, ts, ks FROM loc.some WHERE n % 3 = 0;
CREATE TABLE loc.one AS SELECT * FROM loc.some WHERE n = 5;
CREATE TABLE loc.none AS SELECT * FROM loc.some LIMIT 0;
CREATE TABLE loc.fresh AS SELECT * FROM loc.some;
CREATE INDEX ON loc.some (n);
ANALYZE loc.some, loc.one, loc.none;
"#;

pub const LOCALS: [&str; 12] =
    ["some", "some", "some", "some", "some", "some", "some", "fresh", "fresh", "fresh", "one", "none"];
/// Foreign tables that joins are mostly about.
pub const OFTEN: [&str; 7] = ["server", "employee", "numbers", "everything", "app", "database", "narrow"];

/// Columns of local tables, and those of foreign ones that hold the same.
pub const ALIKE: [(&str, &[&str]); 14] = [
    ("k", &["key", "owner_key", "runs_on_key"]),
    ("k", &["key", "ref_key", "used_by_key", "location_key"]),
    ("ref", &["key", "owner_key", "head_key", "manager_key"]),
    ("ks", &["key", "owner_key"]),
    ("id", &["id"]),
    ("t", &["name", "letters", "label", "t", "sharp"]),
    ("i", &["memory_gb", "n4", "n8", "ram_gb", "i8", "ports"]),
    ("i4", &["memory_gb", "n2", "i4", "nd"]),
    ("num", &["memory_gb", "n8", "n4", "price"]),
    ("x", &["price", "pf"]),
    ("day", &["purchased", "bought_at"]),
    ("at", &["last_backup", "backup", "backup3"]),
    ("flag", &["virtual", "encrypted"]),
    ("ts", &["tags", "tags3", "status"]),
];

/// Columns that compare with one another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Of {
    Text,
    Whole,
    Number,
    Day,
    Stamp,
    Flag,
    Address,
}

impl Of {
    pub fn named(sql_type: &str) -> Option<Of> {
        let base = sql_type.split('(').next().unwrap_or(sql_type);
        Some(match base {
            "text" | "character varying" => Of::Text,
            "smallint" | "integer" | "bigint" => Of::Whole,
            "numeric" | "real" | "double precision" => Of::Number,
            "date" => Of::Day,
            "timestamp with time zone" | "timestamp without time zone" => Of::Stamp,
            "boolean" => Of::Flag,
            "inet" => Of::Address,
            _ => return None,
        })
    }

    /// Whether values compare, if through a cast.
    pub fn compares(self, other: Of) -> bool {
        let number = |of| matches!(of, Of::Whole | Of::Number);
        let moment = |of| matches!(of, Of::Day | Of::Stamp);
        self == other || (number(self) && number(other)) || (moment(self) && moment(other))
    }
}

#[derive(Clone, Debug)]
pub struct Column {
    pub name: String,
    pub of: Of,
    pub array: bool,
}

#[derive(Clone, Debug)]
pub struct Relation {
    pub from: String,
    pub alias: String,
    pub columns: Vec<Column>,
    pub is_local: bool,
    /// Of the world's tables.
    pub table: Option<usize>,
}

impl Relation {
    pub fn path(&self, column: &Column) -> String {
        format!("{}.{}", self.alias, column.name)
    }

    /// What tells its rows apart.
    pub fn shown(&self) -> String {
        match self.is_local {
            true => format!("{}.n", self.alias),
            false => format!("{}.key", self.alias),
        }
    }
}

/// Those of every local table.
pub fn local_columns() -> Vec<Column> {
    let column =
        |(name, of, array): &(&str, Of, bool)| Column { name: (*name).into(), of: *of, array: *array };
    let columns = [
        ("k", Of::Text, false),
        ("k", Of::Text, false),
        ("ref", Of::Text, false),
        ("id", Of::Whole, false),
        ("t", Of::Text, false),
        ("i", Of::Whole, false),
        ("i4", Of::Whole, false),
        ("n", Of::Whole, false),
        ("num", Of::Number, false),
        ("x", Of::Number, false),
        ("day", Of::Day, false),
        ("at", Of::Stamp, false),
        ("flag", Of::Flag, false),
        ("ip", Of::Address, false),
        ("ts", Of::Text, true),
        ("ks", Of::Text, true),
    ];
    columns.iter().map(column).collect()
}
