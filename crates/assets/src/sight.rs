//! Whether the credential sees what an attribute refers to. AQL walks into objects that it sees only, so that a condition
//! on them rests on that.

use std::sync::Arc;

use tokio::time::Instant;

use crate::client::Client;
use crate::error::Error;
use crate::model::{Attribute, Kind, ObjectSchema, ObjectType};

/// A reference whose objects the credential was known to see.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The object schema of the table.
    pub own: i64,
    /// The attribute that refers to them.
    pub attribute: Attribute,
}

impl Client {
    /// Whether the credential is known to see the objects that an attribute of the schema `own` refers to: their type is in
    /// a list of the types of a schema that it sees, which has the types below it, too. Whatever the service will not say
    /// is not known. The table's own schema it sees, and its list is asked for once a session; another's with the list of
    /// schemas. `moment`: nothing older than that is believed.
    pub async fn sees_target(&self, own: i64, attribute: &Attribute, moment: Option<Instant>) -> bool {
        if attribute.kind != Kind::Object {
            return false;
        }
        let Some(target) = attribute.reference_type_id else { return false };
        let lists = async |schema| {
            self.types_of(schema, moment).await.is_ok_and(|all| all.iter().any(|t| t.id == target))
        };
        let elsewhere = match attribute.reference_schema_id {
            Some(schema) if schema != own => schema,
            Some(_) => return lists(own).await,
            None if lists(own).await => return true,
            None => match self.object_type(target).await {
                Ok(found) if found.schema_id != own => found.schema_id,
                _ => return false,
            },
        };
        let schemas = self.schemas_of(moment).await;
        schemas.is_ok_and(|all| all.iter().any(|s| s.id == elsewhere)) && lists(elsewhere).await
    }

    /// When the oldest of what [`Client::sees_target`] rests on was asked for; none where some of it is not known any more.
    pub fn seen_since(&self, seen: &[Seen]) -> Option<Instant> {
        let mut since = Vec::new();
        for Seen { own, attribute } in seen {
            since.push(self.known_since(Some(*own), &[])?);
            let schema = match attribute.reference_schema_id {
                Some(schema) => schema,
                None => self.found_in(*own, attribute)?,
            };
            if schema != *own {
                since.push(self.metadata().schemas_since()?.1);
                since.push(self.known_since(Some(schema), &[])?);
            }
        }
        since.into_iter().min().or_else(|| Some(Instant::now()))
    }

    /// The schema in which [`Client::sees_target`] has found what an attribute refers to that does not say so itself.
    fn found_in(&self, own: i64, attribute: &Attribute) -> Option<i64> {
        let target = attribute.reference_type_id?;
        match self.metadata().types(own)?.iter().any(|t| t.id == target) {
            true => Some(own),
            false => Some(self.metadata().object_type(target)?.schema_id),
        }
    }

    async fn types_of(&self, schema: i64, moment: Option<Instant>) -> Result<Arc<[ObjectType]>, Error> {
        match moment {
            Some(moment) => self.types_as_of(schema, moment).await,
            None => self.types(schema).await,
        }
    }

    async fn schemas_of(&self, moment: Option<Instant>) -> Result<Arc<[ObjectSchema]>, Error> {
        let is_old = |since: Instant| moment.is_some_and(|moment| since < moment);
        if self.metadata().schemas_since().is_some_and(|(_, since)| is_old(since)) {
            self.metadata().forget_schemas();
        }
        self.schemas().await
    }
}
