//! From the text of a query to the ids it finds.

use std::collections::HashSet;

use super::Invalid;
use super::ast::{Expr, Query};
use super::compile::{Compiler, Filter};
use super::{order, parser};
use crate::data::model::{Kind, Value};
use crate::data::view::{Entry, View};
use crate::switches::Switches;

/// What a query is evaluated in.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The objects that are searched, as the identity sees them.
    pub view: View<'a>,
    /// How AQL behaves.
    pub switches: &'a Switches,
    /// The identity, an index into the catalog's users.
    pub me: usize,
    /// What `now()` gives, epoch ms.
    pub now: i64,
}

/// What a query finds.
#[derive(Clone, Debug)]
pub struct Found {
    /// Ids in the order of the query.
    pub ids: Vec<u64>,
    /// The same query finds the same as long as nothing changes.
    pub steady: bool,
}

/// Finds what a query asks for, in its order. `salt` makes unstable orders differ.
pub fn find(context: &Context<'_>, text: &str, salt: u64) -> Result<Found, Invalid> {
    let query = read(context, text)?;
    let mut compiler = Compiler { context, timed: false };
    let filter = compile(&mut compiler, query.filter.as_ref())?;
    let mut ids = ids(context, &filter);
    let steady = order::sort(&compiler, query.order.as_ref(), &mut ids, salt)?;
    Ok(Found { ids, steady: steady && !compiler.timed })
}

/// Counts what a query finds.
pub fn count(context: &Context<'_>, text: &str) -> Result<Found, Invalid> {
    let query = read(context, text)?;
    let mut compiler = Compiler { context, timed: false };
    let filter = compile(&mut compiler, query.filter.as_ref())?;
    Ok(Found { ids: ids(context, &filter), steady: !compiler.timed })
}

/// Says what is wrong with a query without running it.
pub fn validate(context: &Context<'_>, text: &str) -> Result<(), Invalid> {
    let query = read(context, text)?;
    compile(&mut Compiler { context, timed: false }, query.filter.as_ref()).map(|_| ())
}

fn read(context: &Context<'_>, text: &str) -> Result<Query, Invalid> {
    if let Some(limit) = context.switches.query_byte_limit
        && text.len() > limit as usize
    {
        return Err(Invalid::new(format!("Invalid AQL: the query is longer than {limit} bytes")));
    }
    parser::parse(text)
}

fn compile<'a>(compiler: &mut Compiler<'_, 'a>, filter: Option<&Expr>) -> Result<Filter<'a>, Invalid> {
    filter.map_or(Ok(Filter::Everything), |expr| compiler.filter(expr))
}

/// Ids that pass a filter, ascending. Types and ids named by the filter narrow what is looked at.
pub(super) fn ids(context: &Context<'_>, filter: &Filter<'_>) -> Vec<u64> {
    let mut narrow = Narrow { types: None, ids: None, low: 0, high: u64::MAX, exact: true };
    narrow.take(filter);
    let view = context.view;
    let mut candidates = Vec::new();
    match narrow.ids {
        Some(ids) => {
            candidates.extend(ids.into_iter().filter(|id| (narrow.low..=narrow.high).contains(id)));
            narrow.exact = false; // they may be of other types, or not exist
        }
        None => {
            for type_id in view.catalog.types.keys() {
                if narrow.types.as_ref().is_none_or(|t| t.contains(type_id)) {
                    view.ids_of(*type_id, narrow.low, narrow.high, &mut candidates);
                }
            }
        }
    }
    candidates.sort_unstable();
    if !narrow.exact {
        candidates.retain(|id| view.object(*id).is_some_and(|entry| context.passes(filter, &entry)));
    }
    candidates
}

/// What the conjuncts of a filter say about types and ids.
struct Narrow {
    types: Option<HashSet<u32>>,
    ids: Option<HashSet<u64>>,
    low: u64,
    high: u64,
    /// Nothing else is asked, so candidates need no look.
    exact: bool,
}

impl Narrow {
    fn take(&mut self, filter: &Filter<'_>) {
        match filter {
            Filter::Everything => {}
            Filter::And(all) => all.iter().for_each(|f| self.take(f)),
            Filter::Types(types) => {
                let both = |mine: &HashSet<u32>| mine.intersection(types).copied().collect();
                self.types = Some(self.types.as_ref().map_or_else(|| types.clone(), both));
            }
            Filter::Ids(ids) => {
                let both = |mine: &HashSet<u64>| mine.intersection(ids).copied().collect();
                self.ids = Some(self.ids.as_ref().map_or_else(|| ids.clone(), both));
            }
            Filter::IdRange(low, high) => {
                self.low = self.low.max(*low);
                self.high = self.high.min(*high);
            }
            _ => self.exact = false,
        }
    }
}

/// Ids of the objects that an object refers to, by some kinds of reference or by any.
pub(crate) fn targets(view: View<'_>, entry: &Entry<'_>, kinds: Option<&HashSet<u32>>) -> Vec<u64> {
    let mut values = Vec::new();
    for attribute in view.catalog.effective(entry.type_id()) {
        if attribute.kind == Kind::Object && kinds.is_none_or(|k| k.contains(&attribute.reference_type)) {
            view.values(entry, attribute, &mut values);
        }
    }
    values.into_iter().filter_map(|v| if let Value::Object(id) = v { Some(id) } else { None }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::generator::Rng;
    use crate::data::view::Visibility;
    use crate::data::world::World;
    use crate::switches::Profile;

    /// Pieces of queries, well-formed and not, that are strung together at random.
    const PIECES: [&str; 56] = [
        "Name",
        "\"One Text\"",
        "\"One Date\"",
        "Purchased",
        "\"Last Backup\"",
        "Owner.Name",
        "Owner",
        "Status",
        "objectType",
        "objectTypeId",
        "objectSchema",
        "objectId",
        "Key",
        "label",
        "object",
        "Assignee",
        "\"Memory GB\"",
        "=",
        "==",
        "!=",
        "<",
        ">",
        "<=",
        ">=",
        "in",
        "not in",
        "like",
        "not like",
        "startswith",
        "endswith",
        "is empty",
        "is not empty",
        "having",
        "and",
        "or",
        "not",
        "(",
        ")",
        ",",
        "order by",
        "desc",
        "Server",
        "\"%\"",
        "5",
        "-1",
        "99999999999999999999",
        "2024-01-31",
        "\"2024-01-31T10:00:00+1é1\"",
        "now(-99999999999999999w)",
        "é",
        "objectTypeAndChildren(Hardware)",
        "inboundReferences()",
        "outboundReferences(Name = x)",
        "connectedTickets(status = Done)",
        "\"99999999999999:00\"",
        "startOfDay(1d)",
    ];

    #[test]
    fn no_query_brings_the_service_down() {
        let world = World::new(1, 200);
        let everyone = Visibility::default();
        let mut accepted = 0;
        for profile in [Profile::Documented, Profile::Lenient, Profile::Hostile] {
            let switches = Switches::of(profile);
            let context = Context {
                view: world.indexed(&everyone),
                switches: &switches,
                me: 0,
                now: 1_700_000_000_000,
            };
            let mut rng = Rng::new(17);
            for _ in 0..20_000 {
                let length = 1 + rng.below(8);
                let words = (0..length).map(|_| PIECES[rng.below(PIECES.len() as u64) as usize]);
                let query = words.collect::<Vec<_>>().join(" ");
                accepted += usize::from(find(&context, &query, 1).is_ok());
            }
            for deep in ["(", "not ", "object having inR("] {
                assert!(find(&context, &deep.repeat(100_000), 1).is_err());
            }
        }
        assert!(accepted > 100, "only {accepted} of the queries meant something");
    }
}
