//! What a column means: which attribute or field it shows, in which form, and what AQL may be asked about it.
#![deny(unsafe_code)]

use std::sync::Arc;

use assets::expected::Shown;
use assets::model::{Attribute, Kind};
use assets::value::{ColumnSpec, Decode, Field, Part, Source};

use super::{Resolution, Values};
use crate::fdw::datum::Conversion;
use crate::options::Options;

/// The object types of a table that takes those below its own in.
pub(super) struct ObjectTypes {
    pub(super) names: Vec<String>,
    /// Whether there are no others: they were asked for since the statement began.
    pub(super) are_all: bool,
}

/// A column that a query wants, without what only PostgreSQL's own thread may touch.
#[derive(Clone)]
pub(super) struct Wanted {
    pub(super) attnum: i16,
    pub(super) name: String,
    pub(super) options: Options,
    pub(super) conversion: Conversion,
    pub(super) class: aql::Class,
    /// NOT NULL.
    pub(super) not_null: bool,
    /// Whether the query compares it, so that it is worth asking what a reference refers to.
    pub(super) compared: bool,
}

impl Wanted {
    /// The fixed field that the column shows: by its option, or by its name where it has no
    /// option at all.
    pub(super) fn field(&self) -> Option<Field> {
        let plain = self.options.get("attribute").is_none() && self.options.get("attribute_id").is_none();
        let word = self.options.get("field").or_else(|| plain.then_some(self.name.as_str()))?;
        Some(match word {
            "id" => Field::Id,
            "key" => Field::Key,
            "label" => Field::Label,
            "object_type" => Field::ObjectType,
            "created" => Field::Created,
            "updated" => Field::Updated,
            "url" => Field::Url,
            "attributes" => Field::Attributes,
            _ => return None,
        })
    }

    /// The attribute that the column shows: by id, by name, or by the name that import would
    /// give its column.
    pub(super) fn find<'a>(&self, attributes: &'a [Attribute]) -> Option<&'a Attribute> {
        if let Some(id) = self.options.id("attribute_id") {
            return attributes.iter().find(|a| a.id == id);
        }
        if let Some(name) = self.options.get("attribute") {
            return attributes.iter().find(|a| a.name == name).or_else(|| {
                let lower = name.to_lowercase();
                attributes.iter().find(|a| a.name.to_lowercase() == lower)
            });
        }
        let names = tables::layout::column_names(attributes);
        let (id, _) = names.iter().find(|(_, name)| *name == self.name)?;
        attributes.iter().find(|a| a.id == *id)
    }

    pub(super) fn of_field(
        &self,
        field: Field,
        attributes: &[Attribute],
        include: bool,
        types: &ObjectTypes,
    ) -> Resolution {
        let decode = match field {
            Field::Id | Field::ObjectTypeId => self.conversion.natural(Kind::Integer),
            Field::Created | Field::Updated => self.conversion.natural(Kind::DateTime),
            Field::Attributes => Decode::Json,
            Field::Key | Field::Label | Field::ObjectType | Field::Url => self.conversion.natural(Kind::Text),
        };
        let column = match field {
            Field::Id => Some(aql::Column::Id),
            Field::Key => Some(aql::Column::Key),
            Field::Created => Some(aql::Column::Created),
            Field::Updated => Some(aql::Column::Updated),
            Field::ObjectType if include => {
                Some(aql::Column::ObjectType { names: types.names.clone(), are_all: types.are_all })
            }
            // Another type's label may be another attribute.
            Field::Label if !include => {
                attributes.iter().find(|a| a.label && !a.multi && kind(a) == aql::Kind::Text).and_then(|a| {
                    let aql_name = self.options.get("aql_name");
                    (aql_name.is_some() || unambiguous(a, attributes.iter())).then(|| {
                        aql::Column::Attribute {
                            name: aql_name.unwrap_or(&a.name).to_owned(),
                            kind: aql::Kind::Text,
                            part: aql::Part::Value,
                        }
                    })
                })
            }
            _ => None,
        };
        let source_name = format!("{field:?}").to_lowercase();
        let mut resolution = self.resolution(Source::Field(field), decode, column, false, source_name);
        if field == Field::ObjectType && include {
            resolution.values = Values::Types;
        }
        if let Some(subject) = &mut resolution.subject {
            // An object without id or key is no object. Of the others NOT NULL makes sure (`fdw::output`).
            subject.always = match field {
                Field::Id | Field::Key => self.not_null || !subject.null_is_vague,
                Field::Created | Field::Updated => self.not_null,
                _ => false,
            };
        }
        resolution
    }

    pub(super) fn of_attribute(
        &self,
        attribute: &Attribute,
        lists: &[Arc<[Attribute]>],
        target_is_seen: bool,
    ) -> Resolution {
        let part = match self.options.get("part") {
            None => Part::Value,
            Some("label") => Part::Label,
            Some("key") => Part::Key,
            Some("id") => Part::Id,
            Some("name") => Part::Name,
            Some("account_id") => Part::AccountId,
            Some("email") => Part::Email,
            Some(_) => Part::Category,
        };
        let kind = kind(attribute);
        let asked = match (kind, part) {
            (_, Part::Value) => aql::Part::Value,
            (aql::Kind::Object, Part::Label) => aql::Part::Value,
            (aql::Kind::Status | aql::Kind::User | aql::Kind::Group, Part::Name) => aql::Part::Value,
            (aql::Kind::Object, Part::Key) => aql::Part::Key,
            (aql::Kind::User, Part::AccountId) => aql::Part::AccountId,
            _ => aql::Part::Other,
        };
        let aql_name = self.options.get("aql_name");
        let all = lists.iter().flat_map(|list| list.iter());
        let column = (aql_name.is_some() || unambiguous(attribute, all)).then(|| aql::Column::Attribute {
            name: aql_name.unwrap_or(&attribute.name).to_owned(),
            kind,
            part: asked,
        });
        let natural = match part {
            Part::Value => self.conversion.natural(attribute.kind),
            Part::Id | Part::Category => self.conversion.natural(Kind::Integer),
            _ => self.conversion.natural(Kind::Text),
        };
        let mut resolution = self.resolution(
            Source::Attribute { id: attribute.id, part, kind: attribute.kind },
            natural,
            column,
            attribute.multi,
            attribute.name.clone(),
        );
        resolution.values = match (attribute.kind, asked) {
            (Kind::Boolean, aql::Part::Value) => Values::Booleans,
            (Kind::Select, aql::Part::Value) => Values::Options(attribute.options.clone()),
            (Kind::Status, aql::Part::Value) => Values::Statuses(attribute.statuses.clone()),
            _ => Values::Any,
        };
        // Objects of a type without the attribute match no condition on it, not even `is EMPTY`
        // (assets-api.md 4.7), and are NULL here.
        if let Some(subject) = &mut resolution.subject {
            subject.stored.attribute = Some(attribute.id);
            subject.stored.target_is_seen = target_is_seen;
            subject.null_is_vague |= !lists.iter().all(|list| list.iter().any(|a| a.id == attribute.id));
        }
        resolution
    }

    /// What the column rests on.
    pub(super) fn shown(&self, attribute: &Attribute, resolution: &Resolution) -> Shown {
        let asked_as = match resolution.subject.as_ref().map(|subject| &subject.column) {
            Some(aql::Column::Attribute { name, .. }) => Some(name.clone()),
            _ => None,
        };
        let as_label = self.field() == Some(Field::Label);
        let by_name = !as_label && self.options.id("attribute_id").is_none();
        Shown { id: attribute.id, asked_as, by_name, as_label }
    }

    fn resolution(
        &self,
        source: Source,
        decode: Decode,
        column: Option<aql::Column>,
        multi: bool,
        source_name: String,
    ) -> Resolution {
        let array = self.conversion.is_array();
        let subject = column.map(|column| aql::Subject {
            column,
            class: self.class,
            multi: multi || array,
            null_is_vague: self.options.get("on_invalid") == Some("null"),
            always: false,
            stored: aql::Stored::default(),
        });
        let spec = ColumnSpec { source, decode, array };
        Resolution { spec, subject, source_name, values: Values::Any }
    }
}

/// Whether AQL can only mean this attribute by its name: names are matched ignoring case
/// (assets-api.md 4.3), and a hierarchy may use one name twice.
fn unambiguous<'a>(attribute: &Attribute, mut all: impl Iterator<Item = &'a Attribute>) -> bool {
    let folded = aql::name::folded(&attribute.name);
    all.all(|a| a.id == attribute.id || aql::name::folded(&a.name) != folded)
}

fn kind(attribute: &Attribute) -> aql::Kind {
    match attribute.kind {
        Kind::Text | Kind::Url | Kind::Email | Kind::Select => aql::Kind::Text,
        Kind::Textarea => aql::Kind::Rich,
        Kind::Integer => aql::Kind::Integer,
        Kind::Double => aql::Kind::Double,
        Kind::Boolean => aql::Kind::Boolean,
        Kind::Date => aql::Kind::Date,
        Kind::DateTime => aql::Kind::DateTime,
        Kind::IpAddress => aql::Kind::IpAddress,
        Kind::Object => aql::Kind::Object,
        Kind::User => aql::Kind::User,
        Kind::Group => aql::Kind::Group,
        Kind::Status => aql::Kind::Status,
        _ => aql::Kind::Other,
    }
}
