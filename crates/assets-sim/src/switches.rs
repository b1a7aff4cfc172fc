//! How the service behaves where its documentation is silent: every `[?]` of assets-api.md as a switch.
//!
//! The profiles are bundles of defaults. Every switch can be changed while the simulator runs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::profiles;

/// A bundle of defaults for [`Switches`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// Sections 2, 4 and 13 of assets-api.md as written.
    #[default]
    Documented,
    /// The friendliest service that is plausible.
    Lenient,
    /// The nastiest one that is plausible and still agrees with itself, so that complete answers are possible.
    Hostile,
}

impl std::str::FromStr for Profile {
    type Err = String;
    fn from_str(text: &str) -> Result<Profile, String> {
        match text {
            "documented" => Ok(Profile::Documented),
            "lenient" => Ok(Profile::Lenient),
            "hostile" => Ok(Profile::Hostile),
            _ => Err(format!("{text:?} is not a profile: documented, lenient or hostile")),
        }
    }
}

/// How a flag such as `isLast` is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Flag {
    /// A JSON boolean.
    Bool,
    /// The string `"true"` or `"false"`.
    String,
    /// Not at all.
    Absent,
}

/// What `total` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Total {
    /// The truth.
    Exact,
    /// At most 1000.
    Capped,
    /// Not at all.
    Absent,
    /// The number of objects on this page plus `startAt`: always too small before the end.
    Lying,
}

/// What `maxResults` of the answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Echo {
    /// What was asked for.
    Request,
    /// What the service made of it.
    Clamped,
}

/// Which values of a multi-valued attribute a negated comparison looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quantifier {
    /// One value that differs is enough.
    Any,
    /// All values have to differ.
    All,
}

/// What the service does with an ORDER BY.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderBy {
    /// Does as told; ties by id.
    Honoured,
    /// Any order, the same each time.
    Ignored,
    /// Any order, another one each time.
    Unstable,
    /// Answers 400.
    Rejected,
}

/// How keys sort.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyOrder {
    /// ITSM-9 before ITSM-10.
    Numeric,
    /// ITSM-10 before ITSM-9.
    Textual,
}

/// How fine date-time comparisons are: both sides are cut to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// As stored.
    Milliseconds,
    /// Whole seconds.
    Seconds,
    /// Whole minutes.
    Minutes,
    /// Whole days of the literals' zone.
    Days,
}

/// What an unknown name in a value gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unknown {
    /// HTTP 400.
    Error,
    /// Nothing is found.
    Nothing,
}

/// What `LIKE` makes of its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Like {
    /// Contains, to the letter.
    Literal,
    /// Contains, with `%` for anything and `_` for one character.
    Sql,
    /// Contains, with `*` for anything and `?` for one character.
    Star,
}

/// Which letters AQL takes for the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fold {
    /// Both sides in lower case, as a text: İ is i with a dot above, a sigma at the end of a word is ς, ß is ß.
    Lower,
    /// Full case folding: ß is ss, ﬁ is fi, ς is σ, ſ is s.
    Full,
    /// Letter by letter, without changing their number: ς is σ, ſ is s, İ and ı are i, ß is ß.
    Simple,
    /// A to Z only.
    Ascii,
    /// As `Lower` in Turkish: I is ı, İ is i.
    Turkish,
}

/// What is shown of a reference whose object the identity may not read, or which is gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unreadable {
    /// Nothing: the value is not there, for AQL neither.
    #[default]
    Omitted,
    /// A value without its object, label and key. It is not EMPTY.
    Bare,
    /// The object with label and key, as for anybody else. What is gone is `Bare` then.
    Shown,
}

/// What is listed for an attribute without a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Empty {
    /// Nothing.
    Omitted,
    /// The attribute with an empty list of values.
    List,
}

/// How ids are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ids {
    /// JSON strings.
    Strings,
    /// JSON numbers.
    Numbers,
}

/// `objectTypeAttributes` of a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Definitions {
    /// The key is missing.
    Absent,
    /// An empty list.
    Empty,
    /// Of all attributes of the types of the page's objects.
    Full,
    /// Of those that an object of the page has a value of.
    Used,
}

/// How values of Date attributes are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DateForm {
    /// `2021-02-16`.
    Day,
    /// `2021-02-16T00:00:00.000Z`.
    Instant,
}

/// The typed sub-objects of values: `referencedObject`, `user`, `group`, `status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SubObjects {
    /// There.
    Given,
    /// Missing; `displayValue` and `searchValue` stay.
    Absent,
    /// Missing, and `value` holds the id (of an object the id, of a user the account id, of a group and a status too).
    Ids,
    /// `null`.
    Null,
}

/// How `created` and `updated` are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stamps {
    /// As text.
    Text,
    /// As milliseconds since 1970, a JSON number.
    Millis,
    /// The same as a JSON string.
    MillisText,
}

/// What a 429 carries as its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitBody {
    /// The text of assets-api.md section 1.5 as `errorMessages`.
    Json,
    /// A page of HTML.
    Html,
    /// Nothing.
    Empty,
}

/// What a dot inside a quoted name means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QuotedDot {
    /// A part of the name.
    Name,
    /// A part of the name if such an attribute exists, else a step over a reference.
    Either,
    /// Always a step over a reference, so that attributes with a dot in the name cannot be queried.
    Step,
}

/// The switches. Defaults are those of the profile; the three values in brackets are documented, lenient, hostile.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Switches {
    /// Time before each answer, in ms (0, 0, 0; `--latency` sets it).
    pub latency_ms: u64,
    /// Time that each object of a page that is asked for takes besides, in microseconds (0, 0, 0).
    pub object_us: u64,
    /// So many searches are borne at once; one more is answered with 429 at once, without `Retry-After`. 0 for any
    /// number (0, 0, 0).
    pub bears_in_flight: u32,
    /// The largest page (`--page-cap` sets it; 0: no cap).
    pub page_cap: u32,
    /// How `isLast` is served (bool, bool, string).
    pub is_last: Flag,
    /// `isLast` is true on every full page, whatever follows (false, false, false).
    pub is_last_lies_on_full_pages: bool,
    /// `isLast` is always true when so many results or more are asked for: JSDCLOUD-16556 (none, none, 1000).
    pub is_last_lies_from: Option<u32>,
    /// How `last` is served (bool, bool, absent).
    pub last: Flag,
    /// How `hasMoreResults` is served (bool, bool, absent).
    pub has_more_results: Flag,
    /// What `total` says (capped, exact, absent).
    pub total: Total,
    /// What `maxResults` echoes (clamped, clamped, request).
    pub echo: Echo,
    /// Some pages before the end hold fewer objects than they could (false, false, true).
    pub underfilled_pages: bool,
    /// Values of `objectTypeAttributes` without attributes (empty, full, absent).
    pub definitions_without_attributes: Definitions,
    /// Values of `objectTypeAttributes` with attributes (full in all).
    pub definitions_with_attributes: Definitions,
    /// Seconds a client may have to wait are told on a 429 in `Retry-After` (true, true, false).
    pub retry_after: bool,
    /// `X-RateLimit-*` headers on every answer of a limited endpoint (false, true, false).
    pub rate_headers: bool,
    /// What a 429 says (json, json, empty).
    pub limit_body: LimitBody,
    /// `object/aql` requests allowed in a window for each identity, 0 for no limit (`requests_per_minute` sets it).
    pub aql_per_window: u32,
    /// The same for `object/aql/totalcount` (0, 0, 0).
    pub totalcount_per_window: u32,
    /// The same for any other endpoint by itself (0, 0, 0).
    pub other_per_window: u32,
    /// `object/aql/totalcount` answers with this status and counts nothing: 403 as for an account that may not,
    /// 404 as where there is no such endpoint (none in all).
    pub refuse_counts: Option<u16>,
    /// The window of the limits in ms (60000 in all).
    pub rate_window_ms: u64,

    /// `!=` finds objects without a value (false, true, false).
    pub not_equal_finds_empty: bool,
    /// `not in` finds objects without a value (false, true, false).
    pub not_in_finds_empty: bool,
    /// `not like`, `not startswith`, `not endswith` find objects without a value (false, true, false).
    pub not_like_finds_empty: bool,
    /// Which values of several a negated comparison looks at (all, all, any).
    pub negation: Quantifier,
    /// `==` is known (true, true, false: 400).
    pub double_equal: bool,
    /// NOT before a group or a condition is known (false: 400, true, false).
    pub not_before_group: bool,
    /// `not startswith` and `not endswith` are known (true, true, false: 400).
    pub not_starts_with: bool,
    /// A text that is empty counts as EMPTY (true, true, false).
    pub empty_text_is_empty: bool,
    /// Minutes east of UTC in which literals without an offset are read (0, 0, -480).
    pub literal_zone_minutes: i32,
    /// An offset in a literal counts; else it is skipped (true, true, false).
    pub literal_offset: bool,
    /// How fine date-time comparisons are (milliseconds, milliseconds, minutes).
    pub precision: Precision,
    /// Minutes east of UTC for startOfDay() and its kin (0, 0, 600).
    pub function_zone_minutes: i32,
    /// Attribute names compare without regard to case (true, true, false).
    pub any_case_names: bool,
    /// What a dot inside a quoted name means (either, either, name).
    pub quoted_dot: QuotedDot,
    /// ORDER BY objectId (honoured, honoured, ignored).
    pub order_by_object_id: OrderBy,
    /// ORDER BY Key (honoured, honoured, honoured).
    pub order_by_key: OrderBy,
    /// How keys sort (numeric, numeric, textual).
    pub key_order: KeyOrder,
    /// ORDER BY Created (honoured, honoured, ignored).
    pub order_by_created: OrderBy,
    /// ORDER BY Updated (honoured, honoured, ignored).
    pub order_by_updated: OrderBy,
    /// ORDER BY any other attribute, and the order by label without one (honoured, honoured, honoured).
    pub order_by_attribute: OrderBy,
    /// Objects that tie in the order come in another order each time (false in all).
    pub unstable_ties: bool,
    /// `objectId <` and `>` are known (true, true, false: 400).
    pub strict_object_id: bool,
    /// `objectId >=` and `<=` are known (true, true, true).
    pub object_id_ranges: bool,
    /// The longest IN list; more is 400 (none, none, 50).
    pub in_list_limit: Option<u32>,
    /// The longest query in bytes; more is 400 (none, none, 8192).
    pub query_byte_limit: Option<u32>,
    /// An unknown object type or schema name in a query (error, nothing, nothing).
    pub unknown_type: Unknown,
    /// A literal that is no number or date beside an attribute that is one (nothing, nothing, error).
    pub unfit_literal: Unknown,
    /// Blanks around literals are cut off (false, false, true).
    pub trim_literals: bool,
    /// What LIKE makes of its text (literal, literal, star).
    pub like: Like,
    /// A user compares by address too (false, true, false).
    pub user_by_email: bool,
    /// A reference compares by its object's key too (true, true, true).
    pub reference_by_key: bool,
    /// Control characters such as line breaks may stand in a quoted literal (true, true, false: 400).
    pub control_characters: bool,
    /// `objectTypeAndChildren` is known (true in all; false: 400).
    pub types_below: bool,
    /// It takes in what is below the type's children, too (true, true, false).
    pub types_far_below: bool,
    /// LIKE, STARTSWITH and ENDSWITH find something in texts only, not in labels of references, names of people and groups,
    /// numbers, dates (false, false, true). In a status they find nothing in any case.
    pub parts_of_texts_only: bool,
    /// Textareas are compared without what stands between `<` and `>` (false, false, true).
    pub rich_text_without_markup: bool,
    /// Attributes of schemas of services have the prefix `a_` in AQL (false, false, true).
    pub services_prefix: bool,
    /// Which letters AQL takes for the same, in values and in names (lower in all).
    pub fold: Fold,
    /// A reference to an object of a schema or type that the identity may not read (omitted in all).
    pub unreadable_type: Unreadable,
    /// A reference to an object that is hidden from the identity, of a type that it may read (omitted in all).
    pub unreadable_object: Unreadable,
    /// A reference to an object that was deleted (omitted in all).
    pub dangling: Unreadable,
    /// A dotted path walks into objects that the identity may not read (false in all).
    pub unreadable_path: bool,
    /// A reference to an object that the identity may not read compares by its label and key (false in all).
    pub unreadable_value: bool,

    /// What is listed for an attribute without a value (omitted, omitted, list).
    pub empty_attributes: Empty,
    /// Numbers and booleans are JSON strings; else JSON numbers and booleans (true, true, false).
    pub values_as_strings: bool,
    /// How a Date is written (day, day, instant).
    pub date_form: DateForm,
    /// A Time is written with seconds (false, false, true).
    pub time_with_seconds: bool,
    /// `object/aql` inlines `objectTypeAttribute` into attributes (false, true, true).
    pub inline_definitions: bool,
    /// `==` ignores case on statuses, as `=` does (false in all).
    pub status_same_folds: bool,
    /// Values of Status attributes are left out, although AQL knows them (false in all).
    pub statuses_left_out: bool,
    /// Account ids of users are left out, although AQL knows them (false in all).
    pub accounts_left_out: bool,
    /// `emailAddress` of users is left out (false, false, true).
    pub hide_email: bool,
    /// The typed sub-objects of values (given in all).
    pub sub_objects: SubObjects,
    /// How `created` and `updated` are written (text in all).
    pub stamps: Stamps,
    /// Object schemas that nobody may read any more, by id (none in all): roles are taken away while sessions go on.
    pub withdrawn_schemas: Vec<u32>,
    /// JSON that stands in place of the `objectAttributeValues` of an attribute, by the attribute's name for every
    /// object, or by `KEY/name` for one: shapes that no value of the model has (none in all). AQL knows nothing of it.
    pub value_shapes: BTreeMap<String, String>,
    /// Answers begin with a byte-order mark (false in all).
    pub byte_order_mark: bool,
    /// `avatar.mediaClientConfig` with its token is served (true, false, true).
    pub media_client_config: bool,
    /// How ids are written (strings, strings, numbers).
    pub ids: Ids,
    /// How `parentObjectTypeId` is written (numbers, numbers, strings).
    pub parent_id: Ids,
    /// `type` is listed on attributes of the plain kinds (true, true, false).
    pub plain_type: bool,
    /// `GET object/{key}` works as with an id (false: 404, true, false).
    pub object_by_key: bool,
    /// The site has no Assets: discovery finds no workspace (false in all).
    pub no_assets: bool,
    /// The site was restored from a copy: it has another workspace, and the one before is gone (false in all).
    pub restored: bool,
    /// Renaming an object touches `Updated` of those that refer to it (false, true, false).
    pub rename_touches_referrers: bool,
    /// AQL sees a write only after so many ms (0, 0, 0).
    pub index_lag_ms: u64,
    /// AQL sees a write only after so many searches (0, 0, 1).
    pub index_lag_searches: u32,
    /// Moving an object into another type leaves its `Updated` alone (false in all).
    pub moves_unannounced: bool,
    /// How far the service's clock is ahead of this machine's, in ms: what objects are stamped with, what `now()` gives
    /// and the `Date` of answers (0, 0, 0).
    pub clock_offset_ms: i64,
    /// How far the `Date` of answers is ahead of that clock, in ms: another machine may write it (0, 0, 0).
    pub date_offset_ms: i64,
    /// `created` and `updated` are cut down to multiples of so many ms when an object is written (1, 1, 1).
    pub stamp_step_ms: i64,
    /// Minutes east of UTC of the zone in which `created` and `updated` are shown; 0 is written as Z (0, 0, 0).
    pub stamp_zone_minutes: i32,
    /// Answers are compressed when the client accepts gzip (false, false, true; off by default because it costs more
    /// time on loopback than it saves).
    pub gzip: bool,

    /// Scopes of scoped tokens, service-account tokens and client credentials; none: every one (none in all).
    pub scopes: Option<Vec<String>>,
    /// `POST` without `X-Atlassian-Token: no-check` answers 403 (false, false, true).
    pub need_no_check: bool,
    /// A token request with a form body and HTTP Basic is accepted (true, true, false).
    pub token_form_basic: bool,
    /// A token request with the credentials in a form body is accepted (true, true, false).
    pub token_form_body: bool,
    /// A token request as JSON is accepted (true, true, true).
    pub token_json: bool,
    /// A token request has to name the audience `api.atlassian.com` (false, false, true).
    pub token_audience: bool,
    /// How long an access token lasts, in ms; `expires_in` tells it in seconds (3600000 in all).
    pub token_lifetime_ms: u64,
}

impl Switches {
    /// The defaults of a profile.
    pub fn of(profile: Profile) -> Switches {
        match profile {
            Profile::Documented => profiles::documented(),
            Profile::Lenient => profiles::lenient(),
            Profile::Hostile => profiles::hostile(),
        }
    }

    /// The id of the workspace that there is.
    pub fn workspace(&self) -> &'static str {
        if self.restored { crate::RESTORED_ID } else { crate::WORKSPACE_ID }
    }

    /// Changes the switches named in a JSON object; an unknown name or a value that does not fit changes nothing.
    pub fn merge(&mut self, changes: &serde_json::Value) -> Result<(), String> {
        let mut all = serde_json::to_value(&*self).map_err(|e| e.to_string())?;
        let (Some(into), Some(from)) = (all.as_object_mut(), changes.as_object()) else {
            return Err("switches are changed by a JSON object".into());
        };
        for (name, value) in from {
            into.insert(name.clone(), value.clone());
        }
        *self = serde_json::from_value(all).map_err(|e| e.to_string())?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_switch_changes_by_name_and_an_unknown_name_changes_nothing() {
        let mut switches = Switches::of(Profile::Documented);
        switches.merge(&json!({"page_cap": 7, "is_last": "absent"})).unwrap();
        assert_eq!((switches.page_cap, switches.is_last), (7, Flag::Absent));
        let before = switches.clone();
        assert!(switches.merge(&json!({"page_cap": 8, "page_cup": 7})).is_err());
        assert!(switches.merge(&json!({"is_last": "maybe"})).is_err());
        assert!(switches.merge(&json!([])).is_err());
        assert_eq!(switches, before);
    }
}
