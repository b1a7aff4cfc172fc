//! What can be ordered by, and on which proof.

use crate::expr::{Expr, Path};
use crate::facts::{
    ORDER_CREATED, ORDER_DATE, ORDER_DATETIME, ORDER_DOUBLE, ORDER_ID, ORDER_INTEGER, ORDER_UPDATED,
};
use crate::name;
use crate::pred::{Class, Column, Kind, Part, Subject};

/// An `ORDER BY` that AQL has words for (assets-api.md 4.6), over values that sort in AQL, where the
/// order is honoured, as they do in SQL. Texts do not: their order is the collation's.
#[derive(Debug, Clone, PartialEq)]
pub struct Sort {
    /// What stands behind `ORDER BY`, without a direction.
    pub by: String,
    /// The fact that proves it.
    pub fact: &'static str,
    /// What selects the objects that have a value; none where every object has one.
    pub present: Option<Expr>,
}

impl Sort {
    /// How AQL orders by a column. None where it cannot be asked to, or by other values than SQL would.
    pub fn new(subject: &Subject) -> Option<Sort> {
        if subject.multi || subject.null_is_vague {
            return None;
        }
        let plain = |by: &str, fact| Some(Sort { by: by.to_owned(), fact, present: None });
        // Rounding keeps an order.
        let class = subject.class.unmodified();
        let (name, kind) = match (&subject.column, class) {
            (Column::Id, Class::Int) => return plain("objectId", ORDER_ID),
            (Column::Created, Class::Timestamp) => return plain("Created", ORDER_CREATED),
            (Column::Updated, Class::Timestamp) => return plain("Updated", ORDER_UPDATED),
            (Column::Attribute { name, kind, part: Part::Value }, _) if name::is_safe(name) => (name, *kind),
            _ => return None,
        };
        let fact = match (kind, class) {
            (Kind::Integer, Class::Int) => ORDER_INTEGER,
            (Kind::Double, Class::Double) => ORDER_DOUBLE,
            (Kind::Date, Class::Date) => ORDER_DATE,
            (Kind::DateTime, Class::Timestamp) => ORDER_DATETIME,
            _ => return None,
        };
        let path = Path::Attribute(name.clone());
        Some(Sort { by: path.to_string(), fact, present: Some(Expr::IsNotEmpty(path)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(kind: Kind, class: Class) -> Subject {
        let column = Column::Attribute { name: "Memory \"GB\"".into(), kind, part: Part::Value };
        Subject::new(column, class)
    }

    #[test]
    fn numbers_and_dates_can_be_ordered_by_and_texts_cannot() {
        let sort = Sort::new(&subject(Kind::Integer, Class::Int));
        assert!(sort.is_none_or(|sort| sort.by == r#""Memory \"GB\"""#));
        let named = |name: &str, kind, class| {
            let column = Column::Attribute { name: name.into(), kind, part: Part::Value };
            Sort::new(&Subject { column, ..subject(kind, class) })
        };
        let sort = named("Memory GB", Kind::Integer, Class::Int).expect("an order");
        assert_eq!((sort.by.as_str(), sort.fact), ("\"Memory GB\"", ORDER_INTEGER));
        assert_eq!(sort.present.map(|e| e.to_string()).as_deref(), Some("\"Memory GB\" is not EMPTY"));
        assert_eq!(named("Name", Kind::Text, Class::Text), None);
        assert_eq!(named("Memory GB", Kind::Integer, Class::Text), None, "as text, 10 stands before 9");
        assert_eq!(named("Memory GB", Kind::Text, Class::Int), None);
    }

    #[test]
    fn an_instant_that_is_rounded_here_stands_where_it_stood() {
        let class = Class::Coarse;
        let column = Column::Attribute { name: "Seen".into(), kind: Kind::DateTime, part: Part::Value };
        for column in [column, Column::Updated] {
            let exact = Subject::new(column, Class::Timestamp);
            let sort = Sort::new(&Subject { class, ..exact.clone() });
            assert!(sort.is_some());
            assert_eq!(sort, Sort::new(&exact));
        }
    }

    #[test]
    fn several_values_and_values_that_may_read_as_null_have_no_order() {
        let many = Subject { multi: true, ..subject(Kind::Integer, Class::Int) };
        let vague = Subject { null_is_vague: true, ..subject(Kind::Integer, Class::Int) };
        assert_eq!((Sort::new(&many), Sort::new(&vague)), (None, None));
    }
}
