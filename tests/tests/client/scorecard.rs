//! What goes out of the conditions that CMDB users write: `docs/pushdown.md` is made here, and checked.

#[path = "scorecard_forms.rs"]
mod forms;

use std::fmt::Write;
use std::path::Path;
use std::{env, fs};

use assets_fdw_tests::assets_sim::{Options, Profile};
use postgres::Client;

use crate::live::Live;
use forms::GROUPS;

/// A form: the table, the condition, and whether AQL has words for at least as much as narrows the objects down by it.
/// (`true`: AQL can say it, or say something that holds whenever it does.)
struct Form(&'static str, bool);

/// A table and the conditions over it.
struct Group {
    title: &'static str,
    table: &'static str,
    forms: &'static [Form],
}

/// Shown where no request is made, because no object can satisfy the condition.
const NOTHING: &str = "(nothing)";
/// What is shown of a condition that every object satisfies.
const EVERYTHING: &str = "(everything)";

const CAN: bool = true;
const CANNOT: bool = false;

/// What became of a form.
struct Line {
    sql: String,
    aql: String,
    word: &'static str,
    why: String,
    can: bool,
}

#[test]
fn nearly_every_condition_that_aql_can_express_goes_out_and_the_scorecard_says_which() {
    let live = Live::start(Options { profile: Profile::Documented, objects: 20_000, ..Options::default() });
    live.import();
    let mut client = live.connect();
    client.batch_execute("SET plan_cache_mode = force_generic_plan; SET TimeZone = 'UTC'").unwrap();
    client
        .batch_execute(
            "CREATE TABLE wanted AS VALUES ('ITSM-1042', 7::bigint), ('FAC-1043', 9); ANALYZE wanted",
        )
        .unwrap();
    client
        .batch_execute("ALTER TABLE wanted RENAME column1 TO key; ALTER TABLE wanted RENAME column2 TO n")
        .unwrap();
    let mut groups = Vec::new();
    for group in GROUPS {
        let lines: Vec<Line> = group.forms.iter().map(|form| judge(&mut client, group, form)).collect();
        groups.push((group, lines));
    }
    let lines = || groups.iter().flat_map(|(_, lines)| lines);
    let total = lines().count();
    let can = lines().filter(|line| line.can).count();
    let out = lines().filter(|line| line.can && line.word != "local").count();
    let lost: Vec<&str> =
        lines().filter(|line| line.can && line.word == "local").map(|line| line.sql.as_str()).collect();
    compare(&document(&groups, total, can, out));
    assert!(total >= 150, "{total} forms");
    assert!(out * 100 >= can * 95, "{out} of {can} go out; not: {lost:#?}");
    // A form that AQL has no words for and that goes out all the same is a mistake, here or there.
    let odd: Vec<&str> =
        lines().filter(|line| !line.can && line.word != "local").map(|line| line.sql.as_str()).collect();
    assert!(odd.is_empty(), "{odd:#?}");
}

fn plan(client: &mut Client, sql: &str) -> Vec<String> {
    // A statement with parameters shows its generic plan.
    let explained = match sql.contains("$1") {
        true => {
            let values = ["'ITSM-1042'", "100", "'2024-01-01'", "ARRAY['ITSM-1','ITSM-2']", "'web%'", "true"];
            let fits = values.iter().find(|value| {
                let _ = client.batch_execute("DEALLOCATE ALL");
                client.batch_execute(&format!("PREPARE q AS {sql}; EXPLAIN EXECUTE q({value})")).is_ok()
            });
            format!("EXECUTE q({})", fits.unwrap_or_else(|| panic!("no value fits {sql}")))
        }
        false => sql.to_owned(),
    };
    let rows = client.query(&format!("EXPLAIN (VERBOSE, COSTS OFF) {explained}"), &[]);
    let rows = rows.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
    rows.iter().map(|row| row.get::<_, String>(0).trim().to_owned()).collect()
}

fn judge(client: &mut Client, group: &Group, form: &Form) -> Line {
    let from = format!("FROM itsm.{} t WHERE {}", group.table, form.0);
    let plan_lines = plan(client, &format!("SELECT t.* {from}"));
    let find = |lines: &[String], label: &str| -> Vec<String> {
        lines.iter().filter_map(|line| line.strip_prefix(label)).map(str::to_owned).collect()
    };
    let scan = plan_lines.iter().position(|l| l.contains(&format!("Foreign Scan on itsm.{} ", group.table)));
    let (aql, why) = match scan {
        // The condition is never true: PostgreSQL itself asks nobody.
        None => (NOTHING.to_owned(), Vec::new()),
        Some(_) => {
            let texts = find(&plan_lines, "AQL: ");
            let text = texts.iter().find(|text| is_of(text)).cloned().unwrap_or_else(|| texts[0].clone());
            let local = find(&plan_lines, "Local: ");
            (
                text,
                local.iter().filter_map(|l| l.rsplit_once(" -- ")).map(|(_, why)| why.to_owned()).collect(),
            )
        }
    };
    let rest = if aql.starts_with("none") { NOTHING.to_owned() } else { without_base(&aql) };
    let counted = plan(client, &format!("SELECT count(*) {from}"));
    let exact = !find(&counted, "Count: ").is_empty() || rest == NOTHING;
    // Every object satisfies it: it needs no words.
    let rest = if rest.is_empty() && exact && why.is_empty() { EVERYTHING.to_owned() } else { rest };
    let word = match (rest.is_empty(), exact) {
        (true, _) => "local",
        (false, true) => "exact",
        (false, false) => "superset",
    };
    let mut why = why;
    why.dedup();
    Line { sql: form.0.to_owned(), aql: rest, word, why: why.join("; "), can: form.1 }
}

fn is_of(text: &str) -> bool {
    ["objectTypeId", "objectType in ", "(objectType in ", "none"].iter().any(|base| text.starts_with(base))
}

/// What is asked besides the object types.
fn without_base(aql: &str) -> String {
    for (base, end) in
        [("objectTypeId in (", ") AND "), ("(objectType in ", ")) AND "), ("objectType in ", ") AND ")]
    {
        if let Some(rest) = aql.strip_prefix(base) {
            return rest.split_once(end).map_or(String::new(), |(_, rest)| rest.to_owned());
        }
    }
    match aql.strip_prefix("objectTypeId = ") {
        Some(rest) => rest.split_once(" AND ").map_or(String::new(), |(_, rest)| rest.to_owned()),
        None => aql.to_owned(),
    }
}

fn document(groups: &[(&Group, Vec<Line>)], total: usize, can: usize, out: usize) -> String {
    let mut text = String::from(
        "# What goes out as AQL\n\n\
         Made by a test (`make test T=scorecard`, with `UPDATE_GOLDEN=1` to write it); do not edit.\n\n\
         Each line is a condition as CMDB users write it over tables that IMPORT FOREIGN SCHEMA made, the AQL that is \
         sent besides the object types, and a word. **exact**: AQL selects the very same objects, so `count(*)` is one \
         request. **superset**: AQL selects those and perhaps others, which PostgreSQL sorts out. **local**: every \
         object of the type is read. The last column says whether AQL could express at least a condition that narrows \
         the objects down; where it could not, nothing is lost by staying at home. Nothing is proven of this service: \
         `assets_fdw.verify_pushdown` turns more lines into exact ones.\n\n",
    );
    let exact = groups.iter().flat_map(|(_, l)| l).filter(|l| l.word == "exact").count();
    let _ = writeln!(
        text,
        "{total} forms; AQL has words for {can}; {out} of those go out ({}.{} %), {exact} exactly.\n",
        out * 1000 / can / 10,
        out * 1000 / can % 10
    );
    for (group, lines) in groups {
        let _ = writeln!(text, "## {}\n\nTable `{}`.\n", group.title, group.table);
        let _ = writeln!(text, "| condition | AQL | word | local because | AQL can |\n|---|---|---|---|---|");
        for line in lines {
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} |",
                code(&line.sql),
                code(&line.aql),
                line.word,
                cell(&line.why),
                if line.can { "yes" } else { "no" }
            );
        }
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

fn code(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("`{}`", cell(text)) }
}

fn compare(text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/pushdown.md");
    if env::var_os("UPDATE_GOLDEN").is_some_and(|value| value != "0" && !value.is_empty()) {
        fs::create_dir_all(file.parent().expect("a folder")).expect("docs can be made");
        fs::write(&file, text).expect("docs/pushdown.md can be written");
        return;
    }
    let committed = fs::read_to_string(&file).unwrap_or_default();
    for (n, (wanted, found)) in committed.lines().zip(text.lines()).enumerate() {
        assert_eq!(found, wanted, "docs/pushdown.md, line {} (UPDATE_GOLDEN=1 writes it)", n + 1);
    }
    assert_eq!(text.len(), committed.len(), "docs/pushdown.md (UPDATE_GOLDEN=1 writes it)");
}
