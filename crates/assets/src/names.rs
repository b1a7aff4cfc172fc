//! Whether the service knows attributes by the names that conditions use.
//!
//! A name that it does not know for any type is refused. One that only other types have, as an attribute
//! of a service schema may be called differently in AQL (assets-api.md 13), matches no object at all,
//! without a word: a condition on it looks like one that nothing satisfies.

use std::sync::Arc;

use crate::client::Client;
use crate::error::{Error, Kind};

/// Times that a page is looked at.
const LOOKS: u32 = 3;

impl Client {
    /// Those of `conditions`, by number, that none of the objects of `base` satisfies, or that the service
    /// refuses; each is to be one that every object satisfies whose type has a certain attribute. None
    /// where `base` has no object. One request where every name is known; answers are kept for ten minutes.
    ///
    /// # Errors
    /// Every [`Kind`] but [`Kind::AqlRejected`], unless it is `base` that is refused.
    pub async fn unmet(self: &Arc<Self>, base: &str, conditions: &[String]) -> Result<Vec<usize>, Error> {
        let one = |condition: &String| format!("{base} AND {condition}");
        let mut open: Vec<usize> = Vec::new();
        for (n, condition) in conditions.iter().enumerate() {
            if self.cached_count(&one(condition)).is_none_or(|count| count == 0) {
                open.push(n);
            }
        }
        if open.len() > 1 {
            let all: Vec<&str> = open.iter().map(|n| conditions[*n].as_str()).collect();
            if self.met(&format!("{base} AND {}", all.join(" AND "))).await? {
                for n in open {
                    self.keep_count(&one(&conditions[n]), 1);
                }
                return Ok(Vec::new());
            }
        }
        let mut unmet = Vec::new();
        for n in open {
            if !self.met(&one(&conditions[n])).await? {
                unmet.push(n);
            }
        }
        if !unmet.is_empty() && !self.any(base).await? {
            unmet.clear();
        }
        Ok(unmet)
    }

    async fn met(self: &Arc<Self>, condition: &str) -> Result<bool, Error> {
        match self.any(condition).await {
            Ok(true) if self.counts_refused() => {
                self.keep_count(condition, 1);
                Ok(true)
            }
            Err(error) if error.kind() == Kind::AqlRejected => Ok(false),
            result => result,
        }
    }

    /// Whether any object matches: by a count, or by a page of one where the service does not count for us.
    /// Always asks.
    ///
    /// # Errors
    /// Every [`Kind`]; [`Kind::AqlRejected`] where the service refuses the query.
    pub async fn any(self: &Arc<Self>, aql: &str) -> Result<bool, Error> {
        if !self.counts_refused() {
            match self.total_count(aql).await {
                Err(error) if error.kind().refuses_counts() => {}
                result => return result.map(|count| count > 0),
            }
        }
        // An empty page that says that more follows shows nothing.
        for _ in 0..LOOKS {
            let page = self.glance(aql, 0, 1, Arc::from([])).await?;
            if !page.rows.is_empty() || !page.says_more {
                return Ok(!page.rows.is_empty());
            }
        }
        Err(Error::new(
            Kind::Protocol,
            "a page is empty and says that more follows, and the service does not count",
        ))
    }
}
