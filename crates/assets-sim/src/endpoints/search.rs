//! `POST object/aql`, `object/aql/totalcount` and `aql/validate` (assets-api.md sections 2.1 and 2.2).

use std::collections::{BTreeSet, VecDeque};
use std::fmt::Write;
use std::sync::Arc;

use super::with_render;
use crate::aql::{self, Context, Found, Invalid};
use crate::clock;
use crate::data::generator::mix;
use crate::data::model::Attribute;
use crate::data::view::{View, Visibility};
use crate::faults::FaultKind;
use crate::http::Reply;
use crate::render::object::{Depth, Render};
use crate::service::{Call, Service};
use crate::switches::{Definitions, Echo, Flag, Switches, Total};

/// How many results are kept, so that a deep page does not search again.
const KEPT: usize = 24;

/// Results of recent queries.
#[derive(Debug, Default)]
pub(crate) struct Results(VecDeque<(Key, Arc<Vec<u64>>)>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Key {
    query: String,
    sees: Visibility,
    user: usize,
    version: u64,
    switches: u64,
    sorted: bool,
}

impl Results {
    fn get(&mut self, key: &Key) -> Option<Arc<Vec<u64>>> {
        let at = self.0.iter().position(|(k, _)| k == key)?;
        let found = self.0.remove(at)?;
        let ids = found.1.clone();
        self.0.push_back(found);
        Some(ids)
    }

    fn put(&mut self, key: Key, ids: Arc<Vec<u64>>) {
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back((key, ids));
    }
}

fn context<'a>(call: &'a Call<'_>, view: View<'a>) -> Context<'a> {
    let now = clock::now_ms() + call.switches.clock_offset_ms;
    Context { view, switches: &call.switches, me: call.identity.user, now }
}

fn found(
    service: &Service,
    call: &Call<'_>,
    view: View<'_>,
    query: &str,
    sorted: bool,
) -> Result<Arc<Vec<u64>>, Invalid> {
    let key = Key {
        query: query.to_owned(),
        sees: call.identity.sees.clone(),
        user: call.identity.user,
        version: view.layer.version,
        switches: call.switches_version,
        sorted,
    };
    if let Some(ids) = service.results.lock().expect("results").get(&key) {
        return Ok(ids);
    }
    let context = context(call, view);
    let Found { ids, steady } =
        if sorted { aql::find(&context, query, service.salt())? } else { aql::count(&context, query)? };
    let ids = Arc::new(ids);
    if steady {
        service.results.lock().expect("results").put(key, ids.clone());
    }
    Ok(ids)
}

fn query(call: &Call<'_>) -> Result<String, Box<Reply>> {
    let bad = |text: &str| Box::new(Reply::errors(400, &[text], &[]));
    let body = call.request.json().ok_or_else(|| bad("The body is not JSON"))?;
    body["qlQuery"].as_str().map(str::to_owned).ok_or_else(|| bad("qlQuery is missing"))
}

fn refused(invalid: &Invalid) -> Reply {
    let text = invalid.message.as_str();
    Reply::errors(400, &[text], &[("iql".to_owned(), text.to_owned())])
}

fn catch_up(service: &Service) {
    if service.world.read().expect("world").lagging() {
        service.world.write().expect("world").catch_up();
    }
}

/// A page of objects. Paging parameters in the body are ignored, as the service does.
pub(crate) fn page(service: &Service, call: &Call<'_>) -> Reply {
    let query = match query(call) {
        Ok(query) => query,
        Err(reply) => return *reply,
    };
    let number = |name: &str, default: usize| call.request.parameter(name).map_or(Ok(default), str::parse);
    let (Ok(start), Ok(asked)) = (number("startAt", 0), number("maxResults", 25)) else {
        return Reply::errors(400, &["startAt and maxResults have to be numbers"], &[]);
    };
    if asked == 0 {
        return Reply::errors(400, &["maxResults has to be greater than 0"], &[]);
    }
    let attributes = call.request.boolean("includeAttributes") != Some(false);
    catch_up(service);
    let reply = with_render(service, call, true, |render| {
        let ids = match found(service, call, render.view, &query, true) {
            Ok(ids) => ids,
            Err(invalid) => return refused(&invalid),
        };
        let page = Page::cut(&call.switches, call.page_fault.as_ref(), &ids, start, asked);
        Reply::json(200, page.render(render, attributes))
    });
    if reply.status == 200 {
        service.after_page();
        service.after_search();
    }
    reply
}

/// A part of a result and what its envelope says about it.
struct Page {
    start: usize,
    max_results: usize,
    total: usize,
    ids: Vec<u64>,
    is_last: bool,
    more: bool,
}

impl Page {
    fn cut(switches: &Switches, fault: Option<&FaultKind>, ids: &[u64], start: usize, asked: usize) -> Page {
        let size = if switches.page_cap == 0 { asked } else { asked.min(switches.page_cap as usize) };
        let mut from = start;
        match fault {
            Some(FaultKind::EndlessPage) => from = 0,
            Some(FaultKind::ShiftedPage) => from = from.saturating_add(1),
            _ => {}
        }
        let mut take = size;
        if switches.underfilled_pages && size > 2 && mix(from as u64).is_multiple_of(3) {
            take = size * 2 / 3;
        }
        let end = from.saturating_add(take).min(ids.len());
        let mut page = ids.get(from..end).unwrap_or_default().to_vec();
        let mut last = end >= ids.len();
        let full = page.len() == size;
        match fault {
            Some(FaultKind::EndlessPage) => last = false,
            Some(FaultKind::DuplicatedObject) => page.extend(page.last().copied()),
            Some(FaultKind::EmptyPage) => {
                page.clear();
                last = false;
            }
            Some(FaultKind::LostTail) => {
                page.pop();
                last = true;
            }
            _ => {}
        }
        let lies = (switches.is_last_lies_on_full_pages && full)
            || switches.is_last_lies_from.is_some_and(|n| asked >= n as usize);
        Page {
            start,
            max_results: if switches.echo == Echo::Request { asked } else { size },
            total: ids.len(),
            ids: page,
            is_last: last || lies,
            more: !last,
        }
    }

    fn render(&self, render: Render<'_>, attributes: bool) -> String {
        let switches = render.switches;
        let mut out =
            String::with_capacity(if attributes { self.ids.len() * 14_000 } else { self.ids.len() * 2500 });
        let _ = write!(out, "{{\"startAt\":{},\"maxResults\":{}", self.start, self.max_results);
        let total = match switches.total {
            Total::Exact => Some(self.total),
            Total::Capped => Some(self.total.min(1000)),
            Total::Lying => Some(self.start + self.ids.len()),
            Total::Absent => None,
        };
        if let Some(total) = total {
            let _ = write!(out, ",\"total\":{total}");
        }
        flag(&mut out, "isLast", switches.is_last, self.is_last);
        flag(&mut out, "last", switches.last, self.is_last);
        flag(&mut out, "hasMoreResults", switches.has_more_results, self.more);
        out.push_str(",\"values\":[");
        let depth = match (attributes, switches.inline_definitions) {
            (false, _) => Depth::Bare,
            (true, false) => Depth::Attributes,
            (true, true) => Depth::Definitions,
        };
        let mut types = BTreeSet::new();
        for (i, entry) in self.ids.iter().filter_map(|id| render.view.object(*id)).enumerate() {
            if i > 0 {
                out.push(',');
            }
            types.insert(entry.type_id());
            render.object(&mut out, &entry, depth);
        }
        out.push(']');
        let how = match attributes {
            true => switches.definitions_with_attributes,
            false => switches.definitions_without_attributes,
        };
        if matches!(how, Definitions::Full | Definitions::Used) {
            let view = render.view;
            let used = |attribute: &Attribute| {
                self.ids.iter().filter_map(|id| view.object(*id)).any(|entry| {
                    let mut values = Vec::new();
                    view.values(&entry, attribute, &mut values);
                    !values.is_empty()
                })
            };
            let all: BTreeSet<u32> = types
                .iter()
                .flat_map(|t| view.catalog.effective(*t))
                .filter(|a| how == Definitions::Full || used(a))
                .map(|a| a.id)
                .collect();
            let all = all.into_iter().map(|id| render.fragments.definition(id, true).to_owned());
            let _ = write!(out, ",\"objectTypeAttributes\":{}", super::list(all));
        } else if how == Definitions::Empty {
            out.push_str(",\"objectTypeAttributes\":[]");
        }
        out.push('}');
        out
    }
}

fn flag(out: &mut String, name: &str, how: Flag, value: bool) {
    let _ = match how {
        Flag::Bool => write!(out, ",\"{name}\":{value}"),
        Flag::String => write!(out, ",\"{name}\":\"{value}\""),
        Flag::Absent => Ok(()),
    };
}

/// The exact number of objects that a query finds.
pub(crate) fn total_count(service: &Service, call: &Call<'_>) -> Reply {
    if let Some(status) = call.switches.refuse_counts {
        return Reply::errors(status, &["Objects are not counted for this account"], &[]);
    }
    let query = match query(call) {
        Ok(query) => query,
        Err(reply) => return *reply,
    };
    catch_up(service);
    let reply =
        with_render(service, call, true, |render| match found(service, call, render.view, &query, false) {
            Ok(ids) => Reply::json(200, format!("{{\"totalCount\":{}}}", ids.len())),
            Err(invalid) => refused(&invalid),
        });
    if reply.status == 200 {
        service.after_search();
    }
    reply
}

/// Whether a query would be accepted: undocumented, as a first-party front end uses it (assets-api.md section 13).
pub(crate) fn validate(service: &Service, call: &Call<'_>) -> Reply {
    let query = match query(call) {
        Ok(query) => query,
        Err(reply) => return *reply,
    };
    with_render(service, call, true, |render| {
        let body = match aql::validate(&context(call, render.view), &query) {
            Ok(()) => serde_json::json!({ "isValid": true, "errorMessages": [], "errors": {} }),
            Err(e) => {
                serde_json::json!({ "isValid": false, "errorMessages": [e.message], "errors": { "iql": e.message } })
            }
        };
        Reply::json(200, body.to_string())
    })
}
