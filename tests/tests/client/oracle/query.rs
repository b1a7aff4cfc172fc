//! A query as data: what is asked, how it is run, how its rows are compared; kept so that a failing one can be made
//! smaller.

use assets_fdw_tests::assets_sim::Fold;

use super::super::Dice;

/// A condition of conditions.
#[derive(Clone, Debug)]
pub enum Tree {
    And(Vec<Tree>),
    Or(Vec<Tree>),
    Not(Box<Tree>),
    Leaf(String),
}

impl Tree {
    pub fn text(&self) -> String {
        let join = |list: &[Tree], word: &str| {
            let parts: Vec<String> = list.iter().map(Tree::text).collect();
            format!("({})", parts.join(word))
        };
        match self {
            Tree::And(list) => join(list, " AND "),
            Tree::Or(list) => join(list, " OR "),
            Tree::Not(inner) => format!("NOT ({})", inner.text()),
            Tree::Leaf(text) => format!("({text})"),
        }
    }

    /// Smaller trees, the smallest first.
    pub fn smaller(&self) -> Vec<Tree> {
        let mut found = Vec::new();
        match self {
            Tree::Leaf(text) if text == "true" => {}
            Tree::Leaf(_) => found.push(Tree::Leaf("true".into())),
            Tree::Not(inner) => {
                found.push(Tree::Leaf("true".into()));
                found.push((**inner).clone());
                found.extend(inner.smaller().into_iter().map(|t| Tree::Not(Box::new(t))));
            }
            Tree::And(list) | Tree::Or(list) => {
                found.push(Tree::Leaf("true".into()));
                found.extend(list.iter().cloned());
                let again =
                    |list| if matches!(self, Tree::And(_)) { Tree::And(list) } else { Tree::Or(list) };
                for n in 0..list.len() {
                    for smaller in list[n].smaller() {
                        let mut list = list.clone();
                        list[n] = smaller;
                        found.push(again(list));
                    }
                }
            }
        }
        found
    }
}

/// How the rows of two executions are compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Compare {
    /// As a bag.
    Bag,
    /// One by one: the order is total.
    Ordered,
    /// As many of the rows that the query without its LIMIT gives as LIMIT and OFFSET leave, whichever.
    Some,
}

/// How a statement is run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Manner {
    Plain,
    /// Prepared, and executed under this plan_cache_mode.
    Prepared(&'static str),
    /// Fetched from a cursor in steps.
    Cursor,
}

/// How the service behaves where nobody knows, and whether `verify_pushdown()` has looked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Service {
    pub fold: Fold,
    /// A dotted path walks into what the identity may not read.
    pub path: bool,
    /// A reference compares by the label and key of what the identity may not read.
    pub value: bool,
    /// Which of [`HOUSES`] it is, where `verify_pushdown()` has proven what it could.
    pub proven: Option<usize>,
}

/// Services on which facts are proven: letters, paths, values.
pub const HOUSES: [(Fold, bool, bool); 5] = [
    (Fold::Ascii, false, false),
    (Fold::Full, true, true),
    (Fold::Turkish, false, true),
    (Fold::Lower, false, false),
    (Fold::Simple, true, false),
];
/// So many cases on one house before the next: each is verified once in a run.
const AT_HOME: u64 = 96;

impl Service {
    /// The service of a case: every second one has been verified.
    pub fn of(seed: u64) -> Service {
        let mut dice = Dice(seed ^ 0x5e_41ce);
        if dice.chance(50) {
            let house = (seed / AT_HOME) as usize % HOUSES.len();
            let (fold, path, value) = HOUSES[house];
            return Service { fold, path, value, proven: Some(house) };
        }
        let (fold, ..) = HOUSES[dice.below(HOUSES.len())];
        Service { fold, path: dice.chance(50), value: dice.chance(50), proven: None }
    }
}

/// A query: `{}` stands for the prefix of its schemas, `\u{1}n\u{1}` for a tree of conditions.
#[derive(Clone, Debug)]
pub struct Query {
    pub text: String,
    /// What LIMIT and OFFSET add.
    pub tail: String,
    pub trees: Vec<Tree>,
    pub compare: Compare,
    pub settings: Vec<String>,
    pub manner: Manner,
    /// Types of its parameters.
    pub types: Vec<String>,
    /// Values of the parameters, for each execution.
    pub runs: Vec<Vec<String>>,
    /// LIMIT and OFFSET of each execution, where [`Compare::Some`] needs them.
    pub bounds: Vec<(u64, u64)>,
    pub service: Service,
    /// Of `joins.rs`.
    pub is_join: bool,
}

impl Query {
    /// The text for schemas with this prefix, with its LIMIT or without.
    pub fn sql(&self, prefix: &str, limited: bool) -> String {
        let mut text = self.text.clone();
        // One may stand in another, before it or behind it.
        while text.contains('\u{1}') {
            for (n, tree) in self.trees.iter().enumerate() {
                text = text.replace(&format!("\u{1}{n}\u{1}"), &tree.text());
            }
        }
        let text = text.replace("{}", prefix);
        if limited { text + &self.tail } else { text }
    }

    /// What is run on the tables with this prefix.
    pub fn statements(&self, prefix: &str, limited: bool) -> String {
        let sql = self.sql(prefix, limited);
        match self.manner {
            Manner::Plain => sql,
            Manner::Cursor => {
                format!(
                    "BEGIN; DECLARE c CURSOR FOR {sql}; FETCH 1 FROM c; FETCH 3 FROM c; FETCH ALL FROM c; COMMIT"
                )
            }
            Manner::Prepared(_) => {
                let listed = |list: &[String]| match list {
                    [] => String::new(),
                    list => format!("({})", list.join(", ")),
                };
                let execute: Vec<String> =
                    self.runs.iter().map(|values| format!("EXECUTE p{}", listed(values))).collect();
                format!("PREPARE p{} AS {sql}; {}; DEALLOCATE p", listed(&self.types), execute.join("; "))
            }
        }
    }

    /// The sets of rows that a run gave, one for each execution.
    pub fn executions(&self, mut sets: Vec<Vec<String>>) -> Vec<Vec<String>> {
        match self.manner {
            Manner::Plain => vec![sets.swap_remove(0)],
            // A cursor's fetches are one result.
            Manner::Cursor => vec![sets.concat()],
            Manner::Prepared(_) => sets[1..=self.runs.len()].to_vec(),
        }
    }
}
