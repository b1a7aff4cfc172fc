//! OAuth tokens that sessions share: one for each credential, got by one session at a time.
//!
//! Whoever is to get a token holds a lease, which it extends before each request, and which ends by
//! itself when its holder is gone. While a token is still good, the others go on using it.

use zeroize::Zeroize;

use crate::{Key, Moment};

/// How many tokens are kept.
pub const TOKENS: usize = 32;
/// A longer token is not shared.
pub const TOKEN_BYTES: usize = 4096;

/// What there is for whoever needs a token.
#[derive(Debug, PartialEq, Eq)]
pub enum Claim<'a> {
    /// A token that is good for now.
    Token {
        /// Its text.
        text: &'a [u8],
        /// Which one it is, for [`Tokens::refuse`].
        generation: u64,
    },
    /// None: the caller has to get one, and holds this lease for it.
    Lease {
        /// The lease.
        lease: u64,
        /// What was noted with the last token ([`Tokens::keep`]).
        note: u8,
    },
    /// Another session is getting one: ask again soon.
    Wait,
    /// No room to keep one: the caller has to get one for itself.
    Alone,
}

#[derive(Clone, Copy)]
struct Entry {
    key: Key,
    generation: u64,
    renew_at: Moment,
    expires_at: Moment,
    used: Moment,
    lease: u64,
    leased_until: Moment,
    holder: u32,
    length: u32,
    note: u8,
    text: [u8; TOKEN_BYTES],
}

impl Entry {
    const EMPTY: Entry = Entry {
        key: Key::NONE,
        generation: 0,
        renew_at: 0,
        expires_at: 0,
        used: 0,
        lease: 0,
        leased_until: 0,
        holder: 0,
        length: 0,
        note: 0,
        text: [0; TOKEN_BYTES],
    };

    fn forget_token(&mut self) {
        self.text.zeroize();
        (self.length, self.renew_at, self.expires_at) = (0, 0, 0);
    }

    fn is_leased(&self, now: Moment, is_alive: impl FnOnce(u32) -> bool) -> bool {
        self.lease != 0 && now < self.leased_until && is_alive(self.holder)
    }
}

/// Every token.
#[derive(Clone)]
pub struct Tokens {
    entries: [Entry; TOKENS],
    /// The last number given to a token or a lease.
    last: u64,
}

impl Tokens {
    /// No tokens.
    pub const EMPTY: Tokens = Tokens { entries: [Entry::EMPTY; TOKENS], last: 0 };

    /// A process wants a token. `lease_for` is how long it may take until it extends its lease, if it
    /// gets one; `is_alive` tells whether the process that holds one still runs.
    pub fn claim(
        &mut self,
        key: Key,
        process: u32,
        lease_for: Moment,
        is_alive: impl Fn(u32) -> bool,
        now: Moment,
    ) -> Claim<'_> {
        let Some(at) = self.place(key, &is_alive, now) else { return Claim::Alone };
        self.last = self.last.wrapping_add(1).max(1);
        let lease = self.last;
        let entry = &mut self.entries[at];
        entry.used = now;
        let leased = entry.is_leased(now, is_alive);
        let length = (entry.length as usize).min(TOKEN_BYTES);
        if length > 0 && (now < entry.renew_at || leased && now < entry.expires_at) {
            return Claim::Token { text: &entry.text[..length], generation: entry.generation };
        }
        if leased {
            return Claim::Wait;
        }
        if now >= entry.expires_at {
            entry.forget_token();
        }
        (entry.lease, entry.holder, entry.leased_until) = (lease, process, now + lease_for);
        Claim::Lease { lease, note: entry.note }
    }

    /// The holder of a lease is still at it. False: it has lost it, and somebody else may be.
    pub fn extend(&mut self, key: Key, lease: u64, lease_for: Moment, now: Moment) -> bool {
        let Some(entry) = self.leased(key, lease) else { return false };
        entry.leased_until = now + lease_for;
        true
    }

    /// The holder of a lease has got a token, good for `life`, to be replaced after `renew_in`; ends the
    /// lease. Gives its generation; none where it is not kept, since it is too long or the lease was lost.
    pub fn keep(
        &mut self,
        key: Key,
        lease: u64,
        text: &[u8],
        (renew_in, life): (Moment, Moment),
        note: u8,
        now: Moment,
    ) -> Option<u64> {
        self.last = self.last.wrapping_add(1).max(1);
        let generation = self.last;
        let entry = self.leased(key, lease)?;
        entry.forget_token();
        (entry.lease, entry.note, entry.generation) = (0, note, generation);
        let length = u32::try_from(text.len()).ok()?;
        entry.text.get_mut(..text.len())?.copy_from_slice(text);
        (entry.length, entry.renew_at, entry.expires_at) = (length, now + renew_in.min(life), now + life);
        Some(generation)
    }

    /// The holder of a lease got no token.
    pub fn release(&mut self, key: Key, lease: u64) {
        if let Some(entry) = self.leased(key, lease) {
            entry.lease = 0;
        }
    }

    /// The service did not take the token of that generation; a newer one stays.
    pub fn refuse(&mut self, key: Key, generation: u64) {
        let entry = self.entries.iter_mut().find(|entry| entry.key == key);
        if let Some(entry) = entry.filter(|entry| entry.generation == generation) {
            entry.forget_token();
        }
    }

    fn leased(&mut self, key: Key, lease: u64) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.key == key && entry.lease == lease && lease != 0)
    }

    /// The place of a key; a new key takes a free one, or that of the token that was not used for
    /// longest and that nobody is getting anew.
    fn place(&mut self, key: Key, is_alive: impl Fn(u32) -> bool, now: Moment) -> Option<usize> {
        if let Some(at) = self.entries.iter().position(|entry| entry.key == key) {
            return Some(at);
        }
        let candidates =
            self.entries.iter().enumerate().filter(|(_, entry)| !entry.is_leased(now, &is_alive));
        let (at, _) =
            candidates.min_by_key(|(_, entry)| if entry.key == Key::NONE { 0 } else { entry.used.max(1) })?;
        self.entries[at].forget_token();
        self.entries[at] = Entry { key, ..Entry::EMPTY };
        Some(at)
    }
}
