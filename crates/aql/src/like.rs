//! What a LIKE pattern says for certain about the text that matches it.

/// The certain parts of a pattern: runs of literal characters between wildcards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    /// Literal runs in order, without the wildcards between them.
    pub runs: Vec<String>,
    /// The pattern starts with its first run.
    pub anchored_start: bool,
    /// The pattern ends with its last run.
    pub anchored_end: bool,
}

/// Takes a pattern apart under the default escape character `\`. None when it ends in an
/// unfinished escape, which is an error that PostgreSQL itself shall raise.
pub fn parse(pattern: &str) -> Option<Pattern> {
    let mut runs = Vec::new();
    let mut run = String::new();
    let mut anchored_start = true;
    let mut anchored_end = true;
    let mut first = true;
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match c {
            '%' | '_' => {
                if first {
                    anchored_start = false;
                }
                if !run.is_empty() {
                    runs.push(std::mem::take(&mut run));
                }
                anchored_end = false;
            }
            '\\' => {
                run.push(chars.next()?);
                anchored_end = true;
            }
            c => {
                run.push(c);
                anchored_end = true;
            }
        }
        first = false;
    }
    if !run.is_empty() {
        runs.push(run);
    }
    Some(Pattern { runs, anchored_start, anchored_end })
}

impl Pattern {
    /// The pattern has no wildcard: it is an equality.
    pub fn is_plain(&self) -> bool {
        self.runs.len() == 1 && self.anchored_start && self.anchored_end
    }
}
