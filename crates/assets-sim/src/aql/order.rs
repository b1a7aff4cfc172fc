//! ORDER BY, and the order without one.

use std::cmp::Ordering;

use super::Invalid;
use super::ast::Order;
use super::compile::{Compiler, Field, Target};
use super::fold::fold;
use super::search::Context;
use crate::data::generator::mix;
use crate::data::model::Value;
use crate::data::view::Entry;
use crate::switches::{KeyOrder, OrderBy};

/// What an object sorts by. The derived order puts what is missing first (assets-api.md section 4.6).
#[derive(PartialEq, PartialOrd)]
enum SortKey {
    Missing,
    Number(f64),
    Whole(i64),
    Text(String),
}

/// Sorts ids found by a query. Gives false if another call may give another order.
pub fn sort(
    compiler: &Compiler<'_, '_>,
    order: Option<&Order>,
    ids: &mut Vec<u64>,
    salt: u64,
) -> Result<bool, Invalid> {
    let context = compiler.context;
    let switches = context.switches;
    let ties = if switches.unstable_ties { salt } else { 0 };
    let descending = order.is_some_and(|o| o.descending);
    // An attribute that is not found in the results leaves the order open; so does one that exists nowhere.
    let target = order.map(|o| compiler.path(&o.path, &o.path.shown()));
    let (walk, target) = match target {
        Some(Ok((walk, target))) => (walk, Some(target)),
        Some(Err(_)) => {
            ids.sort_unstable_by_key(|id| mix(*id));
            return Ok(true);
        }
        None => (Vec::new(), None),
    };
    let simple = walk.is_empty();
    let named = |name: &str| order.is_some_and(|o| simple && o.path.shown().eq_ignore_ascii_case(name));
    let behaviour = match &target {
        None => match switches.order_by_attribute {
            OrderBy::Rejected => OrderBy::Honoured,
            other => other,
        },
        Some(Target::ObjectId) if simple => switches.order_by_object_id,
        Some(Target::Key) if simple => switches.order_by_key,
        Some(_) if named("Created") => switches.order_by_created,
        Some(_) if named("Updated") => switches.order_by_updated,
        Some(_) => switches.order_by_attribute,
    };
    match behaviour {
        OrderBy::Rejected => {
            let name = order.map(|o| o.path.shown()).unwrap_or_default();
            return Err(Invalid::new(format!("Invalid AQL: cannot order by {name}")));
        }
        OrderBy::Ignored => {
            ids.sort_unstable_by_key(|id| mix(*id));
            return Ok(true);
        }
        OrderBy::Unstable => {
            ids.sort_unstable_by_key(|id| mix(*id ^ salt));
            return Ok(false);
        }
        OrderBy::Honoured => {}
    }
    if matches!(target, Some(Target::ObjectId)) && simple {
        ids.sort_unstable();
        if descending {
            ids.reverse();
        }
        return Ok(true);
    }
    let mut keyed: Vec<(SortKey, u64)> = Vec::with_capacity(ids.len());
    for id in ids.iter() {
        let Some(entry) = context.view.object(*id) else { continue };
        keyed.push((key(context, &walk, target.as_ref(), &entry), *id));
    }
    keyed.sort_unstable_by(|(a, x), (b, y)| {
        let by_key = a.partial_cmp(b).unwrap_or(Ordering::Equal);
        let by_key = if descending { by_key.reverse() } else { by_key };
        by_key.then_with(|| if ties == 0 { x.cmp(y) } else { mix(*x ^ ties).cmp(&mix(*y ^ ties)) })
    });
    ids.clear();
    ids.extend(keyed.into_iter().map(|(_, id)| id));
    Ok(ties == 0)
}

fn key(context: &Context<'_>, walk: &[Field<'_>], target: Option<&Target<'_>>, entry: &Entry<'_>) -> SortKey {
    let mut at = *entry;
    for field in walk {
        let next = context.values(field, &at).and_then(|values| {
            values.iter().find_map(|v| if let Value::Object(id) = v { context.reach(*id) } else { None })
        });
        match next {
            Some(entry) => at = entry,
            None => return SortKey::Missing,
        }
    }
    let view = context.view;
    match target {
        None => SortKey::Text(fold(&view.label(&at), context.switches.fold)),
        Some(Target::Key) if context.switches.key_order == KeyOrder::Numeric => {
            SortKey::Text(format!("{}-{:020}", view.catalog.key_prefix(at.type_id()), at.id()))
        }
        Some(Target::Key) => SortKey::Text(view.key(&at)),
        Some(Target::ObjectId | Target::Object) => SortKey::Whole(at.id() as i64),
        Some(Target::ObjectTypeId) => SortKey::Whole(i64::from(at.type_id())),
        Some(Target::ObjectType | Target::Schema | Target::SchemaId) => {
            SortKey::Text(fold(&view.catalog.types[&at.type_id()].name, context.switches.fold))
        }
        Some(Target::Attribute(field)) => match context.values(field, &at).and_then(|v| v.into_iter().next())
        {
            None => SortKey::Missing,
            Some(Value::Integer(n)) => SortKey::Whole(n),
            Some(Value::Double(x)) => SortKey::Number(x),
            Some(Value::Date(n) | Value::DateTime(n)) => SortKey::Whole(n),
            Some(Value::Time(n)) => SortKey::Whole(i64::from(n)),
            Some(other) => SortKey::Text(fold(&view.display(&other), context.switches.fold)),
        },
    }
}
