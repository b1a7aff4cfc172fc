//! The attributes of many object types, several lists under way at once.

use std::sync::Arc;

use tokio::task::JoinSet;

use crate::client::Client;
use crate::error::{Error, Kind};
use crate::model::Attribute;

impl Client {
    /// The attributes of each of these types, in their order; lists that are kept are not asked for again. At
    /// most `max_in_flight` requests are under way at once (assets-api.md 13: services bear 4 to 8).
    ///
    /// # Errors
    /// Every [`Kind`], as [`Client::attributes`]; the requests still under way are dropped then.
    pub async fn attributes_of(self: &Arc<Self>, types: &[i64]) -> Result<Vec<Arc<[Attribute]>>, Error> {
        let mut lists: Vec<Option<Arc<[Attribute]>>> =
            types.iter().map(|id| self.cached_attributes(*id)).collect();
        let open: Vec<usize> = (0..types.len()).filter(|n| lists[*n].is_none()).collect();
        let mut open = open.into_iter();
        let mut under_way = JoinSet::new();
        loop {
            while under_way.len() < self.config().max_in_flight.max(1) as usize
                && let Some(n) = open.next()
            {
                let (client, id) = (self.clone(), types[n]);
                under_way.spawn(async move { (n, client.attributes(id).await) });
            }
            match under_way.join_next().await {
                Some(Ok((n, list))) => lists[n] = Some(list?),
                Some(Err(_)) => {
                    return Err(Error::new(Kind::Protocol, "a list of attributes could not be read"));
                }
                None => break,
            }
        }
        Ok(lists.into_iter().flatten().collect())
    }
}
