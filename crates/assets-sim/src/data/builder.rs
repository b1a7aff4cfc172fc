//! A small language in which the company is written down.

use super::catalog::Catalog;
use super::company::MADE;
use super::generator::{Source, Style};
use super::model::{Attribute, Kind, ObjectType};

/// Adds types and attributes with few words.
#[derive(Default)]
pub(super) struct Builder {
    pub(super) catalog: Catalog,
    pub(super) targets: Vec<(u32, &'static str)>,
    at: u32,
}

impl Builder {
    pub(super) fn object_type(
        &mut self,
        id: u32,
        schema_id: u32,
        name: &str,
        description: &str,
        parent: Option<u32>,
    ) -> &mut Self {
        let inherits = parent.is_some_and(|p| self.catalog.types[&p].inherited);
        let position = self.catalog.types.values().filter(|t| t.schema_id == schema_id).count() as u32;
        self.catalog.types.insert(
            id,
            ObjectType {
                id,
                schema_id,
                name: name.into(),
                description: description.into(),
                parent,
                inherited: false,
                abstract_type: false,
                position,
                created: MADE + i64::from(id) * 1000,
                updated: MADE + i64::from(id) * 86_400_000,
                attributes: Vec::new(),
            },
        );
        self.at = id;
        if !inherits {
            self.add("Key", Kind::Text, Source::None, 0).system(1);
        }
        self
    }

    /// Marks the type as one whose children inherit its attributes.
    pub(super) fn parent_type(&mut self, abstract_type: bool) -> &mut Self {
        let this = self.catalog.types.get_mut(&self.at).expect("the type at hand");
        this.inherited = true;
        this.abstract_type = abstract_type;
        self
    }

    pub(super) fn add(&mut self, name: &str, kind: Kind, source: Source, fill: u8) -> &mut Self {
        let options = match source {
            Source::Words(pool) if kind == Kind::Select => pool.iter().map(|s| (*s).to_owned()).collect(),
            _ => Vec::new(),
        };
        self.catalog.add_attribute(Attribute {
            id: 0,
            type_id: self.at,
            name: name.into(),
            description: String::new(),
            kind,
            minimum: 0,
            maximum: 1,
            label: false,
            system: false,
            hidden: false,
            unique: false,
            options,
            target_type: None,
            reference_type: 4,
            position: 0,
            source,
            fill,
        });
        self
    }

    fn last(&mut self) -> &mut Attribute {
        self.catalog.attributes.values_mut().next_back().expect("an attribute was added")
    }

    pub(super) fn system(&mut self, minimum: i32) -> &mut Self {
        let last = self.last();
        last.system = true;
        last.minimum = minimum;
        self
    }

    /// The label attribute, then Created and Updated: the order in which Assets makes them.
    pub(super) fn label(&mut self, name: &str, style: Style) -> &mut Self {
        self.add(name, Kind::Text, Source::Label(style), 100).about("The name of the object");
        let last = self.last();
        last.label = true;
        last.minimum = 1;
        self.add("Created", Kind::DateTime, Source::None, 0).system(1);
        self.add("Updated", Kind::DateTime, Source::None, 0).system(1)
    }

    pub(super) fn many(&mut self) -> &mut Self {
        self.last().maximum = -1;
        self
    }

    pub(super) fn about(&mut self, description: &str) -> &mut Self {
        self.last().description = description.into();
        self
    }

    pub(super) fn hidden(&mut self) -> &mut Self {
        self.last().hidden = true;
        self
    }

    pub(super) fn unique(&mut self) -> &mut Self {
        self.last().unique = true;
        self
    }

    pub(super) fn reference(&mut self, name: &str, target: &'static str, kind: u32, fill: u8) -> &mut Self {
        self.add(name, Kind::Object, Source::Reference, fill);
        self.last().reference_type = kind;
        let id = self.last().id;
        self.targets.push((id, target));
        self
    }

    pub(super) fn status(&mut self, name: &str, allowed: &[u32], fill: u8) -> &mut Self {
        self.add(name, Kind::Status, Source::State, fill);
        self.last().options = allowed.iter().map(u32::to_string).collect();
        self
    }
}
