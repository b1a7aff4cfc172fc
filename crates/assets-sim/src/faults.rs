//! Faults on demand: what goes wrong, where and how often.

use serde::{Deserialize, Serialize};

use crate::data::generator::Rng;
use crate::http::{Reply, Wire};
use crate::routes::Endpoint;

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum FaultKind {
    /// A bare status with an HTML body: 500, 502, 503, 504 or any other.
    Status {
        /// The HTTP status.
        status: u16,
    },
    /// Any answer, as the service or something before it might give: a web page where the body begins with `<`.
    Answer {
        /// The HTTP status.
        status: u16,
        /// The body.
        body: String,
    },
    /// 429, with `Retry-After` if given.
    TooMany {
        /// Seconds to wait.
        #[serde(default)]
        retry_after: Option<String>,
    },
    /// 401 without a body.
    Unauthorized,
    /// 401, and every access token handed out so far is useless.
    ExpireTokens,
    /// 302 to another host.
    Redirect {
        /// Where to.
        location: String,
    },
    /// The connection is reset before the answer.
    ResetBefore,
    /// The connection is reset between headers and body.
    ResetAfterHeaders,
    /// The connection is reset inside the body.
    ResetInBody,
    /// The body is shorter than its Content-Length, and the connection is closed.
    ShortBody,
    /// Nothing comes for so long, then the answer.
    StallBefore {
        /// How long.
        ms: u64,
    },
    /// Half of the body comes, then nothing for so long, then the rest.
    StallInBody {
        /// How long.
        ms: u64,
    },
    /// The body comes in small pieces.
    Drip {
        /// Bytes a piece.
        bytes: usize,
        /// Pause between two pieces.
        ms: u64,
    },
    /// The JSON ends in the middle, with a Content-Length that fits.
    TruncatedJson,
    /// The body is no JSON.
    InvalidJson,
    /// An empty body with status 200.
    EmptyBody,
    /// A body of so many bytes: the answer with blanks in front.
    Oversized {
        /// How many.
        bytes: usize,
    },
    /// JSON nested so deep.
    DeepJson {
        /// How deep.
        depth: usize,
    },
    /// `values` is an object, ids are booleans: JSON of wrong types.
    WrongTypes,
    /// Bytes inside a string that are no UTF-8.
    InvalidUtf8,
    /// NUL characters (as `\u0000`) in labels.
    NulBytes,
    /// Every top-level key of the answer stands there twice, first with a wrong value.
    DuplicateKeys,
    /// `object/aql`: whatever page is asked for, the first one comes, never the last.
    EndlessPage,
    /// `object/aql`: the last object of the page stands there twice.
    DuplicatedObject,
    /// `object/aql`: the page begins one object too late.
    ShiftedPage,
    /// `object/aql`: an empty page that is not the last.
    EmptyPage,
    /// `object/aql`: the last object of the page is missing, and the page says it is the last.
    LostTail,
}

impl FaultKind {
    /// The name under which the log has it.
    pub fn name(&self) -> String {
        let value = serde_json::to_value(self).unwrap_or_default();
        value["kind"].as_str().unwrap_or("unknown").to_owned()
    }
}

/// A fault and when it strikes. The first fault that strikes wins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// What goes wrong.
    pub what: FaultKind,
    /// On which endpoint; none: on any but the token endpoint's own faults.
    #[serde(default)]
    pub endpoint: Option<Endpoint>,
    /// Only where the query holds this text; none: on any request.
    #[serde(default)]
    pub aql: Option<String>,
    /// Only on a page that is asked for with so many objects or more.
    #[serde(default)]
    pub from_size: Option<u64>,
    /// So many matching requests pass first.
    #[serde(default)]
    pub skip: u32,
    /// How often it strikes; none: again and again.
    #[serde(default)]
    pub times: Option<u32>,
    /// How likely it strikes each time, 0 to 1.
    #[serde(default = "certain")]
    pub probability: f64,
    /// Where the dice begin.
    #[serde(default)]
    pub seed: u64,
}

fn certain() -> f64 {
    1.0
}

impl Fault {
    /// A fault that strikes every request.
    pub fn new(what: FaultKind) -> Fault {
        Fault {
            what,
            endpoint: None,
            aql: None,
            from_size: None,
            skip: 0,
            times: None,
            probability: 1.0,
            seed: 0,
        }
    }

    /// Only on one endpoint.
    #[must_use]
    pub fn on(mut self, endpoint: Endpoint) -> Fault {
        self.endpoint = Some(endpoint);
        self
    }

    /// Only where the query holds a text.
    #[must_use]
    pub fn about(mut self, aql: &str) -> Fault {
        self.aql = Some(aql.to_owned());
        self
    }

    /// Only on pages that are asked for with so many objects or more.
    #[must_use]
    pub fn from_size(mut self, objects: u64) -> Fault {
        self.from_size = Some(objects);
        self
    }

    /// Only after so many matching requests.
    #[must_use]
    pub fn after(mut self, skip: u32) -> Fault {
        self.skip = skip;
        self
    }

    /// Only so often.
    #[must_use]
    pub fn times(mut self, times: u32) -> Fault {
        self.times = Some(times);
        self
    }

    /// Only now and then, by dice that begin with a seed.
    #[must_use]
    pub fn sometimes(mut self, probability: f64, seed: u64) -> Fault {
        self.probability = probability;
        self.seed = seed;
        self
    }
}

/// The faults that are set.
#[derive(Debug, Default)]
pub struct Faults(Vec<(Fault, Rng)>);

impl Faults {
    /// Sets a fault.
    pub fn add(&mut self, fault: Fault) {
        let rng = Rng::new(fault.seed);
        self.0.push((fault, rng));
    }

    /// Takes all faults away.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// The fault that strikes a request, if any; counts down.
    pub fn strike(&mut self, endpoint: Endpoint, aql: Option<&str>, size: Option<u64>) -> Option<FaultKind> {
        for (fault, rng) in &mut self.0 {
            if fault.endpoint.is_some_and(|e| e != endpoint) || fault.times == Some(0) {
                continue;
            }
            if fault.aql.as_deref().is_some_and(|text| !aql.is_some_and(|aql| aql.contains(text)))
                || fault.from_size.is_some_and(|from| size.is_none_or(|size| size < from))
            {
                continue;
            }
            if fault.skip > 0 {
                fault.skip -= 1;
                continue;
            }
            if (rng.next() >> 11) as f64 / (1u64 << 53) as f64 >= fault.probability {
                continue;
            }
            if let Some(times) = &mut fault.times {
                *times -= 1;
            }
            return Some(fault.what.clone());
        }
        None
    }
}

/// The answer of a fault that needs no answer of the service; `None` if it spoils a real one.
pub fn instead(kind: &FaultKind) -> Option<Reply> {
    Some(match kind {
        FaultKind::Status { status } => Reply::html(*status),
        FaultKind::Answer { status, body } if body.starts_with('<') => {
            Reply { body: body.clone().into(), ..Reply::html(*status) }
        }
        FaultKind::Answer { status, body } => Reply::json(*status, body.clone()),
        FaultKind::TooMany { retry_after } => {
            let reply = Reply::html(429);
            match retry_after {
                Some(seconds) => reply.with("Retry-After", seconds),
                None => reply,
            }
        }
        FaultKind::Unauthorized | FaultKind::ExpireTokens => Reply::empty(401),
        FaultKind::Redirect { location } => Reply::empty(302).with("Location", location),
        FaultKind::ResetBefore => Reply { wire: Wire::ResetBefore, ..Reply::empty(200) },
        FaultKind::EmptyBody => Reply::json(200, ""),
        FaultKind::InvalidJson => Reply::json(200, "<!DOCTYPE html>{\"values\": [,]}"),
        FaultKind::DeepJson { depth } => {
            let mut body = "[".repeat(*depth);
            body.push_str(&"]".repeat(*depth));
            Reply::json(200, format!("{{\"values\":{body},\"isLast\":true}}"))
        }
        FaultKind::WrongTypes => Reply::json(
            200,
            r#"{"startAt":"zero","maxResults":[],"isLast":{"really":true},"values":{"id":true,"objectKey":7},"#
                .to_owned()
                + r#""totalCount":"many","objectTypeAttributes":"none"}"#,
        ),
        _ => return None,
    })
}

/// Spoils a real answer.
pub fn spoil(kind: &FaultKind, reply: &mut Reply) {
    let body = &mut reply.body;
    match kind {
        FaultKind::ResetAfterHeaders => reply.wire = Wire::ResetAfterHeaders,
        FaultKind::ResetInBody => reply.wire = Wire::ResetInBody,
        FaultKind::ShortBody => reply.wire = Wire::Short,
        FaultKind::StallBefore { ms } => reply.wire = Wire::StallBefore(*ms),
        FaultKind::StallInBody { ms } => reply.wire = Wire::StallInBody(*ms),
        FaultKind::Drip { bytes, ms } => reply.wire = Wire::Drip((*bytes).max(1), *ms),
        FaultKind::TruncatedJson => body.truncate(body.len() * 2 / 3),
        FaultKind::Oversized { bytes } => {
            let missing = bytes.saturating_sub(body.len());
            let mut padded = vec![b' '; missing];
            padded.append(body);
            *body = padded;
        }
        FaultKind::InvalidUtf8 => replace(body, b"\"label\":\"", b"\"label\":\"\xff\xc3\x28"),
        FaultKind::NulBytes => replace(body, b"\"label\":\"", b"\"label\":\"a\\u0000b"),
        FaultKind::DuplicateKeys => {
            if let Ok(serde_json::Value::Object(map)) = serde_json::from_slice(body) {
                let wrong: Vec<String> = map.keys().map(|k| format!("{k:?}:null")).collect();
                let rest = body.split_off(1);
                body.extend(wrong.join(",").bytes());
                body.push(b',');
                body.extend(rest);
            }
        }
        _ => {}
    }
}

fn replace(body: &mut Vec<u8>, from: &[u8], to: &[u8]) {
    let mut out = Vec::with_capacity(body.len());
    let mut rest = body.as_slice();
    while let Some(at) = rest.windows(from.len()).position(|w| w == from) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(to);
        rest = &rest[at + from.len()..];
    }
    out.extend_from_slice(rest);
    *body = out;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_strikes_where_and_as_often_as_told() {
        let mut faults = Faults::default();
        faults.add(Fault::new(FaultKind::Unauthorized).on(Endpoint::ObjectAql).after(2).times(1));
        assert_eq!(faults.strike(Endpoint::TotalCount, None, None), None);
        let struck: Vec<bool> =
            (0..5).map(|_| faults.strike(Endpoint::ObjectAql, None, None).is_some()).collect();
        assert_eq!(struck, [false, false, true, false, false]);
    }

    #[test]
    fn a_fault_strikes_the_queries_and_the_pages_that_it_is_about() {
        let mut faults = Faults::default();
        faults.add(Fault::new(FaultKind::EmptyBody).about("Name like"));
        faults.add(Fault::new(FaultKind::ResetBefore).from_size(100));
        let mut strike = |aql, size| faults.strike(Endpoint::ObjectAql, aql, size);
        assert_eq!(strike(None, None), None);
        assert_eq!(strike(Some("Name = a"), Some(99)), None);
        assert_eq!(strike(Some("(Name like a)"), Some(1)), Some(FaultKind::EmptyBody));
        assert_eq!(strike(Some("Name = a"), Some(100)), Some(FaultKind::ResetBefore));
    }

    #[test]
    fn dice_fall_the_same_for_the_same_seed() {
        let run = |seed| {
            let mut faults = Faults::default();
            faults.add(Fault::new(FaultKind::ResetBefore).sometimes(0.5, seed));
            (0..64).map(|_| faults.strike(Endpoint::Usage, None, None).is_some()).collect::<Vec<_>>()
        };
        assert_eq!(run(7), run(7));
        let hits = run(7).into_iter().filter(|h| *h).count();
        assert!((16..48).contains(&hits), "{hits}");
    }
}
