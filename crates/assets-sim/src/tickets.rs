//! Jira work items connected to objects, and the little JQL that `connectedTickets()` needs.

use crate::data::generator::Rng;

/// A work item.
#[derive(Clone, Debug, PartialEq)]
pub struct Ticket {
    /// Its id.
    pub id: u64,
    /// Its key.
    pub key: String,
    /// Its title.
    pub title: &'static str,
    /// Name and colour of its status.
    pub status: (&'static str, &'static str),
    /// The name of its type.
    pub kind: &'static str,
    /// The name of its priority.
    pub priority: &'static str,
    /// Epoch ms.
    pub created: i64,
}

const STATUSES: [(&str, &str); 3] = [("To Do", "blue-gray"), ("In Progress", "yellow"), ("Done", "green")];
const TITLES: [&str; 4] =
    ["Install a new whiteboard", "Disk \"full\" again", "Größeres Gehäuse", "Renew 100% of it"];

/// Work items of an object: none for most, up to three.
pub fn of(object_id: u64) -> Vec<Ticket> {
    let mut rng = Rng::new(object_id ^ 0x71c7);
    let count = rng.below(8).saturating_sub(4);
    (0..count)
        .map(|n| Ticket {
            id: object_id * 10 + n,
            key: format!("HELP-{}", object_id * 10 + n),
            title: TITLES[rng.below(4) as usize],
            status: STATUSES[rng.below(3) as usize],
            kind: if rng.below(2) == 0 { "Task" } else { "Incident" },
            priority: if rng.below(3) == 0 { "High" } else { "Medium" },
            created: 1_613_500_000_000 + rng.below(100_000_000_000) as i64,
        })
        .collect()
}

/// Conditions on a work item, all of which have to hold: `field = value`, `!=` and `IN`, joined by AND.
#[derive(Clone, Debug)]
pub struct Jql(Vec<(String, bool, Vec<String>)>);

impl Jql {
    /// Reads JQL. An empty one is refused: the service requires one (assets-api.md section 4.5).
    pub fn parse(text: &str) -> Result<Jql, String> {
        let mut tokens = split(text)?.into_iter().peekable();
        let mut all = Vec::new();
        loop {
            let field = tokens.next().ok_or("a condition is missing")?.to_lowercase();
            if !["key", "issue", "project", "status", "type", "issuetype", "priority"]
                .contains(&field.as_str())
            {
                return Err(format!("field {field:?} does not exist"));
            }
            let operator = tokens.next().ok_or("an operator is missing")?.to_lowercase();
            let mut values = Vec::new();
            let (negated, list) = match operator.as_str() {
                "=" => (false, false),
                "!=" => (true, false),
                "in" => (false, true),
                "not" if tokens.next().is_some_and(|t| t.eq_ignore_ascii_case("in")) => (true, true),
                _ => return Err(format!("operator {operator:?} is not known")),
            };
            if list {
                if tokens.next().as_deref() != Some("(") {
                    return Err("IN takes a list".into());
                }
                loop {
                    values.push(tokens.next().ok_or("the list is never closed")?);
                    match tokens.next().as_deref() {
                        Some(",") => {}
                        Some(")") => break,
                        _ => return Err("the list is never closed".into()),
                    }
                }
            } else {
                values.push(tokens.next().ok_or("a value is missing")?);
            }
            all.push((field, negated, values));
            match tokens.next() {
                None => return Ok(Jql(all)),
                Some(word) if word.eq_ignore_ascii_case("and") => {}
                Some(word) => return Err(format!("{word:?} was not expected")),
            }
        }
    }

    /// True if the work item meets every condition.
    pub fn matches(&self, ticket: &Ticket) -> bool {
        self.0.iter().all(|(field, negated, values)| {
            let value = match field.as_str() {
                "key" | "issue" => ticket.key.as_str(),
                "project" => "HELP",
                "status" => ticket.status.0,
                "priority" => ticket.priority,
                _ => ticket.kind,
            };
            values.iter().any(|v| v.eq_ignore_ascii_case(value)) != *negated
        })
    }
}

fn split(text: &str) -> Result<Vec<String>, String> {
    let mut all: Vec<String> = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let mut token = String::from(c);
        match c {
            c if c.is_whitespace() => continue,
            '(' | ')' | ',' | '=' => {}
            '!' => token.extend(chars.next_if(|c| *c == '=')),
            '"' | '\'' => {
                token.clear();
                loop {
                    match chars.next().ok_or("a quote is never closed")? {
                        '\\' => token.extend(chars.next()),
                        end if end == c => break,
                        inner => token.push(inner),
                    }
                }
            }
            _ => {
                while let Some(c) = chars.next_if(|c| !c.is_whitespace() && !"(),=!\"".contains(*c)) {
                    token.push(c);
                }
            }
        }
        all.push(token);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_narrow_and_nonsense_is_refused() {
        let tickets: Vec<Ticket> = (1000..1400).flat_map(of).collect();
        assert!(!tickets.is_empty());
        let count = |jql: &str| tickets.iter().filter(|t| Jql::parse(jql).unwrap().matches(t)).count();
        let done = count("status = Done");
        assert!(done > 0 && done < tickets.len());
        assert_eq!(count("status not in (\"done\")"), tickets.len() - done);
        assert_eq!(count("project = HELP AND status in (done, 'In Progress', \"To Do\")"), tickets.len());
        for bad in ["", "status", "status =", "colour = red", "status = a or status = b", "status in (a"] {
            assert!(Jql::parse(bad).is_err(), "{bad}");
        }
    }
}
