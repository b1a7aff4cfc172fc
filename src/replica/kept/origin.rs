//! Where a replica's rows come from: a workspace of Assets, read by an account. Another workspace, be it that
//! the site was copied or restored or that the server leads elsewhere, has other objects under the same ids
//! and keys; another account may see fewer. Neither is to be taken for objects that were deleted.

use std::sync::Arc;

use assets::client::Client;
use pgrx::prelude::*;

use super::jobs::Job;
use super::standing::{Origin, Standing};
use crate::session::Connection;
use crate::{error, runtime};

/// How somebody says that it is meant.
const ON_PURPOSE: &str = "SET assets_fdw.max_delete_share = 1, then call assets_fdw.refresh()";

/// Where a full comparison is about to read from. An ERROR where that is another workspace than before,
/// unless somebody wants it so.
pub fn find(job: &Job, standing: &Standing, connection: &Connection, on_purpose: bool) -> Origin {
    let workspace = workspace(&connection.client);
    if !on_purpose {
        expect(job, standing, &workspace);
    }
    Origin { workspace: Some(workspace.to_string()), account: connection.account.clone() }
}

/// An ERROR where a client reads from another workspace than the replica was read from.
pub fn check(job: &Job, standing: &Standing, client: &Arc<Client>) {
    expect(job, standing, &workspace(client));
}

fn workspace(client: &Arc<Client>) -> Arc<str> {
    let client = client.clone();
    error::or_raise(runtime::wait(async move { client.workspace().await }))
}

fn expect(job: &Job, standing: &Standing, workspace: &str) {
    let Some(known) = standing.origin.workspace.as_deref().filter(|known| *known != workspace) else {
        return;
    };
    error::raise_hint(
        PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!(
            "{} was read from workspace {known} of Assets, and its server leads to workspace {workspace} now",
            job.name
        ),
        format!(
            "A site that was copied or restored has a workspace of its own, with other objects under the same ids \
             and keys. Correct the server's options site and workspace_id; or, if the replica is to follow the \
             other workspace from now on: {ON_PURPOSE}."
        ),
    );
}

/// Whether a replica is read by another account than before, where credentials say whose they are.
pub fn is_another_account(standing: &Standing, now: &Origin) -> bool {
    matches!((&standing.origin.account, &now.account), (Some(before), Some(now)) if before != now)
}

/// What is said where another account does not see all that is held.
pub fn sees_less(name: &str, gone: i64, rows: i64) -> ! {
    error::raise_hint(
        PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!(
            "the refresh of {name} would delete {gone} of {rows} rows: the user mapping names another account than \
             before, which does not see these objects"
        ),
        format!(
            "Give the account the rights that it lacks in Assets. If the objects are gone, or the replica is to show \
             what this account sees: {ON_PURPOSE}."
        ),
    )
}
