//! What a client has found out, as text: for a process that begins where another one ended, so that a
//! quiet refresh costs no request for what has not changed.

use serde::{Deserialize, Serialize};

use crate::client::Client;
use crate::metadata::Kernel;
use crate::session::Whereabouts;

/// Another form than this is not read.
const FORM: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Memory {
    form: u32,
    whereabouts: Whereabouts,
    metadata: Kernel,
}

impl Client {
    /// The workspace, the cloud id, and every schema, type and attribute it has asked for: no secret, no
    /// object.
    pub fn memory(&self) -> String {
        let whereabouts = self.session.whereabouts();
        let memory = Memory { form: FORM, whereabouts, metadata: self.metadata().kernel() };
        serde_json::to_string(&memory).unwrap_or_default()
    }

    /// Takes over what [`Client::memory`] wrote, as if it had just been asked for. False where the text is
    /// something else; nothing is taken over then.
    pub fn remember(&self, memory: &str) -> bool {
        let Ok(memory) = serde_json::from_str::<Memory>(memory) else { return false };
        if memory.form != FORM {
            return false;
        }
        self.session.is_at(memory.whereabouts);
        self.metadata().take_over(memory.metadata);
        true
    }

    /// The service's clock when it last answered, in microseconds since 1970; none where it has not
    /// said. To the second, as the `Date` of an answer is.
    pub fn service_time(&self) -> Option<i64> {
        self.session.service_time()
    }
}
