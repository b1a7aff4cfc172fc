//! The client: one identity at one workspace.

use std::sync::Arc;

use crate::budget::Budget;
use crate::check::CheckStep;
use crate::config::{Config, Credential, Deployment};
use crate::error::{Error, Kind};
use crate::model::{Attribute, ObjectSchema, ObjectType};
use crate::stats::Stats;

/// A client of one workspace as one identity. Share it in an [`Arc`]: connections, the token, the
/// route and the metadata live in it.
pub struct Client {
    config: Config,
    stats: Stats,
}

impl Client {
    /// A client; sends nothing. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`Kind::Config`] for a bad origin or certificate, for Data Center (not built yet).
    pub fn new(config: Config, credential: Credential, budget: Arc<dyn Budget>) -> Result<Client, Error> {
        if config.deployment == Deployment::DataCenter {
            return Err(Error::new(Kind::Config, "deployment 'datacenter' is not built yet"));
        }
        drop((credential, budget));
        Ok(Client { config, stats: Stats::default() })
    }

    /// The configuration it was made with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The object schemas visible to the credential; all pages, cached.
    pub async fn schemas(&self) -> Result<Arc<[ObjectSchema]>, Error> {
        Err(unfinished())
    }

    /// The object types of a schema, flat, cached.
    pub async fn types(&self, _schema_id: i64) -> Result<Arc<[ObjectType]>, Error> {
        Err(unfinished())
    }

    /// The attributes of a type, inherited ones included, cached.
    pub async fn attributes(&self, _type_id: i64) -> Result<Arc<[Attribute]>, Error> {
        Err(unfinished())
    }

    /// One object type.
    pub async fn object_type(&self, _type_id: i64) -> Result<ObjectType, Error> {
        Err(unfinished())
    }

    /// How many objects match; always asks, and remembers the answer for [`Client::cached_count`].
    pub async fn total_count(&self, _aql: &str) -> Result<u64, Error> {
        Err(unfinished())
    }

    /// What [`Client::types`] last got, without a request.
    pub fn cached_types(&self, _schema_id: i64) -> Option<Arc<[ObjectType]>> {
        None
    }

    /// What [`Client::attributes`] last got, without a request.
    pub fn cached_attributes(&self, _type_id: i64) -> Option<Arc<[Attribute]>> {
        None
    }

    /// What [`Client::total_count`] last got, without a request.
    pub fn cached_count(&self, _aql: &str) -> Option<u64> {
        None
    }

    /// Drops everything remembered about schemas, types, attributes and counts.
    pub fn forget_metadata(&self) {}

    /// Any JSON below the workspace's base, `path` without a leading slash.
    pub async fn get_json(&self, _path: &str, _query: &[(&str, &str)]) -> Result<serde_json::Value, Error> {
        Err(unfinished())
    }

    /// Tries every step of the way to the service; never fails itself.
    pub async fn check(&self) -> Vec<CheckStep> {
        Vec::new()
    }

    /// The counters.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }
}

fn unfinished() -> Error {
    Error::new(Kind::Config, "the client is not built yet")
}
