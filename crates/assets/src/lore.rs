//! What sessions of one identity tell each other: where the service is and what it is made of, so that a new session
//! begins where others are ([`commons::shelf`]).
//!
//! It is kept by whom it was told to: by the options that lead to the service and by the secret, as tokens are. Whoever
//! has the secret could ask for it all. Each piece keeps the time that it was asked for at: it is as old for everybody,
//! and what is too old to be believed here is too old there.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use commons::{Key, Moment};

use crate::auth::Auth;
use crate::config::Config;
use crate::shared::{Hasher, Shared, micros};

/// What a piece is about.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Subject {
    /// Workspace, cloud id and route.
    Way,
    /// The list of object schemas.
    Schemas,
    /// The types of a schema.
    Types,
    /// One type.
    Type,
    /// The attributes of a type.
    Attributes,
    /// Whether types below one are taken in.
    Tree,
}

/// What one client shares with others of its identity.
pub(crate) struct Lore {
    auth: Arc<Auth>,
    shared: Arc<dyn Shared>,
    /// The options that say where the service is.
    place: [String; 5],
    /// The workspace that this client reads from, where it is known: another one has other types.
    workspace: Mutex<Option<Arc<str>>>,
    /// Nothing older than this is believed any more.
    floor: Mutex<Option<Instant>>,
}

impl Lore {
    pub(crate) fn new(config: &Config, auth: Arc<Auth>, shared: Arc<dyn Shared>) -> Self {
        let text = |option: &Option<String>| option.clone().unwrap_or_default();
        let place = [
            config.api_url.clone(),
            config.auth_url.clone(),
            text(&config.site),
            text(&config.workspace_id),
            text(&config.cloud_id),
        ];
        Self { auth, shared, place, workspace: Mutex::default(), floor: Mutex::default() }
    }

    /// Says from which workspace the client reads.
    pub(crate) fn of(&self, workspace: Option<Arc<str>>) {
        *self.workspace.lock().unwrap_or_else(PoisonError::into_inner) = workspace;
    }

    /// Tells others what was so at `since`.
    pub(crate) fn tell(
        &self,
        subject: Subject,
        which: i64,
        value: &(impl Serialize + ?Sized),
        since: Instant,
    ) {
        if let Ok(text) = serde_json::to_vec(value) {
            self.put(self.key(Some(subject), &which.to_string()), &text, since);
        }
    }

    /// What others, or this session, have told of it within that time, and when it was so.
    pub(crate) fn recall<T: DeserializeOwned>(
        &self,
        subject: Subject,
        which: i64,
        within: Duration,
    ) -> Option<(T, Instant)> {
        let (text, since) = self.get(self.key(Some(subject), &which.to_string()), within)?;
        Some((serde_json::from_slice(&text).ok()?, since))
    }

    /// Takes a piece away from everybody.
    pub(crate) fn forget(&self, subject: Subject, which: i64) {
        self.remove(self.key(Some(subject), &which.to_string()));
    }

    /// Tells how many objects match.
    pub(crate) fn tell_count(&self, aql: &str, count: u64, since: Instant) {
        self.put(self.key(None, aql), &count.to_le_bytes(), since);
    }

    /// How many objects matched, within that time.
    pub(crate) fn recall_count(&self, aql: &str, within: Duration) -> Option<(u64, Instant)> {
        let (bytes, since) = self.get(self.key(None, aql), within)?;
        Some((u64::from_le_bytes(bytes.try_into().ok()?), since))
    }

    /// Takes a count away from everybody.
    pub(crate) fn forget_count(&self, aql: &str) {
        self.remove(self.key(None, aql));
    }

    /// Nothing that was told before now is believed in this session.
    pub(crate) fn begin_anew(&self) {
        *self.floor.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// The key of a piece, or of a count; none where nobody shares anything, there is no secret that says who asks, or
    /// the workspace is not known.
    fn key(&self, subject: Option<Subject>, which: &str) -> Option<Key> {
        let mut shares = false;
        self.shared.shelf(&mut |_, _| shares = true);
        if !shares {
            return None;
        }
        let mut hasher = Hasher::new(&*self.shared, "lore");
        self.place.iter().for_each(|option| hasher.add(option));
        self.auth.identify(&mut hasher).ok()?;
        if !matches!(subject, Some(Subject::Way)) {
            hasher.add(self.workspace.lock().unwrap_or_else(PoisonError::into_inner).as_deref()?);
        }
        hasher.add(&format!("{subject:?}"));
        hasher.add(which);
        Some(hasher.key())
    }

    fn put(&self, key: Option<Key>, value: &[u8], since: Instant) {
        let Some(key) = key else { return };
        // Rather a little older than it is: first their clock is read, then ours; below the other way round.
        let on = |now: Moment| now.saturating_sub(micros(since.elapsed()));
        self.shared.shelf(&mut |shelf, now| shelf.put(key, value, on(now)));
    }

    fn get(&self, key: Option<Key>, within: Duration) -> Option<(Vec<u8>, Instant)> {
        let key = key?;
        let (mut found, at) = (None, Instant::now());
        self.shared.shelf(&mut |shelf, now| {
            let kept = shelf.get(key);
            found =
                kept.map(|(value, since)| (value.to_vec(), Duration::from_micros(now.saturating_sub(since))));
        });
        let (value, age) = found?;
        let since = at.checked_sub(age)?;
        let floor = *self.floor.lock().unwrap_or_else(PoisonError::into_inner);
        (age < within && floor.is_none_or(|floor| since >= floor)).then_some((value, since))
    }

    fn remove(&self, key: Option<Key>) {
        if let Some(key) = key {
            self.shared.shelf(&mut |shelf, _| shelf.remove(key));
        }
    }
}
