//! Questions about sampled objects: each once, several under way at once.

use std::collections::HashMap;
use std::sync::Arc;

use assets::client::Client;
use assets::error::Kind;

use super::sample::Sample;
use crate::session::Connection;
use crate::{error, runtime};

/// Questions under way at once, where the server allows as many.
const AT_ONCE: usize = 4;

/// The ids that came, in order; none where the service refused the query.
pub type Answer = Option<Vec<i64>>;

/// Asks, and remembers the answers.
pub struct Asker {
    client: Arc<Client>,
    known: HashMap<String, Answer>,
}

impl Asker {
    /// Asks over a connection.
    pub fn new(connection: &Connection) -> Self {
        Self { client: connection.client.clone(), known: HashMap::new() }
    }

    /// The sampled objects that satisfy each condition. A condition may carry an ORDER BY. Raises
    /// whatever goes wrong but a refusal.
    pub fn ask(&mut self, sample: &Sample, conditions: &[String]) -> Vec<Answer> {
        let texts: Vec<String> = conditions.iter().map(|condition| sample.asked(condition)).collect();
        let mut new: Vec<String> = texts.iter().filter(|t| !self.known.contains_key(*t)).cloned().collect();
        new.sort_unstable();
        new.dedup();
        let at_once = AT_ONCE.min(self.client.config().max_in_flight as usize).max(1);
        for some in new.chunks(at_once) {
            let (client, full) = (self.client.clone(), sample.full_page);
            let some = some.to_vec();
            let answers = runtime::wait(async move {
                let mut tasks = tokio::task::JoinSet::new();
                for text in some {
                    let client = client.clone();
                    tasks.spawn(async move {
                        let answer = client.few_ids(&text, full).await;
                        (text, answer)
                    });
                }
                let mut answers = Vec::new();
                while let Some(Ok(answered)) = tasks.join_next().await {
                    answers.push(answered);
                }
                answers
            });
            for (text, answer) in answers {
                let answer = match answer {
                    Ok(ids) => Some(ids),
                    Err(e) if e.kind() == Kind::AqlRejected => None,
                    Err(e) => error::service(&e),
                };
                self.known.insert(text, answer);
            }
        }
        texts.iter().map(|text| self.known.get(text).cloned().flatten()).collect()
    }

    /// One such question.
    pub fn one(&mut self, sample: &Sample, condition: &str) -> Answer {
        self.ask(sample, &[condition.to_owned()]).pop().flatten()
    }
}
