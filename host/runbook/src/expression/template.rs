//! Values with `${…}` in them: what stands in `with`, `config`, `for_each` and `wait`.

use serde_json::{Map, Value};

use super::{Expression, ExpressionError, Reference, Scope, convert};

/// A value that may have expressions in it.
#[derive(Debug, Clone, PartialEq)]
pub enum Template {
    /// Nothing to evaluate.
    Literal(Value),
    /// A string that is one `${…}`: the value keeps its type.
    Expression(Expression),
    /// A string with `${…}` in it.
    Text(Vec<TextPart>),
    /// A list.
    List(Vec<Self>),
    /// A table, in the order of the file.
    Table(Vec<(String, Self)>),
}

/// A part of a text.
#[derive(Debug, Clone, PartialEq)]
pub enum TextPart {
    /// As written.
    Literal(String),
    /// Put in as text.
    Expression(Expression),
}

impl Template {
    /// The value.
    ///
    /// # Errors
    /// The first expression that has none.
    pub fn resolve(&self, scope: &dyn Scope) -> Result<Value, ExpressionError> {
        match self {
            Self::Literal(value) => Ok(value.clone()),
            Self::Expression(expression) => expression.evaluate(scope),
            Self::Text(parts) => {
                let mut text = String::new();
                for part in parts {
                    match part {
                        TextPart::Literal(literal) => text.push_str(literal),
                        TextPart::Expression(expression) => {
                            text.push_str(&convert::to_text(&expression.evaluate(scope)?));
                        }
                    }
                }
                Ok(Value::String(text))
            }
            Self::List(items) => {
                items.iter().map(|item| item.resolve(scope)).collect::<Result<_, _>>().map(Value::Array)
            }
            Self::Table(fields) => fields
                .iter()
                .map(|(name, value)| value.resolve(scope).map(|value| (name.clone(), value)))
                .collect::<Result<Map<_, _>, _>>()
                .map(Value::Object),
        }
    }

    /// Whether there is nothing to evaluate.
    #[must_use]
    pub const fn is_literal(&self) -> bool {
        matches!(self, Self::Literal(_))
    }

    /// Its expressions, in the order of the text.
    #[must_use]
    pub fn expressions(&self) -> Vec<&Expression> {
        let mut found = Vec::new();
        let mut queue = vec![self];
        while let Some(template) = queue.pop() {
            match template {
                Self::Literal(_) => {}
                Self::Expression(expression) => found.push(expression),
                Self::Text(parts) => found.extend(parts.iter().filter_map(|part| match part {
                    TextPart::Expression(expression) => Some(expression),
                    TextPart::Literal(_) => None,
                })),
                Self::List(items) => queue.extend(items.iter().rev()),
                Self::Table(fields) => queue.extend(fields.iter().rev().map(|(_, value)| value)),
            }
        }
        found
    }

    /// Every path that its expressions look up.
    pub fn references(&self) -> impl Iterator<Item = &Reference> {
        self.expressions().into_iter().flat_map(Expression::references)
    }
}

/// A piece of a string before its expressions are compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece<'t> {
    /// Text, `$${` already made `${`.
    Literal(String),
    /// An expression and the byte of the string where it begins.
    Expression(&'t str, usize),
    /// A `${` that no `}` ends, and where it is.
    Unclosed(usize),
}

/// Splits a string at its `${…}`. Braces and quotes inside an expression are respected.
pub(crate) fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        let (before, from) = rest.split_at(dollar);
        literal.push_str(before);
        let at = text.len() - from.len();
        if let Some(after) = from.strip_prefix("$${") {
            literal.push_str("${");
            rest = after;
        } else if let Some(inside) = from.strip_prefix("${") {
            let Some(length) = expression_length(inside) else {
                pieces.push(Piece::Unclosed(at));
                return pieces;
            };
            if !literal.is_empty() {
                pieces.push(Piece::Literal(std::mem::take(&mut literal)));
            }
            let (expression, behind) = inside.split_at(length);
            pieces.push(Piece::Expression(expression, at + 2));
            rest = behind.strip_prefix('}').unwrap_or(behind);
        } else {
            literal.push('$');
            rest = from.strip_prefix('$').unwrap_or_default();
        }
    }
    literal.push_str(rest);
    if !literal.is_empty() || pieces.is_empty() {
        pieces.push(Piece::Literal(literal));
    }
    pieces
}

/// The bytes up to the brace that ends the expression.
fn expression_length(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut quote = None;
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match (quote, letter) {
            (Some(_), '\\') => {
                letters.next();
            }
            (Some(open), close) if open == close => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(letter),
            (None, '{') => depth += 1,
            (None, '}') if depth == 0 => return Some(at),
            (None, '}') => depth -= 1,
            (None, _) => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_strings() {
        assert_eq!(pieces("plain"), [Piece::Literal("plain".into())]);
        assert_eq!(pieces(""), [Piece::Literal(String::new())]);
        assert_eq!(pieces("${a}"), [Piece::Expression("a", 2)]);
        assert_eq!(
            pieces("x ${ {'a': '}'}.a } y"),
            [
                Piece::Literal("x ".into()),
                Piece::Expression(" {'a': '}'}.a ", 4),
                Piece::Literal(" y".into())
            ]
        );
        assert_eq!(pieces("$${a} costs $5"), [Piece::Literal("${a} costs $5".into())]);
        assert_eq!(pieces("a ${b"), [Piece::Unclosed(2)]);
        assert_eq!(pieces("$"), [Piece::Literal("$".into())]);
        assert_eq!(pieces("$$${a}"), [Piece::Literal("$${a}".into())]);
    }
}
