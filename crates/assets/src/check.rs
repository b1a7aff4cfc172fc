//! Every step of the way to the service, with what to change where one fails.

/// How a step went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// As it should be.
    Ok,
    /// Works, with something to know.
    Warn,
    /// Does not work.
    Fail,
    /// Not tried, because an earlier step failed or it does not apply.
    Skip,
}

impl Status {
    /// `ok`, `warn`, `fail`, `skip`.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Ok => "ok",
            Status::Warn => "warn",
            Status::Fail => "fail",
            Status::Skip => "skip",
        }
    }
}

/// One step of [`crate::client::Client::check`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckStep {
    /// Its name.
    pub step: String,
    /// How it went.
    pub status: Status,
    /// What was found.
    pub detail: String,
    /// What to change, where it is not ok.
    pub hint: Option<String>,
}

pub(crate) async fn run(_client: &crate::client::Client) -> Vec<CheckStep> {
    Vec::new()
}
