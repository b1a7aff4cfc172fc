//! Whether what is there is shown: a reference to an object that is hidden or was deleted, and a status that the
//! answer leaves out, read as NULL and are not EMPTY. Few objects are like that, and hardly one of them is among
//! those sampled, so they are looked for among all: by reading the objects that have a value, and, of references, by
//! counting those that lead somewhere.

use std::rc::Rc;
use std::sync::Arc;

use aql::expr::{Expr, Path};
use aql::facts::{REFERENCE_NULL, STATUS_NULL, of_attribute};
use assets::error::Error;
use assets::stats::ScanStats;
use assets::value::{ScanSpec, Value};

use super::sample::{Sample, Sampled};
use super::{Findings, Line};
use crate::runtime::PageStream;
use crate::session::Connection;
use crate::{error, runtime};

/// Takes back what the sample seemed to prove, where it does not hold of all objects; one line for each such fact.
pub fn verify(connection: &Rc<Connection>, samples: &[Sample], found: &mut Findings) {
    let columns = samples.iter().flat_map(|sample| sample.columns.iter().map(move |column| (sample, column)));
    for (sample, column) in columns {
        let (Some(id), aql::Column::Attribute { name, .. }) =
            (column.subject.stored.attribute, &column.subject.column)
        else {
            continue;
        };
        for fact in [REFERENCE_NULL, STATUS_NULL] {
            let fact_name = of_attribute(fact, id);
            let Some(learned) = found.learned.iter_mut().find(|l| l.name == fact_name && l.holds) else {
                continue;
            };
            let there = format!("{} AND {}", sample.filter, Expr::IsNotEmpty(Path::Attribute(name.clone())));
            let refuted = match unshown(connection, sample, column, &there) {
                Some(why) => Some(why),
                None if fact == REFERENCE_NULL => unreached(connection, sample, name, &there),
                None => None,
            };
            let detail = refuted.clone().unwrap_or_else(|| "none was found among all objects".to_owned());
            found.lines.push(Line {
                rule: fact_name,
                aql: Some(there),
                verdict: if refuted.is_none() { "exact" } else { "wrong" },
                detail: format!("column \"{}\" of {}: {detail}", column.name, sample.table),
            });
            if let Some(why) = refuted {
                learned.holds = false;
                learned.detail = why;
            }
        }
    }
}

/// So many objects that have a value are looked at; where there are more, nothing is proven.
const MOST: usize = 20_000;

/// Why it is not so that each object which has a value shows one: an object that shows none, or more objects than
/// are looked at.
fn unshown(connection: &Rc<Connection>, sample: &Sample, column: &Sampled, there: &str) -> Option<String> {
    let spec = ScanSpec {
        filter: there.to_owned(),
        columns: Arc::from([column.spec]),
        limit: None,
        most: None,
        expected: None,
    };
    let mut stream = PageStream::start(connection.client.clone(), spec, Arc::new(ScanStats::default()));
    let mut seen = 0;
    while let Some(page) = error::or_raise(stream.next()) {
        let hidden = page.rows.iter().find(|row| matches!(row.values.first(), None | Some(Value::Null)));
        if let Some(hidden) = hidden {
            return Some(format!("object {} of {} is not EMPTY and reads as NULL", hidden.key, sample.table));
        }
        seen += page.rows.len();
        if seen > MOST {
            return Some(format!(
                "more than {MOST} objects of {} have a value: too many to look at each",
                sample.table
            ));
        }
    }
    None
}

/// Whether some reference leads to no object that is seen. Where the service does not count for us, it is not
/// known.
fn unreached(connection: &Rc<Connection>, sample: &Sample, name: &str, there: &str) -> Option<String> {
    let reached = format!("{} AND {}", sample.filter, Expr::IsNotEmpty(Path::KeyOf(name.to_owned())));
    let (client, there) = (connection.client.clone(), there.to_owned());
    let counted: Result<(u64, u64), Error> =
        runtime::wait(
            async move { Ok((client.total_count(&there).await?, client.total_count(&reached).await?)) },
        );
    match counted {
        Ok((there, reached)) if there == reached => None,
        Ok((there, reached)) => {
            Some(format!("of {there} references, {reached} lead to an object that is seen"))
        }
        Err(e) if e.kind().refuses_counts() || e.kind() == assets::error::Kind::AqlRejected => {
            Some("the service does not say how many references lead to an object that is seen".to_owned())
        }
        Err(e) => error::service(&e),
    }
}
