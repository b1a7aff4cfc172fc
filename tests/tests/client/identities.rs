//! Who a request is made as: the role that PostgreSQL checks rights as, at the moment the statement runs. Nothing that was
//! learnt, counted, planned or kept as one role is used as another, and nobody's budget is spent by who may not select.

use std::collections::BTreeSet;

use assets_fdw_tests::assets_sim::{Endpoint, Options, Profile, Sim};
use postgres::Client;

use crate::live::{Live, one, refused};

/// A role of this database's own that may use everything, with a user mapping for one of the simulator's identities.
fn role(live: &Live, name: &str, identity: Option<usize>) -> String {
    let role = format!("{}_{name}", live.database.name());
    let mut client = live.connect();
    client
        .batch_execute(&format!(
            "CREATE ROLE {role} LOGIN; GRANT USAGE ON FOREIGN SERVER assets TO {role};
             GRANT USAGE ON SCHEMA itsm, fac TO {role}; GRANT SELECT ON ALL TABLES IN SCHEMA itsm, fac TO {role}"
        ))
        .unwrap();
    if let Some(identity) = identity {
        let identity = &live.sim.identities()[identity];
        client
            .batch_execute(&format!(
                "CREATE USER MAPPING FOR {role} SERVER assets OPTIONS (email '{}', api_token '{}')",
                identity.name, identity.secret
            ))
            .unwrap();
    }
    role
}

fn seen_by(live: &Live, identity: usize, object_type: &str) -> i64 {
    let type_id = live.sim.type_id(object_type).unwrap();
    live.sim.dump_for(live.sim.identities()[identity].name, type_id).len() as i64
}

#[test]
fn each_role_sees_what_its_own_user_mapping_may_see() {
    let live = Live::imported(Profile::Documented, 900);
    let limited = role(&live, "limited", Some(1));
    let (all, few) = (seen_by(&live, 0, "Server"), seen_by(&live, 1, "Server"));
    assert!(few > 0 && few < all);
    let count = "SELECT count(*) FROM itsm.server";
    let mut client = live.connect();
    // In one session, there and back: nothing that was learnt as one is used as the other.
    for _ in 0..3 {
        assert_eq!(one::<i64>(&mut client, count), all);
        client.batch_execute(&format!("SET ROLE {limited}")).unwrap();
        assert_eq!(one::<i64>(&mut client, count), few);
        assert_eq!(one::<i64>(&mut client, "SELECT assets_fdw.count('assets', 'objectType = Server')"), few);
        let refusal = refused(&mut client, "SELECT name FROM fac.office");
        assert_eq!(refusal.code, "HV00R", "{refusal:?}");
        client.batch_execute("RESET ROLE").unwrap();
    }
    let mut theirs = live.database.connect_as(&limited);
    assert_eq!(one::<i64>(&mut theirs, count), few);
}

#[test]
fn a_view_asks_as_its_owner_and_a_function_of_the_definers_as_its_owner() {
    let live = Live::imported(Profile::Documented, 900);
    let limited = role(&live, "viewer", Some(1));
    let nobody = role(&live, "nobody", None);
    let (all, few) = (seen_by(&live, 0, "Server"), seen_by(&live, 1, "Server"));
    let mut client = live.connect();
    client
        .batch_execute(&format!(
            "CREATE VIEW public.servers AS SELECT * FROM itsm.server;
             GRANT SELECT ON public.servers TO {limited}, {nobody};
             CREATE FUNCTION public.servers_now() RETURNS bigint LANGUAGE sql SECURITY DEFINER
                 AS 'SELECT count(*) FROM itsm.server'"
        ))
        .unwrap();
    for who in [&limited, &nobody] {
        let mut theirs = live.database.connect_as(who);
        assert_eq!(one::<i64>(&mut theirs, "SELECT count(*) FROM public.servers"), all);
        assert_eq!(one::<i64>(&mut theirs, "SELECT public.servers_now()"), all);
    }
    let mut theirs = live.database.connect_as(&limited);
    let both = "SELECT (SELECT count(*) FROM public.servers) - (SELECT count(*) FROM itsm.server)";
    assert_eq!(one::<i64>(&mut theirs, both), all - few);
    client.batch_execute("ALTER VIEW public.servers SET (security_invoker = true)").unwrap();
    assert_eq!(one::<i64>(&mut theirs, "SELECT count(*) FROM public.servers"), few);
}

#[test]
fn without_a_user_mapping_the_error_says_how_to_make_one() {
    let live = Live::imported(Profile::Documented, 300);
    let nobody = role(&live, "stranger", None);
    let mut theirs = live.database.connect_as(&nobody);
    for sql in ["SELECT name FROM itsm.server", "SELECT assets_fdw.count('assets', '')"] {
        let refusal = refused(&mut theirs, sql);
        assert!(refusal.code.starts_with("HV") || refusal.code == "42704", "{refusal:?}");
        assert!(refusal.message.contains(&nobody) && refusal.message.contains("assets"), "{refusal:?}");
        assert!(refusal.hint.contains("CREATE USER MAPPING"), "{refusal:?}");
    }
    let identity = &live.sim.identities()[0];
    live.connect()
        .batch_execute(&format!(
            "CREATE USER MAPPING FOR PUBLIC SERVER assets OPTIONS (email '{}', api_token '{}')",
            identity.name, identity.secret
        ))
        .unwrap();
    let all = seen_by(&live, 0, "Server");
    assert_eq!(one::<i64>(&mut theirs, "SELECT count(*) FROM itsm.server"), all);
}

#[test]
fn a_role_without_usage_on_the_server_may_not_ask_through_functions() {
    let live = Live::imported(Profile::Documented, 300);
    let stranger = role(&live, "unused", Some(0));
    live.connect().batch_execute(&format!("REVOKE USAGE ON FOREIGN SERVER assets FROM {stranger}")).unwrap();
    let mut theirs = live.database.connect_as(&stranger);
    live.sim.clear_log();
    for sql in [
        "SELECT * FROM assets_fdw.aql('assets', '')",
        "SELECT assets_fdw.count('assets', '')",
        "SELECT * FROM assets_fdw.check('assets')",
    ] {
        assert_eq!(refused(&mut theirs, sql).code, "42501", "{sql}");
    }
    assert_eq!(live.sim.log().len(), 0);
}

#[test]
fn changes_of_server_and_user_mapping_count_in_sessions_that_are_open() {
    let live = Live::imported(Profile::Documented, 900);
    let other = Sim::start(Options { objects: 1200, seed: 7, ..Options::default() }).unwrap();
    let (mut client, mut second) = (live.connect(), live.connect());
    let count = "SELECT count(*) FROM itsm.server";
    let (here, few) = (seen_by(&live, 0, "Server"), seen_by(&live, 1, "Server"));
    let there = other.count(other.type_id("Server").unwrap()) as i64;
    assert_eq!((one::<i64>(&mut client, count), one::<i64>(&mut second, count)), (here, here));
    let limited = &live.sim.identities()[1];
    let mapping = |email: &str, token: &str| {
        format!(
            "ALTER USER MAPPING FOR postgres SERVER assets OPTIONS (SET email '{email}', SET api_token '{token}')"
        )
    };
    client.batch_execute(&mapping(limited.name, limited.secret)).unwrap();
    assert_eq!((one::<i64>(&mut client, count), one::<i64>(&mut second, count)), (few, few));
    client.batch_execute(&mapping(limited.name, "wrong")).unwrap();
    assert_eq!(refused(&mut second, count).code, "28000");
    assert_eq!(refused(&mut client, count).code, "28000");
    let everyone = &live.sim.identities()[0];
    // The mapping with the server: its secret was set for where the server led before.
    let moved = |url: String| {
        let set = mapping(everyone.name, everyone.secret);
        format!("ALTER SERVER assets OPTIONS (SET site '{url}'); {set}")
    };
    client.batch_execute(&moved(other.url())).unwrap();
    assert_eq!((one::<i64>(&mut client, count), one::<i64>(&mut second, count)), (there, there));
    // Rolled back: as if it had never been.
    client.batch_execute(&format!("BEGIN; {}; ROLLBACK", moved(live.sim.url()))).unwrap();
    assert_eq!((one::<i64>(&mut client, count), one::<i64>(&mut second, count)), (there, there));
    // A scan under way goes on with what it began with.
    client.batch_execute("BEGIN; DECLARE c CURSOR FOR SELECT key FROM itsm.server; FETCH 1 FROM c").unwrap();
    second.batch_execute(&moved(live.sim.url())).unwrap();
    assert_eq!(client.query("FETCH ALL FROM c", &[]).unwrap().len() as i64, there - 1);
    client.batch_execute("COMMIT").unwrap();
    assert_eq!((one::<i64>(&mut client, count), one::<i64>(&mut second, count)), (here, here));
}

/// A session of the superuser in which two roles take turns; the roles see different numbers of servers.
struct Turns {
    live: Live,
    client: Client,
    alice: String,
    bob: String,
    all: i64,
    few: i64,
}

impl Turns {
    fn new() -> Turns {
        let live = Live::imported(Profile::Documented, 900);
        let (alice, bob) = (role(&live, "alice", Some(0)), role(&live, "bob", Some(1)));
        let (all, few) = (seen_by(&live, 0, "Server"), seen_by(&live, 1, "Server"));
        assert!(few > 0 && few < all);
        let client = live.connect();
        Turns { live, client, alice, bob, all, few }
    }

    fn become_role(&mut self, role: &str) {
        self.client.batch_execute(&format!("SET SESSION AUTHORIZATION {role}")).unwrap();
    }

    /// Who asked since the log was cleared.
    fn asked(&self) -> BTreeSet<String> {
        self.live.sim.log().into_iter().filter_map(|entry| entry.identity).collect()
    }

    /// That a statement gives, in this session, each role its own number, whoever was first.
    #[track_caller]
    fn each_its_own(&mut self, sql: &str) {
        for turn in 0..4 {
            let (who, identity, wanted) = match turn % 2 {
                0 => (self.alice.clone(), 0, self.all),
                _ => (self.bob.clone(), 1, self.few),
            };
            self.live.clear_log();
            self.become_role(&who);
            assert_eq!(one::<i64>(&mut self.client, sql), wanted, "{sql} as {who}");
            let only = BTreeSet::from([self.live.sim.identities()[identity].name.to_owned()]);
            assert!(self.asked().is_subset(&only), "{sql} as {who}: {:?} asked", self.asked());
            self.client.batch_execute("RESET SESSION AUTHORIZATION").unwrap();
        }
    }
}

#[test]
fn a_plan_that_was_made_as_one_role_asks_as_the_one_that_runs_it() {
    let mut turns = Turns::new();
    turns
        .client
        .batch_execute(
            "SET plan_cache_mode = force_generic_plan;
             CREATE FUNCTION public.counted() RETURNS bigint LANGUAGE plpgsql AS
                 'BEGIN RETURN (SELECT count(*) FROM itsm.server); END';
             CREATE FUNCTION public.counted_some(above bigint) RETURNS bigint LANGUAGE plpgsql AS
                 'BEGIN RETURN (SELECT count(*) FROM itsm.server WHERE id >= above); END';
             CREATE FUNCTION public.read_all() RETURNS bigint LANGUAGE plpgsql AS
                 'DECLARE n bigint := 0; s record;
                  BEGIN FOR s IN SELECT key, name FROM itsm.server LOOP n := n + 1; END LOOP; RETURN n; END';
             CREATE FUNCTION public.in_order() RETURNS bigint LANGUAGE plpgsql AS
                 'BEGIN RETURN (SELECT count(*) FROM (SELECT key FROM itsm.server ORDER BY created LIMIT 800) AS s); END';
             CREATE FUNCTION public.plain() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM itsm.server';
             PREPARE counted AS SELECT count(*) FROM itsm.server;
             PREPARE counted_some (bigint) AS SELECT count(*) FROM itsm.server WHERE id >= $1;
             PREPARE read_all AS SELECT count(s::text) FROM itsm.server AS s",
        )
        .unwrap();
    for sql in [
        "EXECUTE counted",
        "EXECUTE counted_some(0)",
        "EXECUTE read_all",
        "SELECT public.counted()",
        "SELECT public.counted_some(0)",
        "SELECT public.read_all()",
        "SELECT public.in_order()",
        "SELECT public.plain()",
    ] {
        turns.each_its_own(sql);
    }
}

#[test]
fn definers_rights_hold_inside_a_function_and_nowhere_else_in_the_statement() {
    let mut turns = Turns::new();
    let (alice, bob, all, few) = (turns.alice.clone(), turns.bob.clone(), turns.all, turns.few);
    turns
        .client
        .batch_execute(&format!(
            "SET plan_cache_mode = force_generic_plan;
             CREATE FUNCTION public.alices() RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER AS
                 'BEGIN RETURN (SELECT count(*) FROM itsm.server); END';
             ALTER FUNCTION public.alices() OWNER TO {alice};
             CREATE FUNCTION public.callers() RETURNS bigint LANGUAGE plpgsql AS
                 'BEGIN RETURN (SELECT count(*) FROM itsm.server); END';
             CREATE FUNCTION public.callers_by_alice() RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER AS
                 'BEGIN RETURN public.callers(); END';
             ALTER FUNCTION public.callers_by_alice() OWNER TO {alice};
             CREATE VIEW public.alices_view AS SELECT * FROM itsm.server;
             ALTER VIEW public.alices_view OWNER TO {alice};
             CREATE VIEW public.bobs_view AS SELECT * FROM public.alices_view;
             ALTER VIEW public.bobs_view OWNER TO {bob};
             GRANT SELECT ON public.alices_view, public.bobs_view TO {alice}, {bob}"
        ))
        .unwrap();
    for (sql, as_alice, as_bob) in [
        ("SELECT public.alices()", all, all),
        ("SELECT public.callers()", all, few),
        ("SELECT public.callers_by_alice()", all, all),
        ("SELECT public.alices() * 1000000 + public.callers()", all * 1_000_001, all * 1_000_000 + few),
        // A view of Bob's over one of Alice's: the objects are Alice's, whoever looks.
        ("SELECT count(*) FROM public.bobs_view", all, all),
        ("SELECT count(v.name) - count(s.name) FROM public.alices_view AS v LEFT JOIN itsm.server AS s ON s.key = v.key", 0, all - few),
        // The inner side is scanned again for every outer row, and keeps its rows.
        (
            "SELECT sum((SELECT count(*) FROM public.alices_view WHERE id >= n) * 1000 + (SELECT count(*) FROM itsm.server WHERE id >= n))::bigint
               FROM generate_series(0, 2) AS n",
            3 * (all * 1000 + all),
            3 * (all * 1000 + few),
        ),
    ] {
        for turn in 0..4 {
            let (who, wanted) = if turn % 2 == 0 { (&alice, as_alice) } else { (&bob, as_bob) };
            turns.become_role(who);
            assert_eq!(one::<i64>(&mut turns.client, sql), wanted, "{sql} as {who}");
            turns.client.batch_execute("RESET SESSION AUTHORIZATION").unwrap();
        }
    }
}

/// The first line of a plan.
fn estimate(client: &mut Client) -> String {
    client.query("EXPLAIN SELECT key FROM itsm.server", &[]).unwrap()[0].get(0)
}

#[test]
fn a_cursor_goes_on_as_the_role_that_opened_it() {
    let mut turns = Turns::new();
    let (alice, bob) = (turns.alice.clone(), turns.bob.clone());
    turns
        .client
        .batch_execute(&format!(
            "BEGIN; SET LOCAL ROLE {bob}; DECLARE c CURSOR FOR SELECT key FROM itsm.server; FETCH 1 FROM c"
        ))
        .unwrap();
    turns.client.batch_execute(&format!("SET LOCAL ROLE {alice}")).unwrap();
    assert_eq!(turns.client.query("FETCH ALL FROM c", &[]).unwrap().len() as i64, turns.few - 1);
    turns.client.batch_execute("ROLLBACK").unwrap();
}

#[test]
fn the_planners_counts_are_each_identitys_own() {
    let mut turns = Turns::new();
    let (alice, bob) = (turns.alice.clone(), turns.bob.clone());
    for _ in 0..2 {
        for (who, identity, wanted) in [(&alice, 0, turns.all), (&bob, 1, turns.few)] {
            turns.live.clear_log();
            turns.become_role(who);
            let plan = estimate(&mut turns.client);
            assert!(plan.contains(&format!("rows={wanted} ")), "{who}: {plan}");
            let only = BTreeSet::from([turns.live.sim.identities()[identity].name.to_owned()]);
            assert!(turns.asked().is_subset(&only), "{who}: {:?}", turns.asked());
            turns.client.batch_execute("RESET SESSION AUTHORIZATION").unwrap();
        }
    }
}

#[test]
fn nothing_is_asked_of_the_service_for_who_may_not_select() {
    let mut turns = Turns::new();
    let (alice, bob) = (turns.alice.clone(), turns.bob.clone());
    turns
        .client
        .batch_execute(&format!(
            "CREATE VIEW public.secret AS SELECT * FROM itsm.server;
             ALTER VIEW public.secret OWNER TO {alice};
             CREATE VIEW public.over AS SELECT count(*) AS n FROM public.secret;
             ALTER VIEW public.over OWNER TO {alice};
             CREATE VIEW public.barred WITH (security_barrier) AS SELECT * FROM public.secret;
             ALTER VIEW public.barred OWNER TO {alice};
             REVOKE SELECT ON itsm.server FROM {bob};
             SET SESSION AUTHORIZATION {bob};
             SELECT 1 FROM itsm.vendor LIMIT 1"
        ))
        .unwrap();
    turns.live.clear_log();
    // The table by itself; and through Alice's views, whose requests would be made, and paid for, as Alice.
    for sql in [
        "SELECT * FROM itsm.server",
        "SELECT count(*) FROM itsm.server",
        "EXPLAIN SELECT name FROM itsm.server WHERE key = 'X-1'",
        "SELECT (SELECT count(*) FROM itsm.server)",
        "WITH s AS MATERIALIZED (SELECT * FROM itsm.server) SELECT count(*) FROM s",
        "SELECT key FROM itsm.server UNION ALL SELECT key FROM itsm.server",
        "SELECT * FROM public.secret",
        "SELECT count(*) FROM public.secret",
        "SELECT * FROM public.over",
        "SELECT * FROM public.barred WHERE name = 'x'",
        "SELECT (SELECT count(*) FROM public.secret WHERE id > n) FROM generate_series(1, 2) AS n",
        "WITH s AS MATERIALIZED (SELECT * FROM public.secret LIMIT 1) SELECT count(*) FROM s",
        "EXPLAIN SELECT * FROM public.over",
    ] {
        let refusal = refused(&mut turns.client, sql);
        assert_eq!(refusal.code, "42501", "{sql}: {refusal:?}");
        assert!(refusal.message.starts_with("permission denied for"), "{sql}: {refusal:?}");
        let asked: Vec<_> = turns.live.sim.log().into_iter().map(|entry| entry.path).collect();
        assert!(asked.is_empty(), "{sql}: {asked:?}");
    }
    // A column that may not be read, in a query that names it, is refused as well; others may be counted.
    turns
        .client
        .batch_execute(&format!("RESET SESSION AUTHORIZATION; GRANT SELECT (id, key) ON itsm.server TO {bob}; SET SESSION AUTHORIZATION {bob}"))
        .unwrap();
    let refusal = refused(&mut turns.client, "SELECT name FROM itsm.server");
    assert_eq!((refusal.code.as_str(), turns.live.sim.log().len()), ("42501", 0), "{refusal:?}");
    let plan = estimate(&mut turns.client);
    assert!(plan.contains(&format!("rows={} ", turns.few)), "{plan}");
    assert!(turns.live.sim.log().iter().any(|entry| entry.endpoint == Endpoint::TotalCount));
    // Through a table whose partition it is, who may select of that table may.
    turns
        .client
        .batch_execute(&format!(
            "RESET SESSION AUTHORIZATION; REVOKE ALL ON itsm.server FROM {bob};
             CREATE TABLE public.parent (id bigint); ALTER FOREIGN TABLE itsm.server INHERIT public.parent;
             GRANT SELECT ON public.parent TO {bob}; SET SESSION AUTHORIZATION {bob}"
        ))
        .unwrap();
    assert_eq!(one::<i64>(&mut turns.client, "SELECT count(id) FROM public.parent"), turns.few);
}
