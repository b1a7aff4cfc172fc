//! The SQL files of `tests/pg_regress`, one test each, so that they can be run alone and side by side.

use assets_fdw_tests::assets_sim::{Options, Sim};
use assets_fdw_tests::{Server, golden};

macro_rules! golden_tests {
    ($($name:ident),+ $(,)?) => {
        const TESTED: &[&str] = &[$(stringify!($name)),+];
        $(
            #[test]
            fn $name() {
                check(stringify!($name));
            }
        )+
    };
}

golden_tests!(connect, errors, extension, import, pushed);

fn check(name: &str) {
    let database = Server::shared().create_empty_database();
    let sim = Sim::start(Options { objects: 200, ..Options::default() }).unwrap();
    let identity = &sim.identities()[0];
    let variables = [("sim_url", &*sim.url()), ("sim_email", identity.name), ("sim_token", identity.secret)];
    golden::check(name, &database, &variables);
}

#[test]
fn every_sql_file_is_a_test() {
    let mut tested = TESTED.to_vec();
    tested.sort();
    assert_eq!(golden::names(), tested);
}
