//! What a query says, before its names mean anything.

/// A whole query.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// The filter; `None` finds everything.
    pub filter: Option<Expr>,
    /// `ORDER BY`.
    pub order: Option<Order>,
}

/// The order asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    pub path: Path,
    pub descending: bool,
}

/// A filter.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    And(Vec<Expr>),
    Or(Vec<Expr>),
    Not(Box<Expr>),
    Condition(Condition),
}

/// `path op operand`.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    pub path: Path,
    pub test: Test,
}

/// An attribute, walked to over references.
#[derive(Clone, Debug, PartialEq)]
pub struct Path {
    pub names: Vec<Name>,
}

/// One step of a path.
#[derive(Clone, Debug, PartialEq)]
pub struct Name {
    pub text: String,
    pub quoted: bool,
}

impl Path {
    /// The path as an error message shows it.
    pub fn shown(&self) -> String {
        self.names.iter().map(|n| n.text.as_str()).collect::<Vec<_>>().join(".")
    }
}

/// The operator with its operand.
#[derive(Clone, Debug, PartialEq)]
pub enum Test {
    Compare(Operator, Operand),
    In { negated: bool, list: Vec<Operand> },
    InFunction { negated: bool, function: Function },
    Text { negated: bool, part: Part, operand: Operand },
    Empty { negated: bool },
    Having { negated: bool, function: Function },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    Equal,
    Same,
    NotEqual,
    Less,
    Greater,
    AtMost,
    AtLeast,
}

/// Which part of a text is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Anywhere,
    Start,
    End,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Operand {
    Literal(Literal),
    Function(Function),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Literal {
    pub text: String,
    pub quoted: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Function {
    /// A function of literals, its name in lower case.
    Plain { name: String, arguments: Vec<Literal> },
    /// inboundReferences or outboundReferences, with the filter of the other object and the kinds of reference.
    References { inbound: bool, filter: Option<Box<Expr>>, types: Vec<String> },
    /// connectedTickets with its JQL.
    Tickets { jql: String },
}

impl Condition {
    /// A condition as error messages quote it: `"Foo" = x`.
    pub fn shown(&self) -> String {
        let operand = |o: &Operand| match o {
            Operand::Literal(l) => l.text.clone(),
            Operand::Function(Function::Plain { name, .. }) => format!("{name}()"),
            Operand::Function(_) => "function()".to_owned(),
        };
        let not = |negated: &bool| if *negated { "not " } else { "" };
        let test = match &self.test {
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
        format!("\"{}\" {test}", self.path.shown())
    }
}
