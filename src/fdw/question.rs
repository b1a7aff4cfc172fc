//! What a query asks of Assets: the object types, the table's own filter, and each clause of the plan
//! that AQL has words for, with the parameters' values of the moment.
#![allow(unsafe_code)] // the executor's expressions

use std::collections::BTreeSet;
use std::rc::Rc;

use aql::expr::Expr;
use aql::{Facts, Fidelity, Literal, Lowered, Pred};
use aql::{batch, lower};
use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::catalog::Resolved;
use crate::fdw::clause::Walker;
use crate::fdw::compared;
use crate::fdw::failing;
use crate::fdw::pg;
use crate::session::Connection;
use crate::{error, facts, gucs};

/// The longest condition sent in one query (assets-api.md 4.7: keep it below 8 kB).
pub const MAX_QUERY_BYTES: usize = 6_000;
/// So many pairs of values are asked for in one query, each column with a list of its own.
const PAIRS_A_REQUEST: usize = 100;

/// One query to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// The condition.
    pub text: String,
    /// So many objects can match at most, where the condition says so.
    pub most: Option<u64>,
    /// So many values has its list, where it has one.
    pub listed: usize,
}

/// What is asked, and of whom.
pub struct Question {
    /// Who is asked.
    pub connection: Rc<Connection>,
    /// Object types and the table's own filter.
    pub filter: String,
    /// Who owns the foreign table; the invalid OID, where no one table is scanned.
    pub table_owner: pg_sys::Oid,
    /// The clauses, one a qual.
    clauses: Vec<Clause>,
    /// The right-hand sides known only at run time: their expressions and types, and the classes of the columns
    /// beside them.
    operands: Vec<Asked>,
    /// What has been proven of the service.
    facts: Facts,
    /// What was pushed this time.
    pub pushed: Vec<Pushed>,
    /// Instead of the values of the moment: those that are asked for at once.
    pub together: Option<Together>,
}

/// A right-hand side known only at run time.
struct Asked {
    state: *mut pg_sys::ExprState,
    type_oid: pg_sys::Oid,
    /// Of the column beside it, whose number is `attnum`.
    class: aql::Class,
    attnum: i16,
    /// The numbers of the parameters that it is made of, which nested loops and sub-selects set.
    params: Vec<usize>,
    /// Whether it can be worked out for a row that nobody may ask for.
    cannot_fail: bool,
}

/// Many values of the operands at once.
pub struct Together {
    /// Which operands differ.
    pub varying: Rc<[bool]>,
    /// Their values, of all operands each time; none: whatever they are.
    pub each: Option<Vec<Vec<Literal>>>,
}

/// A clause with the values of the moment, as it was sent.
#[derive(Clone)]
pub struct Pushed {
    /// The clause's text by which it is remembered.
    pub shape: String,
    /// The condition that asks it alone.
    pub alone: String,
    /// The attributes that it names.
    pub names: BTreeSet<String>,
    /// Those of them that a match does not prove the service to know.
    pub unproven: BTreeSet<String>,
    /// Those of them of which it does not show that what they refer to is seen.
    pub unseen: BTreeSet<String>,
}

impl Pushed {
    fn new(clause: &Clause, expr: &Expr, filter: &str) -> Self {
        let owned = |names: BTreeSet<&str>| names.into_iter().map(str::to_owned).collect();
        Self {
            shape: clause.shape.clone(),
            alone: with_base(filter, vec![lower::in_clauses(shortest(expr))]),
            names: owned(expr.attributes()),
            unproven: owned(expr.unproven_by_a_match()),
            unseen: owned(expr.unseen_by_a_match()),
        }
    }
}

/// A condition whose lists fit one query: it is refused, or not, as the whole is.
fn shortest(expr: &Expr) -> Expr {
    lower::split(expr.clone(), MAX_QUERY_BYTES, usize::MAX, usize::MAX).swap_remove(0)
}

/// One qual of the plan.
pub struct Clause {
    /// The qual as the plan holds it.
    qual: *mut pg_sys::Node,
    /// As AQL could say it, parameters unbound.
    pred: Pred,
    /// What becomes of it.
    pub lowered: Lowered,
    /// The text by which it is remembered when the service refuses it.
    pub shape: String,
    /// The attributes that it names.
    names: BTreeSet<String>,
    /// The facts that changed what becomes of it.
    rests_on: Vec<String>,
    /// The qual itself, where it rests on facts.
    check: Option<*mut pg_sys::ExprState>,
    /// The facts by which it is exact with the values of the moment.
    trusted: Vec<String>,
}

impl Question {
    /// Takes the clauses of a plan apart.
    ///
    /// # Safety
    /// `quals` is a List of expressions over the relation `relid`, of the plan that `node` runs.
    pub unsafe fn new(
        connection: Rc<Connection>,
        resolved: &Resolved,
        quals: *mut pg_sys::List,
        relid: pg_sys::Index,
        node: *mut pg_sys::ForeignScanState,
    ) -> Self {
        let mut walker = Walker::new(relid, &resolved.columns);
        let facts = resolved.facts.clone();
        let mut clauses = Vec::new();
        // SAFETY: the caller's promise; the operands' expressions are part of the quals.
        let operands = unsafe {
            if gucs::ENABLE_PUSHDOWN.get() {
                for qual in pg::nodes::<pg_sys::Node>(quals) {
                    let pred = walker.pred(qual);
                    let lowered = aql::lower_with(&pred, &facts);
                    let (shape, names) = match &lowered {
                        Lowered::Pushed(expr, _) => {
                            (expr.to_string(), expr.attributes().into_iter().map(str::to_owned).collect())
                        }
                        _ => (String::new(), BTreeSet::new()),
                    };
                    let rests_on = aql::facts_used(&pred, &facts);
                    let check = (!rests_on.is_empty()).then(|| {
                        let one = pg_sys::lappend(std::ptr::null_mut(), qual.cast());
                        pg_sys::ExecInitQual(one, &raw mut (*node).ss.ps)
                    });
                    clauses.push(Clause {
                        qual,
                        pred,
                        lowered,
                        shape,
                        names,
                        rests_on,
                        check,
                        trusted: Vec::new(),
                    });
                }
            }
            let parent = &raw mut (*node).ss.ps;
            let states = walker.operands.iter();
            states
                .map(|operand| Asked {
                    state: pg_sys::ExecInitExpr(operand.expr, parent),
                    type_oid: pg_sys::exprType(operand.expr.cast()),
                    class: operand.class,
                    attnum: operand.attnum,
                    params: pg::members(pg_sys::pull_paramids(operand.expr)),
                    cannot_fail: failing::cannot_fail(operand.expr.cast()),
                })
                .collect()
        };
        let filter = resolved.filter.clone();
        // SAFETY: the caller's node; the relation is open for as long as it runs.
        let table_owner = unsafe {
            match (*node).ss.ss_currentRelation {
                relation if relation.is_null() => pg_sys::InvalidOid,
                relation => (*(*relation).rd_rel).relowner,
            }
        };
        Self { connection, filter, table_owner, clauses, operands, facts, pushed: Vec::new(), together: None }
    }

    /// The facts without which something else would be asked.
    pub fn facts_used(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.clauses.iter().filter(|c| !self.is_refused(c)).flat_map(|c| c.rests_on.clone()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Notes by which facts a clause is exact with these values.
    fn trust(&mut self, n: usize, values: Option<&[Literal]>) {
        let clause = &self.clauses[n];
        let mut trusted = Vec::new();
        if clause.check.is_some() && !self.is_refused(clause) {
            let pred = clause.pred.bound(values.unwrap_or_default());
            if let Lowered::Pushed(_, Fidelity::Exact) = aql::lower_with(&pred, &self.facts) {
                trusted = aql::facts_used(&pred, &self.facts);
                trusted.retain(|name| self.facts.has(name));
            }
        }
        self.clauses[n].trusted = trusted;
    }

    /// Raises an ERROR where a row contradicts a clause that is exact only by what was proven of the
    /// service, and takes those facts back.
    ///
    /// # Safety
    /// `node` is the executor's, the one that the question was made for; `slot` holds a row of the
    /// scanned relation, the object `key`.
    pub unsafe fn recheck(
        &self,
        node: *mut pg_sys::ForeignScanState,
        slot: *mut pg_sys::TupleTableSlot,
        key: &str,
    ) {
        for clause in &self.clauses {
            let (Some(check), false) = (clause.check, clause.trusted.is_empty()) else { continue };
            // SAFETY: the caller's promise; the per-tuple memory is the executor's to reset.
            let holds = unsafe {
                let context = (*node).ss.ps.ps_ExprContext;
                (*context).ecxt_scantuple = slot;
                pg::satisfied(check, context)
            };
            if !holds {
                let server = &self.connection.server_name;
                let why = format!("object {key} contradicts it");
                let revoked = facts::revoke(server, self.table_owner, &clause.trusted, &why);
                let proven = clause.trusted.join("\", \"");
                error::raise_hint(
                    PgSqlErrorCode::ERRCODE_FDW_ERROR,
                    format!(
                        "object {key} does not satisfy {}, although server \"{server}\" was proven to select \
                         exactly what does: \"{proven}\"",
                        clause.shape
                    ),
                    format!(
                        "Run the query again. {} An object that changed while it was read looks the same.",
                        revoked.text(server)
                    ),
                );
            }
        }
    }

    /// The condition as EXPLAIN shows it: with `$n` for what is known only when the query runs.
    pub fn shown_filter(&self) -> String {
        let parts: Vec<Expr> =
            self.clauses.iter().filter(|c| !self.is_refused(c)).filter_map(Clause::pushed).collect();
        with_base(&self.filter, parts)
    }

    /// Whether no object can satisfy the condition, whatever the parameters.
    pub fn is_never(&self) -> bool {
        self.clauses.iter().any(|c| c.lowered == Lowered::Never)
    }

    /// The clauses that stay at home, and why.
    pub fn local_reasons(&self) -> Vec<(*mut pg_sys::Node, String)> {
        let why = |c: &Clause| match &c.lowered {
            Lowered::Local(why) => Some(why.clone()),
            _ if self.names_unknown(&c.names) => {
                Some(format!("AQL does not know the attribute by that name here: {}", c.shape))
            }
            _ if self.is_refused(c) => Some(format!("the service refused: {}", c.shape)),
            _ => None,
        };
        self.clauses.iter().filter_map(|c| Some((c.qual, why(c)?))).collect()
    }

    /// Whether every clause goes out.
    pub fn is_whole(&self) -> bool {
        self.clauses.iter().all(|c| c.lowered == Lowered::Always || c.pushed().is_some())
    }

    fn is_refused(&self, clause: &Clause) -> bool {
        self.connection.refused.borrow().contains(&clause.shape) || self.names_unknown(&clause.names)
    }

    /// The names by which the conditions that were pushed ask.
    pub fn names_asked(&self) -> BTreeSet<String> {
        self.pushed.iter().flat_map(|pushed| pushed.names.iter().cloned()).collect()
    }

    /// The names of which rows do not show that what is referred to by them is seen.
    pub fn names_unseen(&self) -> BTreeSet<String> {
        self.pushed.iter().flat_map(|pushed| pushed.unseen.iter().cloned()).collect()
    }

    /// Whether a condition names an object type that is not known, with the parameters' values of the moment.
    ///
    /// # Safety
    /// As for [`Question::ask`].
    pub unsafe fn names_unknown_type(&self, node: *mut pg_sys::ForeignScanState) -> bool {
        let is_type = |leaf: &aql::Leaf| matches!(leaf.subject.column, aql::Column::ObjectType { .. });
        if !self.clauses.iter().any(|clause| clause.pred.any_leaf(is_type)) {
            return false;
        }
        // SAFETY: the caller's promise.
        let values = unsafe { self.evaluate(node) }.unwrap_or_default();
        let mut all = match &self.together {
            Some(Together { each: Some(each), .. }) => each.clone(),
            _ => vec![values],
        };
        all.dedup();
        self.clauses.iter().any(|clause| {
            clause.pred.any_leaf(is_type)
                && all.iter().any(|values| aql::names_unknown_type(&clause.pred.bound(values)))
        })
    }

    /// Which operands change from one execution of the scan to the next: those made of one of `params`, or of
    /// any parameter that a nested loop or a sub-select sets.
    pub fn varying(&self, params: Option<&[usize]>) -> Vec<bool> {
        let changes = |operand: &Asked| match params {
            Some(params) => operand.params.iter().any(|param| params.contains(param)),
            None => !operand.params.is_empty(),
        };
        self.operands.iter().map(changes).collect()
    }

    /// Whether another question has the same operands, in the same places.
    pub fn has_operands_of(&self, other: &Question) -> bool {
        let of = |operand: &Asked| (operand.attnum, operand.class, operand.type_oid, operand.params.clone());
        self.operands.iter().map(of).eq(other.operands.iter().map(of))
    }

    /// The equality that rows can be told apart by, among the operands that change. One whose values can be listed is best, of
    /// a column that no two objects share.
    pub fn key(&self, varying: &[bool]) -> Option<batch::Key> {
        let keys = batch::keys(self.clauses.iter().map(|clause| &clause.pred), varying);
        let worth = |key: &batch::Key| (self.can_list(key), key.unique);
        keys.into_iter().filter(|key| self.attnum(key.operand) > 0).max_by_key(worth)
    }

    /// The number of the column that an operand is compared with.
    pub fn attnum(&self, operand: usize) -> i16 {
        self.operands.get(operand).map_or(0, |operand| operand.attnum)
    }

    /// The class of the column that an operand is compared with.
    pub fn class(&self, operand: usize) -> aql::Class {
        self.operands.get(operand).map_or(aql::Class::Opaque, |operand| operand.class)
    }

    /// Whether the operands that change can be worked out for rows that nobody may ask for.
    pub fn can_be_early(&self, varying: &[bool]) -> bool {
        self.operands.iter().zip(varying).all(|(operand, varies)| !varies || operand.cannot_fail)
    }

    /// Whether many values of a key are asked for one by one.
    pub fn can_list(&self, key: &batch::Key) -> bool {
        let preds: Vec<Pred> = self.clauses.iter().map(|clause| clause.pred.clone()).collect();
        batch::can_list(key, &preds, &self.facts)
    }

    /// Whether these are.
    pub fn lists(&self, key: &batch::Key, varying: &[bool], each: &[Vec<Literal>]) -> bool {
        let Some(values) = each.first() else { return false };
        self.clauses.iter().filter(|clause| !self.is_refused(clause)).any(|clause| {
            let uses = |leaf: &aql::Leaf| leaf.operand == aql::Operand::Param(key.operand);
            clause.pred.any_leaf(uses)
                && matches!(
                    aql::lower_with(&batch::together(&clause.pred, values, varying, Some(each)), &self.facts),
                    Lowered::Pushed(expr, _) if batch::is_list(&expr)
                )
        })
    }

    /// Whether a condition on the key goes out, with the values of the moment.
    pub fn asks_by(&self, key: &batch::Key, varying: &[bool], values: &[Literal]) -> bool {
        let each = [values.to_vec()];
        self.clauses.iter().any(|clause| {
            let uses = |leaf: &aql::Leaf| leaf.operand == aql::Operand::Param(key.operand);
            clause.pred.any_leaf(uses)
                && !self.is_refused(clause)
                && !matches!(
                    aql::lower_with(
                        &batch::together(&clause.pred, values, varying, Some(&each)),
                        &self.facts
                    ),
                    Lowered::Local(_) | Lowered::Always
                )
        })
    }

    /// Evaluates the parameters and decides what to ask: conditions whose results are together what is
    /// wanted (an object may match several), and none where no object can satisfy the clauses.
    ///
    /// # Safety
    /// `node` is the executor's, the one that the question was made for.
    pub unsafe fn ask(&mut self, node: *mut pg_sys::ForeignScanState) -> Vec<Query> {
        // SAFETY: the caller's promise.
        let values = unsafe { self.evaluate(node) };
        let mut queries = Vec::new();
        self.pushed.clear();
        for part in self.parts(values.as_deref()) {
            let before = std::mem::take(&mut self.pushed);
            let Some(parts) = self.conditions(values.as_deref(), part) else {
                self.pushed = before;
                continue;
            };
            if !self.know_beforehand() {
                // SAFETY: the caller's promise. Fewer clauses each time.
                return unsafe { self.ask(node) };
            }
            queries.extend(self.queries(parts));
            // What asks for everything asks for the rest, too.
            if queries.last() == Some(&self.unconditional()) {
                return vec![self.unconditional()];
            }
        }
        queries
    }

    /// What is asked at once is cut where it is many values: one part, and all of it, where it is not.
    fn parts(&self, values: Option<&[Literal]>) -> Vec<Option<std::ops::Range<usize>>> {
        let (Some(Together { varying, each: Some(each) }), Some(values)) = (&self.together, values) else {
            return vec![None];
        };
        // What does not go out as a list makes none longer, and cutting it would ask for the same values again.
        let grows = |clause: &&Clause| {
            let lowered = |each| {
                aql::lower_with(&batch::together(&clause.pred, values, varying, Some(each)), &self.facts)
            };
            match lowered(each) {
                Lowered::Pushed(expr, _) if batch::is_list(&expr) && !self.is_refused(clause) => {
                    !matches!(lowered(&each[..each.len().min(1)]), Lowered::Pushed(one, _) if one == expr)
                }
                _ => false,
            }
        };
        let lists = self.clauses.iter().filter(grows).count();
        let size = match usize::try_from(gucs::JOIN_BATCH_SIZE.get()) {
            Ok(size) if size > 0 => size,
            // Of several columns each list would grow with the others.
            _ if lists > 1 => PAIRS_A_REQUEST,
            _ => return vec![Some(0..each.len())],
        };
        (0..each.len()).step_by(size).map(|from| Some(from..(from + size).min(each.len()))).collect()
    }

    /// The conditions that go out: with the values of the moment, or of what is asked at once, that part. None where
    /// nothing satisfies them.
    fn conditions(
        &mut self,
        values: Option<&[Literal]>,
        part: Option<std::ops::Range<usize>>,
    ) -> Option<Vec<Expr>> {
        let mut parts = Vec::new();
        for n in 0..self.clauses.len() {
            let lowered = match (&self.together, values) {
                (Some(Together { varying, each }), Some(values)) => {
                    let each = each.as_deref().map(|each| &each[part.clone().unwrap_or(0..each.len())]);
                    let pred = batch::together(&self.clauses[n].pred, values, varying, each);
                    // Rows of one key say nothing against what was proven, beside another one.
                    self.clauses[n].trusted.clear();
                    aql::lower_with(&pred, &self.facts)
                }
                (None, Some(values)) => {
                    self.trust(n, Some(values));
                    aql::lower_with(&self.clauses[n].pred.bound(values), &self.facts)
                }
                (_, None) => {
                    self.trust(n, None);
                    self.clauses[n].lowered.clone()
                }
            };
            let clause = &self.clauses[n];
            match lowered {
                Lowered::Never => return None,
                Lowered::Pushed(expr, _) if !self.is_refused(clause) => {
                    self.pushed.push(Pushed::new(clause, &expr, &self.filter));
                    parts.push(expr);
                }
                _ => {}
            }
        }
        Some(parts)
    }

    /// The queries that ask for what satisfies all of these.
    fn queries(&mut self, mut parts: Vec<Expr>) -> Vec<Query> {
        let whole = match parts.len() {
            0 => return vec![self.unconditional()],
            1 => parts.remove(0),
            _ => Expr::And(flattened(parts)),
        };
        let page = self.connection.client.objects_a_request();
        let queries: Vec<Query> = lower::split(whole, MAX_QUERY_BYTES, page, self.connection.listed.get())
            .into_iter()
            .map(|expr| {
                let most = lower::most(&expr).map(|most| most as u64);
                let listed = lower::listed(&expr);
                Query { text: with_base(&self.filter, vec![lower::in_clauses(expr)]), most, listed }
            })
            .collect();
        // A condition that is too long even so is dropped: the recheck does its work.
        if queries.iter().any(|query| query.text.len() > 2 * MAX_QUERY_BYTES + self.filter.len()) {
            self.clauses.iter_mut().for_each(|clause| clause.trusted.clear());
            return vec![self.unconditional()];
        }
        queries
    }

    fn unconditional(&self) -> Query {
        Query { text: self.filter.clone(), most: None, listed: 0 }
    }

    /// The one condition whose matches are the wanted objects and no others: none where some
    /// clause is not exact with the values at hand, or too long. The inner none: nothing matches.
    ///
    /// # Safety
    /// As for [`Question::ask`].
    pub unsafe fn exact(&mut self, node: *mut pg_sys::ForeignScanState) -> Option<Option<String>> {
        // A plan made while pushdown was on may run after it was switched off.
        if !gucs::ENABLE_PUSHDOWN.get() {
            return None;
        }
        // SAFETY: the caller's promise.
        let values = unsafe { self.evaluate(node) };
        self.pushed.clear();
        let mut parts = Vec::new();
        for n in 0..self.clauses.len() {
            self.trust(n, values.as_deref());
            let clause = &self.clauses[n];
            let pred = clause.pred.bound(values.as_deref().unwrap_or_default());
            match aql::lower_with(&pred, &self.facts) {
                Lowered::Never => return Some(None),
                Lowered::Pushed(expr, Fidelity::Exact) if !self.is_refused(clause) => {
                    self.pushed.push(Pushed::new(clause, &expr, &self.filter));
                    parts.push(lower::in_clauses(expr));
                }
                Lowered::Always => {}
                _ => return None,
            }
        }
        if !self.know_beforehand() {
            return None;
        }
        let text = with_base(&self.filter, parts);
        (text.len() <= MAX_QUERY_BYTES + self.filter.len()).then_some(Some(text))
    }

    /// The parameters' values now. None where there are none to evaluate; a value that AQL has no
    /// words for is left a parameter's number beyond the list, and its clause stays at home.
    ///
    /// # Safety
    /// As for [`Question::ask`].
    pub unsafe fn evaluate(&self, node: *mut pg_sys::ForeignScanState) -> Option<Vec<Literal>> {
        if self.operands.is_empty() {
            return None;
        }
        // SAFETY: the node's own expression context, with the executor's parameters in it.
        unsafe {
            let context = (*node).ss.ps.ps_ExprContext;
            let values = self.operands.iter().map(|operand| match pg::value_of(operand.state, context) {
                None => Some(Literal::Null),
                Some(value) => compared::literal(operand.class, value, operand.type_oid),
            });
            // An unsendable value stands as an empty text, which no rule sends.
            Some(values.map(|v| v.unwrap_or_else(|| Literal::Text(String::new()))).collect())
        }
    }
}

impl Clause {
    fn pushed(&self) -> Option<Expr> {
        match &self.lowered {
            Lowered::Pushed(expr, _) => Some(expr.clone()),
            _ => None,
        }
    }
}

/// The base is a chain of ANDs over conditions and parenthesised groups: nothing needs to be put
/// around it.
pub fn with_base(base: &str, parts: Vec<Expr>) -> String {
    let mut text = base.to_owned();
    for part in flattened(parts) {
        match part {
            Expr::Or(_) => text.push_str(&format!(" AND ({part})")),
            _ => text.push_str(&format!(" AND {part}")),
        }
    }
    text
}

/// One AND instead of AND inside AND.
fn flattened(parts: Vec<Expr>) -> Vec<Expr> {
    parts
        .into_iter()
        .flat_map(|part| match part {
            Expr::And(inner) => inner,
            other => vec![other],
        })
        .collect()
}
