//! OAuth tokens that sessions share: one for each credential, got by one session at a time.
//!
//! Whoever is to get a token holds a lease, which it extends before each request, and which ends by
//! itself when its holder is gone. While a token is still good, the others go on using it.
//!
//! A 401 is no proof that the token is bad: a missing scope is answered with 401 too, and so are gateways'
//! moods. So a token that was refused stays for everybody else while another is got, and a door (a part of
//! the interface) that refuses even the new one is remembered for a while: there a 401 is believed.

use zeroize::Zeroize;

use crate::{Key, Moment, SECOND};

/// How many tokens are kept.
pub const TOKENS: usize = 32;
/// A longer token is not shared.
pub const TOKEN_BYTES: usize = 4096;
/// How many parts of the interface are told apart in [`Doors`].
pub const DOORS: usize = 16;
/// So long no new token is got because of a refusal that a new one did not heal.
pub const CLOSED: Moment = 300 * SECOND;

/// Parts of the interface that refuse a credential's tokens, however new.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Doors([Moment; DOORS]);

impl Doors {
    /// All open.
    pub const OPEN: Doors = Doors([0; DOORS]);

    /// Whether a token that was refused at a door is to be replaced. `scope`: the service says that a scope
    /// is missing, so that only one made since the scope was given can be better; this one is so old.
    pub fn wants_another(&self, door: usize, scope: bool, age: Moment, now: Moment) -> bool {
        !(self.is_closed(door, now) || scope && age < CLOSED)
    }

    /// A new token was refused at a door as well.
    pub fn close(&mut self, door: usize, now: Moment) {
        if let Some(until) = self.0.get_mut(door) {
            *until = now + CLOSED;
        }
    }

    /// A token was taken at a door.
    pub fn open(&mut self, door: usize) {
        if let Some(until) = self.0.get_mut(door) {
            *until = 0;
        }
    }

    /// Whether some door is closed.
    pub fn any_closed(&self, now: Moment) -> bool {
        (0..DOORS).any(|door| self.is_closed(door, now))
    }

    fn is_closed(&self, door: usize, now: Moment) -> bool {
        self.0.get(door).is_some_and(|until| now < *until)
    }
}

/// What there is for whoever needs a token.
#[derive(Debug, PartialEq, Eq)]
pub enum Claim<'a> {
    /// A token that is good for now.
    Token {
        /// Its text.
        text: &'a [u8],
        /// Which one it is, for [`Tokens::refused`].
        generation: u64,
        /// Whether some door is closed to it: whoever is let in says so ([`Tokens::taken`]).
        closed: bool,
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
    kept_at: Moment,
    renew_at: Moment,
    expires_at: Moment,
    used: Moment,
    lease: u64,
    leased_until: Moment,
    holder: u32,
    length: u32,
    note: u8,
    doors: Doors,
    text: [u8; TOKEN_BYTES],
}

impl Entry {
    const EMPTY: Entry = Entry {
        key: Key::NONE,
        generation: 0,
        kept_at: 0,
        renew_at: 0,
        expires_at: 0,
        used: 0,
        lease: 0,
        leased_until: 0,
        holder: 0,
        length: 0,
        note: 0,
        doors: Doors::OPEN,
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

    /// A process wants a token, another one than the generation `spurned`, which was refused (0: any).
    /// `lease_for` is how long it may take until it extends its lease, if it gets one; `is_alive` tells
    /// whether the process that holds one still runs.
    pub fn claim(
        &mut self,
        key: Key,
        spurned: u64,
        (process, lease_for): (u32, Moment),
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
        let usable = length > 0 && (spurned == 0 || entry.generation != spurned);
        if usable && (now < entry.renew_at || leased && now < entry.expires_at) {
            let closed = entry.doors.any_closed(now);
            return Claim::Token { text: &entry.text[..length], generation: entry.generation, closed };
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
        (entry.lease, entry.note, entry.generation, entry.kept_at) = (0, note, generation, now);
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

    /// The service did not take the token of that generation at a door. Whether another is worth a try: a
    /// newer one that is there already, or one that has to be got. It stays for the others.
    pub fn refused(&mut self, key: Key, generation: u64, door: usize, scope: bool, now: Moment) -> bool {
        let Some(entry) = self.known(key) else { return true };
        let age = now.saturating_sub(entry.kept_at);
        entry.generation != generation || entry.doors.wants_another(door, scope, age, now)
    }

    /// Nor did it take one that was got because of that.
    pub fn refused_again(&mut self, key: Key, door: usize, now: Moment) {
        if let Some(entry) = self.known(key) {
            entry.doors.close(door, now);
        }
    }

    /// The service took a token at a door.
    pub fn taken(&mut self, key: Key, door: usize) {
        if let Some(entry) = self.known(key) {
            entry.doors.open(door);
        }
    }

    fn known(&mut self, key: Key) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.key == key)
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
