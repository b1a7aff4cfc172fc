//! Whose code a run executes: of roles that its owner acts as, of superusers, and of nobody else.

use super::*;

/// A database whose superuser keeps a replica, and the role `low`, which has no right over anything of that.
struct Two<'a> {
    database: Database<'a>,
    admin: Client,
    low: String,
}

fn two<'a>(server: &'a Server, sim: &Sim) -> Two<'a> {
    let database = server.create_database();
    let low = format!("{}_low", database.name());
    let mut admin = import(&database, sim);
    // Whatever of low's is executed as a superuser makes low one, but for what the superuser executes on purpose.
    let sql = format!(
        "CREATE ROLE {low} LOGIN; CREATE SCHEMA itsm_replica; CREATE SCHEMA lair AUTHORIZATION {low};
         GRANT CREATE, USAGE ON SCHEMA itsm_replica TO {low}; GRANT USAGE ON SCHEMA itsm TO {low};
         SET ROLE {low};
         CREATE FUNCTION lair.seize() RETURNS void LANGUAGE plpgsql AS $$
             BEGIN IF current_setting('is_superuser') = 'on' AND current_setting('lair.safe', true) IS DISTINCT FROM 'on' THEN EXECUTE 'ALTER ROLE {low} SUPERUSER'; END IF; END $$;
         CREATE FUNCTION lair.fires() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN PERFORM lair.seize(); IF tg_op = 'DELETE' THEN RETURN old; END IF; RETURN new; END $$;
         CREATE FUNCTION lair.looks(text) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS $$
             BEGIN PERFORM lair.seize(); RETURN true; END $$;
         CREATE FUNCTION lair.makes() RETURNS text LANGUAGE plpgsql AS $$
             BEGIN PERFORM lair.seize(); RETURN 'made'; END $$;
         CREATE DOMAIN lair.word AS text CHECK (lair.looks(VALUE));
         CREATE TYPE lair.pair AS (a lair.word, b text);
         CREATE TYPE lair.mood AS ENUM ('good');
         CREATE OPERATOR lair.~~~ (RIGHTARG = text, FUNCTION = lair.looks);
         RESET ROLE"
    );
    admin.batch_execute(&sql).unwrap();
    Two { database, admin, low }
}

impl Two<'_> {
    /// The superuser makes something with low's functions.
    fn make(&mut self, sql: &str) {
        let safe = format!("SET lair.safe = on; {sql}; RESET lair.safe");
        self.admin.batch_execute(&safe).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    /// Low is what it was; then what was made for the test goes.
    fn end(mut self) {
        let sql = format!("SELECT rolsuper::int::bigint FROM pg_roles WHERE rolname = '{}'", self.low);
        assert_eq!(number(&mut self.admin, &sql), 0, "low has become superuser");
        self.admin.batch_execute(&format!("DROP OWNED BY {0} CASCADE; DROP ROLE {0}", self.low)).unwrap();
    }
}

/// A table like the foreign one, as somebody makes it beforehand.
const BEFOREHAND: &str =
    "CREATE TABLE itsm_replica.server (id bigint PRIMARY KEY, key text, label text, operating_system text)";

#[test]
fn no_table_is_taken_over_that_would_have_a_run_execute_code_of_others() {
    let sim = small();
    let mut two = two(Server::shared(), &sim);
    let low = two.low.clone();
    let history = "CREATE TABLE itsm_replica.server_history
                       (id bigint, key text, label text, valid_from timestamptz NOT NULL, valid_to timestamptz)";
    let fires = "FOR EACH ROW EXECUTE FUNCTION lair.fires()";
    for (what, made) in [
        ("low's table", format!("SET ROLE {low}; {BEFOREHAND}; RESET ROLE")),
        (
            "low's table with a trigger",
            format!("SET ROLE {low}; {BEFOREHAND}; CREATE TRIGGER t BEFORE INSERT ON itsm_replica.server {fires}; RESET ROLE"),
        ),
        (
            "an index whose predicate is computed while a statement is planned",
            format!(
                "SET ROLE {low}; {BEFOREHAND};
                 CREATE INDEX ON itsm_replica.server (key) WHERE lair.looks('x'); RESET ROLE"
            ),
        ),
        (
            "low's trigger on a table that it may put triggers on",
            format!(
                "{BEFOREHAND}; GRANT TRIGGER ON itsm_replica.server TO {low}; SET ROLE {low};
                 CREATE TRIGGER t BEFORE INSERT ON itsm_replica.server {fires}; RESET ROLE"
            ),
        ),
        ("low's history", format!("SET ROLE {low}; {history}; RESET ROLE")),
        (
            "a trigger on the history",
            format!("{history}; CREATE TRIGGER t BEFORE INSERT ON itsm_replica.server_history {fires}"),
        ),
        (
            "low's partition",
            format!(
                "{BEFOREHAND} PARTITION BY RANGE (id);
                 CREATE TABLE itsm_replica.part PARTITION OF itsm_replica.server DEFAULT;
                 ALTER TABLE itsm_replica.part OWNER TO {low};"
            ),
        ),
        (
            "a partition key that low computes",
            "CREATE TABLE itsm_replica.server (id bigint, key text, label text) PARTITION BY LIST (lair.looks(key));
             CREATE TABLE itsm_replica.part PARTITION OF itsm_replica.server DEFAULT;
             CREATE UNIQUE INDEX ON itsm_replica.part (id)"
                .to_owned(),
        ),
        ("a column of low's type", BEFOREHAND.replace("label text", "label lair.word")),
        ("a list of low's type", BEFOREHAND.replace("label text", "label lair.word[]")),
        ("a row with low's type", BEFOREHAND.replace("label text", "label lair.pair")),
        ("low's enumeration", BEFOREHAND.replace("label text", "label lair.mood")),
    ] {
        two.make(&made);
        let sql = "SELECT assets_fdw.materialize('itsm.server', history => true)";
        let (state, message) = error_of(&mut two.admin, sql);
        let told = message.contains(&low) || message.contains("belongs to another role") || message.contains("is no history");
        assert!(["42501", "42P07"].contains(&state.as_str()) && told, "{what}: {state} {message}");
        two.admin.batch_execute("DROP TABLE IF EXISTS itsm_replica.server, itsm_replica.server_history").unwrap();
    }
    // The foreign table is somebody's, too: its values go through its columns' types.
    two.admin
        .batch_execute(&format!(
            "CREATE FOREIGN TABLE itsm.theirs (id bigint OPTIONS (field 'id'), key text OPTIONS (field 'key'),
                 label lair.word OPTIONS (field 'label')) SERVER assets OPTIONS (object_schema 'ITSM', object_type 'Server');
             ALTER FOREIGN TABLE itsm.theirs OWNER TO {low}"
        ))
        .unwrap();
    let (state, message) = error_of(&mut two.admin, "SELECT assets_fdw.materialize('itsm.theirs')");
    assert!(state == "42501" && message.contains(&low), "{state} {message}");
    two.admin.batch_execute("ALTER FOREIGN TABLE itsm.theirs ALTER label TYPE text").unwrap();
    two.admin.batch_execute("SELECT assets_fdw.materialize('itsm.theirs')").unwrap();
    two.admin.batch_execute("DROP TABLE itsm_replica.theirs").unwrap();
    two.end();
}

#[test]
fn every_run_looks_whose_code_it_would_execute_and_stops_before_it_does() {
    let sim = small();
    let mut two = two(Server::shared(), &sim);
    let low = two.low.clone();
    two.admin
        .batch_execute(
            "SELECT assets_fdw.materialize('itsm.server', history => true);
                        SELECT assets_fdw.materialize('itsm.employee')",
        )
        .unwrap();
    let refresh = "SELECT assets_fdw.refresh('itsm_replica.server')";
    two.admin.batch_execute(refresh).unwrap();
    two.admin.batch_execute("SELECT assets_fdw.refresh('itsm_replica.employee')").unwrap();
    let key = text(&mut two.admin, "SELECT min(key) FROM itsm_replica.server");
    let table = "itsm_replica.server";
    for (n, (done, undone)) in [
        (
            format!("CREATE TRIGGER t BEFORE UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION lair.fires()"),
            format!("DROP TRIGGER t ON {table}"),
        ),
        (
            format!(
                "CREATE CONSTRAINT TRIGGER t AFTER INSERT ON {table}_history DEFERRABLE INITIALLY DEFERRED
                 FOR EACH ROW EXECUTE FUNCTION lair.fires()"
            ),
            format!("DROP TRIGGER t ON {table}_history"),
        ),
        (
            format!("CREATE FUNCTION itsm_replica.own() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
                     CREATE TRIGGER t BEFORE UPDATE ON {table} FOR EACH ROW WHEN (lair.looks(new.key))
                     EXECUTE FUNCTION itsm_replica.own()"),
            "DROP FUNCTION itsm_replica.own() CASCADE".to_owned(),
        ),
        (format!("CREATE INDEX trap ON {table} (lair.looks(key))"), "DROP INDEX itsm_replica.trap".to_owned()),
        (
            format!("ALTER TABLE {table} ADD CONSTRAINT trap CHECK (OPERATOR(lair.~~~) key)"),
            format!("ALTER TABLE {table} DROP CONSTRAINT trap"),
        ),
        (
            format!("ALTER TABLE {table} ADD trap text; ALTER TABLE {table} ALTER trap SET DEFAULT lair.makes()"),
            format!("ALTER TABLE {table} DROP trap"),
        ),
        (
            format!("ALTER TABLE {table} ADD trap boolean GENERATED ALWAYS AS (lair.looks(key)) STORED"),
            format!("ALTER TABLE {table} DROP trap"),
        ),
        (
            format!("CREATE STATISTICS itsm_replica.trap ON (lair.looks(key)) FROM {table}"),
            "DROP STATISTICS itsm_replica.trap".to_owned(),
        ),
        (
            format!("CREATE RULE trap AS ON UPDATE TO {table} DO ALSO SELECT lair.looks(new.key)"),
            format!("DROP RULE trap ON {table}"),
        ),
        (
            format!("CREATE TABLE itsm_replica.child () INHERITS ({table}); ALTER TABLE itsm_replica.child OWNER TO {low}"),
            "DROP TABLE itsm_replica.child".to_owned(),
        ),
        (
            format!(
                "GRANT REFERENCES ON {table} TO {low}; SET ROLE {low};
                 CREATE TABLE lair.down (id bigint REFERENCES {table} ON DELETE CASCADE);
                 CREATE TRIGGER t AFTER DELETE ON lair.down FOR EACH ROW EXECUTE FUNCTION lair.fires(); RESET ROLE"
            ),
            "DROP TABLE lair.down".to_owned(),
        ),
        (
            format!(
                "SET ROLE {low}; CREATE TABLE lair.logged (key text);
                 CREATE TRIGGER t AFTER INSERT ON lair.logged FOR EACH ROW EXECUTE FUNCTION lair.fires(); RESET ROLE;
                 CREATE RULE trap AS ON UPDATE TO {table} DO ALSO INSERT INTO lair.logged VALUES (new.key)"
            ),
            format!("DROP RULE trap ON {table}; DROP TABLE lair.logged"),
        ),
        (
            format!("ALTER TABLE {table}_history OWNER TO {low}"),
            format!("ALTER TABLE {table}_history OWNER TO postgres"),
        ),
        (format!("ALTER TABLE {table} OWNER TO {low}"), format!("ALTER TABLE {table} OWNER TO postgres")),
    ]
    .into_iter()
    .enumerate()
    {
        two.make(&done);
        sim.update(&key, "Operating System", &[&format!("OS {n}")]).unwrap();
        let failed = two.admin.batch_execute(refresh).expect_err(&done);
        let failed = failed.as_db_error().unwrap_or_else(|| panic!("{done}: {failed:?}"));
        assert!(failed.code().code() == "42501" && failed.message().contains(&low), "{done}: {failed:?}");
        if n == 0 {
            // Nor by way of its group.
            two.admin.batch_execute("SELECT assets_fdw.refresh('itsm_replica.employee')").unwrap();
        }
        two.admin.batch_execute(&undone).unwrap_or_else(|error| panic!("{undone}: {error:?}"));
    }
    two.admin.batch_execute(refresh).unwrap();
    assert_eq!(differences(&mut two.admin), 0);
    // What has nothing of low's in it may refer to the replica and be referred to.
    two.admin
        .batch_execute(&format!(
            "GRANT REFERENCES ON {table} TO {low}; SET ROLE {low};
             CREATE TABLE lair.down (id bigint REFERENCES {table} ON DELETE CASCADE); RESET ROLE;
             ALTER SCHEMA itsm_replica OWNER TO {low}"
        ))
        .unwrap();
    sim.update(&key, "Operating System", &["the last"]).unwrap();
    two.admin.batch_execute(refresh).unwrap();
    assert_eq!(differences(&mut two.admin), 0);
    two.admin.batch_execute("ALTER SCHEMA itsm_replica OWNER TO postgres; DROP TABLE lair.down").unwrap();
    two.end();
}

#[test]
fn a_table_given_to_another_role_stops_until_that_role_takes_its_replica_over() {
    let sim = small();
    let mut two = two(Server::shared(), &sim);
    let low = two.low.clone();
    let identity = &sim.identities()[0];
    let mut theirs = two.database.connect_as(&low);
    two.admin.batch_execute("SELECT assets_fdw.materialize('itsm.server', history => true)").unwrap();
    two.admin.batch_execute("SELECT assets_fdw.refresh('itsm_replica.server')").unwrap();
    let neighbour = "SELECT assets_fdw.refresh('itsm_replica.laptop')";
    two.admin.batch_execute("SELECT assets_fdw.materialize('itsm.laptop')").unwrap();
    two.admin.batch_execute(neighbour).unwrap();
    two.admin
        .batch_execute(&format!(
            "CREATE USER MAPPING FOR {low} SERVER assets OPTIONS (email '{}', api_token '{}');
             GRANT SELECT ON itsm.server TO {low};
             ALTER TABLE itsm_replica.server OWNER TO {low}; ALTER TABLE itsm_replica.server_history OWNER TO {low}",
            identity.name, identity.secret
        ))
        .unwrap();
    theirs
        .batch_execute(
            "CREATE TABLE lair.fired (by name);
             CREATE FUNCTION lair.notes() RETURNS trigger LANGUAGE plpgsql AS
                 'BEGIN INSERT INTO lair.fired VALUES (current_user); RETURN new; END';
             CREATE TRIGGER t AFTER UPDATE ON itsm_replica.server FOR EACH ROW EXECUTE FUNCTION lair.notes()",
        )
        .unwrap();
    let key = text(&mut two.admin, "SELECT min(key) FROM itsm_replica.server");
    sim.update(&key, "Operating System", &["Plan 9"]).unwrap();
    let (state, message) = error_of(&mut two.admin, "SELECT assets_fdw.refresh('itsm_replica.server')");
    let told =
        message.contains(&low) && message.contains("alter_materialization") && message.contains("OWNER TO");
    assert!(state == "42501" && told, "{state} {message}");
    // Both see it, and what to do.
    for client in [&mut two.admin, &mut theirs] {
        let sql = "SELECT state FROM assets_fdw.materializations WHERE last_error LIKE '%belongs to%'";
        assert_eq!(text(client, sql), "failing");
    }
    assert_eq!(number(&mut theirs, "SELECT count(*) FROM lair.fired"), 0);
    // Those of its group go on without it, and say so.
    two.admin.batch_execute(neighbour).unwrap();
    let sql = "SELECT note FROM assets_fdw.refresh_history WHERE target = 'itsm_replica.laptop' ORDER BY id DESC LIMIT 1";
    let note: Option<String> = two.admin.query_one(sql, &[]).unwrap().get(0);
    assert!(
        note.as_deref()
            .is_some_and(|n| n.contains("without itsm_replica.server (") && n.contains("belongs to")),
        "{note:?}"
    );
    // The superuser's word is enough: the replica becomes that of its table's owner, not the superuser's.
    for by in 0..2 {
        if by == 1 {
            let sql = "UPDATE assets_fdw.replica_job SET owner = 'postgres'::regrole
                       WHERE target = 'itsm_replica.server'::regclass";
            two.admin.batch_execute(sql).unwrap();
        }
        let client = if by == 0 { &mut theirs } else { &mut two.admin };
        client
            .batch_execute("SELECT assets_fdw.alter_materialization('itsm_replica.server', enabled => true)")
            .unwrap();
        theirs.batch_execute("SELECT assets_fdw.refresh('itsm_replica.server')").unwrap();
        let sql = "SELECT owner::text FROM assets_fdw.materializations WHERE target = 'itsm_replica.server'::regclass";
        assert_eq!(text(&mut theirs, sql), low);
    }
    let sql = "SELECT string_agg(DISTINCT by::text, ',') FROM lair.fired";
    assert_eq!(text(&mut theirs, sql), low);
    drop(theirs);
    two.end();
}

#[test]
fn what_belongs_to_a_role_that_the_owner_is_a_member_of_is_the_owners_to_use() {
    let sim = small();
    let mut two = two(Server::shared(), &sim);
    let (low, team) = (two.low.clone(), format!("{}_team", two.database.name()));
    let identity = &sim.identities()[0];
    two.admin
        .batch_execute(&format!(
            "CREATE ROLE {team}; GRANT {team} TO {low}; GRANT SELECT ON itsm.server TO {low};
             CREATE USER MAPPING FOR {low} SERVER assets OPTIONS (email '{}', api_token '{}');
             CREATE FUNCTION itsm_replica.admins() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
             GRANT CREATE, USAGE ON SCHEMA itsm_replica TO {team};
             SET ROLE {team}; {BEFOREHAND};
             CREATE FUNCTION itsm_replica.teams() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
             CREATE TRIGGER a BEFORE INSERT ON itsm_replica.server FOR EACH ROW EXECUTE FUNCTION itsm_replica.teams();
             CREATE TRIGGER b BEFORE INSERT ON itsm_replica.server FOR EACH ROW EXECUTE FUNCTION itsm_replica.admins();
             RESET ROLE",
            identity.name, identity.secret
        ))
        .unwrap();
    let mut theirs = two.database.connect_as(&low);
    theirs.batch_execute("SELECT assets_fdw.materialize('itsm.server')").unwrap();
    theirs.batch_execute("SELECT assets_fdw.refresh('itsm_replica.server')").unwrap();
    assert!(number(&mut theirs, "SELECT count(*) FROM itsm_replica.server") > 0);
    drop(theirs);
    two.admin.batch_execute(&format!("DROP OWNED BY {team} CASCADE; DROP ROLE {team}")).unwrap();
    two.end();
}

#[test]
fn rows_that_a_policy_would_hide_and_triggers_that_do_what_their_arguments_say_are_refused_by_name() {
    let sim = small();
    let mut two = two(Server::shared(), &sim);
    let low = two.low.clone();
    let identity = &sim.identities()[0];
    let secured = |table: &str| {
        format!(
            "ALTER TABLE {table} ENABLE ROW LEVEL SECURITY; ALTER TABLE {table} FORCE ROW LEVEL SECURITY;
             CREATE POLICY most ON {table} USING (id > 1)"
        )
    };
    two.admin
        .batch_execute(&format!(
            "GRANT SELECT ON itsm.server TO {low};
             CREATE USER MAPPING FOR {low} SERVER assets OPTIONS (email '{}', api_token '{}');
             SET ROLE {low}; {BEFOREHAND}; INSERT INTO itsm_replica.server VALUES (1, 'mine');
             {}; RESET ROLE",
            identity.name,
            identity.secret,
            secured("itsm_replica.server")
        ))
        .unwrap();
    let mut theirs = two.database.connect_as(&low);
    let holds = "row-level security holds for";
    // Before it is asked whether the table is empty, which the policy has an answer to.
    let (state, message) = error_of(&mut theirs, "SELECT assets_fdw.materialize('itsm.server')");
    assert!(state == "42501" && message.contains(holds) && message.contains("NO FORCE"), "{state} {message}");
    steps(
        &mut theirs,
        "DROP TABLE itsm_replica.server;
         SELECT assets_fdw.materialize('itsm.server', history => true);
         SELECT assets_fdw.refresh('itsm_replica.server')",
    );
    for table in ["itsm_replica.server", "itsm_replica.server_history"] {
        theirs.batch_execute(&secured(table)).unwrap();
        let (state, message) = error_of(&mut theirs, "SELECT assets_fdw.refresh('itsm_replica.server')");
        assert!(state == "42501" && message.contains(holds) && message.contains(table), "{state} {message}");
        // Policies are for readers.
        theirs.batch_execute(&format!("ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")).unwrap();
        theirs.batch_execute("SELECT assets_fdw.refresh('itsm_replica.server')").unwrap();
    }

    // A superuser's replica, and a trigger of somebody's who may make triggers.
    two.admin
        .batch_execute(&format!(
            "CREATE EXTENSION refint; CREATE EXTENSION lo; SELECT assets_fdw.materialize('itsm.employee');
             GRANT TRIGGER ON itsm_replica.employee TO {low}"
        ))
        .unwrap();
    two.admin.batch_execute("SELECT assets_fdw.refresh('itsm_replica.employee')").unwrap();
    for called in [
        format!(
            "check_foreign_key(1, 'cascade', 'id',
                 'pg_am WHERE false; ALTER ROLE {low} SUPERUSER; DELETE FROM pg_am', 'false AND oid')"
        ),
        "lo_manage('key')".to_owned(),
    ] {
        theirs
            .batch_execute(&format!(
                "CREATE TRIGGER t AFTER DELETE ON itsm_replica.employee FOR EACH ROW EXECUTE FUNCTION {called}"
            ))
            .unwrap();
        let key = text(&mut two.admin, "SELECT min(key) FROM itsm_replica.employee");
        sim.delete(&key).unwrap();
        let (state, message) = error_of(&mut two.admin, "SELECT assets_fdw.refresh('itsm_replica.employee')");
        let told = message.contains("does what its arguments say") && message.contains("trigger t");
        assert!(state == "42501" && told, "{state} {message}");
        two.admin.batch_execute("DROP TRIGGER t ON itsm_replica.employee").unwrap();
        two.admin.batch_execute("SELECT assets_fdw.refresh('itsm_replica.employee')").unwrap();
    }
    drop(theirs);
    two.admin.batch_execute("DROP EXTENSION refint; DROP EXTENSION lo").unwrap();
    two.end();
}

#[test]
fn whoever_may_not_have_a_database_sends_no_scheduler_away_and_what_is_read_only_is_not_written_to() {
    let (sim, server) = (small(), preloaded(&[]));
    let two = two(&server, &sim);
    let (name, low) = (two.database.name().to_owned(), two.low.clone());
    let mut admin = two.admin;
    loaded(&mut admin, "1 second");
    admin.batch_execute(&format!("ALTER ROLE {low} CREATEDB; CREATE ROLE owns LOGIN")).unwrap();
    let scheduler = "SELECT pid::bigint FROM pg_stat_activity
                     WHERE backend_type = 'assets_fdw scheduler' AND datname = current_database()";
    let before = number(&mut admin, scheduler);
    let mut theirs = server.connect("postgres", &low);
    for sql in [
        format!("CREATE DATABASE mine TEMPLATE {name}"),
        format!("DROP DATABASE {name}"),
        format!("ALTER DATABASE {name} RENAME TO mine"),
        format!("ALTER DATABASE {name} SET TABLESPACE pg_default"),
    ] {
        assert_eq!(error_of(&mut theirs, &sql).0, "42501", "{sql}");
    }
    // Its owner may copy and rename it only with the right to create databases.
    admin.batch_execute(&format!("ALTER DATABASE {name} OWNER TO owns")).unwrap();
    let mut owner = server.connect("postgres", "owns");
    for sql in
        [format!("CREATE DATABASE mine TEMPLATE {name}"), format!("ALTER DATABASE {name} RENAME TO mine")]
    {
        assert_eq!(error_of(&mut owner, &sql).0, "42501", "{sql}");
    }
    let mut outside = server.connect("postgres", "postgres");
    let block = format!("BEGIN; DROP DATABASE {name}");
    assert_eq!(error_of(&mut outside, &block).0, "25001");
    assert_eq!(number(&mut admin, scheduler), before);

    // A table that is given away is no longer written, whatever is due.
    admin.batch_execute(&format!("ALTER TABLE itsm_replica.server OWNER TO {low}")).unwrap();
    wait_for(
        &mut admin,
        "the replica stops",
        "SELECT state = 'failing' AND last_error LIKE '%belongs to role%' FROM assets_fdw.materializations",
    );
    admin.batch_execute("ALTER TABLE itsm_replica.server OWNER TO postgres").unwrap();
    wait_for(&mut admin, "it goes on", "SELECT failures = 0 FROM assets_fdw.materializations");

    admin.batch_execute(&format!("ALTER DATABASE {name} SET default_transaction_read_only = on")).unwrap();
    wait_until("the scheduler leaves", PATIENCE, || {
        server.log_text().contains("nothing is refreshed: default_transaction_read_only is on")
    });
    wait_for(&mut admin, "nothing runs", "SELECT count(*) = 0 FROM assets_fdw.refresh_progress");
    let runs = number(&mut admin, "SELECT max(id) FROM assets_fdw.refresh_history");
    let key = text(&mut admin, "SELECT min(key) FROM itsm_replica.server");
    sim.update(&key, "Operating System", &["Plan 9"]).unwrap();
    // By hand it is refreshed where the session says that it may write.
    let sql = "SELECT assets_fdw.refresh('itsm_replica.server')";
    assert_eq!(error_of(&mut two.database.connect(), sql).0, "25006");
    assert_eq!(number(&mut admin, "SELECT max(id) FROM assets_fdw.refresh_history"), runs);
    admin.batch_execute(sql).unwrap();
    assert_eq!(differences(&mut admin), 0);
    let runs = number(&mut admin, "SELECT max(id) FROM assets_fdw.refresh_history");
    admin.batch_execute(&format!("ALTER DATABASE {name} RESET default_transaction_read_only")).unwrap();
    wait_for(
        &mut admin,
        "it goes on",
        &format!("SELECT max(id) > {runs} FROM assets_fdw.refresh_history WHERE outcome = 'ok'"),
    );
    assert_eq!(server.crashes(), Vec::<String>::new());
}

#[test]
fn operators_see_every_replica_and_no_text_of_its_errors() {
    let (sim, database) = (small(), Server::shared().create_database());
    let mut admin = import(&database, &sim);
    let (watcher, nobody) = (format!("{}_watcher", database.name()), format!("{}_nobody", database.name()));
    admin
        .batch_execute(&format!(
            "CREATE ROLE {watcher} LOGIN; CREATE ROLE {nobody} LOGIN; GRANT pg_read_all_stats TO {watcher};
             SELECT assets_fdw.materialize_schema('itsm')"
        ))
        .unwrap_or_else(|error| panic!("{error:?}"));
    admin.batch_execute("SELECT assets_fdw.refresh('itsm_replica.server')").unwrap();
    admin.batch_execute("ALTER TABLE itsm_replica.server ADD CHECK (label <> label) NOT VALID").unwrap();
    sim.create("Server", "srv-secret", &[]).unwrap();
    let (state, _) = error_of(&mut admin, "SELECT assets_fdw.refresh('itsm_replica.server')");
    assert_eq!(state, "23514");
    let mut operator = database.connect_as(&watcher);
    let mut other = database.connect_as(&nobody);
    for view in ["materializations", "refresh_history", "materialized_schemas", "server_stats"] {
        let sql = format!("SELECT count(*) FROM assets_fdw.{view}");
        assert!(number(&mut admin, &sql) > 0, "{view}");
        assert_eq!(number(&mut operator, &sql), number(&mut admin, &sql), "{view}");
        assert_eq!(number(&mut other, &sql), 0, "{view}");
    }
    let told = "SELECT m.state || ' ' || m.last_error || ' ' || h.sqlstate || ' ' || h.error
                    || coalesce(h.detail, '') || coalesce(h.hint, '')
                FROM assets_fdw.materializations AS m JOIN assets_fdw.refresh_history AS h ON h.outcome = 'failed'
                WHERE m.state = 'failing' AND h.target = 'itsm_replica.server'";
    let hidden = "<insufficient privilege>";
    assert_eq!(text(&mut operator, told), format!("failing {hidden} 23514 {hidden}"));
    assert!(text(&mut admin, told).contains("violates check constraint"));
    // To see is not to command.
    let (_, message) = error_of(&mut operator, "SELECT * FROM assets_fdw.refresh_schema('itsm_replica')");
    assert!(message.contains("holds no replica of yours"), "{message}");
    drop((operator, other));
    admin
        .batch_execute(&format!("DROP OWNED BY {watcher}, {nobody}; DROP ROLE {watcher}, {nobody}"))
        .unwrap();
}

#[test]
fn a_refresh_called_by_a_refresh_is_an_error_and_a_request_is_none() {
    let (sim, database) = (small(), Server::shared().create_database());
    let mut client = import(&database, &sim);
    client
        .batch_execute(
            "SELECT assets_fdw.materialize('itsm.server'); SELECT assets_fdw.materialize('itsm.employee');
             CREATE FUNCTION public.again() RETURNS trigger LANGUAGE plpgsql AS
                 $$ BEGIN EXECUTE tg_argv[0]; RETURN NULL; END $$;
             SET statement_timeout = '30s'",
        )
        .unwrap();
    for (call, fails) in [
        ("SELECT assets_fdw.refresh(''itsm_replica.server'')", true),
        ("SELECT assets_fdw.refresh(''itsm_replica.employee'')", true),
        ("SELECT assets_fdw.request_refresh(''itsm_replica.server'')", false),
    ] {
        client
            .batch_execute(&format!(
                "CREATE TRIGGER again AFTER INSERT ON itsm_replica.server FOR EACH STATEMENT
                 EXECUTE FUNCTION public.again('{call}')"
            ))
            .unwrap();
        let sql = "SELECT assets_fdw.refresh('itsm_replica.server')";
        if fails {
            let (state, message) = error_of(&mut client, sql);
            assert!(state == "55000" && message.contains("request_refresh()"), "{call}: {state} {message}");
        } else {
            client.batch_execute(sql).unwrap_or_else(|error| panic!("{call}: {error:?}"));
        }
        client.batch_execute("DROP TRIGGER again ON itsm_replica.server").unwrap();
    }
}
