//! One argument of a granted program: literal text with `{ident}`, `{int}`, `{path:FOLDER}` and `{match:REGEX}` in it.
//!
//! Checks a value against the template and says which parts of it are guest paths, so that the program capability can
//! put the real folder in their place. Knows nothing of folders' real places, and opens nothing.
//!
//! Invariant: a filled-in value never begins with `-`, and a path never leaves its folder by its text.

use std::fmt;

use regex::Regex;

use super::GrantError;
use super::slot::is_slot;

/// What one argument may look like.
#[derive(Debug, Clone)]
pub struct ArgumentTemplate {
    parts: Vec<Part>,
    /// The whole argument, with one group `wN` per placeholder.
    shape: Regex,
}

impl PartialEq for ArgumentTemplate {
    fn eq(&self, other: &Self) -> bool {
        self.parts == other.parts
    }
}

impl Eq for ArgumentTemplate {}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    Ident,
    Int,
    Path { folder: String },
    Match { regex: String },
}

/// An argument that fits its template, in pieces. Joined, with each path mapped to its real place, they are what the
/// program is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Goes to the program as it is.
    Text(String),
    /// A file or folder inside a granted folder.
    Path {
        /// The slot of the folder.
        folder: String,
        /// Below the folder, without `..`, `.` and empty segments; empty for the folder itself.
        relative: String,
    },
}

impl ArgumentTemplate {
    /// The argument in pieces, or why it doesn't fit, in words that follow "the argument".
    pub fn check(&self, argument: &str) -> Result<Vec<Piece>, String> {
        if argument.contains('\0') {
            return Err("holds a zero byte".to_owned());
        }
        let found = self.shape.captures(argument).ok_or_else(|| format!("does not fit `{self}`"))?;
        let mut pieces = Vec::with_capacity(self.parts.len());
        for (index, part) in self.parts.iter().enumerate() {
            let value = found.name(&group(index)).map_or("", |value| value.as_str());
            match part {
                Part::Literal(text) => pieces.push(Piece::Text(text.clone())),
                _ if value.starts_with('-') => {
                    return Err(format!("fills `{part}` with a value that begins with `-`"));
                }
                Part::Path { folder } => {
                    let relative = value.trim_start_matches('/');
                    if !relative.is_empty() && relative.split('/').any(|step| matches!(step, "" | "." | ".."))
                    {
                        return Err(format!("has a path that is not plainly inside `/{folder}`"));
                    }
                    pieces.push(Piece::Path { folder: folder.clone(), relative: relative.to_owned() });
                }
                Part::Ident | Part::Int | Part::Match { .. } => pieces.push(Piece::Text(value.to_owned())),
            }
        }
        Ok(pieces)
    }

    /// The slots of folders that the template names.
    pub fn folders(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Path { folder } => Some(folder.as_str()),
            _ => None,
        })
    }

    /// The text, where the argument has no placeholder.
    pub fn literal(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [] => Some(""),
            [Part::Literal(text)] => Some(text),
            _ => None,
        }
    }

    /// Reads one word of a line, already without its quotes. Ranges in errors are places in the word.
    pub(super) fn parse(word: &str) -> Result<Self, GrantError> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut at = 0;
        while let Some(rest) = word.get(at..).filter(|rest| !rest.is_empty()) {
            if rest.starts_with("{{") || rest.starts_with("}}") {
                literal.push_str(rest.get(..1).unwrap_or_default());
                at += 2;
            } else if rest.starts_with('{') {
                let length = closing_brace(rest).ok_or_else(|| {
                    GrantError::new(at..word.len(), "the brace `{` is never closed")
                        .help("write `{ident}`, `{int}`, `{path:FOLDER}` or `{match:REGEX}`; a literal brace is `{{`")
                })?;
                if !literal.is_empty() {
                    parts.push(Part::Literal(std::mem::take(&mut literal)));
                }
                let inner = rest.get(1..length).unwrap_or_default();
                parts.push(placeholder(inner).map_err(|error| error.at(at + 1))?);
                at += length + 1;
            } else if rest.starts_with('}') {
                return Err(
                    GrantError::new(at..at + 1, "this brace closes nothing").help("a literal brace is `}}`")
                );
            } else {
                let length = rest.find(['{', '}']).unwrap_or(rest.len());
                literal.push_str(rest.get(..length).unwrap_or_default());
                at += length;
            }
        }
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        let shape = shape(&parts)
            .map_err(|_| GrantError::new(0..word.len(), "the argument is too large a pattern"))?;
        Ok(Self { parts, shape })
    }
}

/// Where the `}` of the placeholder at the start stands; braces inside a regex pair up, escaped ones don't count.
fn closing_brace(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '{' => depth += 1,
            '}' if depth == 1 => return Some(at),
            '}' => depth -= 1,
            _ => {}
        }
    }
    None
}

fn placeholder(inner: &str) -> Result<Part, GrantError> {
    let whole = 0..inner.len();
    if let Some(regex) = inner.strip_prefix("match:") {
        return match bounded(&format!(r"\A(?:{regex})\z")) {
            Ok(_) if Regex::new(regex).is_ok() => Ok(Part::Match { regex: regex.to_owned() }),
            _ => Err(GrantError::new(whole, "this is no regular expression that can be used")
                .help("write it as the Rust `regex` crate takes it, such as `{match:v[0-9]+}`")),
        };
    }
    if let Some(folder) = inner.strip_prefix("path:") {
        return if is_slot(folder) {
            Ok(Part::Path { folder: folder.to_owned() })
        } else {
            Err(GrantError::new(whole, format!("`{folder}` is not the slot of a folder"))
                .help("write `{path:out}`"))
        };
    }
    match inner {
        "ident" => Ok(Part::Ident),
        "int" => Ok(Part::Int),
        other => Err(GrantError::new(whole, format!("`{other}` is no kind of value"))
            .help("write `{ident}`, `{int}`, `{path:FOLDER}` or `{match:REGEX}`; a literal brace is `{{`")),
    }
}

fn group(index: usize) -> String {
    format!("windlass_{index}")
}

/// A megabyte of automaton is far above any argument a person would write.
fn bounded(pattern: &str) -> Result<Regex, regex::Error> {
    regex::RegexBuilder::new(pattern).size_limit(1 << 20).build()
}

fn shape(parts: &[Part]) -> Result<Regex, regex::Error> {
    let mut pattern = String::from(r"\A");
    for (index, part) in parts.iter().enumerate() {
        let value = match part {
            Part::Literal(text) => {
                pattern.push_str(&regex::escape(text));
                continue;
            }
            Part::Ident => "[A-Za-z0-9_][A-Za-z0-9_.-]*".to_owned(),
            Part::Int => "[0-9]{1,19}".to_owned(),
            // A path needs its folder in front; what follows is checked step by step.
            Part::Path { folder } => {
                pattern.push_str(&regex::escape(&format!("/{folder}")));
                r"(?:/[^\x00]*)?".to_owned()
            }
            Part::Match { regex } => format!("(?:{regex})"),
        };
        pattern = format!("{pattern}(?P<{}>{value})", group(index));
    }
    pattern.push_str(r"\z");
    bounded(&pattern)
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(text) => f.write_str(&text.replace('{', "{{").replace('}', "}}")),
            Self::Ident => f.write_str("{ident}"),
            Self::Int => f.write_str("{int}"),
            Self::Path { folder } => write!(f, "{{path:{folder}}}"),
            Self::Match { regex } => write!(f, "{{match:{regex}}}"),
        }
    }
}

/// The word without quotes, as it was written but for its escapes.
impl fmt::Display for ArgumentTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts.iter().try_for_each(|part| part.fmt(f))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(template: &str, argument: &str) -> Result<Vec<Piece>, String> {
        ArgumentTemplate::parse(template).unwrap().check(argument)
    }

    fn text(text: &str) -> Piece {
        Piece::Text(text.to_owned())
    }

    fn path(folder: &str, relative: &str) -> Piece {
        Piece::Path { folder: folder.to_owned(), relative: relative.to_owned() }
    }

    #[test]
    fn literals_match_exactly() {
        assert_eq!(check("--clean", "--clean"), Ok(vec![text("--clean")]));
        assert!(check("--clean", "--clean2").is_err());
        assert!(check("a.c", "abc").is_err());
        assert_eq!(check("{{a}}", "{a}"), Ok(vec![text("{a}")]));
        assert_eq!(check("", ""), Ok(vec![]));
    }

    #[test]
    fn values_are_typed_and_never_options() {
        assert!(check("{ident}", "release_1.2-rc").is_ok());
        for bad in ["", "-x", ".hidden", "a b", "a/b", "a;b", "a\nb", "a\n"] {
            assert!(check("{ident}", bad).is_err(), "{bad:?}");
        }
        assert_eq!(check("--jobs={int}", "--jobs=4"), Ok(vec![text("--jobs="), text("4")]));
        assert!(check("--jobs={int}", "--jobs=-4").is_err());
        assert!(check("{match:.*}", "-rf").is_err());
        assert!(check("x{match:.*}", "x-rf").is_err());
        assert_eq!(check("{match:v[0-9]{1,3}}", "v12"), Ok(vec![text("v12")]));
        assert!(check("{match:v1|w}", "v1; rm").is_err());
    }

    #[test]
    fn paths_stay_in_their_folder() {
        assert_eq!(
            check("--file={path:out}", "--file=/out/a/b.sql"),
            Ok(vec![text("--file="), path("out", "a/b.sql")])
        );
        assert_eq!(check("{path:out}", "/out"), Ok(vec![path("out", "")]));
        assert_eq!(check("{path:out}", "/out/"), Ok(vec![path("out", "")]));
        for bad in [
            "/out/../etc",
            "/out/..",
            "/output/x",
            "/etc/passwd",
            "out/x",
            "/out/a//b",
            "/out/./a",
            "/out/a/",
            "/out/a\0",
        ] {
            assert!(check("{path:out}", bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_pointed_at() {
        let error = |template: &str| {
            let error = ArgumentTemplate::parse(template).unwrap_err();
            (template.get(error.range).unwrap().to_owned(), error.message)
        };
        let said = [
            ("{indent}", "indent", "`indent` is no kind of value"),
            ("a{int", "{int", "the brace `{` is never closed"),
            ("a}b", "}", "this brace closes nothing"),
            ("{path:Out}", "path:Out", "`Out` is not the slot of a folder"),
            ("{match:(}", "match:(", "this is no regular expression that can be used"),
            ("{match:a)(b}", "match:a)(b", "this is no regular expression that can be used"),
        ];
        for (template, part, message) in said {
            assert_eq!(error(template), (part.to_owned(), message.to_owned()));
        }
    }

    proptest! {
        #[test]
        fn templates_read_back_what_they_show(word in "([a-z-]|\\{\\{|\\}\\}|\\{int\\}|\\{ident\\}|\\{path:out\\}|\\{match:[a-c]\\{1,2\\}\\}){0,8}") {
            let template = ArgumentTemplate::parse(&word).unwrap();
            prop_assert_eq!(ArgumentTemplate::parse(&template.to_string()).unwrap(), template);
        }

        #[test]
        fn nothing_panics(word in "\\PC*", argument in "\\PC*") {
            match ArgumentTemplate::parse(&word) {
                Ok(template) => drop(template.check(&argument)),
                Err(error) => prop_assert!(word.get(error.range).is_some()),
            }
        }
    }
}
