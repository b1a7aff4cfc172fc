//! A query's names and literals resolved against the catalog: what is left is only evaluation.

use std::collections::{HashMap, HashSet};

use super::Invalid;
use super::ast::{Condition, Expr, Name, Operator, Part, Path, Test};
use super::fold::fold;
use super::search::Context;
use crate::data::catalog::Catalog;
use crate::data::model::Attribute;
use crate::switches::QuotedDot;

/// A filter ready to be evaluated.
#[derive(Debug)]
pub enum Filter<'a> {
    Everything,
    Nothing,
    And(Vec<Filter<'a>>),
    Or(Vec<Filter<'a>>),
    Not(Box<Filter<'a>>),
    Types(HashSet<u32>),
    Ids(HashSet<u64>),
    IdRange(u64, u64),
    Values {
        field: Field<'a>,
        test: ValueTest,
    },
    /// One of the objects referred to passes; `unreached` is the answer if there are none.
    Through {
        field: Field<'a>,
        inner: Box<Filter<'a>>,
        unreached: bool,
    },
    /// Refers to one of these (`None`: to any object) by these kinds of reference.
    RefersTo {
        targets: Option<HashSet<u64>>,
        kinds: Option<HashSet<u32>>,
    },
    Tickets(crate::tickets::Jql),
}

/// An attribute by name: what it is on each type that has it.
#[derive(Debug)]
pub struct Field<'a> {
    pub by_type: HashMap<u32, Vec<&'a Attribute>>,
}

/// A test of the values of an attribute.
#[derive(Debug)]
pub enum ValueTest {
    Compare(Operator, Lit),
    In { negated: bool, list: Vec<Lit> },
    Text { negated: bool, part: Part, lower: String },
    Empty { negated: bool },
    Users { negated: bool, users: HashSet<usize> },
}

/// A literal, read in every way that a value may ask for.
#[derive(Debug, Default)]
pub struct Lit {
    pub text: String,
    /// Folded.
    pub lower: String,
    pub integer: Option<i64>,
    pub number: Option<f64>,
    /// Epoch ms, for date-times.
    pub instant: Option<i64>,
    /// Ms on a clock without a zone, for dates.
    pub local: Option<i64>,
    pub time: Option<u32>,
}

/// What a single name stands for.
pub enum Target<'a> {
    ObjectType,
    ObjectTypeId,
    Schema,
    SchemaId,
    ObjectId,
    Object,
    Key,
    Attribute(Field<'a>),
}

pub struct Compiler<'c, 'a> {
    pub context: &'c Context<'a>,
    /// Set when the answer depends on the clock.
    pub timed: bool,
}

impl<'a> Compiler<'_, 'a> {
    pub fn filter(&mut self, expr: &Expr) -> Result<Filter<'a>, Invalid> {
        Ok(match expr {
            Expr::And(all) => Filter::And(all.iter().map(|e| self.filter(e)).collect::<Result<_, _>>()?),
            Expr::Or(all) => Filter::Or(all.iter().map(|e| self.filter(e)).collect::<Result<_, _>>()?),
            Expr::Not(_) if !self.context.switches.not_before_group => {
                return Err(Invalid::new(
                    "Invalid AQL: NOT has to stand between an attribute and an operator",
                ));
            }
            Expr::Not(inner) => Filter::Not(Box::new(self.filter(inner)?)),
            Expr::Condition(condition) => self.condition(condition)?,
        })
    }

    /// The walk over references and the last name's meaning.
    pub fn path(&self, path: &Path, clause: &str) -> Result<(Vec<Field<'a>>, Target<'a>), Invalid> {
        let names = self.split_dots(path);
        let (last, steps) = names.split_last().ok_or_else(|| unmatched(clause))?;
        let mut walk = Vec::new();
        for name in steps {
            let field = self.attributes(&name.text).ok_or_else(|| unmatched(clause))?;
            walk.push(field);
        }
        Ok((walk, self.target(&last.text).ok_or_else(|| unmatched(clause))?))
    }

    fn split_dots(&self, path: &Path) -> Vec<Name> {
        let how = self.context.switches.quoted_dot;
        let mut names = Vec::new();
        for name in &path.names {
            let whole = !name.quoted
                || !name.text.contains('.')
                || how == QuotedDot::Name
                || (how == QuotedDot::Either && self.attributes(&name.text).is_some());
            if whole {
                names.push(name.clone());
            } else {
                names.extend(name.text.split('.').map(|t| Name { text: t.to_owned(), quoted: true }));
            }
        }
        names
    }

    fn target(&self, name: &str) -> Option<Target<'a>> {
        Some(match name.to_ascii_lowercase().as_str() {
            "objecttype" => Target::ObjectType,
            "objecttypeid" => Target::ObjectTypeId,
            "objectschema" => Target::Schema,
            "objectschemaid" => Target::SchemaId,
            "objectid" => Target::ObjectId,
            "object" => Target::Object,
            "key" if name == "Key" || self.context.switches.any_case_names => Target::Key,
            _ => Target::Attribute(self.attributes(name)?),
        })
    }

    /// Every attribute that a name means; `None` if no visible type has one.
    fn attributes(&self, name: &str) -> Option<Field<'a>> {
        let catalog: &'a Catalog = self.context.view.catalog;
        let switches = self.context.switches;
        if name.bytes().all(|b| b.is_ascii_digit()) {
            return None; // digits-only names fail, quoted or not (assets-api.md section 13)
        }
        let lower = fold(name, switches.fold);
        let mut by_type: HashMap<u32, Vec<&'a Attribute>> = HashMap::new();
        for object_type in catalog.types.values().filter(|t| self.context.view.sees_type(t.id)) {
            let services = catalog.schema(object_type.schema_id).is_some_and(|s| s.services);
            let prefixed = services && switches.services_prefix;
            let matches = |a: &&Attribute| {
                let known = if prefixed && !a.system { format!("a_{}", a.name) } else { a.name.clone() };
                known == name || (switches.any_case_names && fold(&known, switches.fold) == lower)
            };
            let mut found: Vec<&Attribute> = catalog.effective(object_type.id);
            if name.eq_ignore_ascii_case("label") && !found.iter().any(&matches) {
                found.retain(|a| a.label);
            } else {
                found.retain(matches);
            }
            if !found.is_empty() {
                by_type.insert(object_type.id, found);
            }
        }
        if by_type.is_empty() { None } else { Some(Field { by_type }) }
    }

    fn condition(&mut self, condition: &Condition) -> Result<Filter<'a>, Invalid> {
        let clause = condition.shown();
        let (walk, target) = self.path(&condition.path, &clause)?;
        let mut filter = self.test(target, &condition.test, &clause)?;
        let unreached = self.holds_for_nothing(&condition.test);
        for field in walk.into_iter().rev() {
            filter = Filter::Through { field, inner: Box::new(filter), unreached };
        }
        Ok(filter)
    }

    fn holds_for_nothing(&self, test: &Test) -> bool {
        let switches = self.context.switches;
        match test {
            Test::Compare(Operator::NotEqual, _) => switches.not_equal_finds_empty,
            Test::In { negated: true, .. } => switches.not_in_finds_empty,
            Test::Text { negated: true, .. } => switches.not_like_finds_empty,
            Test::Empty { negated } => !negated,
            _ => false,
        }
    }

    fn test(&mut self, target: Target<'a>, test: &Test, clause: &str) -> Result<Filter<'a>, Invalid> {
        let limit = self.context.switches.in_list_limit;
        if let (Test::In { list, .. }, Some(limit)) = (test, limit)
            && list.len() > limit as usize
        {
            return Err(Invalid::new(format!("Invalid AQL: IN takes at most {limit} values")));
        }
        if matches!(test, Test::Compare(Operator::Same, _)) && !self.context.switches.double_equal {
            return Err(Invalid::new(format!("Invalid AQL: unknown operator == in clause ({clause})")));
        }
        if let Test::Text { negated: true, part: Part::Start | Part::End, .. } = test
            && !self.context.switches.not_starts_with
        {
            return Err(Invalid::new(format!("Invalid AQL: unknown operator in clause ({clause})")));
        }
        match target {
            Target::Object => self.object(test, clause),
            Target::ObjectId => self.object_id(test, clause),
            Target::Key => self.key(test, clause),
            Target::ObjectType => self.type_names(test, clause),
            Target::ObjectTypeId => self.ids(test, clause, |t| t.id),
            Target::Schema => self.schema_names(test, clause),
            Target::SchemaId => self.ids(test, clause, |t| t.schema_id),
            Target::Attribute(field) => self.values(field, test, clause),
        }
    }
}

pub(super) fn negate(negated: bool, filter: Filter<'_>) -> Filter<'_> {
    if negated { Filter::Not(Box::new(filter)) } else { filter }
}

fn unmatched(clause: &str) -> Invalid {
    Invalid::new(format!("No matching attribute for AQL clause ({clause})"))
}

pub(super) fn unsupported(clause: &str) -> Invalid {
    Invalid::new(format!("The operator or value is not supported in AQL clause ({clause})"))
}
