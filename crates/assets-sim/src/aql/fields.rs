//! Conditions on what every object has: its id, key, type and schema, and its references and tickets.

use std::collections::HashSet;

use super::Invalid;
use super::ast::{Expr, Function, Operand, Operator, Test};
use super::compile::{Compiler, Filter, negate, unsupported};
use super::fold::fold;
use super::search;
use crate::switches::Unknown;

impl<'a> Compiler<'_, 'a> {
    pub(super) fn object(&mut self, test: &Test, clause: &str) -> Result<Filter<'a>, Invalid> {
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

    pub(super) fn object_id(&mut self, test: &Test, clause: &str) -> Result<Filter<'a>, Invalid> {
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
    pub(super) fn key(&mut self, test: &Test, clause: &str) -> Result<Filter<'a>, Invalid> {
        let view = self.context.view;
        // What is found is only what may be read; a path may end at other objects too.
        let hidden = self.context.switches.unreadable_path;
        let find = |key: &str| if hidden { view.any_object_by_key(key) } else { view.object_by_key(key) };
        let by_key = |operand: &Operand| match operand {
            Operand::Literal(l) => Ok(find(self.trimmed(l)).map(|e| e.id())),
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

    pub(super) fn type_names(&mut self, test: &Test, clause: &str) -> Result<Filter<'a>, Invalid> {
        let catalog = self.context.view.catalog;
        if let Test::InFunction { negated, function: Function::Plain { name, arguments } } = test
            && name == "objecttypeandchildren"
        {
            if !self.context.switches.types_below {
                return Err(unsupported(clause));
            }
            let [wanted] = arguments.as_slice() else { return Err(unsupported(clause)) };
            let mut all: HashSet<u32> = match wanted.text.parse::<u32>() {
                Ok(id) if catalog.types.contains_key(&id) => HashSet::from([id]),
                _ => self.types_named(&wanted.text, clause)?,
            };
            for id in all.clone() {
                let far = self.context.switches.types_far_below;
                let child = |below: &u32| catalog.types.get(below).is_some_and(|t| t.parent == Some(id));
                all.extend(catalog.descendants(id).into_iter().filter(|below| far || child(below)));
            }
            return Ok(negate(*negated, Filter::Types(all)));
        }
        self.named(test, clause, |this, text| this.types_named(text, clause))
    }

    fn types_named(&self, name: &str, clause: &str) -> Result<HashSet<u32>, Invalid> {
        let lower = fold(name, self.context.switches.fold);
        let known = self.context.view.catalog.types.values().filter(|t| self.context.view.sees_type(t.id));
        let found: HashSet<u32> =
            known.filter(|t| fold(&t.name, self.context.switches.fold) == lower).map(|t| t.id).collect();
        self.or_unknown(found, name, clause)
    }

    pub(super) fn schema_names(&mut self, test: &Test, clause: &str) -> Result<Filter<'a>, Invalid> {
        self.named(test, clause, |this, text| {
            let view = this.context.view;
            let folding = this.context.switches.fold;
            let lower = fold(text, folding);
            let schemas: Vec<u32> = view
                .catalog
                .schemas
                .iter()
                .filter(|s| fold(&s.name, folding) == lower)
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

    pub(super) fn ids(
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
}
