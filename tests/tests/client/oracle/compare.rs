//! Whether two ways of asking gave the same rows.

use super::query::Compare;

/// One list of rows for each execution, or the code and text of an ERROR.
pub type Rows = Result<Vec<Vec<String>>, (String, String)>;

fn sorted(rows: &[String]) -> Vec<String> {
    let mut rows = rows.to_vec();
    rows.sort();
    rows
}

/// What differs, in words; nothing if nothing does.
pub fn difference(
    what: &str,
    compare: Compare,
    wanted: &[Vec<String>],
    found: &[Vec<String>],
    every: Option<(&Rows, &[(u64, u64)])>,
) -> String {
    if wanted.len() != found.len() {
        return format!("-- {what}: {} executions instead of {}\n", found.len(), wanted.len());
    }
    let mut why = String::new();
    for (n, (wanted, found)) in wanted.iter().zip(found).enumerate() {
        let what = if n == 0 { what.to_owned() } else { format!("{what}, execution {}", n + 1) };
        match (compare, every) {
            (Compare::Some, Some((Ok(every), bounds))) => {
                why.push_str(&some(&what, &every[n], found, bounds[n]));
            }
            (Compare::Some, other) => why.push_str(&format!("-- {what}: without LIMIT: {other:?}\n")),
            (Compare::Ordered, _) => why.push_str(&lists(&what, wanted, found)),
            (Compare::Bag, _) => why.push_str(&lists(&what, &sorted(wanted), &sorted(found))),
        }
    }
    why
}

/// Any of the rows of the whole result, but as many as there should be.
fn some(what: &str, every: &[String], found: &[String], (limit, offset): (u64, u64)) -> String {
    let mut left = sorted(every);
    let expected = limit.min((left.len() as u64).saturating_sub(offset));
    let stray = found.iter().find(|row| match left.iter().position(|r| r == *row) {
        Some(n) => {
            left.remove(n);
            false
        }
        None => true,
    });
    match stray {
        Some(row) => format!("-- {what}: {row} is not in the result\n"),
        None if found.len() as u64 != expected => {
            format!("-- {what}: {} rows instead of {expected}\n", found.len())
        }
        None => String::new(),
    }
}

fn lists(what: &str, wanted: &[String], found: &[String]) -> String {
    if wanted == found {
        return String::new();
    }
    let lost: Vec<&String> = wanted.iter().filter(|row| !found.contains(row)).take(4).collect();
    let added: Vec<&String> = found.iter().filter(|row| !wanted.contains(row)).take(4).collect();
    format!(
        "-- {what}: {} rows instead of {}, lost {lost:.400?}, added {added:.400?}\n",
        found.len(),
        wanted.len()
    )
}
