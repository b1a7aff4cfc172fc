//! What holds all the time, and what holds when the sky is clear again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};

use assets_fdw_tests::assets_sim::{DumpObject, DumpValue};

use super::super::kills::odd_versions;
use super::super::moments::{RESTLESS, SHOWN, find};
use super::*;

/// Ends what goes on beside a round, also where that fails.
pub(super) struct Over<'a>(pub(super) &'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Reads until it is over: one moment, unless the last run says otherwise, and failures of those only that something of
/// their own befell.
pub(super) fn look_all_the_time(world: &World, over: &AtomicBool) {
    let sql = format!(
        "SELECT ({SHOWN}), ({RESTLESS}), ARRAY(SELECT target::oid::bigint FROM assets_fdw.materializations
            WHERE failures > 0), (SELECT max(id) FROM assets_fdw.refresh_history WHERE outcome = 'ok')"
    );
    let (mut client, mut at) = (None, 0);
    let mut known = BTreeSet::new();
    while !over.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(40));
        let before = world.befallen.lock().unwrap().clone();
        if client.as_ref().is_none_or(Client::is_closed) {
            client = world.server.try_connect(world.database.name(), "postgres").ok();
        }
        // A server that recovers, a database that is closed, a table that is locked against everybody: another time.
        let Some(row) = client.as_mut().and_then(|client| {
            client.batch_execute("SET lock_timeout = '100ms'").ok()?;
            client.query_one(&sql, &[]).ok()
        }) else {
            continue;
        };
        let after = world.befallen.lock().unwrap().clone();
        for id in row.get::<_, Vec<i64>>(2) {
            if !before.contains(&id) && !after.contains(&id) && known.insert(id) {
                let name =
                    text(client.as_mut().expect("it was there"), &format!("SELECT {id}::regclass::text"));
                world.wrong(format!("{name} has failures, and nothing of its own befell it"));
            }
        }
        // A run that is not of one moment says so.
        if row.get(1) {
            continue;
        }
        match find(&world.pairs, row.get(0), at) {
            Ok(seen) => at = seen,
            Err(odd) => {
                if let Ok(mut wrong) = world.wrong.lock()
                    && !wrong.iter().any(|known| known.starts_with("two moments"))
                {
                    let last: Option<i64> = row.get(3);
                    wrong.push(format!("two moments after run {}: {odd}", last.unwrap_or(0)));
                }
            }
        }
    }
}

/// What was used when a round began.
pub(super) struct Account {
    /// The last run before it.
    pub(super) before: i64,
    log: u64,
    xid: i64,
    /// Versions kept, by table.
    versions: BTreeMap<&'static str, i64>,
    /// The most lines of log and transaction ids that a run took.
    most: (f64, f64),
}

/// Lines of the log and transaction ids for each run at most, and for whatever there are no runs of.
const LINES: (usize, usize) = (2, 60);
const XIDS: (usize, usize) = (12, 300);

const LAST: &str = "SELECT coalesce(max(id), 0) FROM assets_fdw.refresh_history";
const XID: &str = "SELECT pg_current_xact_id()::text::bigint";

impl Account {
    pub(super) fn open(world: &World) -> Self {
        let log = world.server.log_len();
        let (before, xid) = (world.number(LAST), world.number(XID));
        Self { before, log, xid, versions: BTreeMap::new(), most: (0.0, 0.0) }
    }

    /// Log and transactions follow the runs that were made; versions are never lost.
    fn settle(&mut self, world: &World, client: &mut Client) {
        let (log, xid) = (world.server.log_len(), number(client, XID));
        let last = number(client, LAST);
        // Runs are numbered, those that came to nothing too.
        let runs = usize::try_from(last - self.before).unwrap_or(0);
        let text = world.server.log_from(self.log);
        let ours = |line: &&str| line.contains("] assets_fdw ");
        let lines = text.lines().filter(ours).count();
        if lines > LINES.0 * runs + LINES.1 {
            world.wrong(format!("{lines} lines of log over {runs} runs:\n{text}"));
        }
        let xids = usize::try_from(xid - self.xid).unwrap_or(0);
        if xids > XIDS.0 * runs + XIDS.1 {
            world.wrong(format!("{xids} transaction ids over {runs} runs"));
        }
        self.most.0 = self.most.0.max(lines as f64 / runs.max(1) as f64);
        self.most.1 = self.most.1.max(xids as f64 / runs.max(1) as f64);
        for member in GROUP.iter().filter(|member| member.history) {
            let sql = format!("SELECT count(*) FROM {}_history", member.table);
            let (now, before) = (number(client, &sql), self.versions.get(member.table).copied().unwrap_or(0));
            if now < before {
                world.wrong(format!("{} has {now} versions, and had {before}", member.table));
            }
            self.versions.insert(member.table, now);
        }
        (self.before, self.log, self.xid) = (last, log, xid);
    }

    pub(super) fn close(&self) {
        let (lines, xids) = self.most;
        println!("weather: at most {lines:.1} lines of log and {xids:.1} transaction ids a run");
    }
}

/// The sky is clear: whoever waits has one run, and then all is as Assets has it.
pub(super) fn clear(world: &World, account: &mut Account, asked: bool) {
    let mut client = world.session();
    client.batch_execute("RESET lock_timeout").unwrap();
    let since = number(&mut client, LAST);
    world.tell(format!("clear after run {since}"));
    // Whoever failed over something of its own, and would wait for its pause to be over, is asked for by hand, and has to
    // succeed; likewise where a whole group waits.
    let waiting = "SELECT target::text FROM assets_fdw.materializations
                   WHERE (failures > 0 OR next_run > clock_timestamp() + every * 2) AND target::text <> ALL ($1) LIMIT 1";
    let mut by_hand: Vec<String> = Vec::new();
    while let Some(row) = client.query_opt(waiting, &[&by_hand]).unwrap() {
        let target: String = row.get(0);
        by_hand.push(target.clone());
        world.tell(format!("{target} is refreshed by hand"));
        if let Err(error) = client.batch_execute(&format!("SELECT assets_fdw.refresh('{target}')")) {
            world.wrong(format!("{target} cannot be refreshed under a clear sky: {error:?}"));
        }
    }
    if asked {
        let sql = "SELECT assets_fdw.request_refresh(target) FROM assets_fdw.materializations";
        client.batch_execute(sql).unwrap();
    }
    // One run of each, that began after all that happened; what it finds to be compared in full, too.
    let done = format!(
        "SELECT bool_and(s.full_at IS NOT NULL AND EXISTS (SELECT FROM assets_fdw.replica_run AS r
                WHERE r.target = s.target::oid AND r.id > {since} AND r.outcome = 'ok'))
         FROM assets_fdw.replica_state AS s"
    );
    wait_for(&mut client, "a run of each", &done);
    let failing = "SELECT coalesce(string_agg(format('%s: %s', target, last_error), E'\\n'), '')
                   FROM assets_fdw.materializations WHERE failures > 0";
    let failing = text(&mut client, failing);
    if !failing.is_empty() {
        world.wrong(format!("under a clear sky there are failures: {failing}"));
    }
    world.befallen.lock().unwrap().clear();
    let followed = "SELECT count(*) = 0 FROM assets_fdw.schema_drift";
    wait_for(&mut client, "fac is in step", followed);
    world.tell("each had its run");
    for member in members() {
        is_true(world, &mut client, member);
    }
    let last = world.pairs.lock().unwrap().states.len() - 1;
    if let Err(odd) = find(&world.pairs, &text(&mut client, SHOWN), last) {
        world.wrong(format!("in the end: {odd}"));
    }
    // Between two looks a run ends by itself.
    let lost = "SELECT count(*) = 0 FROM assets_fdw.refresh_history AS h WHERE outcome = 'running'
                AND NOT EXISTS (SELECT FROM pg_stat_activity AS a WHERE a.pid = h.pid)";
    wait_for(&mut client, "nobody is under way without a process", lost);
    is_fair(world, &mut client, account.before);
    account.settle(world, &mut client);
}

/// A replica has the objects that there are, as they are, and its versions fit.
fn is_true(world: &World, client: &mut Client, member: &Member) {
    let type_id = world.sim.type_id(member.type_name).expect("a type");
    let mut there: BTreeSet<(i64, String, String)> = world
        .sim
        .dump(type_id)
        .into_iter()
        .filter(|object| member.source != "itsm.big" || memory(object) > 256)
        .map(|object| (object.id as i64, object.key, object.label))
        .collect();
    let sql = format!("SELECT id, key, label FROM {}", member.table);
    let rows = client.query(&sql, &[]).unwrap();
    let extra: Vec<_> = rows
        .iter()
        .map(|row| (row.get(0), row.get(1), row.get(2)))
        .filter(|object| !there.remove(object))
        .collect();
    if !extra.is_empty() || !there.is_empty() {
        world.wrong(format!("{} has {extra:?} and lacks {there:?}", member.table));
    }
    let differ = format!(
        "SELECT coalesce(string_agg(l, E'\\n'), '') FROM (
             (SELECT 'here ' || r::text AS l FROM (TABLE {1} EXCEPT TABLE {0}) AS r LIMIT 5) UNION ALL
             (SELECT 'there ' || r::text FROM (TABLE {0} EXCEPT TABLE {1}) AS r LIMIT 5)) AS d",
        member.source, member.table
    );
    let differ = text(client, &differ);
    if !differ.is_empty() {
        world.wrong(format!("{} differs from the foreign table:\n{differ}", member.table));
    }
    if member.history {
        let table = member.table.strip_prefix("itsm_replica.").expect("of the group");
        let odd = number(client, &odd_versions(table));
        if odd != 0 {
            world.wrong(format!("{odd} versions of {table} do not fit"));
        }
    }
}

fn memory(object: &DumpObject) -> i64 {
    match object.values("Memory GB").first() {
        Some(DumpValue::Integer { value }) => *value,
        _ => 0,
    }
}

/// So many runs of others begin at most before one of whoever is late by twice its `every`.
const TURNS: i64 = 6;

/// Nobody is starved: measured over the one that nothing befalls, in runs of others that the scheduler began while it was
/// late. However busy the machine is, it is a turn of the same scheduler.
fn is_fair(world: &World, client: &mut Client, since: i64) {
    let sql = format!(
        "WITH calm AS (SELECT id, started, outcome, lag(started) OVER w AS before, lag(outcome) OVER w AS was
                       FROM assets_fdw.refresh_history WHERE target = '{}' WINDOW w AS (ORDER BY id))
         SELECT coalesce(string_agg(format('%s others began between %s + 6 s and %s', n, before, started), '; '), '')
         FROM (SELECT c.*, (SELECT count(*) FROM assets_fdw.refresh_history AS o
                            WHERE o.target <> '{}' AND o.with_run IS NULL AND o.outcome <> 'skipped'
                              AND o.reason IN ('schedule', 'request', 'retry', 'recovery')
                              AND o.started > c.before + interval '6 seconds' AND o.started < c.started) AS n
               FROM calm AS c WHERE id > {since} AND outcome = 'ok' AND was = 'ok') AS l WHERE n > {TURNS}",
        CALM.table, CALM.table
    );
    let unfair = text(client, &sql);
    if !unfair.is_empty() {
        world.wrong(format!("{} was starved: {unfair}", CALM.table));
    }
}

/// The history of a round, for messages.
pub(super) fn history_since(world: &World, before: i64) -> String {
    let sql = format!(
        "SELECT format('%s %s %s %s %s with %s, %s to %s: %s s fetch %s apply %s: %s requests, seen %s +%s ~%s -%s %s %s %s %s', id, target, reason, mode,
             outcome, with_run, started::time(3), finished::time(3), round(seconds::numeric, 2), round(fetch_seconds::numeric, 2), round(apply_seconds::numeric, 2), requests, seen, inserted, updated, deleted, note, sqlstate, error, detail)
         FROM assets_fdw.refresh_history WHERE id > {before} ORDER BY id"
    );
    let rows = world.session().query(&sql, &[]).unwrap_or_default();
    rows.iter().map(|row| row.get::<_, String>(0)).collect::<Vec<_>>().join("\n")
}
