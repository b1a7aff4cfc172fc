//! Every kind of credential, tokens that end, and secrets that stay where they are.

use std::time::{Duration, Instant};

use assets_fdw_tests::Server;
use assets_fdw_tests::assets_sim::{Credential, Endpoint, Fault, FaultKind, Profile};

use super::{assert_no_secret, start};
use crate::live::{Live, PROFILES, Refusal, one, refused};

/// A user mapping of the superuser for one of the simulator's identities.
fn become_identity(live: &Live, index: usize) {
    let identity = &live.sim.identities()[index];
    let options = match identity.credential {
        Credential::Classic | Credential::Scoped => {
            format!("email '{}', api_token '{}'", identity.name, identity.secret)
        }
        Credential::ServiceToken => format!("access_token '{}'", identity.secret),
        Credential::Client => format!("client_id '{}', client_secret '{}'", identity.name, identity.secret),
    };
    live.connect()
        .batch_execute(&format!(
            "DROP USER MAPPING FOR postgres SERVER assets;
             CREATE USER MAPPING FOR postgres SERVER assets OPTIONS ({options})"
        ))
        .unwrap();
}

#[test]
fn every_kind_of_credential_finds_its_own_way() {
    for profile in PROFILES {
        let live = Live::imported(profile, 600);
        let servers = live.sim.count(live.sim.type_id("Server").unwrap()) as i64;
        for index in [0, 2, 3, 4] {
            become_identity(&live, index);
            let mut client = live.connect();
            let what = live.sim.identities()[index].credential;
            let found = client.query_one("SELECT count(name) FROM itsm.server", &[]);
            assert_eq!(
                found.map(|row| row.get(0)).map_err(|e| Refusal::of(&e)),
                Ok(servers),
                "{profile:?} {what:?}"
            );
        }
    }
}

#[test]
fn a_token_that_expires_in_the_middle_is_renewed() {
    for profile in PROFILES {
        let live = Live::imported(profile, 3000);
        become_identity(&live, 4);
        let servers = live.sim.count(live.sim.type_id("Server").unwrap()) as i64;
        let mut client = live.connect();
        let count = "SELECT count(name) FROM itsm.server";
        assert_eq!(one::<i64>(&mut client, count), servers);
        live.sim.expire_tokens();
        assert_eq!(one::<i64>(&mut client, count), servers, "{profile:?} between two scans");
        live.sim.fault(Fault::new(FaultKind::ExpireTokens).on(Endpoint::ObjectAql).after(2).times(1));
        assert_eq!(one::<i64>(&mut client, count), servers, "{profile:?} within a scan");
        live.sim.clear_faults();
        // Lives that end again and again, at any moment of a scan.
        live.sim.switches(|s| s.token_lifetime_ms = 1000);
        live.sim.expire_tokens();
        let started = Instant::now();
        while started.elapsed() < Duration::from_millis(1500) {
            assert_eq!(one::<i64>(&mut client, count), servers, "{profile:?} with short lives");
        }
    }
}

#[test]
fn what_the_service_says_of_a_refusal_reaches_the_user_with_what_to_do() {
    let live = Live::imported(Profile::Documented, 300);
    // A credential for the cloud gateway whose token lacks a scope.
    become_identity(&live, 2);
    live.sim.switches(|s| {
        s.scopes = Some(vec!["read:cmdb-object:jira".into(), "read:servicedesk-request".into()]);
    });
    let refusal = refused(&mut live.connect(), "SELECT name FROM itsm.server");
    assert_eq!(refusal.code, "28000", "{refusal:?}");
    assert!(refusal.text().contains("scope"), "{refusal:?}");
    assert_no_secret(&refusal.text());
    become_identity(&live, 0);
    live.sim.switches(|s| s.no_assets = true);
    let refusal = refused(&mut live.connect(), "SELECT name FROM itsm.server");
    assert_eq!(refusal.code, "HV00N", "{refusal:?}");
    assert!(refusal.hint.contains("Premium"), "{refusal:?}");
}

#[test]
fn no_secret_reaches_the_servers_log() {
    let (live, _) = start(Profile::Documented, "5s", "100ms");
    for kind in [FaultKind::Unauthorized, FaultKind::InvalidJson, FaultKind::ResetBefore] {
        for index in [0, 3, 4] {
            become_identity(&live, index);
            live.sim.fault(Fault::new(kind.clone()));
            let mut client = live.connect();
            client.batch_execute("SET client_min_messages = debug5; SET log_min_messages = debug1").unwrap();
            let refusal = refused(&mut client, "SELECT name FROM itsm.server");
            assert_no_secret(&refusal.text());
            live.sim.clear_faults();
        }
    }
    let log = Server::shared().log_text();
    let name = live.database.name();
    let ours = log.lines().filter(|line| line.contains(&format!("@{name} ")));
    assert!(ours.clone().count() > 5);
    ours.for_each(assert_no_secret);
}
