//! Names of things in a database: read as a runbook has them, written so that no name can be taken for SQL.
//!
//! A name is `table` or `schema.table`, as the catalog has it: case counts. A name with a dot or a space in it stands in
//! double quotes.

use std::fmt;

/// A name with its schema.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name {
    pub(crate) schema: String,
    pub(crate) name: String,
}

impl Name {
    /// Read a name; none where it is empty, has too many parts, or a quote that is not closed.
    pub(crate) fn parse(text: &str, schema: &str) -> Option<Self> {
        let mut parts = parts(text)?;
        let name = parts.pop().filter(|name| !name.is_empty())?;
        let schema = parts.pop().unwrap_or_else(|| schema.to_owned());
        (parts.is_empty() && !schema.is_empty()).then_some(Self { schema, name })
    }

    /// As SQL has it, whatever is in it.
    pub(crate) fn quoted(&self) -> String {
        format!("{}.{}", quoted(&self.schema), quoted(&self.name))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.schema, self.name)
    }
}

/// One name in double quotes.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The parts between dots that stand outside of quotes, without the quotes.
fn parts(text: &str) -> Option<Vec<String>> {
    let mut parts = vec![String::new()];
    let mut characters = text.trim().chars().peekable();
    let mut inside = false;
    while let Some(character) = characters.next() {
        let last = parts.last_mut()?;
        match (character, inside) {
            ('"', true) if characters.peek() == Some(&'"') => {
                characters.next();
                last.push('"');
            }
            ('"', _) => inside = !inside,
            ('.', false) => parts.push(String::new()),
            ('\0', _) => return None,
            (other, _) => last.push(other),
        }
    }
    (!inside).then_some(parts)
}

#[cfg(test)]
mod tests {
    use super::Name;

    #[test]
    fn names_are_read_and_quoted() {
        let quoted = |text: &str| Name::parse(text, "public").map(|name| name.quoted());
        assert_eq!(quoted("events").unwrap(), r#""public"."events""#);
        assert_eq!(quoted("audit.events").unwrap(), r#""audit"."events""#);
        assert_eq!(quoted(r#"audit."a.b""#).unwrap(), r#""audit"."a.b""#);
        assert_eq!(quoted(r#"x" ; DROP TABLE t; --"#), None);
        assert_eq!(quoted(r#""x"" ; DROP TABLE t; --""#).unwrap(), r#""public"."x"" ; DROP TABLE t; --""#);
        for wrong in ["", "a.b.c", ".a", "a.", "\"a"] {
            assert_eq!(quoted(wrong), None, "{wrong}");
        }
    }
}
