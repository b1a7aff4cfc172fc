//! The course of a run: what becomes of each replica of a group, whatever befalls it, the others or the run.
//! Pure: events in, verdicts out; `src/replica/run` gathers, asks and writes, and notes each verdict.
//!
//! ```text
//!  gathered ──▶ asked ──▶ written ──▶ committed
//!      └───────────┴──────────┴── something befalls one: it is out, once, with one verdict; the others go on
//!                                 something ends the run: each that is left has its verdict
//! ```
//!
//! | what happens | the replica | the others |
//! |---|---|---|
//! | something of its own fails | failed, its own fault | go on |
//! | another session has locked it | put off until it is free | go on |
//! | the same to one that somebody waits for | goes on alone, and waits | put off, due at once |
//! | what is known of it is outdated | put off, due at once, in full; the run's own turns into a full comparison | go on; put off |
//! | it was removed | nothing; where it is the run's own, the run ends | go on; put off, due at once |
//! | changes cannot be asked for | the run's own turns into a full comparison, or ends as one | put off, as scheduled |
//! | the service fails | failed, the service's fault | likewise |
//! | cancelled, shut down | failed, nobody's fault | likewise |
//! | the commit fails and nobody can be told to be the reason | once more, one by one; then failed, nobody's fault | likewise |
//!
//! A replica that is only there for its references to what is gone ([`Part::Referring`]) has no run of its own to
//! note: what befalls it costs it a full comparison, which finds what it was not told.
#![forbid(unsafe_code)]

/// What a replica takes part for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Its rows are refreshed.
    Refreshed,
    /// Its references to objects that are gone or have another key are put right, nothing else.
    Referring,
}

/// What befalls one replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Befell {
    /// Something of its own fails: a value, a trigger, a constraint, the condition of its source.
    Own,
    /// Another session has locked it for longer than a run waits.
    Locked,
    /// What the run knows of it is outdated.
    Outdated,
    /// It was removed.
    Gone,
}

/// What ends a run for everybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Everything was committed.
    Written,
    /// The service fails.
    Service,
    /// It was cancelled, or the server shuts down.
    Stopped,
}

/// Whose fault a failure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The replica's own.
    Own,
    /// The service's: all that ask it share it.
    Service,
    /// Nobody's of these.
    Nobody,
}

/// When a replica that was put off is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// At once.
    AtOnce,
    /// As soon as no other session has locked it.
    WhenFree,
    /// As if the run had not been.
    AsScheduled,
}

/// What becomes of a replica in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Becomes {
    /// Its rows are committed.
    Refreshed,
    /// Its run failed.
    Failed(Blame),
    /// Its run is not done.
    PutOff(Due),
    /// Its run goes on as a comparison of everything.
    Turned,
    /// There is nothing to note of it.
    Released,
}

/// A verdict, which each replica of a run gets once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// Which one, in the order in which they joined.
    pub member: usize,
    /// What becomes of it.
    pub becomes: Becomes,
    /// Everything of it is to be compared at the next opportunity.
    pub in_full: bool,
}

/// How the next attempt to write is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Writing {
    /// Constraints are checked after each replica, so that it is known which one breaks them. Else after all: what
    /// refers to a neighbour's new row waits for it.
    pub one_by_one: bool,
    /// Locks of other sessions are waited for without an end: somebody waits for this one replica.
    pub patient: bool,
}

#[derive(Debug)]
struct Member {
    name: String,
    part: Part,
    refers: bool,
    out: Option<Becomes>,
    why: String,
    /// It was parted with before it was told what is gone.
    missed: bool,
}

/// A run under way. The replica that it is for is member 0.
#[derive(Debug)]
pub struct Course {
    members: Vec<Member>,
    by_hand: bool,
    whole: bool,
    writing: Writing,
    over: bool,
    /// Those that the run goes on without, and why.
    left: Vec<(String, String)>,
    /// Those of them that only the caller knows, and that refer to others.
    outside: Vec<u32>,
}

/// So many are named of those that a run goes on without.
const NAMED: usize = 5;

impl Course {
    /// A run of one replica, alone so far. `by_hand`: somebody waits for it. `whole`: everything of it was read,
    /// so that it can be written whatever becomes of asking for changes.
    pub fn new(name: &str, refers: bool, by_hand: bool, whole: bool) -> Self {
        let leader = Member {
            name: name.to_owned(),
            part: Part::Refreshed,
            refers,
            out: None,
            why: String::new(),
            missed: false,
        };
        Self {
            members: vec![leader],
            by_hand,
            whole,
            writing: Writing { one_by_one: false, patient: false },
            over: false,
            left: Vec::new(),
            outside: Vec::new(),
        }
    }

    /// Another one of the group joins whose rows are refreshed; gives its number.
    pub fn join(&mut self, name: &str, refers: bool) -> usize {
        let part = Part::Refreshed;
        self.members.push(Member {
            name: name.to_owned(),
            part,
            refers,
            out: None,
            why: String::new(),
            missed: false,
        });
        self.members.len() - 1
    }

    /// One whose rows are not, for this reason, joins for its references; gives its number. Whoever joins its rows
    /// with what this run refreshes sees two moments.
    pub fn accompany(&mut self, name: &str, why: &str) -> usize {
        self.left.push((name.to_owned(), why.to_owned()));
        let part = Part::Referring;
        self.members.push(Member {
            name: name.to_owned(),
            part,
            refers: true,
            out: None,
            why: String::new(),
            missed: false,
        });
        self.members.len() - 1
    }

    /// One of the group that does not join, by a number of the caller's.
    pub fn outsider(&mut self, id: u32, name: &str, why: &str) {
        self.outside.push(id);
        self.left.push((name.to_owned(), why.to_owned()));
    }

    /// Whether a replica still takes part.
    pub fn goes(&self, n: usize) -> bool {
        !self.over && self.members[n].out.is_none()
    }

    /// Whether its rows are refreshed by this run.
    pub fn is_due(&self, n: usize) -> bool {
        self.goes(n) && self.members[n].part == Part::Refreshed
    }

    /// What became of a replica; none where it still takes part.
    pub fn became(&self, n: usize) -> Option<Becomes> {
        self.members[n].out
    }

    /// Why the run goes on without a replica; empty where it does not.
    pub fn why(&self, n: usize) -> &str {
        &self.members[n].why
    }

    /// How to write; none where there is nothing left to be written.
    pub fn writing(&self) -> Option<Writing> {
        (0..self.members.len()).any(|n| self.is_due(n)).then_some(self.writing)
    }

    /// Something befalls a replica. One that is out already has had its verdict.
    pub fn befell(&mut self, n: usize, what: Befell, why: &str) -> Vec<Verdict> {
        if !self.goes(n) {
            return Vec::new();
        }
        if self.members[n].part == Part::Referring {
            let in_full = what != Befell::Gone;
            return vec![self.put_out(n, Becomes::Released, in_full)];
        }
        match (what, n) {
            (Befell::Own, _) => {
                let named = format!("it failed: {why}");
                vec![self.leave(n, Becomes::Failed(Blame::Own), false, &named)]
            }
            (Befell::Locked, 0) if self.by_hand && !self.writing.patient => {
                self.writing = Writing { one_by_one: false, patient: true };
                let name = self.members[0].name.clone();
                self.part(Due::AtOnce, &format!("{name} is waited for: {why}"))
            }
            (Befell::Locked, _) => vec![self.leave(n, Becomes::PutOff(Due::WhenFree), false, why)],
            // It came while everything was read: that is written, and read once more.
            (Befell::Outdated, 0) if self.whole => Vec::new(),
            (Befell::Outdated, 0) => self.unaskable(why),
            (Befell::Outdated, _) => vec![self.leave(n, Becomes::PutOff(Due::AtOnce), true, why)],
            (Befell::Gone, 0) => {
                let mut verdicts = vec![self.put_out(0, Becomes::Released, false)];
                verdicts.extend(self.part(Due::AtOnce, why));
                self.over = true;
                verdicts
            }
            (Befell::Gone, _) => vec![self.put_out(n, Becomes::Released, false)],
        }
    }

    /// Changes cannot be asked for as was thought. What was read as a whole is complete all the same, as of when
    /// that began.
    pub fn unaskable(&mut self, why: &str) -> Vec<Verdict> {
        let mut verdicts = self.part(Due::AsScheduled, why);
        if !self.whole && self.goes(0) {
            verdicts.push(self.put_out(0, Becomes::Turned, false));
            self.over = true;
        }
        verdicts
    }

    /// An attempt to write failed, and it is not known over whom. First it is found out; where that does not help,
    /// the run ends.
    pub fn unwritable(&mut self) -> Vec<Verdict> {
        if self.writing.one_by_one {
            return self.everybody(Becomes::Failed(Blame::Nobody));
        }
        self.writing.one_by_one = true;
        Vec::new()
    }

    /// The run ends for everybody who is left.
    pub fn end(&mut self, how: Ending) -> Vec<Verdict> {
        self.everybody(match how {
            Ending::Written => Becomes::Refreshed,
            Ending::Service => Becomes::Failed(Blame::Service),
            Ending::Stopped => Becomes::Failed(Blame::Nobody),
        })
    }

    /// Whom the run went on without, for its note.
    pub fn without(&self) -> Option<String> {
        if self.left.is_empty() {
            return None;
        }
        let named: Vec<String> =
            self.left.iter().take(NAMED).map(|(name, why)| format!("{name} ({why})")).collect();
        let more = self.left.len() - named.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        Some(format!("{}{more}", named.join(", ")))
    }

    /// Members that were not written although they may refer to what is gone, of which nothing will tell them again.
    pub fn untold(&self) -> Vec<usize> {
        // One that only referred was told, unless something befell it; then its verdict says so.
        let missed = |m: &Member| {
            m.missed
                || m.refers && m.part == Part::Refreshed && !matches!(m.out, None | Some(Becomes::Refreshed))
        };
        (0..self.members.len()).filter(|n| missed(&self.members[*n])).collect()
    }

    /// The same of those that never joined, by the caller's numbers.
    pub fn untold_outside(&self) -> &[u32] {
        &self.outside
    }

    fn put_out(&mut self, n: usize, becomes: Becomes, in_full: bool) -> Verdict {
        self.members[n].out = Some(becomes);
        Verdict { member: n, becomes, in_full }
    }

    fn leave(&mut self, n: usize, becomes: Becomes, in_full: bool, why: &str) -> Verdict {
        self.left.push((self.members[n].name.clone(), why.to_owned()));
        self.members[n].why = why.to_owned();
        self.put_out(n, becomes, in_full)
    }

    /// Goes on without all but the run's own.
    fn part(&mut self, due: Due, why: &str) -> Vec<Verdict> {
        let going: Vec<usize> = (1..self.members.len()).filter(|n| self.goes(*n)).collect();
        let mut verdicts = Vec::new();
        for n in going {
            verdicts.push(match self.members[n].part {
                Part::Refreshed => self.leave(n, Becomes::PutOff(due), false, why),
                Part::Referring => {
                    self.members[n].missed = true;
                    self.put_out(n, Becomes::Released, false)
                }
            });
        }
        verdicts
    }

    fn everybody(&mut self, becomes: Becomes) -> Vec<Verdict> {
        let going: Vec<usize> = (0..self.members.len()).filter(|n| self.goes(*n)).collect();
        let verdicts = going.into_iter().map(|n| match self.members[n].part {
            Part::Refreshed => self.put_out(n, becomes, false),
            Part::Referring => self.put_out(n, Becomes::Released, false),
        });
        let verdicts = verdicts.collect();
        self.over = true;
        verdicts
    }
}

#[cfg(test)]
mod tests;
