//! How the service can be asked for changes: found out after a full comparison with an object whose
//! last change is known, because what is undocumented (assets-api.md 10.6, 13) must not decide whether
//! a change is seen. Two requests where the documented way works.

use std::sync::Arc;

use assets::client::Client;
use assets::error::{Error, Kind};
use delta::since::{Manner, Micros, Witness, proof};

/// Which way of asking for what changed in an object schema finds the witness, and only when it should.
/// `Err` says why there is none. `stamps` tells whether literals are proven to compare to the
/// millisecond (`assets_fdw.service_facts`). Fails only where the service does.
pub async fn manner(
    client: Arc<Client>,
    schema: i64,
    witness: Witness,
    stamps: bool,
    here: Micros,
) -> Result<Result<Manner, String>, Error> {
    match find(client, schema, witness, stamps, here).await {
        Err(error) if error.kind().refuses_counts() => Ok(Err(error.message().to_owned())),
        found => found,
    }
}

async fn find(
    client: Arc<Client>,
    schema: i64,
    witness: Witness,
    stamps: bool,
    here: Micros,
) -> Result<Result<Manner, String>, Error> {
    let now = client.service_time().unwrap_or(here);
    let one = format!("objectSchemaId = {schema} AND objectId >= {0} AND objectId <= {0}", witness.id);
    for manner in Manner::ALL {
        if manner == Manner::Literal && !stamps {
            continue;
        }
        let (inside, outside) = proof(manner, witness.updated, now);
        if counted(&client, &format!("{one} AND {inside}")).await? != Some(1) {
            continue;
        }
        match outside {
            Some(outside) if counted(&client, &format!("{one} AND {outside}")).await? != Some(0) => {}
            _ => return Ok(Ok(manner)),
        }
    }
    let ranges = counted(&client, &one).await? == Some(1);
    Ok(Err(if ranges {
        "the service does not say by AQL which objects were updated since a moment".to_owned()
    } else {
        "the service does not find an object by a range of ids".to_owned()
    }))
}

/// None where the service refuses the text.
async fn counted(client: &Client, aql: &str) -> Result<Option<u64>, Error> {
    match client.total_count(aql).await {
        Ok(count) => Ok(Some(count)),
        Err(error) if error.kind() == Kind::AqlRejected => Ok(None),
        Err(error) => Err(error),
    }
}
