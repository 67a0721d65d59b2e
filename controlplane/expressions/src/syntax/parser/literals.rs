//! Literals: numbers with their sign, texts, bytes, `true`, `false`, `null`.

use super::{Parsed, Parser};
use crate::{
    syntax::{SyntaxError, lexer::Token, tree::Expr},
    value::Value,
};

impl Parser<'_> {
    pub(super) fn literal(&mut self) -> Parsed {
        let at = self.at();
        let sign = if self.take("-").is_some() { "-" } else { "" };
        let value = match &self.peek().token {
            Token::Word(word) if word == "null" => Value::Null,
            Token::Word(word) => Value::Bool(word == "true"),
            Token::Int(text) => Value::Int(
                int(sign, text).ok_or_else(|| SyntaxError::new(at, "invalid int literal"))?,
            ),
            Token::Uint(text) => {
                Value::Uint(uint(text).ok_or_else(|| SyntaxError::new(at, "invalid uint literal"))?)
            }
            Token::Double(value) if sign == "-" => Value::Double(-value),
            Token::Double(value) => Value::Double(*value),
            Token::String(text) => Value::text(text),
            Token::Bytes(bytes) => Value::Bytes(bytes.as_slice().into()),
            Token::Quoted(_) | Token::Sign(_) | Token::End => {
                return Err(self.unexpected("an expression"));
            }
        };
        self.next += 1;
        Self::term(at, Expr::Literal(value))
    }
}

fn int(sign: &str, text: &str) -> Option<i64> {
    match text.strip_prefix("0x") {
        Some(digits) => i64::from_str_radix(&format!("{sign}{digits}"), 16).ok(),
        None => format!("{sign}{text}").parse().ok(),
    }
}

fn uint(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}
