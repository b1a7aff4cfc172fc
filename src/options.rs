//! Options of the wrapper's objects: which are valid where, and the check of each value when it
//! is set (interface.md 1). Values that are secrets never appear in a message.
#![allow(unsafe_code)] // role checks, and interval's input function

use std::time::Duration;

use assets::option::{boolean, bytes, is_plain_id, origin};
use pgrx::prelude::*;
use pgrx::{FromDatum, pg_sys};
use zeroize::Zeroizing;

use crate::{error, installed, origins};

/// Where an option is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Wrapper,
    Server,
    Mapping,
    Table,
    Column,
}

impl Place {
    fn of(catalog: pg_sys::Oid) -> Self {
        match catalog {
            pg_sys::ForeignServerRelationId => Place::Server,
            pg_sys::UserMappingRelationId => Place::Mapping,
            pg_sys::ForeignTableRelationId => Place::Table,
            pg_sys::AttributeRelationId => Place::Column,
            _ => Place::Wrapper,
        }
    }

    fn noun(self) -> &'static str {
        match self {
            Place::Wrapper => "a foreign-data wrapper",
            Place::Server => "a server",
            Place::Mapping => "a user mapping",
            Place::Table => "a foreign table",
            Place::Column => "a column",
        }
    }
}

/// What a value must look like.
#[derive(Debug, Clone, Copy)]
enum Form {
    Text,
    /// A condition in AQL, which goes into parentheses.
    Condition,
    Secret,
    /// `https://host[:port]`, `http://` only to a loopback address.
    Origin,
    /// An absolute path on the server; needs the right to read server files.
    File,
    Whole(i64, i64),
    Id,
    /// An id that goes into paths.
    PlainId,
    /// What goes before the colon of a Basic credential.
    Email,
    Interval,
    Bytes,
    Bool,
    OneOf(&'static [&'static str]),
}

struct Def {
    name: &'static str,
    place: Place,
    form: Form,
}

const fn def(name: &'static str, place: Place, form: Form) -> Def {
    Def { name, place, form }
}

/// Parts a column can show, in the words of the option `part`.
pub const PARTS: &[&str] = &["label", "key", "id", "name", "account_id", "email", "category"];
/// Fixed columns, in the words of the option `field`.
pub const FIELDS: &[&str] = &["id", "key", "label", "object_type", "created", "updated", "url", "attributes"];

const DEFS: &[Def] = &[
    def("site", Place::Server, Form::Origin),
    def("workspace_id", Place::Server, Form::PlainId),
    def("cloud_id", Place::Server, Form::PlainId),
    def("api_url", Place::Server, Form::Origin),
    def("auth_url", Place::Server, Form::Origin),
    def("ca_file", Place::Server, Form::File),
    def("deployment", Place::Server, Form::OneOf(&["cloud", "datacenter"])),
    def("page_size", Place::Server, Form::Whole(1, 999)),
    def("max_in_flight", Place::Server, Form::Whole(1, 64)),
    def("requests_per_minute", Place::Server, Form::Whole(0, 1_000_000)),
    def("connect_timeout", Place::Server, Form::Interval),
    def("request_timeout", Place::Server, Form::Interval),
    def("retry_timeout", Place::Server, Form::Interval),
    def("max_response_bytes", Place::Server, Form::Bytes),
    def("updatable", Place::Server, Form::Bool),
    def("use_remote_estimate", Place::Server, Form::Bool),
    def("email", Place::Mapping, Form::Email),
    def("api_token", Place::Mapping, Form::Secret),
    def("client_id", Place::Mapping, Form::Text),
    def("client_secret", Place::Mapping, Form::Secret),
    def("access_token", Place::Mapping, Form::Secret),
    def("api_token_file", Place::Mapping, Form::File),
    def("client_secret_file", Place::Mapping, Form::File),
    def("access_token_file", Place::Mapping, Form::File),
    def("object_schema", Place::Table, Form::Text),
    def("object_schema_id", Place::Table, Form::Id),
    def("object_type", Place::Table, Form::Text),
    def("object_type_id", Place::Table, Form::Id),
    def("children", Place::Table, Form::OneOf(&["include", "exclude"])),
    def("aql", Place::Table, Form::Condition),
    def("updatable", Place::Table, Form::Bool),
    def("kind", Place::Table, Form::OneOf(&["objects"])),
    def("attribute", Place::Column, Form::Text),
    def("attribute_id", Place::Column, Form::Id),
    def("aql_name", Place::Column, Form::Text),
    def("field", Place::Column, Form::OneOf(FIELDS)),
    def("part", Place::Column, Form::OneOf(PARTS)),
    def("on_invalid", Place::Column, Form::OneOf(&["error", "null"])),
];

/// A list of options as the catalogues hold it. A user mapping's hold a secret: what is in here is
/// zeroed on drop, and `Debug` shows names only.
#[derive(Default, Clone)]
pub struct Options(Vec<(String, Zeroizing<String>)>);

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

impl FromIterator<(String, Zeroizing<String>)> for Options {
    fn from_iter<I: IntoIterator<Item = (String, Zeroizing<String>)>>(list: I) -> Self {
        Self(list.into_iter().collect())
    }
}

impl Options {
    /// Name and value of each.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The value of an option.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(n, _)| *n == name).map(|(_, v)| v)
    }

    /// A whole number, or the default; the validator saw to its form.
    pub fn whole(&self, name: &str, default: i64) -> i64 {
        self.get(name).and_then(|v| v.trim().parse().ok()).unwrap_or(default)
    }

    /// An id.
    pub fn id(&self, name: &str) -> Option<i64> {
        self.get(name).and_then(|v| v.trim().parse().ok())
    }

    /// A boolean, or the default.
    pub fn flag(&self, name: &str, default: bool) -> bool {
        self.get(name).and_then(boolean).unwrap_or(default)
    }

    /// An interval, or the default.
    pub fn interval(&self, name: &str, default: Duration) -> Duration {
        self.get(name).and_then(interval).unwrap_or(default)
    }

    /// A number of bytes, or the default.
    pub fn bytes(&self, name: &str, default: u64) -> u64 {
        self.get(name).and_then(bytes).unwrap_or(default)
    }
}

/// The validator function of the wrapper: raises an error over the first option that is not valid.
#[pg_extern(sql = false)]
fn assets_fdw_validator(options: Vec<Option<String>>, catalog: pg_sys::Oid) {
    installed::require_utf8();
    let place = Place::of(catalog);
    let options: Options = options
        .into_iter()
        .flatten()
        .map(Zeroizing::new)
        .filter_map(|o| o.split_once('=').map(|(n, v)| (n.to_owned(), Zeroizing::new(v.to_owned()))))
        .collect();
    for (name, value) in options.iter() {
        check_one(place, name, value);
    }
    match place {
        Place::Mapping => check_mapping(&options),
        Place::Server => check_server(&options),
        Place::Column => check_column(&options),
        _ => {}
    }
}

fn check_one(place: Place, name: &str, value: &str) {
    let Some(def) = DEFS.iter().find(|d| d.place == place && d.name == name) else {
        let valid: Vec<&str> = DEFS.iter().filter(|d| d.place == place).map(|d| d.name).collect();
        let hint = match DEFS.iter().find(|d| d.name == name) {
            Some(elsewhere) => format!("\"{name}\" is an option of {}.", elsewhere.place.noun()),
            None if valid.is_empty() => "There are no valid options here.".to_owned(),
            None => format!("Valid options here are: {}.", valid.join(", ")),
        };
        error::raise_hint(
            PgSqlErrorCode::ERRCODE_FDW_INVALID_OPTION_NAME,
            format!("invalid option \"{name}\" for {}", place.noun()),
            hint,
        );
    };
    if let Err(expected) = check_form(def.form, value) {
        // Nothing that was meant for a mapping: a secret may have been written beside its place.
        let shown = match place {
            Place::Mapping => String::new(),
            _ => format!(": \"{}\"", cut(value)),
        };
        error::raise_hint(
            PgSqlErrorCode::ERRCODE_FDW_INVALID_OPTION_NAME,
            format!("invalid value for option \"{name}\"{shown}"),
            format!("It must be {expected}."),
        );
    }
    if matches!(def.form, Form::Origin) {
        origins::check_when_set(value);
    }
    if matches!(def.form, Form::File) && !may_read_server_files() {
        error::raise_hint(
            PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            format!("permission denied to set option \"{name}\""),
            "Only superusers and members of pg_read_server_files may name files of the server.",
        );
    }
}

/// What a condition of the user's own must be.
pub const OWN_CONDITION: &str = "it goes into parentheses beside others, so that quotes and parentheses must have their \
                                 ends, names and values with signs in them stand in double quotes, and there is no order";

/// The beginning of a value, for a message.
fn cut(value: &str) -> String {
    let mut shown: String = value.chars().take(200).collect();
    if shown.len() < value.len() {
        shown.push('…');
    }
    shown
}

fn may_read_server_files() -> bool {
    // SAFETY: catalogue look-ups inside a transaction.
    unsafe {
        pg_sys::superuser()
            || pg_sys::has_privs_of_role(
                pg_sys::GetUserId(),
                pg_sys::Oid::from(pg_sys::ROLE_PG_READ_SERVER_FILES),
            )
    }
}

fn check_form(form: Form, value: &str) -> Result<(), String> {
    if value.contains('\0') || (value.is_empty() && !matches!(form, Form::Bool)) {
        return Err("a text that is not empty".into());
    }
    let ok = match form {
        Form::Text | Form::Secret => true,
        Form::Origin => return origin(value).map(|_| ()),
        Form::Condition => {
            return aql::own::condition(value)
                .map_err(|why| format!("one condition of AQL, whole by itself, and {why}; {OWN_CONDITION}"));
        }
        Form::File => value.starts_with('/'),
        Form::Whole(least, most) => {
            return match value.trim().parse::<i64>() {
                Ok(n) if (least..=most).contains(&n) => Ok(()),
                _ => Err(format!("a whole number from {least} to {most}")),
            };
        }
        Form::Id => value.trim().parse::<i64>().is_ok_and(|n| n > 0),
        Form::PlainId => is_plain_id(value),
        Form::Email => !value.contains(|c: char| c == ':' || c.is_control()),
        Form::Interval => interval(value).is_some_and(|d| !d.is_zero()),
        Form::Bytes => bytes(value).is_some_and(|n| n >= 1024),
        Form::Bool => boolean(value).is_some(),
        Form::OneOf(words) => words.contains(&value),
    };
    if ok {
        return Ok(());
    }
    Err(match form {
        Form::File => "an absolute path".into(),
        Form::Id => "a positive whole number".into(),
        Form::PlainId => "an id of letters, digits and dashes".into(),
        Form::Email => "an e-mail address, without colons and control characters".into(),
        Form::Interval => "a positive interval without months or years, such as 10s or 2min".into(),
        Form::Bytes => "a size of at least 1kB, such as 64MB".into(),
        Form::Bool => "a boolean".into(),
        Form::OneOf(words) => format!("one of: {}", words.join(", ")),
        _ => "something else".into(),
    })
}

/// A user mapping names exactly one way in, whole.
fn check_mapping(options: &Options) {
    let has = |name: &str| options.get(name).is_some();
    let either = |a: &str, b: &str| {
        if has(a) && has(b) {
            error::raise(
                PgSqlErrorCode::ERRCODE_FDW_INVALID_OPTION_NAME,
                format!("options \"{a}\" and \"{b}\" exclude each other"),
            );
        }
        has(a) || has(b)
    };
    let basic = either("api_token", "api_token_file");
    let oauth = either("client_secret", "client_secret_file");
    let bearer = either("access_token", "access_token_file");
    let ways = [basic, oauth, bearer].iter().filter(|way| **way).count();
    if ways == 1 && basic == has("email") && oauth == has("client_id") {
        return;
    }
    error::raise_hint(
        PgSqlErrorCode::ERRCODE_FDW_INVALID_OPTION_NAME,
        "a user mapping of assets_fdw needs one whole credential",
        "Give email and api_token, or client_id and client_secret, or access_token; each secret may come \
         from a file of the server instead, such as api_token_file.",
    );
}

fn check_server(options: &Options) {
    let whereabouts = options.get("site").is_some() || options.get("workspace_id").is_some();
    if !whereabouts {
        error::raise_hint(
            PgSqlErrorCode::ERRCODE_FDW_OPTION_NAME_NOT_FOUND,
            "a server of assets_fdw needs the option \"site\"",
            "Write OPTIONS (site 'https://acme.atlassian.net'), with your own site.",
        );
    }
}

fn check_column(options: &Options) {
    let attribute = options.get("attribute").is_some() || options.get("attribute_id").is_some();
    if attribute && options.get("field").is_some() {
        error::raise(
            PgSqlErrorCode::ERRCODE_FDW_INVALID_OPTION_NAME,
            "a column shows a field or an attribute, not both",
        );
    }
}

/// Whether an option of a user mapping is a secret, or the file that one is read from.
pub fn is_secret(name: &str) -> bool {
    DEFS.iter()
        .any(|d| d.place == Place::Mapping && d.name == name && matches!(d.form, Form::Secret | Form::File))
}

/// An interval as PostgreSQL reads it. None for what is no interval, negative, or longer than
/// days can say.
fn interval(value: &str) -> Option<Duration> {
    let text = std::ffi::CString::new(value).ok()?;
    let read = PgTryBuilder::new(|| {
        let mut input = pg_sys::InvalidOid;
        let mut param = pg_sys::InvalidOid;
        // SAFETY: interval's input function takes a C string, its type parameter and a typmod; the
        // text outlives the call and the result lives in the current memory context.
        unsafe {
            pg_sys::getTypeInputInfo(pg_sys::INTERVALOID, &mut input, &mut param);
            let datum = pg_sys::OidInputFunctionCall(input, text.as_ptr().cast_mut(), param, -1);
            pgrx::datum::Interval::from_datum(datum, false)
        }
    })
    .catch_when(PgSqlErrorCode::ERRCODE_INVALID_DATETIME_FORMAT, |_| None)
    .catch_when(PgSqlErrorCode::ERRCODE_DATETIME_FIELD_OVERFLOW, |_| None)
    .catch_when(PgSqlErrorCode::ERRCODE_INTERVAL_FIELD_OVERFLOW, |_| None)
    .execute()?;
    if read.months() != 0 {
        return None;
    }
    let micros = i64::from(read.days()).checked_mul(86_400_000_000)?.checked_add(read.micros())?;
    u64::try_from(micros).ok().map(Duration::from_micros)
}
