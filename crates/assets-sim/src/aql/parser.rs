//! Tokens into a query, by the grammar of assets-api.md section 4.1.

use super::Invalid;
use super::ast::{
    Condition, Expr, Function, Literal, Name, Operand, Operator, Order, Part, Path, Query, Test,
};
use super::lexer::{self, Placed, Token};

const KEYWORDS: [&str; 14] = [
    "and",
    "or",
    "not",
    "in",
    "like",
    "startswith",
    "endswith",
    "is",
    "empty",
    "having",
    "order",
    "by",
    "asc",
    "desc",
];

/// Reads a query.
pub fn parse(text: &str) -> Result<Query, Invalid> {
    let tokens = lexer::tokens(text)?;
    let mut parser = Parser { text, tokens, at: 0, depth: 0 };
    let filter = if parser.done() || parser.sees("order") { None } else { Some(parser.or()?) };
    let order = if parser.take("order") { Some(parser.order()?) } else { None };
    if !parser.done() {
        return Err(parser.unexpected("AND, OR or ORDER BY"));
    }
    Ok(Query { filter, order })
}

struct Parser<'a> {
    text: &'a str,
    tokens: Vec<Placed>,
    at: usize,
    depth: u32,
}

impl Parser<'_> {
    fn done(&self) -> bool {
        self.at >= self.tokens.len()
    }

    fn token(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|p| &p.token)
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.token().cloned();
        self.at += 1;
        token
    }

    fn sees(&self, keyword: &str) -> bool {
        matches!(self.token(), Some(Token::Word(w)) if w.eq_ignore_ascii_case(keyword))
    }

    fn take(&mut self, keyword: &str) -> bool {
        let found = self.sees(keyword);
        self.at += usize::from(found);
        found
    }

    fn take_token(&mut self, token: &Token) -> bool {
        let found = self.token() == Some(token);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, token: &Token, what: &str) -> Result<(), Invalid> {
        if self.take_token(token) { Ok(()) } else { Err(self.unexpected(what)) }
    }

    fn unexpected(&self, expected: &str) -> Invalid {
        match self.tokens.get(self.at) {
            Some(p) => Invalid::new(format!(
                "Invalid AQL: expected {expected} at position {} but found {}",
                p.start,
                &self.text[p.start..p.end]
            )),
            None => Invalid::new(format!("Invalid AQL: expected {expected} at the end of the query")),
        }
    }

    fn or(&mut self) -> Result<Expr, Invalid> {
        self.deeper()?;
        let mut all = vec![self.and()?];
        while self.take("or") {
            all.push(self.and()?);
        }
        self.depth -= 1;
        Ok(if all.len() == 1 { all.remove(0) } else { Expr::Or(all) })
    }

    /// Counts levels of nesting, so that no query exhausts the stack.
    fn deeper(&mut self) -> Result<(), Invalid> {
        self.depth += 1;
        if self.depth > 200 { Err(Invalid::new("Invalid AQL: too deeply nested")) } else { Ok(()) }
    }

    fn and(&mut self) -> Result<Expr, Invalid> {
        let mut all = vec![self.term()?];
        while self.take("and") {
            all.push(self.term()?);
        }
        Ok(if all.len() == 1 { all.remove(0) } else { Expr::And(all) })
    }

    fn term(&mut self) -> Result<Expr, Invalid> {
        if self.take("not") {
            self.deeper()?;
            let inner = self.term()?;
            self.depth -= 1;
            return Ok(Expr::Not(Box::new(inner)));
        }
        if self.take_token(&Token::Open) {
            let inner = self.or()?;
            self.expect(&Token::Close, "a closing parenthesis")?;
            return Ok(inner);
        }
        let path = self.path()?;
        let test = self.test()?;
        Ok(Expr::Condition(Condition { path, test }))
    }

    /// A path: words cut at dots and quoted names, glued together without blanks.
    fn path(&mut self) -> Result<Path, Invalid> {
        let mut names: Vec<Name> = Vec::new();
        let mut open = true; // a name has to follow
        let mut end = None;
        while let Some(placed) = self.tokens.get(self.at) {
            if end.is_some_and(|e| e != placed.start) {
                break;
            }
            match &placed.token {
                Token::Quoted(text) if open => {
                    names.push(Name { text: text.clone(), quoted: true });
                    open = false;
                }
                Token::Word(word) => {
                    if names.is_empty() && KEYWORDS.contains(&word.to_ascii_lowercase().as_str()) {
                        break;
                    }
                    let mut parts = word.split('.').peekable();
                    if !open && parts.next() != Some("") {
                        return Err(self.unexpected("an operator"));
                    }
                    while let Some(part) = parts.next() {
                        match (part, parts.peek()) {
                            ("", None) => open = true,
                            ("", Some(_)) => return Err(self.unexpected("a name between dots")),
                            (text, more) => {
                                names.push(Name { text: text.to_owned(), quoted: false });
                                open = more.is_some();
                            }
                        }
                    }
                }
                _ => break,
            }
            end = Some(placed.end);
            self.at += 1;
        }
        if open { Err(self.unexpected("an attribute name")) } else { Ok(Path { names }) }
    }

    fn test(&mut self) -> Result<Test, Invalid> {
        if let Some(Token::Operator(sign)) = self.token() {
            let operator = match *sign {
                "=" => Operator::Equal,
                "==" => Operator::Same,
                "!=" => Operator::NotEqual,
                "<" => Operator::Less,
                ">" => Operator::Greater,
                "<=" => Operator::AtMost,
                _ => Operator::AtLeast,
            };
            self.at += 1;
            return Ok(Test::Compare(operator, self.operand()?));
        }
        if self.take("is") {
            let negated = self.take("not");
            return if self.take("empty") {
                Ok(Test::Empty { negated })
            } else {
                Err(self.unexpected("EMPTY"))
            };
        }
        let negated = self.take("not");
        for (word, part) in [("like", Part::Anywhere), ("startswith", Part::Start), ("endswith", Part::End)] {
            if self.take(word) {
                return Ok(Test::Text { negated, part, operand: self.operand()? });
            }
        }
        if self.take("having") {
            return Ok(Test::Having { negated, function: self.function()? });
        }
        if !self.take("in") {
            return Err(self.unexpected("an operator"));
        }
        if !self.take_token(&Token::Open) {
            return Ok(Test::InFunction { negated, function: self.function()? });
        }
        let mut list = vec![self.operand()?];
        while self.take_token(&Token::Comma) {
            list.push(self.operand()?);
        }
        self.expect(&Token::Close, "a comma or a closing parenthesis")?;
        Ok(Test::In { negated, list })
    }

    fn calls(&self) -> bool {
        matches!(self.token(), Some(Token::Word(_)))
            && matches!(self.tokens.get(self.at + 1), Some(p) if p.token == Token::Open)
    }

    fn operand(&mut self) -> Result<Operand, Invalid> {
        if self.calls() {
            Ok(Operand::Function(self.function()?))
        } else {
            Ok(Operand::Literal(self.literal()?))
        }
    }

    fn literal(&mut self) -> Result<Literal, Invalid> {
        match self.token() {
            Some(Token::Quoted(text)) => {
                let literal = Literal { text: text.clone(), quoted: true };
                self.at += 1;
                Ok(literal)
            }
            Some(Token::Word(text)) if !KEYWORDS.contains(&text.to_ascii_lowercase().as_str()) => {
                let literal = Literal { text: text.clone(), quoted: false };
                self.at += 1;
                Ok(literal)
            }
            _ => Err(self.unexpected("a value")),
        }
    }

    fn function(&mut self) -> Result<Function, Invalid> {
        if !self.calls() {
            return Err(self.unexpected("a function"));
        }
        let Some(Token::Word(name)) = self.next() else { return Err(self.unexpected("a function")) };
        let name = name.to_ascii_lowercase();
        self.expect(&Token::Open, "an opening parenthesis")?;
        match name.as_str() {
            "inboundreferences" | "inr" => self.references(true),
            "outboundreferences" | "outr" => self.references(false),
            "connectedtickets" => self.tickets(),
            _ => {
                let mut arguments: Vec<Literal> = Vec::new();
                let mut fresh = true;
                while !self.take_token(&Token::Close) {
                    if self.take_token(&Token::Comma) {
                        if fresh {
                            return Err(self.unexpected("an argument"));
                        }
                        fresh = true;
                        continue;
                    }
                    let next = self.literal()?;
                    match arguments.last_mut() {
                        // `-2h 15m` is one argument of two words.
                        Some(last) if !fresh && !last.quoted && !next.quoted => {
                            last.text = format!("{} {}", last.text, next.text);
                        }
                        Some(_) if !fresh => return Err(self.unexpected("a comma or a closing parenthesis")),
                        _ => arguments.push(next),
                    }
                    fresh = false;
                }
                Ok(Function::Plain { name, arguments })
            }
        }
    }

    fn references(&mut self, inbound: bool) -> Result<Function, Invalid> {
        let mut types = Vec::new();
        let bare = matches!(self.token(), Some(Token::Close | Token::Comma)) || self.reference_types_follow();
        let filter = if bare { None } else { Some(Box::new(self.or()?)) };
        if self.take_token(&Token::Comma) || (filter.is_none() && self.reference_types_follow()) {
            if !(self.take("refType") || self.take("referenceType")) || !self.take("in") {
                return Err(self.unexpected("refType IN (…)"));
            }
            self.expect(&Token::Open, "an opening parenthesis")?;
            types.push(self.literal()?.text);
            while self.take_token(&Token::Comma) {
                types.push(self.literal()?.text);
            }
            self.expect(&Token::Close, "a closing parenthesis")?;
        }
        self.expect(&Token::Close, "a closing parenthesis")?;
        Ok(Function::References { inbound, filter, types })
    }

    fn reference_types_follow(&self) -> bool {
        self.sees("refType") || self.sees("referenceType")
    }

    /// The JQL up to the matching parenthesis, as it stands.
    fn tickets(&mut self) -> Result<Function, Invalid> {
        let start = self.tokens.get(self.at).map_or(self.text.len(), |p| p.start);
        let mut depth = 0;
        while let Some(placed) = self.tokens.get(self.at) {
            let at = placed.start;
            match placed.token {
                Token::Open => depth += 1,
                Token::Close if depth == 0 => {
                    self.at += 1;
                    return Ok(Function::Tickets { jql: self.text[start..at].trim().to_owned() });
                }
                Token::Close => depth -= 1,
                _ => {}
            }
            self.at += 1;
        }
        Err(self.unexpected("a closing parenthesis"))
    }

    fn order(&mut self) -> Result<Order, Invalid> {
        if !self.take("by") {
            return Err(self.unexpected("BY"));
        }
        let path = self.path()?;
        let descending = !self.take("asc") && self.take("desc");
        Ok(Order { path, descending })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(query: &str) -> Condition {
        match parse(query).unwrap().filter {
            Some(Expr::Condition(c)) => c,
            other => panic!("{query}: {other:?}"),
        }
    }

    fn path(query: &str) -> Vec<String> {
        condition(query).path.names.into_iter().map(|n| n.text).collect()
    }

    #[test]
    fn paths_walk_dots_outside_of_quotes() {
        assert_eq!(path("Owner.Office.Name = x"), ["Owner", "Office", "Name"]);
        assert_eq!(path(r#""Belongs To".Name = x"#), ["Belongs To", "Name"]);
        assert_eq!(path(r#"Owner."Home Page" = x"#), ["Owner", "Home Page"]);
        assert_eq!(path(r#""a.b" = x"#), ["a.b"]);
        for bad in [r#"Owner. = x"#, ".Name = x", "a..b = x", r#""a""b" = x"#, r#""a"b = x"#] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn and_binds_tighter_than_or() {
        let Some(Expr::Or(parts)) = parse("a = 1 or b = 2 and c = 3").unwrap().filter else { panic!() };
        assert!(matches!(&parts[1], Expr::And(inner) if inner.len() == 2));
    }

    #[test]
    fn what_is_not_in_the_grammar_is_refused() {
        for bad in [
            "Name",
            "Name =",
            "Name = two words",
            "Name = 'two words'",
            "Name in ()",
            "Name in (a,)",
            "Name in (a b)",
            "Name is null",
            "(Name = a",
            "Name = a)",
            "Name = a and",
            "and Name = a",
            "Name = and",
            "Name = a order Name",
            "Name = a order by",
            "Name = a order by Name, Key",
            "Name = a order by Name asc desc",
            "Name having x",
            "Order = 5",
            "= 5",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_documented_form_is_read() {
        for good in [
            "",
            "order by Name",
            "Name = a order by \"Last Backup\" DESC",
            "objectType in (A, \"B b\", 3)",
            "Name not in (a)",
            "Name IS NOT EMPTY and not (Name = a)",
            "Name not startswith a or Name not endswith \"b\"",
            "object having inboundReferences()",
            "object having inR(objectType = A, refType in (\"x\",\"y\"))",
            "object not having outboundReferences(Key = \"ITSM-1\" or (Name = b))",
            "object having connectedTickets(status in (Open, \"In Progress\") and x = (y))",
            "objectType in objectTypeAndChildren(\"Hardware\")",
            "User having user(\"a\", b)",
            "User in group(\"jira-users\")",
            "Owner = currentUser()",
            "Created > now(-2h 15m) and Created < endOfMonth(-90d)",
            "Created > \"now(-2h 15m)\"",
        ] {
            parse(good).unwrap_or_else(|e| panic!("{good}: {}", e.message));
        }
        let Test::Compare(_, Operand::Function(f)) = condition("Created > now(-2h 15m)").test else {
            panic!()
        };
        let argument = Literal { text: "-2h 15m".into(), quoted: false };
        assert_eq!(f, Function::Plain { name: "now".into(), arguments: vec![argument] });
    }
}
