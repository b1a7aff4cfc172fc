//! Hostile values of every option, by a seed: refused with an SQLSTATE, or taken and then of use; never a crash, never an
//! internal error, never a secret in a message. `SEED=n` begins with another one, `CASES=n` tries more.

use assets_fdw_tests::Server;
use assets_fdw_tests::assets_sim::Options;
use postgres::Client;

use crate::live::{Live, Refusal, literal, one};

/// Words that values are made of.
const WORDS: &[&str] = &[
    "",
    " ",
    "0",
    "1",
    "-1",
    "00007",
    "1e3",
    "0x10",
    "999",
    "64",
    "2147483648",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775809",
    "1e400",
    "NaN",
    "infinity",
    "-infinity",
    "now",
    "10s",
    "1 us",
    "1 month",
    "1 year",
    "-1 day",
    "106751991167 days",
    "178000000 years",
    "2562047788:00:54.775807",
    "1 2:3:4.5",
    "P1D",
    "99999999999999999999 hours",
    "1 day -1 hour",
    "@ 1 sec ago",
    "1kB",
    "64MB",
    "17179869184GB",
    "-1kB",
    "1 TB",
    "1e3kB",
    "true",
    "off",
    "TRUE ",
    "2",
    "null",
    "include",
    "error",
    "id",
    "attributes",
    "key",
    "cloud",
    "datacenter",
    "objects",
    "https://acme.atlassian.net",
    "https://acme.atlassian.net:0",
    "https://[::1",
    "https://[::ffff:127.0.0.1]",
    "http://127.1",
    "https://a@b",
    "https://acme.atlassian.net\\@evil.example",
    "https://acme.atlassian.net#@evil.example",
    "file:///etc/passwd",
    "../..",
    "..%2f..",
    "%00",
    "\u{0}",
    "a\r\nX-Evil: 1",
    "'; DROP TABLE t; --",
    "\"; DROP SERVER s; --",
    "\\",
    "'",
    "\"",
    "$1",
    "{}",
    "=",
    "a=b",
    "\u{202e}gpj",
    "\u{200b}",
    "é",
    "e\u{301}",
    "\u{10ffff}",
    "🦀",
    "/etc/passwd",
    "/",
    "/nonexistent/x",
    ":",
];

/// Option names by place, and two that are none.
const NAMES: &[(&str, &[&str])] = &[
    (
        "server",
        &[
            "site",
            "workspace_id",
            "cloud_id",
            "api_url",
            "auth_url",
            "ca_file",
            "deployment",
            "page_size",
            "max_in_flight",
            "requests_per_minute",
            "connect_timeout",
            "request_timeout",
            "retry_timeout",
            "max_response_bytes",
            "updatable",
            "use_remote_estimate",
            "nonsense",
            "Site",
        ],
    ),
    (
        "mapping",
        &[
            "email",
            "api_token",
            "client_id",
            "client_secret",
            "access_token",
            "api_token_file",
            "client_secret_file",
            "access_token_file",
            "password",
        ],
    ),
    (
        "table",
        &[
            "object_schema",
            "object_schema_id",
            "object_type",
            "object_type_id",
            "children",
            "aql",
            "updatable",
            "kind",
            "x",
        ],
    ),
    ("column", &["attribute", "attribute_id", "aql_name", "field", "part", "on_invalid", "x"]),
];

/// The mark of a secret in a message.
const MARK: &str = "sEcReT-mArK";

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % sides as u64) as usize
    }

    fn of<'a, T: ?Sized>(&mut self, list: &[&'a T]) -> &'a T {
        list[self.roll(list.len())]
    }

    fn value(&mut self) -> String {
        let mut value: String = match self.roll(10) {
            0 => self.of(WORDS).repeat(1 + self.roll(3000)),
            1 => (0..self.roll(40)).filter_map(|_| char::from_u32(self.roll(0x300) as u32)).collect(),
            2..=6 => self.of(WORDS).to_owned(),
            n => (0..=n % 3).map(|_| self.of(WORDS)).collect(),
        };
        // No text of PostgreSQL's holds one; a statement would end there.
        value.retain(|c| c != '\0');
        value.truncate((0..=value.len().min(20_000)).rev().find(|n| value.is_char_boundary(*n)).unwrap_or(0));
        value
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// A statement that sets one option, or several, and what to do afterwards.
fn statement(dice: &mut Dice, live: &Live) -> (String, String) {
    let (place, names) = NAMES[dice.roll(NAMES.len())];
    let (name, value) = (dice.of(names), dice.value());
    let identity = &live.sim.identities()[0];
    match place {
        "server" if dice.roll(3) == 0 => (
            format!(
                "CREATE SERVER other FOREIGN DATA WRAPPER assets_fdw OPTIONS (\"{name}\" {})",
                literal(&value)
            ),
            "SELECT count(*) FROM assets_fdw.check('other')".into(),
        ),
        "server" => {
            let verb = if name == "site" || name == "requests_per_minute" { "SET" } else { "ADD" };
            (
                format!(
                    "ALTER SERVER assets OPTIONS ({verb} \"{name}\" {});
                     ALTER USER MAPPING FOR postgres SERVER assets OPTIONS (SET api_token '{}')",
                    literal(&value),
                    identity.secret
                ),
                "SELECT assets_fdw.count('assets', '')".into(),
            )
        }
        "mapping" => {
            let secret = if name.contains("_id") || name == "email" {
                value.clone()
            } else {
                format!("{value}{MARK}")
            };
            let whole = match dice.roll(4) {
                0 => format!("\"{name}\" {}", literal(&secret)),
                1 => format!("email 'a', \"{name}\" {}", literal(&secret)),
                2 => format!("client_id 'a', \"{name}\" {}", literal(&secret)),
                // Secrets that nobody may see beside a name that is refused.
                _ => {
                    format!("\"{name}\" {}, api_token '{MARK}', email {}", literal(&secret), literal(&value))
                }
            };
            (
                format!(
                    "DROP USER MAPPING FOR postgres SERVER assets;
                     CREATE USER MAPPING FOR postgres SERVER assets OPTIONS ({whole})"
                ),
                "SELECT assets_fdw.count('assets', '')".into(),
            )
        }
        "table" => (
            format!(
                "CREATE FOREIGN TABLE t (key text) SERVER assets OPTIONS ({} \"{name}\" {})",
                match name {
                    "object_type_id" => String::new(),
                    _ => format!("object_type_id '{}',", live.sim.type_id("Vendor").unwrap()),
                },
                literal(&value)
            ),
            "SELECT max(key) FROM t".into(),
        ),
        _ => (
            format!(
                "CREATE FOREIGN TABLE t (id bigint, c text OPTIONS (\"{name}\" {})) SERVER assets OPTIONS (object_type_id '{}')",
                literal(&value),
                live.sim.type_id("Vendor").unwrap()
            ),
            "SELECT count(c), count(*) FILTER (WHERE c = 'x') FROM t".into(),
        ),
    }
}

#[test]
fn options_of_any_value_are_refused_or_of_use() {
    let live = Live::start(Options { objects: 300, ..Options::default() });
    live.connect().batch_execute("ALTER SERVER assets OPTIONS (SET requests_per_minute '0')").unwrap();
    let from = number("SEED", 1);
    let mut wrong = String::new();
    let (mut refused, mut used, mut failed) = (0, 0, 0);
    let mut client: Client = live.connect();
    for seed in from..from + number("CASES", 1500) {
        let (set, usage) = statement(&mut Dice(seed), &live);
        let mut judge = |when: &str, error: &postgres::Error| {
            let refusal = Refusal::of(error);
            let shown: String = refusal.text().chars().take(500).collect();
            let internal =
                refusal.code.starts_with("XX") || refusal.code == "57014" || refusal.code.len() != 5;
            // The path of a file is named where the file cannot be read.
            let may_show = when == "used" && set.contains("_file\"");
            if internal
                || refusal.text().contains(MARK) && !may_show
                || when == "set" && refusal.text().len() > 4000
            {
                let sql: String = set.chars().take(300).collect();
                wrong += &format!("SEED={seed} {when}: {shown}\n    {sql}\n");
            }
        };
        client.batch_execute("BEGIN; SET LOCAL statement_timeout = '20s'").unwrap();
        match client.batch_execute(&set) {
            Err(error) => {
                refused += 1;
                judge("set", &error);
            }
            Ok(()) => match client.batch_execute(&usage) {
                Ok(()) => used += 1,
                Err(error) => {
                    failed += 1;
                    judge("used", &error);
                }
            },
        }
        client.batch_execute("ROLLBACK").unwrap();
    }
    assert!(wrong.is_empty(), "{wrong}");
    println!("{refused} refused, {used} of use, {failed} failed when used");
    assert!(refused > 300 && used > 60, "{refused} {used} {failed}");
    assert!(one::<i64>(&mut client, "SELECT assets_fdw.count('assets', '')") == 300);
    assert_eq!(Server::shared().crashes(), Vec::<String>::new());
}
