//! The grammar, by recursive descent; operators by precedence.

mod literals;

use super::{
    RESERVED, SyntaxError,
    lexer::{self, Place, Token},
    tree::{Call, Entry, Expr, Field, Select, Term},
};

/// cel-go's limit on nesting.
pub(crate) const DEPTH_MAX: usize = 250;
/// Binary operators below `&&` with how tightly they bind, and their functions.
const OPERATORS: [(&str, u8, &str); 12] = [
    ("<", 1, "_<_"),
    ("<=", 1, "_<=_"),
    (">=", 1, "_>=_"),
    (">", 1, "_>_"),
    ("==", 1, "_==_"),
    ("!=", 1, "_!=_"),
    ("in", 1, "@in"),
    ("+", 2, "_+_"),
    ("-", 2, "_-_"),
    ("*", 3, "_*_"),
    ("/", 3, "_/_"),
    ("%", 3, "_%_"),
];

type Parsed = Result<Term, SyntaxError>;

/// The expression that the text is, no part of it nested deeper than [`DEPTH_MAX`].
pub(crate) fn parse(source: &str) -> Parsed {
    let mut parser = Parser { tokens: lexer::tokens(source)?, next: 0, nested: 0 };
    let term = parser.expression()?;
    match parser.peek().token {
        Token::End => Ok(term),
        _ => Err(parser.unexpected("<EOF>")),
    }
}

struct Parser<'s> {
    tokens: Vec<Place<'s>>,
    next: usize,
    nested: usize,
}

impl Parser<'_> {
    fn peek(&self) -> &Place<'_> {
        // The last token is the end, and nothing takes it.
        &self.tokens[self.next.min(self.tokens.len() - 1)]
    }

    fn at(&self) -> usize {
        self.peek().at
    }

    fn is(&self, sign: &str) -> bool {
        matches!(self.peek().token, Token::Sign(found) if found == sign)
    }

    /// Takes the sign if it is next, and says where it was.
    fn take(&mut self, sign: &str) -> Option<usize> {
        let at = self.is(sign).then(|| self.at())?;
        self.next += 1;
        Some(at)
    }

    fn expect(&mut self, sign: &'static str) -> Result<usize, SyntaxError> {
        self.take(sign).ok_or_else(|| self.unexpected(&format!("'{sign}'")))
    }

    fn unexpected(&self, wanted: &str) -> SyntaxError {
        let Place { text, at, .. } = self.peek();
        SyntaxError::new(*at, format!("Syntax error: mismatched input '{text}' expecting {wanted}"))
    }

    fn term(at: usize, expr: Expr) -> Parsed {
        let depth = 1 + expr.parts().iter().map(|part| part.depth).max().unwrap_or(0);
        if depth > DEPTH_MAX {
            return Err(SyntaxError::new(at, too_deep()));
        }
        Ok(Term { at, depth, expr })
    }

    fn call(at: usize, function: &str, arguments: Vec<Term>) -> Parsed {
        Self::term(at, Expr::Call(Call { function: function.to_owned(), target: None, arguments }))
    }

    fn expression(&mut self) -> Parsed {
        self.nested += 1;
        if self.nested > DEPTH_MAX {
            return Err(SyntaxError::new(self.at(), too_deep()));
        }
        let test = self.any()?;
        let term = match self.take("?") {
            None => test,
            Some(at) => {
                let yes = self.any()?;
                self.expect(":")?;
                let no = self.expression()?;
                Self::call(at, "_?_:_", vec![test, yes, no])?
            }
        };
        self.nested -= 1;
        Ok(term)
    }

    fn any(&mut self) -> Parsed {
        let mut terms = vec![self.all()?];
        let mut signs = Vec::new();
        while let Some(at) = self.take("||") {
            signs.push(at);
            terms.push(self.all()?);
        }
        balance("_||_", terms, &signs)
    }

    fn all(&mut self) -> Parsed {
        let mut terms = vec![self.binary(1)?];
        let mut signs = Vec::new();
        while let Some(at) = self.take("&&") {
            signs.push(at);
            terms.push(self.binary(1)?);
        }
        balance("_&&_", terms, &signs)
    }

    /// Operators that bind at least so tightly, from left to right.
    fn binary(&mut self, tightest: u8) -> Parsed {
        let mut left = self.unary()?;
        while let Some((binding, function)) = self.operator().filter(|(b, _)| *b >= tightest) {
            let at = self.at();
            self.next += 1;
            let right = self.binary(binding + 1)?;
            left = Self::call(at, function, vec![left, right])?;
        }
        Ok(left)
    }

    fn operator(&self) -> Option<(u8, &'static str)> {
        let sign = match &self.peek().token {
            Token::Sign(sign) => sign,
            Token::Word(word) if word == "in" => "in",
            _ => return None,
        };
        let (_, binding, function) = OPERATORS.iter().find(|(known, ..)| *known == sign)?;
        Some((*binding, function))
    }

    /// An even number of `!` or `-` is none; a `-` before a number belongs to it.
    fn unary(&mut self) -> Parsed {
        let at = self.at();
        for (sign, function) in [("!", "!_"), ("-", "-_")] {
            let mut count = 0;
            while self.is(sign) && !(sign == "-" && self.is_number(self.next + 1)) {
                self.next += 1;
                count += 1;
            }
            if count > 0 {
                let operand = self.member()?;
                return match count % 2 {
                    0 => Ok(operand),
                    _ => Self::call(at, function, vec![operand]),
                };
            }
        }
        self.member()
    }

    fn is_number(&self, index: usize) -> bool {
        let token = self.tokens.get(index).map(|place| &place.token);
        matches!(token, Some(Token::Int(_) | Token::Double(_)))
    }

    fn member(&mut self) -> Parsed {
        let mut term = self.primary()?;
        loop {
            if let Some(at) = self.take(".") {
                term = self.selection(at, term)?;
            } else if let Some(at) = self.take("[") {
                let function = if self.take("?").is_some() { "_[?_]" } else { "_[_]" };
                let index = self.expression()?;
                self.expect("]")?;
                term = Self::call(at, function, vec![term, index])?;
            } else {
                return Ok(term);
            }
        }
    }

    /// What follows a dot: a field, or a call.
    fn selection(&mut self, at: usize, operand: Term) -> Parsed {
        let optional = self.take("?").is_some();
        let quoted = matches!(self.peek().token, Token::Quoted(_));
        let field = self.field()?;
        if !optional && !quoted {
            let open = self.at();
            if self.take("(").is_some() {
                let call = Call {
                    function: field,
                    target: Some(Box::new(operand)),
                    arguments: self.arguments()?,
                };
                return Self::term(open, Expr::Call(call));
            }
        }
        Self::term(at, Expr::Select(Select { operand: Box::new(operand), field, optional }))
    }

    /// A field's name; reserved words may be one, words of the grammar may not.
    fn field(&mut self) -> Result<String, SyntaxError> {
        let name = match &self.peek().token {
            Token::Word(word) if !["true", "false", "null", "in"].contains(&word.as_str()) => {
                word.clone()
            }
            Token::Quoted(name) => name.clone(),
            _ => return Err(self.unexpected("IDENTIFIER")),
        };
        self.next += 1;
        Ok(name)
    }

    /// Behind the opening bracket, the closing one included.
    fn arguments(&mut self) -> Result<Vec<Term>, SyntaxError> {
        let mut arguments = Vec::new();
        if self.take(")").is_some() {
            return Ok(arguments);
        }
        loop {
            arguments.push(self.expression()?);
            if self.take(",").is_none() {
                self.expect(")")?;
                return Ok(arguments);
            }
        }
    }

    fn primary(&mut self) -> Parsed {
        if self.take("(").is_some() {
            let inner = self.expression()?;
            self.expect(")")?;
            return Ok(inner);
        }
        if let Some(at) = self.take("[") {
            return self.list(at);
        }
        if let Some(at) = self.take("{") {
            return self.map(at);
        }
        match &self.peek().token {
            Token::Word(word) if ["true", "false", "null"].contains(&word.as_str()) => {
                self.literal()
            }
            Token::Word(_) => self.named(),
            Token::Sign(".") => self.named(),
            Token::Sign("-") if self.is_number(self.next + 1) => self.literal(),
            Token::Sign(_) | Token::Quoted(_) | Token::End => Err(self.unexpected("an expression")),
            _ => self.literal(),
        }
    }

    fn list(&mut self, at: usize) -> Parsed {
        let mut items = Vec::new();
        while self.take("]").is_none() {
            let optional = self.take("?").is_some();
            items.push((self.expression()?, optional));
            if self.take(",").is_none() && !self.is("]") {
                return Err(self.unexpected("']'"));
            }
        }
        Self::term(at, Expr::List(items))
    }

    fn map(&mut self, at: usize) -> Parsed {
        let mut entries = Vec::new();
        while self.take("}").is_none() {
            let optional = self.take("?").is_some();
            let key = self.expression()?;
            self.expect(":")?;
            entries.push(Entry { key, value: self.expression()?, optional });
            if self.take(",").is_none() && !self.is("}") {
                return Err(self.unexpected("'}'"));
            }
        }
        Self::term(at, Expr::Map(entries))
    }

    /// A name, a call of a function, or an object (`a.b.Type{..}`).
    fn named(&mut self) -> Parsed {
        let at = self.at();
        let dot = if self.take(".").is_some() { "." } else { "" };
        let Token::Word(word) = self.peek().token.clone() else {
            return Err(self.unexpected("IDENTIFIER"));
        };
        if RESERVED.contains(&word.as_str()) {
            return Err(SyntaxError::new(self.at(), format!("reserved identifier: {word}")));
        }
        if word == "in" {
            return Err(self.unexpected("an expression"));
        }
        self.next += 1;
        let open = self.at();
        if self.take("(").is_some() {
            let arguments = self.arguments()?;
            let function = format!("{dot}{word}");
            return Self::term(open, Expr::Call(Call { function, target: None, arguments }));
        }
        match self.type_name(&word) {
            Some((name, end)) => {
                self.next = end;
                self.object(format!("{dot}{name}"))
            }
            None => Self::term(at, Expr::Name(format!("{dot}{word}"))),
        }
    }

    /// The qualified name that ends at a `{`, and that place; the first word was taken.
    fn type_name(&self, first: &str) -> Option<(String, usize)> {
        let mut name = first.to_owned();
        let mut index = self.next;
        loop {
            match &self.tokens.get(index)?.token {
                Token::Sign("{") => return Some((name, index)),
                Token::Sign(".") => {
                    let Token::Word(word) = &self.tokens.get(index + 1)?.token else { return None };
                    name = format!("{name}.{word}");
                    index += 2;
                }
                _ => return None,
            }
        }
    }

    fn object(&mut self, name: String) -> Parsed {
        let at = self.expect("{")?;
        let mut fields = Vec::new();
        while self.take("}").is_none() {
            let optional = self.take("?").is_some();
            let name = self.field()?;
            let at = self.expect(":")?;
            fields.push(Field { at, name, value: self.expression()?, optional });
            if self.take(",").is_none() && !self.is("}") {
                return Err(self.unexpected("'}'"));
            }
        }
        Self::term(at, Expr::Struct { name, fields })
    }
}

fn too_deep() -> String {
    format!("expression recursion limit exceeded: {DEPTH_MAX}")
}

/// Long chains become flat trees (cel-go's `exprBalancer`): `a && b && c && d` is `(a && b) && (c && d)`.
fn balance(function: &str, mut terms: Vec<Term>, signs: &[usize]) -> Parsed {
    let Some(middle) = signs.len().checked_sub(1).map(|last| last.div_ceil(2)) else {
        return Ok(terms.remove(0));
    };
    let right = terms.split_off(middle + 1);
    let left = balance(function, terms, &signs[..middle])?;
    let right = balance(function, right, &signs[middle + 1..])?;
    Parser::call(signs[middle], function, vec![left, right])
}

#[cfg(test)]
mod tests;
