//! SQL files whose output, statement by statement, is compared with a file kept beside them.
//!
//! psql runs `tests/pg_regress/sql/NAME.sql` as `pg_regress` would: it echoes every statement and goes on after an
//! error. The output, with what differs from run to run masked, must be `tests/pg_regress/expected/NAME.out`; with
//! `UPDATE_GOLDEN=1` in the environment it becomes that file instead. Queries are to be written so that every major
//! version of PostgreSQL gives the same output.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Database;

/// The folder `tests/pg_regress`.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("pg_regress")
}

/// The names of the SQL files, without folder and ending, in order.
pub fn names() -> Vec<String> {
    let files = fs::read_dir(folder().join("sql")).expect("pg_regress/sql can be read");
    let names = files.map(|file| file.expect("pg_regress/sql can be read").file_name().into_string());
    let names = names.map(|name| name.expect("file names are UTF-8"));
    let mut names: Vec<String> = names.filter_map(|n| n.strip_suffix(".sql").map(str::to_owned)).collect();
    names.sort();
    names
}

/// Runs one SQL file in a database and compares. `variables` are set in psql, where `:name` stands for the value and
/// `:'name'` for its literal. Panics with a unified diff when the output is not the expected one.
#[track_caller]
pub fn check(name: &str, database: &Database<'_>, variables: &[(&str, &str)]) {
    let output = mask(&run(name, database, variables), database.name());
    let expected_file = folder().join("expected").join(format!("{name}.out"));
    if env::var_os("UPDATE_GOLDEN").is_some_and(|value| value != "0" && !value.is_empty()) {
        fs::write(&expected_file, output).expect("the expected output can be written");
        return;
    }
    let expected = fs::read_to_string(&expected_file)
        .unwrap_or_else(|error| panic!("{}: {error} (UPDATE_GOLDEN=1 writes it)", expected_file.display()));
    if output != expected {
        let actual_file = database.server().socket_folder().join(format!("{name}.out"));
        fs::write(&actual_file, &output).expect("the output can be written");
        panic!("the output of {name}.sql is not the expected one:\n{}", diff(&expected_file, &actual_file));
    }
}

fn run(name: &str, database: &Database<'_>, variables: &[(&str, &str)]) -> String {
    let sql =
        fs::File::open(folder().join("sql").join(format!("{name}.sql"))).expect("the SQL file can be opened");
    // One file for both streams keeps their order; psql flushes after every statement.
    let path = database.server().socket_folder().join(format!("{name}.raw"));
    let output = fs::File::options().create(true).truncate(true).write(true).open(&path);
    let output = output.expect("the output file can be made");
    let mut psql = database.server().psql_command();
    psql.args(["-a", "-q", "-v", "ON_ERROR_STOP=0", "-v", "VERBOSITY=default", "-d", database.name()]);
    for (variable, value) in variables {
        psql.arg("-v").arg(format!("{variable}={value}"));
    }
    let errors = output.try_clone().expect("the output file can be opened twice");
    let status = psql.stdin(sql).stdout(output).stderr(errors).status().expect("psql can be run");
    let text = fs::read(&path).expect("the output can be read");
    let text = String::from_utf8_lossy(&text).into_owned();
    // 2 and 3: the connection broke, or psql itself gave up. SQL errors are part of the output.
    assert!(status.success(), "psql ended with {status}:\n{text}");
    text
}

/// Puts fixed words for what differs from run to run: ports of this machine and the database's name.
fn mask(output: &str, database: &str) -> String {
    let mut masked = String::with_capacity(output.len());
    let mut parts = output.split("127.0.0.1:");
    masked.push_str(parts.next().unwrap_or_default());
    for part in parts {
        masked.push_str("127.0.0.1:");
        let rest = part.trim_start_matches(|c: char| c.is_ascii_digit());
        if rest.len() < part.len() {
            masked.push_str("PORT");
        }
        masked.push_str(rest);
    }
    masked.replace(&format!("\"{database}\""), "\"DATABASE\"")
}

fn diff(expected: &Path, actual: &Path) -> String {
    let output = Command::new("diff")
        .args(["-u", "--label", "expected", "--label", "actual"])
        .args([expected, actual])
        .stdin(Stdio::null())
        .output()
        .expect("diff can be run");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
