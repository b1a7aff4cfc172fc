//! Joins in batches: what they ask for, and that nothing else about them changes.

mod batched;
mod rows;
mod trouble;

use postgres::Client;

/// What EXPLAIN shows; what comes before it in the same text is run first, in the same transaction.
fn plan(client: &mut Client, sql: &str) -> String {
    let (before, explain) = sql
        .rsplit_once("; EXPLAIN")
        .map_or(("", sql.to_owned()), |(before, rest)| (before, format!("EXPLAIN{rest}")));
    let explain =
        if explain.starts_with("EXPLAIN") { explain } else { format!("EXPLAIN (ANALYZE) {explain}") };
    let mut transaction = client.transaction().expect("a transaction");
    transaction.batch_execute(before).unwrap_or_else(|e| panic!("{before}: {e:?}"));
    let rows = match transaction.query(&explain, &[]) {
        Ok(rows) => rows,
        Err(e) => return format!("{explain}: {e}"),
    };
    rows.iter().map(|row| row.get::<_, String>(0)).collect::<Vec<_>>().join("\n")
}

/// Whether a plan reads outer rows ahead.
fn batches(plan: &str) -> bool {
    plan.contains("AssetsReadAhead")
}
