//! Plans that start: where a nested loop drives scans of ours, a read-ahead is put above its outer side.
//!
//! A cached plan is another session's next execution, too: what is changed is a copy, which lives as long as the query. It is the plan that runs, so EXPLAIN shows it.
#![allow(unsafe_code)] // plan nodes and the executor's hook

use pgrx::prelude::*;
use pgrx::{PgMemoryContexts, pg_sys};

use crate::fdw::ahead::node;
use crate::fdw::private::Private;
use crate::fdw::{exec, failing, pg};
use crate::gucs;

static mut PREVIOUS: pg_sys::ExecutorStart_hook_type = None;

/// Puts the hook before the one that is there.
pub fn install() {
    // SAFETY: from `_PG_init`, on the process's only thread of PostgreSQL's.
    unsafe {
        PREVIOUS = pg_sys::ExecutorStart_hook;
        pg_sys::ExecutorStart_hook = Some(executor_start);
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn executor_start(query: *mut pg_sys::QueryDesc, flags: i32) {
    // SAFETY: called with a query that has not started; everything is handed on.
    unsafe {
        let enabled = gucs::ENABLE_PUSHDOWN.get() && gucs::ENABLE_BATCHED_JOINS.get();
        let copied = if enabled { read_ahead(query) } else { None };
        match PREVIOUS {
            Some(previous) => pg_sys::ffi::pg_guard_ffi_boundary(|| previous(query, flags)),
            None => pg_sys::standard_ExecutorStart(query, flags),
        }
        if let (Some(copied), Some(estate)) = (copied, (*query).estate.as_ref()) {
            // It goes when the query has ended.
            pg_sys::MemoryContextSetParent(copied, estate.es_query_cxt);
        }
    }
}

/// Gives the query a plan with read-aheads, if it has use for one; the memory that it is in.
unsafe fn read_ahead(query: *mut pg_sys::QueryDesc) -> Option<pg_sys::MemoryContext> {
    // SAFETY: the caller's query; its plan is whole.
    unsafe {
        let plan = (*query).plannedstmt;
        if plan.is_null() || !has_foreign_tables(plan) || loops(plan).is_empty() {
            return None;
        }
        let parent = PgMemoryContexts::of(query.cast())?;
        // Of a function in SQL what describes the query lasts longer than the query.
        let own = pg_sys::AllocSetContextCreateInternal(
            parent.value(),
            c"assets_fdw plan".as_ptr(),
            pg_sys::ALLOCSET_SMALL_MINSIZE as usize,
            pg_sys::ALLOCSET_SMALL_INITSIZE as usize,
            pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
        );
        PgMemoryContexts::For(own).switch_to(|_| {
            let copy = pg_sys::copyObjectImpl(plan.cast()).cast::<pg_sys::PlannedStmt>();
            let mut numbers = Numbers::after(copy);
            for found in loops(copy) {
                wrap(copy, &found, &mut numbers);
            }
            (*query).plannedstmt = copy;
        });
        Some(own)
    }
}

/// Whether a plan reads foreign tables at all: most do not, and are left at once.
unsafe fn has_foreign_tables(plan: *mut pg_sys::PlannedStmt) -> bool {
    // SAFETY: the caller's plan and its range table.
    unsafe {
        pg::nodes::<pg_sys::RangeTblEntry>((*plan).rtable)
            .any(|entry| (*entry).relkind == pg_sys::RELKIND_FOREIGN_TABLE as std::ffi::c_char)
    }
}

/// A nested loop and the scans of ours that it gives parameters to.
struct Loop {
    join: *mut pg_sys::NestLoop,
    scans: Vec<*mut pg_sys::ForeignScan>,
    stop: Stop,
}

/// After how many rows whoever reads a plan may stop; none: it reads them all.
type Stop = Option<i32>;

/// A nested loop whose inner side a plan is in.
struct Around {
    join: *mut pg_sys::NestLoop,
    /// The numbers of the parameters that it gives.
    gives: *mut pg_sys::Bitmapset,
    stop: Stop,
}

/// The nested loops of a plan that may read ahead.
unsafe fn loops(plan: *mut pg_sys::PlannedStmt) -> Vec<Loop> {
    // SAFETY: the caller's plan.
    unsafe {
        let mut found = Finding::default();
        let subplans: Vec<*mut pg_sys::Plan> = pg::nodes((*plan).subplans).collect();
        found.visit((*plan).planTree, None, &mut Vec::new());
        for (n, tree) in subplans.iter().enumerate() {
            // What a sub-select is for may be settled by its first row; a WITH query is read to its end, unless somebody
            // stops who reads from it.
            let stop = if found.with.contains(&(n as i32 + 1)) && !found.limited { None } else { Some(1) };
            found.visit(*tree, stop, &mut Vec::new());
        }
        found.loops.retain(|of| is_harmless(of, &subplans));
        found.loops
    }
}

#[derive(Default)]
struct Finding {
    loops: Vec<Loop>,
    /// The numbers of the subplans that are WITH queries.
    with: Vec<i32>,
    /// There is a LIMIT in what was visited.
    limited: bool,
}

impl Finding {
    /// `around`: the nested loops whose inner side the plan is in.
    unsafe fn visit(&mut self, plan: *mut pg_sys::Plan, stop: Stop, around: &mut Vec<Around>) {
        // SAFETY: no preconditions. A loop that is nested too deeply for this is left as it is.
        if plan.is_null() || unsafe { pg_sys::stack_is_too_deep() } {
            return;
        }
        // SAFETY: a plan's nodes are what their tags say.
        unsafe {
            for sub in pg::nodes::<pg_sys::SubPlan>((*plan).initPlan) {
                if (*sub).subLinkType == pg_sys::SubLinkType::CTE_SUBLINK {
                    self.with.push((*sub).plan_id);
                }
            }
            match (*plan).type_ {
                pg_sys::NodeTag::T_NestLoop => {
                    let join = plan.cast::<pg_sys::NestLoop>();
                    self.visit((*plan).lefttree, stop, around);
                    around.push(Around { join, gives: given_by(join), stop });
                    // One row may be all that is wanted of the inner side.
                    let one = (*join).join.inner_unique
                        || matches!(
                            (*join).join.jointype,
                            pg_sys::JoinType::JOIN_SEMI | pg_sys::JoinType::JOIN_ANTI
                        );
                    self.visit((*plan).righttree, if one { Some(1) } else { stop }, around);
                    around.pop();
                }
                pg_sys::NodeTag::T_ForeignScan => self.scan(plan.cast(), around),
                tag => {
                    let stop = match tag {
                        pg_sys::NodeTag::T_Limit => {
                            self.limited = true;
                            Some(limit_of(plan.cast()))
                        }
                        // They read all of it before they give anything.
                        pg_sys::NodeTag::T_Sort | pg_sys::NodeTag::T_Hash => None,
                        pg_sys::NodeTag::T_Agg
                            if (*plan.cast::<pg_sys::Agg>()).aggstrategy
                                != pg_sys::AggStrategy::AGG_SORTED =>
                        {
                            None
                        }
                        _ => stop,
                    };
                    for child in children(plan) {
                        self.visit(child, stop, around);
                    }
                }
            }
        }
    }

    /// A scan belongs to the innermost loop that gives it a parameter: those further out change less often.
    unsafe fn scan(&mut self, scan: *mut pg_sys::ForeignScan, around: &[Around]) {
        // SAFETY: a plan's nodes; sets of numbers.
        unsafe {
            let needs = (*scan).scan.plan.allParam;
            let mut inwards = around.iter().rev();
            let Some(found) = inwards.find(|of| pg_sys::bms_overlap(needs, of.gives)) else { return };
            if !exec::is_ours(scan) {
                return;
            }
            match self.loops.iter_mut().find(|of| of.join == found.join) {
                Some(of) => of.scans.push(scan),
                None => self.loops.push(Loop { join: found.join, scans: vec![scan], stop: found.stop }),
            }
        }
    }
}

/// The rows that a LIMIT takes, with those that OFFSET leaves out; 1 where the plan does not say.
unsafe fn limit_of(limit: *mut pg_sys::Limit) -> i32 {
    // SAFETY: the plan's node; casts follow the nodes' tags.
    unsafe {
        let number = |node: *mut pg_sys::Node| {
            if node.is_null() || !pg::is_a(node, pg_sys::NodeTag::T_Const) {
                return None;
            }
            let constant = node.cast::<pg_sys::Const>();
            (!(*constant).constisnull).then(|| (*constant).constvalue.value() as i64)
        };
        let rows = number((*limit).limitCount)
            .map(|rows| rows.saturating_add(number((*limit).limitOffset).unwrap_or(0)));
        rows.map_or(1, |rows| rows.clamp(1, i64::from(i32::MAX)) as i32)
    }
}

/// The numbers of the parameters that a nested loop gives its inner side.
unsafe fn given_by(join: *mut pg_sys::NestLoop) -> *mut pg_sys::Bitmapset {
    // SAFETY: the plan's node.
    unsafe {
        let params = pg::nodes::<pg_sys::NestLoopParam>((*join).nestParams);
        params.fold(std::ptr::null_mut(), |set, param| pg_sys::bms_add_member(set, (*param).paramno))
    }
}

/// The nodes below one.
unsafe fn children(plan: *mut pg_sys::Plan) -> Vec<*mut pg_sys::Plan> {
    // SAFETY: a plan's node; each cast follows its own tag.
    unsafe {
        let mut below = vec![(*plan).lefttree, (*plan).righttree];
        match (*plan).type_ {
            pg_sys::NodeTag::T_Append => {
                below.extend(pg::nodes::<pg_sys::Plan>((*plan.cast::<pg_sys::Append>()).appendplans));
            }
            pg_sys::NodeTag::T_MergeAppend => {
                below.extend(pg::nodes::<pg_sys::Plan>((*plan.cast::<pg_sys::MergeAppend>()).mergeplans));
            }
            pg_sys::NodeTag::T_SubqueryScan => below.push((*plan.cast::<pg_sys::SubqueryScan>()).subplan),
            pg_sys::NodeTag::T_CustomScan => {
                below.extend(pg::nodes::<pg_sys::Plan>((*plan.cast::<pg_sys::CustomScan>()).custom_plans));
            }
            _ => {}
        }
        below.retain(|child| !child.is_null());
        below
    }
}

/// Whether rows of a loop's outer side may be read that nobody takes in the end: nothing in it locks, writes, or calls a
/// function that may do so, nor does a query of its own that it rests on; and where whoever reads may stop early, nothing
/// in it may fail over a row that would not have been reached.
unsafe fn is_harmless(of: &Loop, subplans: &[*mut pg_sys::Plan]) -> bool {
    // SAFETY: a plan's nodes.
    unsafe {
        let outer = (*of.join).join.plan.lefttree;
        let paced = |scan: &*mut pg_sys::ForeignScan| Private::from_list((**scan).fdw_private).lookups.paced;
        let may_stop = of.stop.is_some() || of.scans.iter().any(paced);
        // What another place of the plan works out for it is a parameter, too.
        let rests_on_others = !outer.is_null() && (!(*outer).allParam.is_null() || has_subplans(outer));
        is_calm(outer, may_stop)
            && (!rests_on_others
                || subplans.iter().filter(|tree| !tree.is_null()).all(|tree| is_calm(*tree, may_stop)))
    }
}

/// The expressions that a plan's node works out for each of its rows.
unsafe fn expressions(plan: *mut pg_sys::Plan) -> Vec<*mut pg_sys::Node> {
    use pg_sys::NodeTag::*;
    // SAFETY: a plan's node; each cast follows its own tag.
    unsafe {
        let mut found: Vec<*mut pg_sys::List> = vec![(*plan).targetlist, (*plan).qual];
        match (*plan).type_ {
            T_FunctionScan => found.push((*plan.cast::<pg_sys::FunctionScan>()).functions),
            T_ValuesScan => found.push((*plan.cast::<pg_sys::ValuesScan>()).values_lists),
            T_NestLoop | T_MergeJoin | T_HashJoin => found.push((*plan.cast::<pg_sys::Join>()).joinqual),
            T_Result => found.push((*plan.cast::<pg_sys::Result>()).resconstantqual.cast()),
            _ => {}
        }
        found.into_iter().map(|list| list.cast::<pg_sys::Node>()).filter(|list| !list.is_null()).collect()
    }
}

unsafe fn has_subplans(plan: *mut pg_sys::Plan) -> bool {
    // SAFETY: a plan's nodes. One that is nested too deeply is taken to have some.
    unsafe {
        pg_sys::stack_is_too_deep()
            || !(*plan).initPlan.is_null()
            || expressions(plan).into_iter().any(|of| pg_sys::contain_subplans(of))
            || children(plan).into_iter().any(|child| has_subplans(child))
    }
}

/// Whether a plan's nodes are of those that only read, with nothing volatile in them, and, if it `may_stop`, nothing that may
/// fail; its subplans apart. What is not known here may do anything.
unsafe fn is_calm(plan: *mut pg_sys::Plan, may_stop: bool) -> bool {
    use pg_sys::NodeTag::*;
    if plan.is_null() {
        return true;
    }
    // SAFETY: a plan's nodes; expressions are walked by PostgreSQL.
    unsafe {
        let known = matches!(
            (*plan).type_,
            T_SeqScan
                | T_SampleScan
                | T_IndexScan
                | T_IndexOnlyScan
                | T_BitmapHeapScan
                | T_BitmapIndexScan
                | T_BitmapAnd
                | T_BitmapOr
                | T_TidScan
                | T_TidRangeScan
                | T_SubqueryScan
                | T_FunctionScan
                | T_ValuesScan
                | T_CteScan
                | T_NamedTuplestoreScan
                | T_ForeignScan
                | T_Append
                | T_MergeAppend
                | T_Result
                | T_ProjectSet
                | T_Material
                | T_Memoize
                | T_Sort
                | T_IncrementalSort
                | T_Group
                | T_Agg
                | T_Unique
                | T_Limit
                | T_SetOp
                | T_NestLoop
                | T_MergeJoin
                | T_HashJoin
                | T_Hash
                | T_WindowAgg
                | T_RecursiveUnion
                | T_WorkTableScan
                | T_Gather
                | T_GatherMerge
        );
        if !known || pg_sys::stack_is_too_deep() {
            return false;
        }
        let shows = |of: *mut pg_sys::Node| {
            pg_sys::contain_volatile_functions(of) || (may_stop && failing::may_fail(of))
        };
        !expressions(plan).into_iter().any(shows)
            && children(plan).into_iter().all(|child| is_calm(child, may_stop))
    }
}

/// What new nodes and slots are numbered by.
struct Numbers {
    node: i32,
}

impl Numbers {
    unsafe fn after(plan: *mut pg_sys::PlannedStmt) -> Self {
        unsafe fn greatest(plan: *mut pg_sys::Plan) -> i32 {
            // SAFETY: a plan's nodes.
            unsafe {
                let below = children(plan).into_iter().map(|child| greatest(child));
                below.fold((*plan).plan_node_id, i32::max)
            }
        }
        // SAFETY: the caller's plan. A place among the subplans may be empty.
        unsafe {
            let trees = pg::nodes::<pg_sys::Plan>((*plan).subplans).filter(|tree| !tree.is_null());
            let node = trees.map(|tree| greatest(tree)).fold(greatest((*plan).planTree), i32::max);
            Self { node }
        }
    }
}

/// Puts a read-ahead above the outer side of a nested loop.
unsafe fn wrap(plan: *mut pg_sys::PlannedStmt, of: &Loop, numbers: &mut Numbers) {
    // SAFETY: the nodes of a plan that is ours to change, in the memory that it lives in.
    unsafe {
        let link = pg::length((*plan).paramExecTypes);
        (*plan).paramExecTypes = pg_sys::lappend_oid((*plan).paramExecTypes, pg_sys::InvalidOid);
        let integer = || pg_sys::makeInteger(link as i32).cast::<pg_sys::Node>();
        for scan in &of.scans {
            (**scan).fdw_private = pg_sys::lappend((**scan).fdw_private, integer().cast());
            if let Some(rows) = of.stop {
                (**scan).fdw_private =
                    pg_sys::lappend((**scan).fdw_private, pg_sys::makeInteger(rows).cast());
            }
        }
        numbers.node += 1;
        let join = of.join;
        let outer = (*join).join.plan.lefttree;
        (*join).join.plan.lefttree = node::plan(outer, (*join).nestParams, integer(), numbers.node);
    }
}
