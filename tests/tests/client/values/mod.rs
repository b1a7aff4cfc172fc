//! Values of every shape that the service may give them, and columns of every type that people declare.

mod encodings;
mod refused;
mod shapes;

use assets_fdw_tests::assets_sim::{Options, Profile, Sim};
use postgres::Client;

use crate::live::Live;

/// A database with everything imported, and a session.
fn imported() -> (Live, Client) {
    let live = Live::imported(Profile::Documented, 300);
    let client = live.connect();
    (live, client)
}

fn started() -> (Live, Client) {
    let live = Live::start(Options { objects: 300, ..Options::default() });
    let client = live.connect();
    (live, client)
}

/// A hand-made table of an object type, called `own`.
fn own(client: &mut Client, sim: &Sim, object_type: &str, columns: &str) {
    let id = sim.type_id(object_type).expect("a type");
    let sql = format!(
        "DROP FOREIGN TABLE IF EXISTS own CASCADE;
         CREATE FOREIGN TABLE own (id bigint, key text, {columns}) SERVER assets OPTIONS (object_type_id '{id}')"
    );
    client.batch_execute(&sql).unwrap_or_else(|error| panic!("{columns}: {error:?}"));
}

/// The first column of every row, as text.
#[track_caller]
fn texts(client: &mut Client, sql: &str) -> Vec<Option<String>> {
    let rows = client.query(sql, &[]).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    rows.iter().map(|row| row.get(0)).collect()
}
