//! Names of tables and columns: lower snake case, at most 63 bytes, the same at every import.

use std::collections::HashSet;

/// PostgreSQL's limit for an identifier, in bytes (NAMEDATALEN - 1).
pub const MAX_BYTES: usize = 63;

/// Lower snake case: letters and digits of any script stay, everything else is one underscore.
/// Empty where nothing stays.
pub fn snake(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut gap = false;
    for c in name.chars().flat_map(char::to_lowercase) {
        // Combining marks are part of their letter and are neither alphanumeric nor a gap.
        if c.is_alphanumeric() || is_mark(c) {
            if gap && !out.is_empty() {
                out.push('_');
            }
            gap = false;
            out.push(c);
        } else {
            gap = true;
        }
    }
    out
}

/// Marks that combine with the letter before them, in the blocks that hold nothing else.
fn is_mark(c: char) -> bool {
    matches!(u32::from(c), 0x300..=0x36F | 0x1AB0..=0x1AFF | 0x1DC0..=0x1DFF | 0x20D0..=0x20FF | 0xFE20..=0xFE2F)
}

/// Cuts at a character's border so that `suffix` still fits into [`MAX_BYTES`].
pub fn fit(base: &str, suffix: &str) -> String {
    let room = MAX_BYTES.saturating_sub(suffix.len());
    let mut end = base.len().min(room);
    while !base.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{suffix}", &base[..end])
}

/// The name under which a column goes on whose place another type takes: the type behind it, `rack_bigint`, and a
/// number where that is taken.
pub fn aside(column: &str, sql_type: &str, taken: impl Fn(&str) -> bool) -> String {
    let words = snake(&sql_type.replace("[]", " list"));
    let mut n = 1;
    loop {
        let number = if n == 1 { String::new() } else { format!("_{n}") };
        let name = fit(column, &format!("_{words}{number}"));
        if !taken(&name) {
            return name;
        }
        n += 1;
    }
}

/// Gives each of `items` (an id and a name) its own identifier, none of `reserved`. The lowest id
/// keeps the plain name, so that a later namesake renames nobody; another gets `_<id>`. `room` is
/// what must stay free for companions behind the name, `companions` their endings.
pub fn assign<'a>(
    items: impl IntoIterator<Item = (i64, &'a str, &'a [&'a str])>,
    reserved: &[&str],
    fallback: &str,
) -> Vec<(i64, String)> {
    let mut items: Vec<_> = items.into_iter().collect();
    items.sort_by_key(|(id, ..)| *id);
    // Companions keep their names: they are set aside before any plain name is given out.
    let companions: HashSet<String> = items
        .iter()
        .flat_map(|(_, name, endings)| endings.iter().map(|ending| fit(&snake(name), ending)))
        .collect();
    let mut taken: HashSet<String> = reserved.iter().map(|name| (*name).to_owned()).collect();
    items
        .into_iter()
        .map(|(id, name, endings)| {
            let longest = endings.iter().max_by_key(|e| e.len()).copied().unwrap_or("");
            let plain = snake(name);
            let base = fit(&plain, longest);
            let base = base.strip_suffix(longest).unwrap_or(&base).to_owned();
            let free = |name: &str, taken: &HashSet<String>| {
                !name.is_empty()
                    && !taken.contains(name)
                    && !companions.contains(name)
                    && endings.iter().all(|e| !taken.contains(&format!("{name}{e}")))
            };
            let chosen = if free(&base, &taken) {
                base
            } else {
                let stem = if plain.is_empty() { fallback } else { &plain };
                let mut suffix = String::new();
                // Once is enough unless another attribute is called like this one's suffixed name.
                loop {
                    suffix.push_str(&format!("_{id}"));
                    let suffixed = fit(stem, &format!("{suffix}{longest}"));
                    let name = suffixed.strip_suffix(longest).unwrap_or(&suffixed).to_owned();
                    if free(&name, &taken) {
                        break name;
                    }
                }
            };
            taken.insert(chosen.clone());
            for ending in endings {
                taken.insert(format!("{chosen}{ending}"));
            }
            (id, chosen)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_lower_snake_case_and_letters_of_any_script_stay() {
        assert_eq!(snake("IP Address"), "ip_address");
        assert_eq!(snake("  Größe (cm) "), "größe_cm");
        assert_eq!(snake("所有者"), "所有者");
        assert_eq!(snake("a.b\"c\\d"), "a_b_c_d");
        assert_eq!(snake("!!!"), "");
    }

    #[test]
    fn a_name_is_never_longer_than_63_bytes_nor_cut_inside_a_character() {
        let long = "ä".repeat(60);
        let fitted = fit(&long, "_12");
        assert!(fitted.len() <= MAX_BYTES && fitted.ends_with("_12"));
        assert!(fitted.chars().all(|c| c == 'ä' || "_12".contains(c)));
    }

    #[test]
    fn the_lowest_id_keeps_the_name_and_fixed_and_companion_columns_keep_theirs() {
        let keys: &[&str] = &["_key"];
        let none: &[&str] = &[];
        let given = assign(
            [
                (30, "Owner Key", none),
                (20, "Owner", keys),
                (10, "URL", none),
                (40, "owner", none),
                (50, "?", none),
            ],
            &["url"],
            "attribute",
        );
        assert_eq!(
            given,
            vec![
                (10, "url_10".to_owned()),
                (20, "owner".to_owned()),
                (30, "owner_key_30".to_owned()),
                (40, "owner_40".to_owned()),
                (50, "attribute_50".to_owned()),
            ]
        );
    }

    #[test]
    fn a_suffixed_name_never_meets_an_attribute_of_that_very_name() {
        let none: &[&str] = &[];
        let given =
            assign([(5, "Owner 40", none), (20, "Owner", none), (40, "owner", none)], &[], "attribute");
        assert_eq!(given[2], (40, "owner_40_40".to_owned()));
    }

    #[test]
    fn every_identifier_is_given_out_once() {
        let keys: &[&str] = &["_key"];
        let long = "x".repeat(80);
        let names: Vec<(i64, &str, &[&str])> = (1..200).map(|id| (id, long.as_str(), keys)).collect();
        let given = assign(names, &[], "attribute");
        let mut seen = HashSet::new();
        for (_, name) in given {
            assert!(format!("{name}_key").len() <= MAX_BYTES);
            assert!(seen.insert(format!("{name}_key")) && seen.insert(name));
        }
    }
}
