//! From PostgreSQL's expressions to [`aql::Pred`].
//!
//! The walk knows a list of node types; anything else is [`Pred::Local`], never an error. It runs
//! twice over the same clauses: while planning, for the estimate, and when the plan is executed,
//! over the plan's own quals, so that nothing but the quals themselves has to survive in the plan
//! and a prepared statement follows changes of the object type.
//!
//! Assumptions about the remote: none. What AQL means is `crates/aql`'s business.
#![allow(unsafe_code)] // raw expression nodes

use std::collections::HashMap;

use aql::{Class, Leaf, Literal, Op, Operand, Pred, Subject};
use pgrx::pg_sys;

use crate::catalog::Resolution;
use crate::fdw::failing;
use crate::fdw::{compared, pg};

/// Walks the clauses of one relation.
pub struct Walker<'a> {
    /// The relation's number in the range table.
    pub relid: pg_sys::Index,
    /// What its columns mean.
    pub columns: &'a HashMap<i16, Resolution>,
    /// The right-hand sides that are known only when the query runs, in the order of their `$n`.
    pub operands: Vec<Unknown>,
    /// Whether PostgreSQL looks at what follows only where something before it says so, whatever the row: `$1 <> '' AND …`.
    guarded: bool,
}

/// A right-hand side that is known only when the query runs.
pub struct Unknown {
    /// What gives its value.
    pub expr: *mut pg_sys::Expr,
    /// Of the column that it is compared with.
    pub class: Class,
    /// That column's number.
    pub attnum: i16,
}

/// A column as a condition has it.
struct Compared {
    subject: Subject,
    /// Its number; 0 where it is not asked for.
    attnum: i16,
    /// What it is cast to before it is compared.
    cast_to: Option<pg_sys::Oid>,
}

/// Operators are taken by name, which is safe only for those that PostgreSQL brings along.
const FIRST_USER_OID: u32 = 16_384;

impl From<Subject> for Compared {
    fn from(subject: Subject) -> Self {
        Self { subject, attnum: 0, cast_to: None }
    }
}

impl<'a> Walker<'a> {
    /// Of the relation with this number, whose columns mean this.
    pub fn new(relid: pg_sys::Index, columns: &'a HashMap<i16, Resolution>) -> Self {
        Self { relid, columns, operands: Vec::new(), guarded: false }
    }

    /// The condition that a clause is.
    ///
    /// # Safety
    /// `node` is a live expression of the query that `relid` belongs to.
    pub unsafe fn pred(&mut self, node: *mut pg_sys::Node) -> Pred {
        // SAFETY: the caller's promise.
        unsafe { self.at_depth(node, 0) }
    }

    /// `depth` conditions are around this one. Beyond [`aql::pred::DEEPEST`] it gives up: PostgreSQL looks after
    /// its own stack, and may have been given more of it than what follows here can use.
    unsafe fn at_depth(&mut self, node: *mut pg_sys::Node, depth: usize) -> Pred {
        use pg_sys::NodeTag::*;
        if depth > aql::pred::DEEPEST {
            return local("conditions nested too deeply");
        }
        // SAFETY: the caller's promise; each cast follows the node's own tag.
        unsafe {
            match (*node).type_ {
                T_RestrictInfo => self.at_depth((*node.cast::<pg_sys::RestrictInfo>()).clause.cast(), depth),
                T_BoolExpr => self.bool_expr(node.cast(), depth),
                T_OpExpr => self.op_expr(node.cast()),
                T_DistinctExpr => self.distinct_expr(node.cast()),
                T_ScalarArrayOpExpr => self.array_op_expr(node.cast()),
                T_NullTest => self.null_test(node.cast()),
                T_BooleanTest => self.boolean_test(node.cast()),
                T_FuncExpr => self.func_expr(node.cast()),
                T_Var | T_RelabelType => match self.subject(node) {
                    Some(subject) if subject.class == Class::Bool => truth(subject, true),
                    _ => local("an expression"),
                },
                _ => local("an expression"),
            }
        }
    }

    unsafe fn bool_expr(&mut self, expr: *mut pg_sys::BoolExpr, depth: usize) -> Pred {
        // SAFETY: as for `pred`.
        unsafe {
            let mut list = Vec::new();
            let around = self.guarded;
            for arg in pg::nodes::<pg_sys::Node>((*expr).args) {
                list.push(self.at_depth(arg, depth + 1));
                self.guarded |= pg::columns_in(arg, self.relid).is_empty();
            }
            self.guarded = around;
            match (*expr).boolop {
                pg_sys::BoolExprType::AND_EXPR => Pred::And(list),
                pg_sys::BoolExprType::OR_EXPR => Pred::Or(list),
                _ => Pred::Not(Box::new(list.pop().unwrap_or_else(|| local("NOT of nothing")))),
            }
        }
    }

    unsafe fn op_expr(&mut self, expr: *mut pg_sys::OpExpr) -> Pred {
        // SAFETY: as for `pred`.
        unsafe {
            let args: Vec<*mut pg_sys::Node> = pg::nodes((*expr).args).collect();
            let [left, right] = args[..] else { return local("an operator with one side") };
            let Some(name) = operator((*expr).opno) else { return local("an operator of a user's") };
            if !pg::is_deterministic((*expr).inputcollid) {
                return local("a nondeterministic collation");
            }
            if let Some(pred) = self.function_compared(&name, left, right) {
                return pred;
            }
            if matches!(name.as_str(), "~~*" | "!~~*") && !folds_as_elsewhere((*expr).inputcollid) {
                return local("a collation with lower case of its own");
            }
            let (of, name, other) = if let Some(of) = self.compared(left) {
                (of, name, right)
            } else if let Some(of) = self.compared(right) {
                let Some(name) = commuted(&name) else { return local("an operator without a mirror") };
                (of, name.to_owned(), left)
            } else {
                return local("an expression over columns");
            };
            let array = is_array(other);
            let op = match (name.as_str(), array) {
                ("=", false) => Op::Eq,
                ("<>", false) => Op::Ne,
                ("<", false) => Op::Lt,
                ("<=", false) => Op::Le,
                (">", false) => Op::Gt,
                (">=", false) => Op::Ge,
                ("~~", false) => Op::Like,
                ("~~*", false) => Op::ILike,
                ("!~~", false) => Op::NotLike,
                ("!~~*", false) => Op::NotILike,
                ("^@", false) => Op::Prefix,
                ("@>", true) => Op::ArrayContains,
                ("&&", true) => Op::ArrayOverlaps,
                _ => return local(&format!("operator {name}")),
            };
            self.compare(of, op, other)
        }
    }

    /// `lower(x) = v`, `lower(x) LIKE v`, `strpos(x, v) > 0`, `left(x, n) = v`; `upper` of keys only,
    /// which are ASCII: of other texts some collations make two letters of one (`ß`), which ignoring
    /// case does not.
    unsafe fn function_compared(
        &mut self,
        name: &str,
        left: *mut pg_sys::Node,
        right: *mut pg_sys::Node,
    ) -> Option<Pred> {
        // SAFETY: as for `pred`.
        unsafe {
            let (function, args) = builtin_function(left)?;
            if !pg::is_deterministic((*left.cast::<pg_sys::FuncExpr>()).inputcollid) {
                return Some(local("a nondeterministic collation"));
            }
            if function == "lower" && !folds_as_elsewhere((*left.cast::<pg_sys::FuncExpr>()).inputcollid) {
                return Some(local("a collation with lower case of its own"));
            }
            match (function.as_str(), name, &args[..]) {
                ("lower" | "upper", "=" | "<>", [column]) => {
                    let subject = self.subject(*column)?;
                    if function == "upper" && subject.column != aql::Column::Key {
                        return None;
                    }
                    let op = if name == "=" { Op::EqFolded } else { Op::NeFolded };
                    Some(self.compare(subject, op, right))
                }
                // Whatever matches in lower case matches ignoring case, not the other way round.
                ("lower", "~~" | "~~*", [column]) => {
                    let subject = self.subject(*column)?;
                    Some(Pred::And(vec![self.compare(subject, Op::ILike, right), local("a function")]))
                }
                ("strpos" | "position", ">" | "<>", [column, part]) if is_zero(right) => {
                    let subject = self.subject(*column)?;
                    Some(self.compare(subject, Op::Contains, *part))
                }
                // However many characters are taken, they are the first ones.
                ("left", "=", [column, _]) => {
                    let subject = self.subject(*column)?;
                    Some(Pred::And(vec![self.compare(subject, Op::Prefix, right), local("a function")]))
                }
                _ => None,
            }
        }
    }

    unsafe fn func_expr(&mut self, expr: *mut pg_sys::FuncExpr) -> Pred {
        // SAFETY: as for `pred`.
        unsafe {
            if let Some((name, args)) = builtin_function(expr.cast())
                && let ("starts_with", [column, prefix]) = (name.as_str(), &args[..])
                && pg::is_deterministic((*expr).inputcollid)
                && let Some(subject) = self.subject(*column)
            {
                return self.compare(subject, Op::Prefix, *prefix);
            }
            local("a function")
        }
    }

    unsafe fn array_op_expr(&mut self, expr: *mut pg_sys::ScalarArrayOpExpr) -> Pred {
        // SAFETY: as for `pred`.
        unsafe {
            let args: Vec<*mut pg_sys::Node> = pg::nodes((*expr).args).collect();
            let ([left, right], Some(name)) = (&args[..], operator((*expr).opno)) else {
                return local("an operator of a user's");
            };
            if !pg::is_deterministic((*expr).inputcollid) {
                return local("a nondeterministic collation");
            }
            if let (Some((function, of)), "=", true) = (builtin_function(*left), name.as_str(), (*expr).useOr)
                && let ("lower", [column]) = (function.as_str(), &of[..])
                && pg::is_deterministic((*(*left).cast::<pg_sys::FuncExpr>()).inputcollid)
                && folds_as_elsewhere((*(*left).cast::<pg_sys::FuncExpr>()).inputcollid)
                && let Some(subject) = self.subject(*column)
                && pg::is_a(*right, pg_sys::NodeTag::T_Const)
                && let Some(Operand::Value(Literal::List(list))) =
                    self.operand(&subject.clone().into(), Op::In, *right)
            {
                let one = |value| leaf(subject.clone(), Op::EqFolded, Operand::Value(value));
                return Pred::Or(list.into_iter().map(one).collect());
            }
            if let Some(of) = self.compared(*left) {
                return match (name.as_str(), (*expr).useOr) {
                    ("=", true) => self.compare(of, Op::In, *right),
                    ("<>", false) => self.compare(of, Op::NotIn, *right),
                    _ => local(&format!("operator {name} over an array")),
                };
            }
            if let (Some(of), "=", true) = (self.compared(*right), name.as_str(), (*expr).useOr)
                && of.cast_to.is_none()
            {
                return self.compare(of, Op::ArrayHas, *left);
            }
            local("an array comparison over columns")
        }
    }

    unsafe fn null_test(&mut self, expr: *mut pg_sys::NullTest) -> Pred {
        // SAFETY: as for `pred`.
        unsafe {
            let Some(subject) = self.subject((*expr).arg.cast()) else {
                return local("IS NULL of an expression");
            };
            if (*expr).argisrow {
                return local("IS NULL of a row");
            }
            let op = match (*expr).nulltesttype {
                pg_sys::NullTestType::IS_NULL => Op::IsNull,
                _ => Op::IsNotNull,
            };
            leaf(subject, op, Operand::None)
        }
    }

    /// IS TRUE and its kin are never null, unlike the comparison inside them.
    unsafe fn boolean_test(&mut self, expr: *mut pg_sys::BooleanTest) -> Pred {
        // SAFETY: as for `pred`.
        unsafe {
            let subject = match self.subject((*expr).arg.cast()) {
                Some(subject) if subject.class == Class::Bool => subject,
                _ => return local("a truth test of an expression"),
            };
            let known = |value: bool| {
                let there = leaf(subject.clone(), Op::IsNotNull, Operand::None);
                Pred::And(vec![truth(subject.clone(), value), there])
            };
            use pg_sys::BoolTestType::*;
            match (*expr).booltesttype {
                IS_TRUE => known(true),
                IS_FALSE => known(false),
                IS_NOT_TRUE => Pred::Not(Box::new(known(true))),
                IS_NOT_FALSE => Pred::Not(Box::new(known(false))),
                IS_UNKNOWN => leaf(subject, Op::IsNull, Operand::None),
                _ => leaf(subject, Op::IsNotNull, Operand::None),
            }
        }
    }

    /// `x IS DISTINCT FROM v`; under NOT it is `IS NOT DISTINCT FROM`.
    unsafe fn distinct_expr(&mut self, expr: *mut pg_sys::DistinctExpr) -> Pred {
        // SAFETY: as for `pred`.
        unsafe {
            let args: Vec<*mut pg_sys::Node> = pg::nodes((*expr).args).collect();
            let ([left, right], Some("=")) = (&args[..], operator((*expr).opno).as_deref().map(|_| "="))
            else {
                return local("IS DISTINCT FROM");
            };
            let (of, other) = match (self.compared(*left), self.compared(*right)) {
                (Some(of), None) => (of, *right),
                (None, Some(of)) => (of, *left),
                _ => return local("IS DISTINCT FROM between columns"),
            };
            if !pg::is_deterministic((*expr).inputcollid) {
                return local("a nondeterministic collation");
            }
            self.compare(of, Op::Distinct, other)
        }
    }

    unsafe fn compare(&mut self, of: impl Into<Compared>, op: Op, other: *mut pg_sys::Node) -> Pred {
        let of = of.into();
        // SAFETY: as for `pred`.
        match unsafe { self.operand(&of, op, other) } {
            Some(operand) => leaf(of.subject, op, operand),
            None => local("the other side depends on the row or is of another type"),
        }
    }

    /// What a column is to AQL, if `node` is a plain column of the relation. Casts that change no
    /// bits (varchar to text) are looked through.
    unsafe fn subject(&self, node: *mut pg_sys::Node) -> Option<Subject> {
        // SAFETY: as for `pred`.
        unsafe { self.compared(node).filter(|of| of.cast_to.is_none()).map(|of| of.subject) }
    }

    /// The same of what is compared: casts that keep the order are looked through, too.
    unsafe fn compared(&self, node: *mut pg_sys::Node) -> Option<Compared> {
        // SAFETY: as for `pred`.
        unsafe {
            let mut node = node;
            let mut cast_to = None;
            while let Some((arg, to)) = compared::cast_of(node) {
                cast_to = cast_to.or(Some(to));
                node = arg;
            }
            while pg::is_a(node, pg_sys::NodeTag::T_RelabelType) {
                let relabel = node.cast::<pg_sys::RelabelType>();
                let text_like =
                    [pg_sys::TEXTOID, pg_sys::VARCHAROID, pg_sys::TEXTARRAYOID, pg_sys::VARCHARARRAYOID];
                if !text_like.contains(&(*relabel).resulttype) {
                    return None;
                }
                node = (*relabel).arg.cast();
            }
            if !pg::is_a(node, pg_sys::NodeTag::T_Var) {
                return None;
            }
            let var = node.cast::<pg_sys::Var>();
            if (*var).varno as pg_sys::Index != self.relid || (*var).varlevelsup != 0 {
                return None;
            }
            let subject = self.columns.get(&(*var).varattno)?.subject.clone()?;
            Some(Compared { subject, attnum: (*var).varattno, cast_to })
        }
    }

    /// The other side of a comparison, if it does not depend on the row, is not volatile, and is of
    /// a type that compares with the column as AQL would.
    unsafe fn operand(&mut self, of: &Compared, op: Op, node: *mut pg_sys::Node) -> Option<Operand> {
        // SAFETY: as for `pred`.
        unsafe {
            let type_oid = pg_sys::exprType(node);
            let list = matches!(op, Op::In | Op::NotIn | Op::ArrayContains | Op::ArrayOverlaps);
            let element = if list { pg_sys::get_element_type(type_oid) } else { type_oid };
            let class = of.subject.class;
            if !compared::compares(class, of.cast_to, element) {
                return None;
            }
            if pg::is_a(node, pg_sys::NodeTag::T_Const) {
                let constant = node.cast::<pg_sys::Const>();
                if (*constant).constisnull {
                    return Some(Operand::Value(Literal::Null));
                }
                return compared::literal(class, (*constant).constvalue, type_oid).map(Operand::Value);
            }
            let mut used: *mut pg_sys::Bitmapset = std::ptr::null_mut();
            pg_sys::pull_varattnos(node, self.relid, &mut used);
            if !used.is_null() || pg_sys::contain_volatile_functions(node) || pg_sys::contain_subplans(node) {
                return None;
            }
            // Worked out before any row is seen, it might fail where PostgreSQL would not work it out at all.
            if self.guarded && !failing::cannot_fail(node) {
                return None;
            }
            self.operands.push(Unknown { expr: node.cast(), class, attnum: of.attnum });
            Some(Operand::Param(self.operands.len() - 1))
        }
    }
}

fn local(why: &str) -> Pred {
    Pred::Local(why.to_owned())
}

fn leaf(subject: Subject, op: Op, operand: Operand) -> Pred {
    Pred::Leaf(Leaf { subject, op, operand })
}

fn truth(subject: Subject, value: bool) -> Pred {
    leaf(subject, Op::Eq, Operand::Value(Literal::Bool(value)))
}

fn commuted(name: &str) -> Option<&'static str> {
    Some(match name {
        "=" => "=",
        "<>" => "<>",
        "<" => ">",
        "<=" => ">=",
        ">" => "<",
        ">=" => "<=",
        "<@" => "@>",
        "&&" => "&&",
        _ => return None,
    })
}

/// The name of an operator that PostgreSQL brings along.
fn operator(oid: pg_sys::Oid) -> Option<String> {
    if oid.to_u32() >= FIRST_USER_OID {
        return None;
    }
    // SAFETY: a catalogue look-up; null where the operator is gone.
    unsafe {
        let name = pg_sys::get_opname(oid);
        (!name.is_null()).then(|| pg::text(name))
    }
}

/// The name and arguments of a call to a function that PostgreSQL brings along.
unsafe fn builtin_function(node: *mut pg_sys::Node) -> Option<(String, Vec<*mut pg_sys::Node>)> {
    // SAFETY: `node` is a live expression.
    unsafe {
        if !pg::is_a(node, pg_sys::NodeTag::T_FuncExpr) {
            return None;
        }
        let call = node.cast::<pg_sys::FuncExpr>();
        if (*call).funcid.to_u32() >= FIRST_USER_OID {
            return None;
        }
        let name = pg_sys::get_func_name((*call).funcid);
        (!name.is_null()).then(|| (pg::text(name), pg::nodes((*call).args).collect()))
    }
}

/// Whether the lower case of `I` is `i`, which it is not in Turkish and its kin: ignoring case does not
/// make up for that.
unsafe fn folds_as_elsewhere(collation: pg_sys::Oid) -> bool {
    if collation == pg_sys::InvalidOid {
        return true;
    }
    // SAFETY: `lower(text)` under a collation that an expression already uses.
    unsafe {
        let lower = pg_sys::Oid::from(pg_sys::F_LOWER_TEXT);
        let folded = pg_sys::OidFunctionCall1Coll(lower, collation, pg::text_datum("I"));
        super::datum::literal(folded, pg_sys::TEXTOID) == Some(Literal::Text("i".into()))
    }
}

unsafe fn is_zero(node: *mut pg_sys::Node) -> bool {
    // SAFETY: `node` is a live expression.
    unsafe {
        if !pg::is_a(node, pg_sys::NodeTag::T_Const) {
            return false;
        }
        let constant = node.cast::<pg_sys::Const>();
        !(*constant).constisnull
            && (*constant).consttype == pg_sys::INT4OID
            && (*constant).constvalue.value() as i32 == 0
    }
}

unsafe fn is_array(node: *mut pg_sys::Node) -> bool {
    // SAFETY: `node` is a live expression; a catalogue look-up.
    unsafe { pg_sys::get_element_type(pg_sys::exprType(node)) != pg_sys::InvalidOid }
}
