//! Conditions on attributes: their literals and functions, read in every way that a value may ask for.

use std::collections::HashSet;

use super::Invalid;
use super::ast::{Function, Literal, Operand, Test};
use super::compile::{Compiler, Field, Filter, Lit, ValueTest, unsupported};
use super::dates;
use super::fold::fold;
use crate::clock;
use crate::data::model::Kind;
use crate::switches::Unknown;

impl<'a> Compiler<'_, 'a> {
    pub(super) fn values(
        &mut self,
        field: Field<'a>,
        test: &Test,
        clause: &str,
    ) -> Result<Filter<'a>, Invalid> {
        let folding = self.context.switches.fold;
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
                let wanted: Vec<String> = arguments.iter().map(|a| fold(&a.text, folding)).collect();
                let is_wanted = |g: &usize| wanted.contains(&fold(catalog.groups[*g], folding));
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
                    lower: fold(self.trimmed(literal), folding),
                }
            }
            Test::Empty { negated } => ValueTest::Empty { negated: *negated },
            _ => return Err(unsupported(clause)),
        };
        Ok(Filter::Values { field, test })
    }

    pub(super) fn trimmed<'l>(&self, literal: &'l Literal) -> &'l str {
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
            lower: fold(text, switches.fold),
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
            Kind::Boolean => ["true", "false"].iter().any(|b| lit.text.eq_ignore_ascii_case(b)),
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
