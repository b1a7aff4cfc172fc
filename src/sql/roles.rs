//! Which roles act for which, in SQL.

/// Whether one role may act for another, both given as SQL: it has that one's rights. A superuser acts for
/// superusers only: what runs another's code (a trigger, a CHECK, a default) would run it as a superuser.
pub fn acts_for(role: &str, other: &str) -> String {
    format!(
        "(pg_catalog.pg_has_role({role}, {other}, 'USAGE')
          AND NOT EXISTS (SELECT FROM pg_catalog.pg_roles AS me CROSS JOIN pg_catalog.pg_roles AS them
                          WHERE me.oid = {role} AND me.rolsuper AND them.oid = {other} AND NOT them.rolsuper))"
    )
}
