//! What may happen, by the dice.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use assets_fdw_tests::assets_sim::{Fault, FaultKind, Kind};

use super::super::kills::by_hand;
use super::*;

/// What ends something. Locks go before whoever waits for them is waited for.
struct End<'a> {
    last: bool,
    work: Box<dyn FnOnce() + 'a>,
}

fn end<'a>(work: impl FnOnce() + 'a) -> Option<End<'a>> {
    Some(End { last: false, work: Box::new(work) })
}

/// How an event begins: with the members that are taken by others of this round.
type Event = for<'a> fn(&'a World<'a>, &mut Dice, &mut BTreeSet<&'static str>) -> Option<End<'a>>;

/// Those that leave traces for longer, or that cost time, are rarer.
const EVENTS: [Event; 28] = [
    kill,
    kill,
    kill,
    cancel,
    cancel,
    lock,
    lock,
    lock,
    rows,
    trigger,
    trigger,
    trigger,
    check,
    foreign_key,
    refused,
    out_of_order,
    out_of_order,
    storm,
    storm,
    hand,
    hand,
    hand,
    rename,
    rename_column,
    rename_type,
    owner,
    drift,
    closed,
];

/// So long runs go on under what has begun, if none ends.
const A_WHILE: Duration = Duration::from_millis(400);

/// A few events begin, a run or two of the group ends under them, and they end. Then nothing changes any more, or whoever
/// waits for calm would wait long.
pub(super) fn weather(world: &World, dice: &mut Dice, over: &AtomicBool) {
    let mut ends: Vec<End> = Vec::new();
    let mut taken = BTreeSet::new();
    for _ in 0..1 + dice.roll(3) {
        ends.extend(EVENTS[dice.roll(EVENTS.len())](world, dice, &mut taken));
        std::thread::sleep(Duration::from_millis(dice.roll(80) as u64));
    }
    let mut session = world.session();
    let ask = "SELECT assets_fdw.request_refresh(target) FROM assets_fdw.materializations
               WHERE target::oid = 'itsm_replica.server'::regclass";
    let _ = session.batch_execute(ask);
    let sql = "SELECT coalesce(max(id), 0) FROM assets_fdw.refresh_history";
    let runs = world.number(sql);
    let ended = format!(
        "SELECT count(*) FROM assets_fdw.refresh_history
         WHERE id > {runs} AND target LIKE 'itsm_replica.%' AND outcome <> 'running'"
    );
    let deadline = Instant::now() + A_WHILE;
    while Instant::now() < deadline
        && session.query_one(&ended, &[]).is_ok_and(|row| row.get::<_, i64>(0) == 0)
    {
        std::thread::sleep(Duration::from_millis(40));
    }
    ends.sort_by_key(|end| end.last);
    for end in ends {
        over.fetch_or(end.last, Ordering::Relaxed);
        (end.work)();
    }
}

/// One that nothing of this round has befallen yet.
fn victim(
    dice: &mut Dice,
    taken: &mut BTreeSet<&'static str>,
    among: &'static [Member],
) -> Option<&'static Member> {
    let member = &among[dice.roll(among.len())];
    taken.insert(member.table).then_some(member)
}

/// A process of ours in this database; not of the one that is to have its calm.
fn process(world: &World, kind: &str) -> Option<i64> {
    let sql = format!(
        "SELECT pid::bigint FROM pg_stat_activity WHERE backend_type = 'assets_fdw {kind}'
         AND (usename = 'postgres' OR usename IS NULL) AND (datname IS NULL OR datname = current_database()) LIMIT 1"
    );
    world.session().query_opt(&sql, &[]).ok()?.map(|row| row.get(0))
}

/// The same; a refresh is waited for for a while.
fn process_soon(world: &World, kind: &str) -> Option<i64> {
    let deadline = Instant::now() + Duration::from_millis(400);
    loop {
        let found = process(world, kind);
        if found.is_some() || Instant::now() > deadline {
            return found;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn kill<'a>(world: &'a World<'a>, dice: &mut Dice, _: &mut BTreeSet<&'static str>) -> Option<End<'a>> {
    let kind = ["refresh", "refresh", "refresh", "scheduler", "launcher"][dice.roll(5)];
    // A process that is killed makes the server end all others and recover, which takes its time.
    let hard = dice.roll(8) == 0;
    let Some(pid) = process_soon(world, kind) else {
        world.tell(format!("no {kind} to kill"));
        return None;
    };
    std::thread::sleep(Duration::from_millis(dice.roll(60) as u64));
    world.tell(format!("kill {}{kind} {pid}", if hard { "-9 " } else { "" }));
    if hard {
        world.server.kill9(u32::try_from(pid).expect("a process"));
    } else {
        let _ = world.session().batch_execute(&format!("SELECT pg_terminate_backend({pid})"));
    }
    None
}

fn cancel<'a>(world: &'a World<'a>, dice: &mut Dice, _: &mut BTreeSet<&'static str>) -> Option<End<'a>> {
    let pid = process_soon(world, "refresh")?;
    std::thread::sleep(Duration::from_millis(dice.roll(60) as u64));
    world.tell(format!("cancel refresh {pid}"));
    let _ = world.session().batch_execute(&format!("SELECT pg_cancel_backend({pid})"));
    None
}

/// Something that a session holds until it commits.
fn held<'a>(world: &'a World<'a>, sql: &str) -> Option<End<'a>> {
    let mut holder = world.session();
    let done = holder.batch_execute(&format!("BEGIN; {sql}"));
    world.tell(format!("{sql}{}", if done.is_ok() { "" } else { ": not had" }));
    done.ok()?;
    end(move || {
        world.tell("COMMIT");
        // It may have been ended with the server.
        let _ = holder.batch_execute("COMMIT");
    })
}

const MODES: [&str; 8] = [
    "ACCESS SHARE",
    "ROW SHARE",
    "ROW EXCLUSIVE",
    "SHARE UPDATE EXCLUSIVE",
    "SHARE",
    "SHARE ROW EXCLUSIVE",
    "EXCLUSIVE",
    "ACCESS EXCLUSIVE",
];

/// A member's table, or that of its versions.
fn table_of(member: &Member, dice: &mut Dice) -> String {
    let versions = member.history && dice.roll(4) == 0;
    format!("{}{}", member.table, if versions { "_history" } else { "" })
}

fn lock<'a>(world: &'a World<'a>, dice: &mut Dice, taken: &mut BTreeSet<&'static str>) -> Option<End<'a>> {
    let member = victim(dice, taken, &GROUP)?;
    let (table, mode) = (table_of(member, dice), MODES[dice.roll(MODES.len())]);
    held(world, &format!("LOCK TABLE {table} IN {mode} MODE"))
}

fn rows<'a>(world: &'a World<'a>, dice: &mut Dice, taken: &mut BTreeSet<&'static str>) -> Option<End<'a>> {
    let member = victim(dice, taken, &GROUP)?;
    let how = ["UPDATE", "NO KEY UPDATE", "SHARE", "KEY SHARE"][dice.roll(4)];
    held(world, &format!("SELECT FROM {} WHERE label LIKE 'pair-%' OR id % 3 = 0 FOR {how}", member.table))
}

/// Something that is made, and dropped again.
fn made<'a>(world: &'a World<'a>, member: &'static Member, make: &str, drop: String) -> Option<End<'a>> {
    world.befalls(member);
    let done = world.session().batch_execute(make);
    world.tell(format!("{make}{}", done.as_ref().map_or_else(|e| format!(": {e:?}"), |()| String::new())));
    done.ok()?;
    end(move || {
        world.tell(&drop);
        world.must(&drop);
    })
}

fn trigger<'a>(world: &'a World<'a>, dice: &mut Dice, taken: &mut BTreeSet<&'static str>) -> Option<End<'a>> {
    const CODES: [&str; 12] = [
        "57014", "57P01", "53400", "P0001", "28000", "40001", "40P01", "55P03", "23505", "08006", "HV000",
        "XX000",
    ];
    let member = victim(dice, taken, &GROUP)?;
    let (table, code) = (table_of(member, dice), CODES[dice.roll(CODES.len())]);
    let (kind, when, more) = [
        ("", "BEFORE INSERT OR UPDATE OR DELETE", "FOR EACH ROW"),
        ("", "AFTER INSERT OR UPDATE OR DELETE", "FOR EACH ROW"),
        ("", "BEFORE UPDATE", "FOR EACH STATEMENT"),
        ("CONSTRAINT", "AFTER INSERT OR UPDATE OR DELETE", "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW"),
        ("CONSTRAINT", "AFTER INSERT OR UPDATE OR DELETE", "DEFERRABLE INITIALLY IMMEDIATE FOR EACH ROW"),
    ][dice.roll(5)];
    let make = format!(
        "CREATE {kind} TRIGGER weather {when} ON {table} {more} EXECUTE FUNCTION public.refuse('{code}')"
    );
    made(world, member, &make, format!("DROP TRIGGER IF EXISTS weather ON {table}"))
}

fn check<'a>(world: &'a World<'a>, dice: &mut Dice, taken: &mut BTreeSet<&'static str>) -> Option<End<'a>> {
    let member = victim(dice, taken, &GROUP)?;
    let table = table_of(member, dice);
    let make = format!("ALTER TABLE {table} ADD CONSTRAINT weather CHECK (id < 0) NOT VALID");
    made(world, member, &make, format!("ALTER TABLE {table} DROP CONSTRAINT IF EXISTS weather"))
}

/// A row of somebody's refers to one that goes.
fn foreign_key<'a>(
    world: &'a World<'a>,
    dice: &mut Dice,
    taken: &mut BTreeSet<&'static str>,
) -> Option<End<'a>> {
    let member = victim(dice, taken, &GROUP[2..4])?;
    let deferred = ["", "DEFERRABLE INITIALLY DEFERRED", "DEFERRABLE"][dice.roll(3)];
    let sql = format!("SELECT key FROM {} ORDER BY random() LIMIT 1", member.table);
    let key: String = world.session().query_opt(&sql, &[]).ok()??.get(0);
    let make = format!(
        "CREATE TABLE public.racks_{0} (id bigint REFERENCES {1} {deferred});
         INSERT INTO public.racks_{0} SELECT id FROM {1} WHERE key = '{key}'",
        member.type_name, member.table
    );
    let ends = made(world, member, &make, format!("DROP TABLE IF EXISTS public.racks_{}", member.type_name));
    // Somebody else may have deleted it.
    let gone = ends.is_some() && world.sim.delete(&key).is_ok();
    world.tell(format!("{key} {}", if gone { "is deleted" } else { "stays" }));
    ends
}

fn refused<'a>(world: &'a World<'a>, _: &mut Dice, taken: &mut BTreeSet<&'static str>) -> Option<End<'a>> {
    let big = &GROUP[5];
    taken.insert(big.table);
    world.befalls(big);
    world.tell("the condition of big is refused");
    let no = FaultKind::Answer { status: 400, body: "{\"errorMessages\":[\"no\"]}".into() };
    world.sim.fault(Fault::new(no).about("Memory GB"));
    end(|| world.sim.clear_faults())
}

/// One object schema answers with errors.
fn out_of_order<'a>(
    world: &'a World<'a>,
    dice: &mut Dice,
    _: &mut BTreeSet<&'static str>,
) -> Option<End<'a>> {
    GROUP.iter().for_each(|member| world.befalls(member));
    let status = [500, 502, 503, 504][dice.roll(4)];
    let after = dice.roll(4) as u32;
    world.tell(format!("{status} from ITSM after {after} requests"));
    world.sim.fault(Fault::new(FaultKind::Status { status }).about("objectSchemaId = 1").after(after));
    end(|| {
        world.tell("ITSM is in order");
        world.sim.clear_faults();
    })
}

fn storm<'a>(world: &'a World<'a>, dice: &mut Dice, _: &mut BTreeSet<&'static str>) -> Option<End<'a>> {
    let member = &GROUP[dice.roll(GROUP.len())];
    let config = world.server.config(world.database.name(), "postgres");
    let over = Arc::new(AtomicBool::new(false));
    let ends = over.clone();
    world.tell(format!("a storm of requests of {}", member.table));
    let storm = std::thread::spawn(move || {
        let sql = format!("SELECT assets_fdw.request_refresh('{}')", member.table);
        let mut session: Option<Client> = None;
        while !over.load(Ordering::Relaxed) {
            let done = session.as_mut().is_some_and(|session| session.batch_execute(&sql).is_ok());
            if !done {
                session = config.connect(postgres::NoTls).ok();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    end(move || {
        ends.store(true, Ordering::Relaxed);
        storm.join().expect("the storm ends");
        world.tell("the storm is over");
    })
}

/// Somebody refreshes by hand, and may lose patience.
fn hand<'a>(world: &'a World<'a>, dice: &mut Dice, _: &mut BTreeSet<&'static str>) -> Option<End<'a>> {
    let mode = ["auto", "incremental", "full", "full"][dice.roll(4)];
    let table = GROUP[dice.roll(GROUP.len())].table.strip_prefix("itsm_replica.").expect("of the group");
    let (pid, waiting) = by_hand(world.server, world.database.name(), table, mode)?;
    world.tell(format!("{pid} refreshes {table} by hand, {mode}"));
    if dice.roll(2) == 0 {
        std::thread::sleep(Duration::from_millis(dice.roll(150) as u64));
        let how = ["cancel", "cancel", "terminate"][dice.roll(3)];
        world.tell(format!("{how} {pid}"));
        let _ = world.session().batch_execute(&format!("SELECT pg_{how}_backend({pid})"));
    }
    let work = Box::new(move || {
        waiting.join().expect("whoever waits gets an answer or an error");
        world.tell(format!("{pid} has its answer"));
    });
    Some(End { last: true, work })
}

fn rename<'a>(world: &'a World<'a>, dice: &mut Dice, taken: &mut BTreeSet<&'static str>) -> Option<End<'a>> {
    let member = victim(dice, taken, &GROUP[2..5])?;
    let name = member.table.strip_prefix("itsm_replica.").expect("of the group");
    let make = format!("ALTER TABLE {} RENAME TO {name}_renamed", member.table);
    made(world, member, &make, format!("ALTER TABLE itsm_replica.{name}_renamed RENAME TO {name}"))
}

fn rename_column<'a>(
    world: &'a World<'a>,
    dice: &mut Dice,
    taken: &mut BTreeSet<&'static str>,
) -> Option<End<'a>> {
    let member = victim(dice, taken, &GROUP[..2])?;
    let column = ["maintenance_window", "home_page"][usize::from(member.type_name == "Employee")];
    let table = match dice.roll(2) {
        0 => format!("TABLE {}", member.table),
        _ => format!("FOREIGN TABLE {}", member.source),
    };
    let make = format!("ALTER {table} RENAME COLUMN {column} TO renamed");
    made(world, member, &make, format!("ALTER {table} RENAME COLUMN renamed TO {column}"))
}

fn rename_type<'a>(
    world: &'a World<'a>,
    dice: &mut Dice,
    taken: &mut BTreeSet<&'static str>,
) -> Option<End<'a>> {
    let member = &GROUP[4];
    if !taken.insert(member.table) {
        return None;
    }
    world.befalls(member);
    // Its number finds it, and so do they.
    let attribute = dice.roll(2) == 0;
    world.tell(format!("Contract{} is renamed", if attribute { "'s Currency" } else { "" }));
    let type_id = world.sim.type_id("Contract").expect("a type").to_string();
    let change = move |from: &str, to: &str| match attribute {
        true => world.sim.rename_attribute("Contract", from, to).map(drop),
        false => world.sim.rename_type(&type_id, to).map(drop),
    };
    let names = if attribute { ["Currency", "Money"] } else { ["Contract", "Agreement"] };
    change(names[0], names[1]).expect("a name");
    end(move || {
        world.tell("and has its name again");
        change(names[1], names[0]).expect("a name");
    })
}

fn owner<'a>(world: &'a World<'a>, dice: &mut Dice, taken: &mut BTreeSet<&'static str>) -> Option<End<'a>> {
    let member = victim(dice, taken, &GROUP[3..5])?;
    let back = format!("ALTER TABLE {} OWNER TO postgres", member.table);
    made(world, member, &format!("ALTER TABLE {} OWNER TO keeper", member.table), back)
}

/// An attribute comes, or one that has come goes.
fn drift<'a>(world: &'a World<'a>, _: &mut Dice, taken: &mut BTreeSet<&'static str>) -> Option<End<'a>> {
    let member = &FOLLOWING[0];
    if !taken.insert(member.table) {
        return None;
    }
    world.befalls(member);
    let type_id = world.sim.type_id(member.type_name).expect("a type");
    let known = world.sim.attributes(type_id).iter().any(|attribute| attribute.name == "Mayor");
    world.tell(format!("{} {}", member.type_name, if known { "loses Mayor" } else { "gets Mayor" }));
    match known {
        true => world.sim.remove_attribute(member.type_name, "Mayor"),
        false => world.sim.add_attribute(member.type_name, "Mayor", Kind::Text, false),
    }
    .expect("an attribute");
    None
}

/// The database takes no connections for a moment.
fn closed<'a>(world: &'a World<'a>, dice: &mut Dice, _: &mut BTreeSet<&'static str>) -> Option<End<'a>> {
    let name = world.database.name();
    let outside = |sql: &str| {
        wait_until(sql, PATIENCE, || {
            let session = world.server.try_connect("postgres", "postgres");
            session.is_ok_and(|mut session| session.batch_execute(sql).is_ok())
        });
    };
    world.tell("closed");
    outside(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false"));
    std::thread::sleep(Duration::from_millis(dice.roll(300) as u64));
    outside(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS true"));
    world.tell("open");
    None
}
