//! Creating and dropping the extension.

use assets_fdw_tests::Server;

#[test]
fn the_installed_extension_has_the_version_of_the_crates() {
    let database = Server::shared().create_database();
    let row = database
        .connect()
        .query_one("SELECT extversion, extnamespace::regnamespace::text FROM pg_extension WHERE extname = 'assets_fdw'", &[])
        .unwrap();
    assert_eq!(row.get::<_, &str>(0), env!("CARGO_PKG_VERSION"));
    assert_eq!(row.get::<_, &str>(1), "assets_fdw");
}

#[test]
fn the_library_loads() {
    Server::shared().connect("postgres", "postgres").batch_execute("LOAD 'assets_fdw'").unwrap();
}

#[test]
fn the_library_can_be_preloaded() {
    let server = Server::start(&[("shared_preload_libraries", "assets_fdw")]);
    server.create_database();
    assert_eq!(server.crashes(), Vec::<String>::new());
}

#[test]
fn dropping_the_extension_leaves_nothing_but_its_schema_behind() {
    let database = Server::shared().create_database();
    let mut client = database.connect();
    // The schema came with CREATE EXTENSION, which made it, but PostgreSQL does not make it a member.
    client
        .batch_execute("DROP EXTENSION assets_fdw; DROP SCHEMA assets_fdw; CREATE EXTENSION assets_fdw")
        .unwrap();
}

#[test]
fn only_a_superuser_may_create_the_extension() {
    let database = Server::shared().create_empty_database();
    let role = format!("{}_role", database.name());
    let sql = format!("CREATE ROLE {role} LOGIN; GRANT CREATE ON DATABASE {} TO {role}", database.name());
    database.connect().batch_execute(&sql).unwrap();
    let error = database.connect_as(&role).batch_execute("CREATE EXTENSION assets_fdw").unwrap_err();
    assert_eq!(error.code().unwrap().code(), "42501", "{error:?}");
}
