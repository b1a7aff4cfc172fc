//! What a scan rests on: what was known of its object types when its conditions were written.
//!
//! Conditions name attributes, which may have been renamed since, with others made under the old names; kinds
//! and types change, too. So every page is held against what was expected of it: a page carries the
//! definitions of its attributes, and each object its type (assets-api.md 2.1). Where they disagree, what was
//! known is asked for anew: either it is still so (services leave things out of pages, or write them
//! differently there: such a difference is remembered and means nothing any more), or it was outdated.
//!
//! A page without definitions says nothing; nor does an empty one, or a count. For those [`Client::still`] asks.

use std::collections::BTreeSet;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::time::Instant;

use crate::client::Client;
use crate::error::{Error, Kind as ErrorKind};
use crate::model::{Attribute, Kind, ObjectType, descendants};
use crate::sight::Seen;

/// Of so many types attributes are asked for one by one; of more, all of the schema's at once.
const ONE_BY_ONE: usize = 2;

/// An attribute that a scan shows or asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// `id`
    pub id: i64,
    /// By which name conditions ask for it.
    pub asked_as: Option<String>,
    /// Whether it was found by its name, so that another may be meant when it has another one.
    pub by_name: bool,
    /// Whether it was found as the label of its type.
    pub as_label: bool,
}

/// The types of a table as they were known.
#[derive(Debug, Clone)]
pub struct Tree {
    /// The object schema.
    pub schema_id: i64,
    /// The table's type.
    pub root: i64,
    /// Whether it was found by its name.
    pub by_name: bool,
    /// Whether those below it are taken in by asking the service for them; else they are named by id.
    pub asked: bool,
    /// The schema's types.
    pub types: Arc<[ObjectType]>,
    /// The table's types: the root, and those below it where they are taken in.
    pub within: Vec<i64>,
}

/// What a scan rests on.
#[derive(Debug, Clone)]
pub struct Expected {
    /// The attributes of each type, as they were known.
    pub lists: Vec<(i64, Arc<[Attribute]>)>,
    /// Those that the scan's columns show.
    pub shown: Vec<Shown>,
    /// The table's types, where anything rests on more than the id of one.
    pub tree: Option<Tree>,
    /// Those of them that refer to what the credential was known to see.
    pub seen: Vec<Seen>,
    /// When the oldest of it was asked for.
    pub read_at: Instant,
    /// The names that the scan's conditions use.
    asked: BTreeSet<String>,
    /// Whether it was made sure of since the statement began.
    is_sure: Arc<AtomicBool>,
}

fn number(difference: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    difference.hash(&mut hasher);
    hasher.finish()
}

/// What of an attribute matters.
type View<'a> = (i64, i64, &'a str, Kind, bool, bool, Option<i64>);

impl Expected {
    /// What was known; conditions name nothing yet.
    pub fn new(
        lists: Vec<(i64, Arc<[Attribute]>)>,
        shown: Vec<Shown>,
        tree: Option<Tree>,
        read_at: Instant,
    ) -> Self {
        let (asked, is_sure) = (BTreeSet::new(), Arc::default());
        Self { lists, shown, tree, seen: Vec::new(), read_at, asked, is_sure }
    }

    /// The same, which rests on seeing what these refer to, as of `since` at the latest.
    pub fn seeing(self, seen: Vec<Seen>, since: Instant) -> Self {
        Self { seen, read_at: self.read_at.min(since), ..self }
    }

    /// The same for a scan whose conditions use these names, in a statement that began at `moment`.
    pub fn asking(&self, names: BTreeSet<String>, moment: Instant) -> Arc<Self> {
        let is_sure = Arc::new(AtomicBool::new(self.is_sure() || self.read_at >= moment));
        Arc::new(Self { asked: names, is_sure, ..self.clone() })
    }

    /// Whether it was made sure of, or read, since the statement began.
    pub fn is_sure(&self) -> bool {
        self.is_sure.load(Ordering::Relaxed)
    }

    /// Whether objects are lost without a word where what was known is outdated: the conditions name
    /// attributes, or the type itself was found by name.
    pub fn may_lose(&self) -> bool {
        !self.asked.is_empty() || self.tree.as_ref().is_some_and(|tree| tree.by_name)
    }

    /// Whether a page has anything to be held against.
    pub(crate) fn says_anything(&self) -> bool {
        !self.shown.is_empty() || self.watches_types()
    }

    /// Whether the types of objects have to be looked at.
    pub(crate) fn watches_types(&self) -> bool {
        self.tree.is_some()
    }

    /// The attributes that conditions ask for by one of these names, where they refer to what was seen.
    fn walked<'a>(&'a self, names: &'a BTreeSet<String>) -> impl Iterator<Item = &'a Seen> {
        self.seen.iter().filter(|seen| {
            let of_it = |shown: &&Shown| shown.id == seen.attribute.id;
            self.shown
                .iter()
                .filter(of_it)
                .any(|s| s.asked_as.as_ref().is_some_and(|name| names.contains(name)))
        })
    }

    /// Whether one of these names asks for what is referred to, and is seen.
    pub fn walks_by(&self, names: &BTreeSet<String>) -> bool {
        self.walked(names).next().is_some()
    }

    fn is_asked(&self, shown: &Shown) -> bool {
        shown.asked_as.as_ref().is_some_and(|name| self.asked.contains(name))
    }

    fn known(&self, id: i64) -> Option<&Attribute> {
        self.lists.iter().find_map(|(_, list)| list.iter().find(|a| a.id == id))
    }

    /// How a page differs from what was expected: a number for each difference, the same for the same.
    /// `definitions` are the page's, where it brings any, and `types` those of its objects.
    pub(crate) fn differences(
        &self,
        definitions: Option<&[Attribute]>,
        types: &[(i64, Box<str>)],
    ) -> Vec<u64> {
        let mut found = Vec::new();
        if let Some(tree) = &self.tree {
            for (id, name) in types {
                let renamed = || tree.by_name && *id == tree.root && !tree.is_called(name);
                if !tree.within.contains(id) || renamed() {
                    found.push(number(&("type", tree.root, id, name)));
                }
            }
        }
        let definitions = definitions.unwrap_or_default();
        // Types without attributes do not exist: an empty list says nothing.
        let shown = if definitions.is_empty() { &[][..] } else { &self.shown };
        for shown in shown {
            let Some(known) = self.known(shown.id) else { continue };
            let by_name = shown.by_name || self.is_asked(shown);
            match definitions.iter().find(|a| a.id == shown.id) {
                Some(now) => {
                    let same = now.kind == known.kind
                        && now.multi == known.multi
                        && (!by_name || now.name == known.name)
                        && (!shown.as_label || now.label);
                    if !same {
                        found.push(number(&("attribute", known, now)));
                    }
                }
                None if self.is_due(shown.id, types) => {
                    found.push(number(&("gone", known)));
                }
                None => {}
            }
            let folded = known.name.to_lowercase();
            let namesakes =
                definitions.iter().filter(|a| a.id != shown.id && a.name.to_lowercase() == folded);
            for other in namesakes.filter(|other| by_name && self.known(other.id).is_none()) {
                found.push(number(&("namesake", known, other)));
            }
        }
        found
    }

    /// Whether a page with objects of these types has to define an attribute.
    fn is_due(&self, attribute: i64, types: &[(i64, Box<str>)]) -> bool {
        let has = |list: &[Attribute]| list.iter().any(|a| a.id == attribute);
        match &self.tree {
            // Every object is of the one type.
            None => self.lists.iter().any(|(_, list)| has(list)),
            Some(_) => self.lists.iter().any(|(id, list)| types.iter().any(|(of, _)| of == id) && has(list)),
        }
    }

    /// What of lists of attributes matters to the scan: those that it shows, and their namesakes.
    fn view<'a>(&self, lists: &'a [(i64, Arc<[Attribute]>)]) -> BTreeSet<View<'a>> {
        let names: BTreeSet<String> =
            self.shown.iter().filter_map(|s| self.known(s.id)).map(|a| a.name.to_lowercase()).collect();
        let matters = |a: &&Attribute| {
            self.shown.iter().any(|s| s.id == a.id) || names.contains(&a.name.to_lowercase())
        };
        let of = |(id, list): &'a (i64, Arc<[Attribute]>)| {
            let of_one = |a: &'a Attribute| {
                (*id, a.id, a.name.as_str(), a.kind, a.multi, a.label, a.reference_type_id)
            };
            list.iter().filter(matters).map(of_one)
        };
        lists.iter().flat_map(of).collect()
    }

    /// Whether types that were not known have the scan's attributes as they were known, and no others by the
    /// names that its conditions use.
    fn fits(&self, lists: &[Arc<[Attribute]>]) -> bool {
        let asked = self.shown.iter().filter(|shown| self.is_asked(shown));
        let names: BTreeSet<String> =
            asked.filter_map(|s| self.known(s.id)).map(|a| a.name.to_lowercase()).collect();
        let same = |now: &Attribute| match self.known(now.id) {
            Some(known) => now.name == known.name && now.kind == known.kind && now.multi == known.multi,
            None => !names.contains(&now.name.to_lowercase()),
        };
        let shown = |a: &&Attribute| self.known(a.id).is_none() || self.shown.iter().any(|s| s.id == a.id);
        self.shown.is_empty() || lists.iter().all(|list| list.iter().filter(shown).all(same))
    }

    /// Whether all attributes of a schema show those that the conditions name as they were known.
    fn is_in(&self, all: &[Attribute]) -> bool {
        self.shown.iter().filter(|shown| self.is_asked(shown)).all(|shown| {
            let mut now = all.iter().filter(|a| a.id == shown.id).peekable();
            now.peek().is_some()
                && self.known(shown.id).is_some_and(|known| {
                    now.all(|a| {
                        a.name == known.name
                            && a.kind == known.kind
                            && a.multi == known.multi
                            && a.reference_type_id == known.reference_type_id
                    })
                })
        })
    }
}

impl Tree {
    fn is_called(&self, name: &str) -> bool {
        self.types.iter().any(|t| t.id == self.root && t.name == name)
    }

    /// Whether the table's type is the one that was found by its name.
    fn is_so(&self, types: &[ObjectType]) -> bool {
        !self.by_name || types.iter().any(|t| t.id == self.root && self.is_called(&t.name))
    }
}

impl Client {
    /// Whether what a scan rests on is as the service says now; asks for what may lose objects: one request
    /// for the attributes, and one for the types where the table's was found by name. Where conditions walk into what
    /// is referred to, whether that is still seen: one for the types of each schema, and one for the schemas.
    ///
    /// # Errors
    /// Every [`ErrorKind`].
    pub async fn still(self: &Arc<Self>, expected: &Expected) -> Result<bool, Error> {
        let begun = Instant::now();
        for Seen { own, attribute } in expected.walked(&expected.asked) {
            if !self.sees_target(*own, attribute, Some(begun)).await {
                return Ok(false);
            }
        }
        if let Some(tree) = expected.tree.as_ref().filter(|tree| tree.by_name)
            && !tree.is_so(&self.types_as_of(tree.schema_id, begun).await?)
        {
            return Ok(false);
        }
        if expected.asked.is_empty() {
            return Ok(true);
        }
        if let Some(tree) = &expected.tree
            && expected.lists.len() > ONE_BY_ONE
            && let Ok(all) = self.schema_attributes(tree.schema_id).await
            && expected.is_in(&all)
        {
            return Ok(true);
        }
        self.lists_are_so(expected).await
    }

    async fn lists_are_so(self: &Arc<Self>, expected: &Expected) -> Result<bool, Error> {
        let ids: Vec<i64> = expected.lists.iter().map(|(id, _)| *id).collect();
        self.metadata().forget_attributes(&ids);
        let now = match self.attributes_of(&ids).await {
            // A type is gone.
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(false),
            lists => lists?,
        };
        let now: Vec<(i64, Arc<[Attribute]>)> = ids.into_iter().zip(now).collect();
        Ok(expected.view(&expected.lists) == expected.view(&now))
    }

    /// A page brings no definitions: what may lose objects is made sure of otherwise, once.
    ///
    /// # Errors
    /// As [`Client::settle`].
    pub(crate) async fn vouch(self: &Arc<Self>, expected: &Expected) -> Result<(), Error> {
        let sure = !expected.may_lose() || expected.is_sure.swap(true, Ordering::Relaxed);
        if sure || self.still(expected).await? { Ok(()) } else { Err(outdated()) }
    }

    /// A page differs from what was expected: asks whether that was outdated. `types` are those of the page's
    /// objects.
    ///
    /// # Errors
    /// [`ErrorKind::Outdated`] where it was; what is known is as of now then. Every other one.
    pub(crate) async fn settle(
        self: &Arc<Self>,
        expected: &Expected,
        differences: &[u64],
        types: &[(i64, Box<str>)],
    ) -> Result<(), Error> {
        // One page asks, the others wait for what it finds.
        let mut settled = self.settled.lock().await;
        if differences.iter().all(|difference| settled.contains(difference)) {
            return Ok(());
        }
        let (mut same, mut added) = (true, Vec::new());
        if let Some(tree) = &expected.tree {
            let now = self.types_anew(tree.schema_id).await?;
            let below = descendants(&now, tree.root);
            let listed = |id: &i64| now.iter().any(|t| t.id == *id);
            if tree.asked && types.iter().any(|(id, _)| listed(id) && !below.contains(id)) {
                // Whatever it was that the service understood, it was not the types below.
                self.keep_tree_refused(true);
                same = false;
            }
            same &= tree.is_so(&now);
            // Objects of new types came along: right, if attributes mean the same there.
            added = below.into_iter().filter(|id| !tree.within.contains(id)).collect();
        }
        if same && self.lists_are_so(expected).await? && expected.fits(&self.attributes_of(&added).await?) {
            settled.extend(differences);
            return Ok(());
        }
        Err(outdated())
    }
}

fn outdated() -> Error {
    Error::new(ErrorKind::Outdated, "object types or attributes were changed in Assets meanwhile")
        .with_hint("Run the statement again: what is known of them has been read anew.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(id: i64, name: &str, kind: Kind, multi: bool) -> Attribute {
        Attribute {
            id,
            name: name.to_owned(),
            description: String::new(),
            kind,
            multi,
            label: id == 1,
            system: false,
            hidden: false,
            unique: false,
            position: 0,
            reference_type_id: None,
            reference_schema_id: None,
            options: Vec::new(),
            statuses: Vec::new(),
        }
    }

    fn object_type(id: i64, name: &str, parent_id: Option<i64>) -> ObjectType {
        let (name, description) = (name.to_owned(), String::new());
        let (position, object_count) = (0, None);
        ObjectType {
            id,
            name,
            description,
            schema_id: 1,
            parent_id,
            is_abstract: false,
            position,
            object_count,
        }
    }

    fn known() -> Vec<Attribute> {
        vec![attribute(1, "Name", Kind::Text, false), attribute(2, "RAM", Kind::Integer, false)]
    }

    fn shown(id: i64, name: &str) -> Shown {
        Shown { id, asked_as: Some(name.to_owned()), by_name: false, as_label: false }
    }

    /// A table of type 7 that shows both attributes, and conditions that use these names.
    fn expected(asked: &[&str], tree: Option<Tree>) -> Arc<Expected> {
        let lists = vec![(7, Arc::from(known())), (8, Arc::from(&known()[..1]))];
        let lists = if tree.is_some() { lists } else { lists[..1].to_vec() };
        let shown = vec![shown(1, "Name"), shown(2, "RAM")];
        let expected = Expected::new(lists, shown, tree, Instant::now());
        expected.asking(asked.iter().map(|name| (*name).to_owned()).collect(), Instant::now())
    }

    fn tree(by_name: bool) -> Option<Tree> {
        let types = Arc::from([object_type(7, "Server", None), object_type(8, "Blade", Some(7))]);
        Some(Tree { schema_id: 1, root: 7, by_name, asked: true, types, within: vec![7, 8] })
    }

    fn agrees(expected: &Expected, page: &[Attribute], types: &[(i64, &str)]) -> bool {
        let types: Vec<(i64, Box<str>)> = types.iter().map(|(id, name)| (*id, (*name).into())).collect();
        expected.differences(Some(page), &types).is_empty()
    }

    #[test]
    fn a_name_matters_where_it_is_asked_by_a_kind_and_a_cardinality_always() {
        let mut page = known();
        page[1].name = "Memory".to_owned();
        assert!(agrees(&expected(&[], None), &page, &[]));
        assert!(agrees(&expected(&["Name"], None), &page, &[]));
        assert!(!agrees(&expected(&["RAM"], None), &page, &[]));
        for (kind, multi) in [(Kind::Text, false), (Kind::Integer, true)] {
            let page = [attribute(1, "Name", Kind::Text, false), attribute(2, "RAM", kind, multi)];
            assert!(!agrees(&expected(&[], None), &page, &[]));
        }
        // Another one has its name now, in whatever case.
        let mut page = known();
        page.push(attribute(9, "ram", Kind::Integer, false));
        assert!(agrees(&expected(&["Name"], None), &page, &[]));
        assert!(!agrees(&expected(&["RAM"], None), &page, &[]));
    }

    #[test]
    fn an_attribute_that_a_page_has_to_define_and_does_not_is_a_difference_an_empty_list_is_none() {
        let page = &known()[..1];
        assert!(!agrees(&expected(&[], None), page, &[]));
        assert!(agrees(&expected(&["RAM"], None), &[], &[]));
        assert_eq!(expected(&["RAM"], None).differences(None, &[]), [0; 0]);
        // Blades have none.
        assert!(agrees(&expected(&["RAM"], tree(false)), page, &[(8, "Blade")]));
        assert!(!agrees(&expected(&["RAM"], tree(false)), page, &[(8, "Blade"), (7, "Server")]));
    }

    #[test]
    fn a_type_that_is_not_known_is_a_difference_and_so_is_another_name_of_one_found_by_name() {
        let page = known();
        assert!(!agrees(&expected(&[], tree(false)), &page, &[(7, "Server"), (9, "New")]));
        assert!(agrees(&expected(&[], tree(false)), &page, &[(7, "Host")]));
        assert!(!agrees(&expected(&[], tree(true)), &page, &[(7, "Host")]));
        assert!(agrees(&expected(&[], tree(true)), &page, &[(7, "Server"), (8, "Blade 2")]));
    }

    #[test]
    fn the_same_difference_is_the_same_number_and_another_is_another() {
        let of = |types: &[(i64, &str)]| {
            let types: Vec<(i64, Box<str>)> = types.iter().map(|(id, name)| (*id, (*name).into())).collect();
            expected(&[], tree(false)).differences(Some(&known()), &types)
        };
        assert_eq!(of(&[(7, "Server"), (9, "New")]), of(&[(9, "New"), (8, "Blade")]));
        assert_ne!(of(&[(9, "New")]), of(&[(10, "New")]));
    }

    #[test]
    fn only_what_may_lose_objects_is_asked_for_again() {
        assert!(!expected(&[], None).may_lose() && !expected(&[], tree(false)).may_lose());
        assert!(expected(&["RAM"], None).may_lose() && expected(&[], tree(true)).may_lose());
    }

    #[test]
    fn of_lists_matters_what_is_shown_and_what_has_its_name() {
        let expected = expected(&["RAM"], None);
        let view = |list: Vec<Attribute>| {
            let lists = [(7, Arc::<[Attribute]>::from(list))];
            expected.view(&lists) == expected.view(&expected.lists)
        };
        assert!(view(known()));
        let mut more = known();
        more.push(attribute(9, "Disk", Kind::Integer, false));
        assert!(view(more.clone()));
        more[2].name = "Ram".to_owned();
        assert!(!view(more) && !view(known()[..1].to_vec()));
        assert!(expected.is_in(&known()) && !expected.is_in(&known()[..1]));
        let mut renamed = known();
        renamed[1].name = "Memory".to_owned();
        assert!(!expected.is_in(&renamed) && !view(renamed));
    }
}
