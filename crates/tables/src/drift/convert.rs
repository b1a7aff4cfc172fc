//! Types of columns, and how a replica's values survive a change of type.

/// A type of an imported column as `format_type` says it.
pub fn canonical(sql_type: &str) -> String {
    let (scalar, array) = split(sql_type);
    let scalar = match scalar {
        "timestamptz" => "timestamp with time zone",
        "time" => "time without time zone",
        other => other,
    };
    format!("{scalar}{array}")
}

fn split(sql_type: &str) -> (&str, &str) {
    sql_type.strip_suffix("[]").map_or((sql_type, ""), |scalar| (scalar, "[]"))
}

/// Whether a type holds several values.
pub(super) fn is_list(sql_type: &str) -> bool {
    sql_type.ends_with("[]")
}

/// The expression that keeps what it can of a column's values; never fails, whatever they are. What
/// does not fit is NULL until the refresh that follows.
pub(super) fn using(column: &str, from: &str, to: &str) -> String {
    let (from, to) = (canonical(from), canonical(to));
    let ((one, many), (wanted, list)) = (split(&from), split(&to));
    match (many, list) {
        _ if one == wanted && many == list => column.to_owned(),
        ("", "") => scalar(column, one, wanted),
        ("[]", "") => scalar(&format!("({column})[1]"), one, wanted),
        ("", _) => {
            let value = scalar(column, one, wanted);
            let none = format!("NULL::{wanted}[]");
            if value.starts_with("NULL") {
                none
            } else {
                format!("CASE WHEN ({value}) IS NOT NULL THEN ARRAY[{value}] END")
            }
        }
        (_, _) if widens(one, wanted) => format!("{column}::{wanted}[]"),
        (_, _) => format!("NULL::{wanted}[]"),
    }
}

/// Whether the values of a column can all be had again after a change of type, whatever they are and whatever the
/// session's settings. (A date as text is written as `DateStyle` says, a bigint beyond 2^53 is no double.)
pub(super) fn is_exact(from: &str, to: &str) -> bool {
    let (from, to) = (canonical(from), canonical(to));
    let ((one, many), (wanted, list)) = (split(&from), split(&to));
    let told = one == wanted || (wanted == "text" && matches!(one, "bigint" | "boolean" | "inet"));
    told && (many == list || many.is_empty())
}

/// Every value of the one is a value of the other.
fn widens(from: &str, to: &str) -> bool {
    from == to || to == "text" || (from == "bigint" && to == "double precision")
}

fn scalar(value: &str, from: &str, to: &str) -> String {
    match (from, to) {
        _ if from == to => value.to_owned(),
        _ if widens(from, to) => format!("{value}::{to}"),
        ("text", "bigint") => format!("CASE WHEN {value} ~ '^-?[0-9]{{1,18}}$' THEN {value}::bigint END"),
        ("text", "double precision") => format!(
            "CASE WHEN {value} ~ '^-?[0-9]{{1,15}}([.][0-9]{{1,15}})?$' THEN {value}::double precision END"
        ),
        ("text", "boolean") => {
            format!("CASE pg_catalog.lower({value}) WHEN 'true' THEN true WHEN 'false' THEN false END")
        }
        // 2^53, up to where a double is a whole number without doubt.
        ("double precision", "bigint") => format!(
            "CASE WHEN {value} = pg_catalog.trunc({value}) AND pg_catalog.abs({value}) <= 9007199254740992 \
             THEN {value}::bigint END"
        ),
        ("date", "timestamp with time zone") => format!("{value}::timestamp AT TIME ZONE 'UTC'"),
        ("timestamp with time zone", "date") => format!("({value} AT TIME ZONE 'UTC')::date"),
        _ => format!("NULL::{to}"),
    }
}
