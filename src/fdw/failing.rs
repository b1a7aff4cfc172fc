//! Which expressions cannot raise an ERROR, or not over one row rather than another: what is worked out early, for rows that
//! nobody may want in the end, has to be one of those.
#![allow(unsafe_code)] // expression nodes

use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::fdw::pg;

/// Operators are taken by name, which is safe only for those that PostgreSQL brings along.
const FIRST_USER_OID: u32 = 16_384;

/// Types of which each value has a text.
const WRITTEN_ANYWAY: [pg_sys::Oid; 16] = [
    pg_sys::BOOLOID,
    pg_sys::CHAROID,
    pg_sys::NAMEOID,
    pg_sys::INT2OID,
    pg_sys::INT4OID,
    pg_sys::INT8OID,
    pg_sys::OIDOID,
    pg_sys::FLOAT4OID,
    pg_sys::FLOAT8OID,
    pg_sys::NUMERICOID,
    pg_sys::TEXTOID,
    pg_sys::VARCHAROID,
    pg_sys::BPCHAROID,
    pg_sys::UUIDOID,
    pg_sys::INETOID,
    pg_sys::CIDROID,
];

/// Whether a value can be worked out without an ERROR: a parameter, another table's column or a constant as it is, a
/// list of those, one chosen among them, plain ones as text, and what functions make of them that PostgreSQL
/// trusts to say nothing of what they are given.
///
/// # Safety
/// `node` is a live expression.
pub unsafe fn cannot_fail(node: *mut pg_sys::Node) -> bool {
    // SAFETY: `node` is a live expression; each cast follows its own tag.
    unsafe {
        match (*node).type_ {
            pg_sys::NodeTag::T_Param | pg_sys::NodeTag::T_Const | pg_sys::NodeTag::T_Var => true,
            pg_sys::NodeTag::T_RelabelType => cannot_fail((*node.cast::<pg_sys::RelabelType>()).arg.cast()),
            pg_sys::NodeTag::T_ArrayExpr => {
                pg::nodes((*node.cast::<pg_sys::ArrayExpr>()).elements).all(|element| cannot_fail(element))
            }
            pg_sys::NodeTag::T_CoalesceExpr => {
                pg::nodes((*node.cast::<pg_sys::CoalesceExpr>()).args).all(|argument| cannot_fail(argument))
            }
            pg_sys::NodeTag::T_CaseTestExpr => true,
            pg_sys::NodeTag::T_CaseExpr => {
                let case = node.cast::<pg_sys::CaseExpr>();
                let is_safe = |of: *mut pg_sys::Expr| of.is_null() || cannot_fail(of.cast());
                is_safe((*case).arg)
                    && is_safe((*case).defresult)
                    && pg::nodes::<pg_sys::CaseWhen>((*case).args)
                        .all(|when| is_safe((*when).expr) && is_safe((*when).result))
            }
            pg_sys::NodeTag::T_BoolExpr => {
                pg::nodes((*node.cast::<pg_sys::BoolExpr>()).args).all(|argument| cannot_fail(argument))
            }
            pg_sys::NodeTag::T_NullTest => cannot_fail((*node.cast::<pg_sys::NullTest>()).arg.cast()),
            pg_sys::NodeTag::T_CoerceViaIO => {
                let cast = node.cast::<pg_sys::CoerceViaIO>();
                let of: *mut pg_sys::Node = (*cast).arg.cast();
                (*cast).resulttype == pg_sys::TEXTOID
                    && WRITTEN_ANYWAY.contains(&pg_sys::exprType(of))
                    && cannot_fail(of)
            }
            pg_sys::NodeTag::T_FuncExpr => {
                let call = node.cast::<pg_sys::FuncExpr>();
                let function = (*call).funcid.to_u32();
                let is_plain = matches!(
                    function,
                    pg_sys::F_LOWER_TEXT | pg_sys::F_UPPER_TEXT | pg_sys::F_BTRIM_TEXT | pg_sys::F_TEXTCAT
                );
                (is_plain || (function < FIRST_USER_OID && pg_sys::get_func_leakproof((*call).funcid)))
                    && pg::nodes((*call).args).all(|argument| cannot_fail(argument))
            }
            pg_sys::NodeTag::T_OpExpr => {
                let call = node.cast::<pg_sys::OpExpr>();
                let function = pg_sys::get_opcode((*call).opno).to_u32();
                (function == pg_sys::F_TEXTCAT
                    || (function < FIRST_USER_OID && pg_sys::get_func_leakproof(function.into())))
                    && pg::nodes((*call).args).all(|argument| cannot_fail(argument))
            }
            _ => false,
        }
    }
}

/// Whether working an expression out may raise an ERROR over one row and not over another: a division, a cast from text, a
/// function of a user's. What only compares, and what [`cannot_fail`] knows, does not.
///
/// # Safety
/// `node` is null or a live expression or list.
pub unsafe fn may_fail(node: *mut pg_sys::Node) -> bool {
    #[pg_guard]
    unsafe extern "C-unwind" fn check(function: pg_sys::Oid, _context: *mut std::ffi::c_void) -> bool {
        // SAFETY: catalogue look-ups.
        unsafe {
            let number = function.to_u32();
            let is_plain = matches!(
                number,
                pg_sys::F_LOWER_TEXT | pg_sys::F_UPPER_TEXT | pg_sys::F_BTRIM_TEXT | pg_sys::F_TEXTCAT
            );
            let compares = || pg_sys::get_func_rettype(function) == pg_sys::BOOLOID;
            // Aggregates and what computes over windows have seen all of their rows before they give one.
            let gathers = || !matches!(pg_sys::get_func_prokind(function) as u8, b'f');
            !(number < FIRST_USER_OID
                && (is_plain || compares() || gathers() || pg_sys::get_func_leakproof(function)))
        }
    }
    // What is the same for every row fails over the first one or never.
    #[pg_guard]
    unsafe extern "C-unwind" fn varies(node: *mut pg_sys::Node, context: *mut std::ffi::c_void) -> bool {
        // SAFETY: PostgreSQL's walker, with nodes of one expression; each cast follows its own tag.
        unsafe {
            if node.is_null() {
                return false;
            }
            match (*node).type_ {
                pg_sys::NodeTag::T_Var | pg_sys::NodeTag::T_Aggref | pg_sys::NodeTag::T_WindowFunc => true,
                pg_sys::NodeTag::T_Param => {
                    (*node.cast::<pg_sys::Param>()).paramkind == pg_sys::ParamKind::PARAM_EXEC
                }
                _ => pg_sys::expression_tree_walker(node, Some(varies), context),
            }
        }
    }
    #[pg_guard]
    unsafe extern "C-unwind" fn walk(node: *mut pg_sys::Node, context: *mut std::ffi::c_void) -> bool {
        // SAFETY: PostgreSQL's walker, with nodes of one expression; each cast follows its own tag.
        unsafe {
            if node.is_null() {
                return false;
            }
            let fails = match (*node).type_ {
                pg_sys::NodeTag::T_CoerceViaIO => {
                    let cast = node.cast::<pg_sys::CoerceViaIO>();
                    let of = pg_sys::exprType((*cast).arg.cast());
                    (*cast).resulttype != pg_sys::TEXTOID || !WRITTEN_ANYWAY.contains(&of)
                }
                pg_sys::NodeTag::T_CoerceToDomain
                | pg_sys::NodeTag::T_ArrayCoerceExpr
                | pg_sys::NodeTag::T_SubscriptingRef => true,
                _ => pg_sys::check_functions_in_node(node, Some(check), context),
            };
            (fails && varies(node, std::ptr::null_mut()))
                || pg_sys::expression_tree_walker(node, Some(walk), context)
        }
    }
    // SAFETY: the caller's promise.
    unsafe { walk(node, std::ptr::null_mut()) }
}
