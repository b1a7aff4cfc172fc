//! A query's names and literals resolved against the catalog: what is left is only evaluation.

use std::collections::{HashMap, HashSet};

use super::Invalid;
use super::ast::{Condition, Expr, Function, Literal, Name, Operand, Operator, Part, Path, Test};
use super::dates;
use super::search::{self, Context};
use crate::clock;
use crate::data::catalog::Catalog;
use crate::data::model::{Attribute, Kind};
use crate::switches::{QuotedDot, Unknown};

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
        let lower = name.to_lowercase();
        let mut by_type: HashMap<u32, Vec<&'a Attribute>> = HashMap::new();
        for object_type in catalog.types.values().filter(|t| self.context.view.sees_type(t.id)) {
            let services = catalog.schema(object_type.schema_id).is_some_and(|s| s.services);
            let prefixed = services && switches.services_prefix;
            let matches = |a: &&Attribute| {
                let known = if prefixed && !a.system { format!("a_{}", a.name) } else { a.name.clone() };
                known == name || (switches.any_case_names && known.to_lowercase() == lower)
            };
            let mut found: Vec<&Attribute> = catalog.effective(object_type.id);
            if lower == "label" && !found.iter().any(&matches) {
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
        let clause = shown(condition);
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

    fn object(&mut self, test: &Test, clause: &str) -> Result<Filter<'a>, Invalid> {
        let Test::Having { negated, function } = test else { return Err(unsupported(clause)) };
        let found = match function {
            Function::References { inbound, filter, types } => {
                self.references(*inbound, filter.as_deref(), types)?
            }
            Function::Tickets { jql } => {
                let jql = crate::tickets::Jql::parse(jql)
                    .map_err(|why| Invalid::new(format!("Invalid JQL: {why}")))?;
                Filter::Tickets(jql)
            }
            Function::Plain { .. } => return Err(unsupported(clause)),
        };
        Ok(if *negated { Filter::Not(Box::new(found)) } else { found })
    }

    fn references(
        &mut self,
        inbound: bool,
        filter: Option<&Expr>,
        types: &[String],
    ) -> Result<Filter<'a>, Invalid> {
        let view = self.context.view;
        let kinds = if types.is_empty() {
            None
        } else {
            let wanted: Vec<String> = types.iter().map(|t| t.to_lowercase()).collect();
            let known =
                view.catalog.reference_types.iter().filter(|r| wanted.contains(&r.name.to_lowercase()));
            Some(known.map(|r| r.id).collect())
        };
        let others = match filter {
            Some(expr) => Some(search::ids(self.context, &self.filter(expr)?)),
            None => None,
        };
        if !inbound {
            // The object has references to one of the others.
            return Ok(Filter::RefersTo { targets: others.map(|o| o.into_iter().collect()), kinds });
        }
        // The object is referred to by one of the others.
        let others = others.unwrap_or_else(|| search::ids(self.context, &Filter::Everything));
        let mut targets = HashSet::new();
        for entry in others.into_iter().filter_map(|id| view.object(id)) {
            targets.extend(search::targets(view, &entry, kinds.as_ref()));
        }
        Ok(Filter::Ids(targets))
    }

    fn object_id(&mut self, test: &Test, clause: &str) -> Result<Filter<'a>, Invalid> {
        let switches = self.context.switches;
        let number = |operand: &Operand| match operand {
            Operand::Literal(l) => l.text.trim().parse::<u64>().map_err(|_| unsupported(clause)),
            Operand::Function(_) => Err(unsupported(clause)),
        };
        Ok(match test {
            Test::Compare(operator, operand) => {
                let n = number(operand)?;
                let allowed = match operator {
                    Operator::Less | Operator::Greater => switches.strict_object_id,
                    Operator::AtMost | Operator::AtLeast => switches.object_id_ranges,
                    _ => true,
                };
                if !allowed {
                    return Err(unsupported(clause));
                }
                match operator {
                    Operator::Equal | Operator::Same => Filter::Ids(HashSet::from([n])),
                    Operator::NotEqual => Filter::Not(Box::new(Filter::Ids(HashSet::from([n])))),
                    Operator::Less => {
                        n.checked_sub(1).map_or(Filter::Nothing, |high| Filter::IdRange(0, high))
                    }
                    Operator::Greater => {
                        n.checked_add(1).map_or(Filter::Nothing, |low| Filter::IdRange(low, u64::MAX))
                    }
                    Operator::AtMost => Filter::IdRange(0, n),
                    Operator::AtLeast => Filter::IdRange(n, u64::MAX),
                }
            }
            Test::In { negated, list } => {
                let all = list.iter().map(number).collect::<Result<_, _>>()?;
                negate(*negated, Filter::Ids(all))
            }
            Test::Empty { negated } => {
                if *negated {
                    Filter::Everything
                } else {
                    Filter::Nothing
                }
            }
            _ => return Err(unsupported(clause)),
        })
    }

    /// Key takes `=`, `!=`, IN and EMPTY only; a partial match fails the whole query (assets-api.md section 13).
    fn key(&mut self, test: &Test, clause: &str) -> Result<Filter<'a>, Invalid> {
        let view = self.context.view;
        let by_key = |operand: &Operand| match operand {
            Operand::Literal(l) => Ok(view.object_by_key(self.trimmed(l)).map(|e| e.id())),
            Operand::Function(_) => Err(unsupported(clause)),
        };
        Ok(match test {
            Test::Compare(Operator::Equal | Operator::Same, key) => {
                Filter::Ids(by_key(key)?.into_iter().collect())
            }
            Test::Compare(Operator::NotEqual, key) => {
                Filter::Not(Box::new(Filter::Ids(by_key(key)?.into_iter().collect())))
            }
            Test::In { negated, list } => {
                let found = list.iter().map(by_key).collect::<Result<Vec<_>, _>>()?;
                negate(*negated, Filter::Ids(found.into_iter().flatten().collect()))
            }
            Test::Empty { negated } => {
                if *negated {
                    Filter::Everything
                } else {
                    Filter::Nothing
                }
            }
            _ => return Err(unsupported(clause)),
        })
    }

    fn type_names(&mut self, test: &Test, clause: &str) -> Result<Filter<'a>, Invalid> {
        let catalog = self.context.view.catalog;
        if let Test::InFunction { negated, function: Function::Plain { name, arguments } } = test
            && name == "objecttypeandchildren"
        {
            let [wanted] = arguments.as_slice() else { return Err(unsupported(clause)) };
            let mut all: HashSet<u32> = match wanted.text.parse::<u32>() {
                Ok(id) if catalog.types.contains_key(&id) => HashSet::from([id]),
                _ => self.types_named(&wanted.text, clause)?,
            };
            for id in all.clone() {
                all.extend(catalog.descendants(id));
            }
            return Ok(negate(*negated, Filter::Types(all)));
        }
        self.named(test, clause, |this, text| this.types_named(text, clause))
    }

    fn types_named(&self, name: &str, clause: &str) -> Result<HashSet<u32>, Invalid> {
        let lower = name.to_lowercase();
        let known = self.context.view.catalog.types.values().filter(|t| self.context.view.sees_type(t.id));
        let found: HashSet<u32> = known.filter(|t| t.name.to_lowercase() == lower).map(|t| t.id).collect();
        self.or_unknown(found, name, clause)
    }

    fn schema_names(&mut self, test: &Test, clause: &str) -> Result<Filter<'a>, Invalid> {
        self.named(test, clause, |this, text| {
            let view = this.context.view;
            let lower = text.to_lowercase();
            let schemas: Vec<u32> = view
                .catalog
                .schemas
                .iter()
                .filter(|s| s.name.to_lowercase() == lower)
                .map(|s| s.id)
                .collect();
            let types = view.catalog.types.values().filter(|t| schemas.contains(&t.schema_id)).map(|t| t.id);
            this.or_unknown(types.collect(), text, clause)
        })
    }

    fn or_unknown(&self, found: HashSet<u32>, name: &str, clause: &str) -> Result<HashSet<u32>, Invalid> {
        if found.is_empty() && self.context.switches.unknown_type == Unknown::Error {
            return Err(Invalid::new(format!("Could not find {name} for AQL clause ({clause})")));
        }
        Ok(found)
    }

    fn named(
        &mut self,
        test: &Test,
        clause: &str,
        find: impl Fn(&Self, &str) -> Result<HashSet<u32>, Invalid>,
    ) -> Result<Filter<'a>, Invalid> {
        let of = |this: &Self, operand: &Operand| match operand {
            Operand::Literal(l) => find(this, this.trimmed(l)),
            Operand::Function(_) => Err(unsupported(clause)),
        };
        Ok(match test {
            Test::Compare(Operator::Equal | Operator::Same, name) => Filter::Types(of(self, name)?),
            Test::Compare(Operator::NotEqual, name) => Filter::Not(Box::new(Filter::Types(of(self, name)?))),
            Test::In { negated, list } => {
                let mut all = HashSet::new();
                for name in list {
                    // An unknown name beside known ones is no error: `in` is documented as a list of `=`.
                    all.extend(of(self, name)?);
                }
                negate(*negated, Filter::Types(all))
            }
            Test::Empty { negated } => {
                if *negated {
                    Filter::Everything
                } else {
                    Filter::Nothing
                }
            }
            _ => return Err(unsupported(clause)),
        })
    }

    fn ids(
        &mut self,
        test: &Test,
        clause: &str,
        of: impl Fn(&crate::data::model::ObjectType) -> u32,
    ) -> Result<Filter<'a>, Invalid> {
        let number = |operand: &Operand| match operand {
            Operand::Literal(l) => l.text.trim().parse::<u32>().map_err(|_| unsupported(clause)),
            Operand::Function(_) => Err(unsupported(clause)),
        };
        let types = |wanted: &[u32]| {
            let all = self.context.view.catalog.types.values();
            Filter::Types(all.filter(|t| wanted.contains(&of(t))).map(|t| t.id).collect())
        };
        Ok(match test {
            Test::Compare(Operator::Equal | Operator::Same, id) => types(&[number(id)?]),
            Test::Compare(Operator::NotEqual, id) => Filter::Not(Box::new(types(&[number(id)?]))),
            Test::In { negated, list } => {
                let wanted = list.iter().map(number).collect::<Result<Vec<_>, _>>()?;
                negate(*negated, types(&wanted))
            }
            Test::Empty { negated } => {
                if *negated {
                    Filter::Everything
                } else {
                    Filter::Nothing
                }
            }
            _ => return Err(unsupported(clause)),
        })
    }

    fn values(&mut self, field: Field<'a>, test: &Test, clause: &str) -> Result<Filter<'a>, Invalid> {
        let test = match test {
            Test::Compare(operator, operand) => {
                ValueTest::Compare(*operator, self.lit(operand, &field, clause)?)
            }
            Test::In { negated, list } => {
                let list = list.iter().map(|o| self.lit(o, &field, clause)).collect::<Result<_, _>>()?;
                ValueTest::In { negated: *negated, list }
            }
            Test::InFunction { negated, function: Function::Plain { name, arguments } }
                if name == "group" =>
            {
                let catalog = self.context.view.catalog;
                let wanted: Vec<String> = arguments.iter().map(|a| a.text.to_lowercase()).collect();
                let is_wanted = |g: &usize| wanted.contains(&catalog.groups[*g].to_lowercase());
                if field.by_type.values().flatten().any(|a| a.kind == Kind::Group) {
                    let list = arguments.iter().map(|a| self.plain(&a.text)).collect();
                    ValueTest::In { negated: *negated, list }
                } else {
                    let users = catalog.users.iter().enumerate();
                    let users =
                        users.filter(|(_, u)| u.groups.iter().any(is_wanted)).map(|(i, _)| i).collect();
                    ValueTest::Users { negated: *negated, users }
                }
            }
            Test::Having { negated, function: Function::Plain { name, arguments } } if name == "user" => {
                let mut users = HashSet::new();
                for argument in arguments {
                    if argument.text.eq_ignore_ascii_case("currentUser()") {
                        users.insert(self.context.me);
                    }
                    users.extend(self.context.view.catalog.find_user(&argument.text));
                }
                ValueTest::Users { negated: *negated, users }
            }
            Test::Text { negated, part, operand: Operand::Literal(literal) } => {
                self.check_literal(literal, clause)?;
                ValueTest::Text {
                    negated: *negated,
                    part: *part,
                    lower: self.trimmed(literal).to_lowercase(),
                }
            }
            Test::Empty { negated } => ValueTest::Empty { negated: *negated },
            _ => return Err(unsupported(clause)),
        };
        Ok(Filter::Values { field, test })
    }

    fn trimmed<'l>(&self, literal: &'l Literal) -> &'l str {
        if self.context.switches.trim_literals { literal.text.trim() } else { &literal.text }
    }

    fn check_literal(&self, literal: &Literal, clause: &str) -> Result<(), Invalid> {
        if literal.text.chars().any(char::is_control) && !self.context.switches.control_characters {
            return Err(Invalid::new(format!(
                "Invalid AQL: control character in clause ({})",
                clause.escape_debug()
            )));
        }
        Ok(())
    }

    fn plain(&self, text: &str) -> Lit {
        let switches = self.context.switches;
        let trimmed = text.trim();
        Lit {
            text: text.to_owned(),
            lower: text.to_lowercase(),
            integer: trimmed.parse().ok(),
            number: trimmed.parse().ok(),
            instant: clock::parse_instant(trimmed, switches.literal_zone_minutes, switches.literal_offset),
            local: clock::parse_instant(trimmed, 0, true),
            time: clock::parse_time(trimmed),
        }
    }

    fn lit(&mut self, operand: &Operand, field: &Field<'_>, clause: &str) -> Result<Lit, Invalid> {
        let (now, zone) = (self.context.now, self.context.switches.function_zone_minutes);
        let moment =
            |m: dates::Moment| Lit { instant: Some(m.instant), local: Some(m.local), ..Lit::default() };
        let literal = match operand {
            Operand::Literal(literal) => literal,
            Operand::Function(Function::Plain { name, arguments }) => {
                if name == "currentuser" {
                    let me = &self.context.view.catalog.users[self.context.me].account_id;
                    return Ok(self.plain(me));
                }
                let offset = arguments.first().map(|a| a.text.as_str());
                self.timed = true;
                return match dates::function(name, offset, now, zone) {
                    Some(found) if arguments.len() < 2 => Ok(moment(found)),
                    _ => Err(Invalid::new(format!(
                        "Invalid AQL: {name}() cannot be used in clause ({clause})"
                    ))),
                };
            }
            Operand::Function(_) => return Err(unsupported(clause)),
        };
        self.check_literal(literal, clause)?;
        let kinds = || field.by_type.values().flatten().map(|a| a.kind);
        if kinds().any(|k| matches!(k, Kind::Date | Kind::DateTime))
            && let Some(found) = dates::quoted_function(&literal.text, now, zone)
        {
            self.timed = true;
            return Ok(moment(found));
        }
        let lit = self.plain(self.trimmed(literal));
        let fits = |kind| match kind {
            Kind::Integer | Kind::Double => lit.number.is_some(),
            Kind::Date | Kind::DateTime => lit.instant.is_some(),
            Kind::Boolean => lit.lower == "true" || lit.lower == "false",
            _ => true,
        };
        if self.context.switches.unfit_literal == Unknown::Error && !lit.text.is_empty() && !kinds().any(fits)
        {
            return Err(Invalid::new(format!(
                "The value does not fit the attribute in AQL clause ({clause})"
            )));
        }
        Ok(lit)
    }
}

fn negate(negated: bool, filter: Filter<'_>) -> Filter<'_> {
    if negated { Filter::Not(Box::new(filter)) } else { filter }
}

fn unmatched(clause: &str) -> Invalid {
    Invalid::new(format!("No matching attribute for AQL clause ({clause})"))
}

fn unsupported(clause: &str) -> Invalid {
    Invalid::new(format!("The operator or value is not supported in AQL clause ({clause})"))
}

/// A condition as error messages quote it: `"Foo" = x`.
fn shown(condition: &Condition) -> String {
    let operand = |o: &Operand| match o {
        Operand::Literal(l) => l.text.clone(),
        Operand::Function(Function::Plain { name, .. }) => format!("{name}()"),
        Operand::Function(_) => "function()".to_owned(),
    };
    let not = |negated: &bool| if *negated { "not " } else { "" };
    let test = match &condition.test {
        Test::Compare(operator, o) => {
            let sign = match operator {
                Operator::Equal => "=",
                Operator::Same => "==",
                Operator::NotEqual => "!=",
                Operator::Less => "<",
                Operator::Greater => ">",
                Operator::AtMost => "<=",
                Operator::AtLeast => ">=",
            };
            format!("{sign} {}", operand(o))
        }
        Test::In { negated, list } => {
            let all: Vec<String> = list.iter().take(10).map(operand).collect();
            format!("{}in ({})", not(negated), all.join(", "))
        }
        Test::InFunction { negated, .. } => format!("{}in function()", not(negated)),
        Test::Text { negated, part, operand: o } => {
            let word = match part {
                Part::Anywhere => "like",
                Part::Start => "startswith",
                Part::End => "endswith",
            };
            format!("{}{word} {}", not(negated), operand(o))
        }
        Test::Empty { negated } => format!("is {}empty", not(negated)),
        Test::Having { negated, .. } => format!("{}having function()", not(negated)),
    };
    format!("\"{}\" {test}", condition.path.shown())
}
