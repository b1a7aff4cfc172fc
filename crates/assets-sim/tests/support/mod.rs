//! A small client for the tests, and a scan that pages as a careful client would.
#![allow(dead_code)] // each test binary uses a part of it

use std::time::Duration;

use assets_sim::{Options, Profile, Sim};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// An answer.
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("{} {e}: {}", self.status, String::from_utf8_lossy(&self.body)))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

/// Asks a simulator with one credential.
#[derive(Clone)]
pub struct Client {
    pub agent: ureq::Agent,
    pub base: String,
    pub authorization: Option<String>,
}

pub fn basic(name: &str, secret: &str) -> Option<String> {
    Some(format!("Basic {}", STANDARD.encode(format!("{name}:{secret}"))))
}

pub fn start(objects: u64, profile: Profile) -> Sim {
    Sim::start(Options { objects, profile, ..Options::default() }).expect("a simulator")
}

impl Client {
    pub fn new(sim: &Sim) -> Client {
        Client::with(sim.gateway(), basic("reader@example.com", "classic-token"))
    }

    pub fn with(base: String, authorization: Option<String>) -> Client {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_global(Some(Duration::from_secs(20)));
        Client { agent: config.build().into(), base, authorization }
    }

    pub fn send(&self, method: &str, path: &str, kind: &str, body: &str) -> Result<Answer, ureq::Error> {
        let url = if path.starts_with("http") { path.to_owned() } else { format!("{}{path}", self.base) };
        let mut request = ureq::http::Request::builder().method(method).uri(url).header("Content-Type", kind);
        request = request.header("X-Atlassian-Token", "no-check");
        if let Some(authorization) = &self.authorization {
            request = request.header("Authorization", authorization);
        }
        let mut answer = if body.is_empty() {
            self.agent.run(request.body(()).expect("a request"))?
        } else {
            self.agent.run(request.body(body.to_owned()).expect("a request"))?
        };
        let headers = answer.headers().iter();
        let headers =
            headers.map(|(n, v)| (n.as_str().to_owned(), v.to_str().unwrap_or("").to_owned())).collect();
        let status = answer.status().as_u16();
        let body = answer.body_mut().with_config().limit(100 << 20).read_to_vec()?;
        Ok(Answer { status, headers, body })
    }

    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, "application/json", "").expect("an answer")
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, "application/json", &body.to_string()).expect("an answer")
    }

    pub fn aql(&self, query: &str, start: usize, size: usize) -> Answer {
        self.post(&format!("/object/aql?startAt={start}&maxResults={size}"), &json!({ "qlQuery": query }))
    }

    /// Every id that a query finds, in order, paging by what was received.
    pub fn ids(&self, query: &str) -> Vec<u64> {
        let mut all = Vec::new();
        loop {
            let page = self.page(query, all.len(), 1000);
            if page.is_empty() {
                return all;
            }
            all.extend(page);
        }
    }

    pub fn page(&self, query: &str, start: usize, size: usize) -> Vec<u64> {
        let path = format!("/object/aql?startAt={start}&maxResults={size}&includeAttributes=false");
        let answer = self.post(&path, &json!({ "qlQuery": query }));
        assert_eq!(answer.status, 200, "{query}: {}", String::from_utf8_lossy(&answer.body));
        ids(&answer.json())
    }

    pub fn count(&self, query: &str) -> u64 {
        let answer = self.post("/object/aql/totalcount", &json!({ "qlQuery": query }));
        assert_eq!(answer.status, 200, "{query}: {}", String::from_utf8_lossy(&answer.body));
        answer.json()["totalCount"].as_u64().expect("a count")
    }

    /// The message of the 400 that a query has to give.
    pub fn refused(&self, query: &str) -> String {
        let answer = self.aql(query, 0, 1);
        assert_eq!(answer.status, 400, "{query}: {}", String::from_utf8_lossy(&answer.body));
        let body = answer.json();
        assert_eq!(body["errorMessages"][0], body["errors"]["iql"], "{query}");
        body["errorMessages"][0].as_str().expect("a message").to_owned()
    }
}

/// The ids of a page, however they are written.
pub fn ids(page: &Value) -> Vec<u64> {
    page["values"].as_array().expect("values").iter().map(|v| number(&v["id"])).collect()
}

pub fn number(id: &Value) -> u64 {
    id.as_u64().or_else(|| id.as_str()?.parse().ok()).expect("an id")
}
