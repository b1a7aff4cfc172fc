//! What is selected of the rows that a query joins: columns, counts, groups, the first few in an order.

use super::super::Field;
use super::author::{Amount, Author, Source};
use super::query::Compare;
use crate::live::quoted;

/// Numbers, dates and moments.
fn is_sortable(sql_type: &str) -> bool {
    let of = ["smallint", "integer", "bigint", "numeric", "double", "real", "date", "timestamp"];
    of.iter().any(|name| sql_type.starts_with(name))
}

impl<'a> Author<'a> {
    /// What is selected of joined rows.
    pub(super) fn over(&mut self, sources: &[&Source<'a>], from: String) -> (String, String, Compare) {
        let (table, _, alias) = sources[0];
        let mut field = &table.columns[self.dice().below(table.columns.len())];
        let mut kind = self.dice().below(20);
        if self.is_about_types() && self.dice().chance(50) {
            kind = 14 + self.dice().below(6);
        }
        // What the service may have an order of.
        let sortable: Vec<&Field> =
            table.columns.iter().filter(|f| !f.array && is_sortable(&f.sql_type)).collect();
        if matches!(kind, 6..9 | 14..20) && self.dice().chance(60) && !sortable.is_empty() {
            field = sortable[self.dice().below(sortable.len())];
        }
        let column = format!("{alias}.{}", quoted(&field.name));
        let keys: Vec<String> = sources.iter().map(|s| format!("{}.key", s.2)).collect();
        let ids: Vec<String> = sources.iter().map(|s| format!("{}.id", s.2)).collect();
        let (keys, ids) = (keys.join(", "), ids.join(", "));
        // Values that are equal but not the same, of which any may be shown.
        let vague = matches!(
            &*field.sql_type,
            "citext" | "numeric" | "jsonb" | "json" | "character" | "double precision" | "real"
        ) || matches!(&*field.name, "ci" | "big" | "b");
        let has_least = !matches!(&*field.sql_type, "boolean" | "json" | "jsonb")
            && (!vague || matches!(&*field.sql_type, "double precision" | "real"));
        let distinct = if vague { ids.clone() } else { column.clone() };
        let direction = self.maker.dice.pick(&["", " DESC", " NULLS FIRST", " DESC NULLS LAST"]);
        match kind {
            0 => (format!("SELECT count(*){from}"), String::new(), Compare::Bag),
            1 => {
                // The number of rows in other dress, and what only looks like it.
                let text = match self.dice().below(8) {
                    0 => format!("SELECT count(1), 'all' AS what{from}"),
                    1 => format!("SELECT count({alias}.id)::int, count({alias}.key){from}"),
                    2 => format!("SELECT count({alias}) + 1{from}"),
                    3 => format!("SELECT json_build_object('n', count(*))::text, count({column}){from}"),
                    4 => format!("SELECT count(*){from} HAVING count(*) > {}", self.dice().below(9)),
                    5 => format!("SELECT 'few' AS what{from} HAVING count({alias}.updated) < 5"),
                    6 => format!("SELECT max({alias}.updated), min({alias}.created){from}"),
                    _ => format!("SELECT count(NULL), count({column}){from}"),
                };
                (text, String::new(), Compare::Bag)
            }
            2 => (
                format!(
                    "SELECT count(*), count({column}), min({alias}.id), max({alias}.id), count(DISTINCT {alias}.id){from}"
                ),
                String::new(),
                Compare::Bag,
            ),
            3 => (
                format!(
                    "SELECT {distinct}, count(*){from} GROUP BY {distinct} HAVING count(*) > {}",
                    self.dice().below(2)
                ),
                String::new(),
                Compare::Bag,
            ),
            4 => (format!("SELECT DISTINCT {distinct}{from}"), String::new(), Compare::Bag),
            5 => (
                format!(
                    "SELECT count(*) FILTER (WHERE {alias}.id % 2 = 0), string_agg({alias}.key::text, ',' ORDER BY {ids}){from}"
                ),
                String::new(),
                Compare::Bag,
            ),
            6..9 => {
                let (limit, most) = self.amount(15);
                let (offset, skipped) =
                    if self.dice().chance(50) { self.amount(9) } else { ("0".to_owned(), Amount::Fixed(0)) };
                let tail = format!(" LIMIT {limit} OFFSET {offset}");
                self.bounds = Some((most, skipped));
                let ordered = self.dice().chance(60);
                let column = if field.sql_type == "json" { "1".to_owned() } else { column };
                if ordered {
                    (
                        format!("SELECT {keys}, {column}{from} ORDER BY {column}{direction}, {ids}"),
                        tail,
                        Compare::Ordered,
                    )
                } else {
                    (format!("SELECT {keys}, {column}{from}"), tail, Compare::Some)
                }
            }
            9 => {
                let text = format!(
                    "SELECT * FROM (SELECT {ids}, {column} AS c{from} ORDER BY {ids}{} LIMIT {}) s",
                    if direction.contains("DESC") { " DESC" } else { "" },
                    1 + self.maker.dice.below(9)
                );
                (
                    text.replace(&format!("SELECT {ids}, "), &format!("SELECT {alias}.id AS i, ")),
                    String::new(),
                    Compare::Bag,
                )
            }
            10 => (
                format!("SELECT {keys}, row_number() OVER (ORDER BY {ids}){from}"),
                String::new(),
                Compare::Bag,
            ),
            14 | 15 if has_least => {
                // The least and the greatest alone, or beside others.
                let text = match self.dice().below(4) {
                    0 => format!("SELECT min({column}){from}"),
                    1 => format!("SELECT max({column}){from}"),
                    2 => format!("SELECT max({column}), min({column}), count({column}){from}"),
                    _ => format!(
                        "SELECT min({column}) FILTER (WHERE {alias}.id % 3 = 0), max({alias}.id){from}"
                    ),
                };
                (text, String::new(), Compare::Bag)
            }
            16 | 17 if !vague => {
                // An order with ties: what is shown of rows that tie is the same.
                let (limit, _) = self.amount(12);
                let offset = if self.dice().chance(25) {
                    format!(" OFFSET {}", self.amount(6).0)
                } else {
                    String::new()
                };
                let shown = if offset.is_empty() { format!("{keys}, {column}") } else { column.clone() };
                (
                    format!(
                        "SELECT {shown}{from} ORDER BY {column}{direction}{offset} FETCH FIRST ({limit}) ROWS WITH TIES"
                    ),
                    String::new(),
                    Compare::Bag,
                )
            }
            18 | 19 if !vague => {
                let (limit, _) = self.amount(12);
                let offset = if self.dice().chance(40) {
                    format!(" OFFSET {}", self.amount(6).0)
                } else {
                    String::new()
                };
                (
                    format!("SELECT {column}{from} ORDER BY {column}{direction} LIMIT {limit}{offset}"),
                    String::new(),
                    Compare::Ordered,
                )
            }
            11 if sources.len() == 1 => (format!("SELECT {alias}.*{from}"), String::new(), Compare::Bag),
            12 if sources.len() == 1 => (format!("SELECT {alias}{from}"), String::new(), Compare::Bag),
            _ => (format!("SELECT {keys}, {column}{from}"), String::new(), Compare::Bag),
        }
    }
}
