//! From text to a tree of terms: CEL's grammar (cel-spec `doc/langdef.md`, with optional entries and escaped field names).

mod lexer;
mod parser;
mod quotes;
mod tree;

pub(crate) use parser::{DEPTH_MAX, parse};
pub(crate) use tree::{Call, Entry, Expr, Field, Select, Term};

/// Names that no variable may have (cel-spec, "Reserved").
pub(crate) const RESERVED: [&str; 17] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// Where the text is no expression: an offset in bytes, and cel-go's words for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    pub(crate) at: usize,
    pub(crate) message: String,
}

impl SyntaxError {
    fn new(at: usize, message: impl Into<String>) -> Self {
        Self { at, message: message.into() }
    }
}
