//! Splits a grant line into words, quoted as in a shell. Knows nothing of what the words mean.
//!
//! Invariant: what [`quote`] writes, [`split`] reads back as the same word.

use std::ops::Range;

use super::GrantError;

/// One word of a line, without its quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) text: String,
    /// Bytes of the line, quotes included.
    pub(super) range: Range<usize>,
    /// Whether the text stands in the line byte for byte, so that a part of it can be pointed at.
    plain: bool,
}

impl Word {
    /// Where a part of the word stands in the line; the whole word where quotes moved things.
    pub(super) fn part(&self, part: Range<usize>) -> Range<usize> {
        if self.plain {
            self.range.start + part.start..self.range.start + part.end
        } else {
            self.range.clone()
        }
    }

    /// An error about a part of the word, given by its place in the word's text.
    pub(super) fn wrong_part(&self, error: GrantError) -> GrantError {
        if self.plain {
            error.at(self.range.start)
        } else {
            GrantError { range: self.range.clone(), ..error }
        }
    }
}

/// The words of a line: blanks part them, `'…'` and `"…"` hold them together, `\` takes the next character as it is.
pub(super) fn split(line: &str) -> Result<Vec<Word>, GrantError> {
    let mut words = Vec::new();
    let mut chars = line.char_indices().peekable();
    loop {
        while chars.next_if(|(_, c)| c.is_ascii_whitespace() && *c != '\n' && *c != '\r').is_some() {}
        let Some(&(start, _)) = chars.peek() else { break };
        words.push(word(line, start, &mut chars)?);
    }
    Ok(words)
}

fn word(
    line: &str,
    start: usize,
    chars: &mut std::iter::Peekable<std::str::CharIndices<'_>>,
) -> Result<Word, GrantError> {
    let mut text = String::new();
    let mut quote: Option<(char, usize)> = None;
    let mut end = line.len();
    while let Some(&(at, c)) = chars.peek() {
        if c.is_control() && c != '\t' {
            return Err(GrantError::new(
                at..at + c.len_utf8(),
                "a grant is one line without control characters",
            ));
        }
        if quote.is_none() && c.is_ascii_whitespace() {
            end = at;
            break;
        }
        chars.next();
        match (c, quote) {
            ('\'' | '"', None) => quote = Some((c, at)),
            (c, Some((open, _))) if c == open => quote = None,
            ('\\', None | Some(('"', _))) => match chars.next() {
                Some((_, next)) if !next.is_control() => text.push(next),
                _ => {
                    return Err(GrantError::new(
                        at..line.len(),
                        "`\\` at the end of the line quotes nothing",
                    ));
                }
            },
            _ => text.push(c),
        }
    }
    if let Some((open, at)) = quote {
        return Err(GrantError::new(at..line.len(), format!("the quote {open} is never closed")));
    }
    let plain = line.get(start..end) == Some(text.as_str());
    Ok(Word { text, range: start..end, plain })
}

/// The word as it is written in a line: bare where it can be, else in double quotes.
pub(super) fn quote(text: &str) -> String {
    let bare = |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, '\'' | '"' | '\\');
    if !text.is_empty() && text.chars().all(bare) {
        return text.to_owned();
    }
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn texts(line: &str) -> Vec<String> {
        split(line).unwrap().into_iter().map(|word| word.text).collect()
    }

    #[test]
    fn quotes_work_as_in_a_shell() {
        assert_eq!(texts("a  'b c' \"d \\\" e\" f\\ g ''"), ["a", "b c", "d \" e", "f g", ""]);
        assert_eq!(texts("--x='a b'c"), ["--x=a bc"]);
        assert_eq!(texts("   "), Vec::<String>::new());
    }

    #[test]
    fn open_quotes_and_control_characters_are_refused() {
        assert_eq!(split("a 'b").unwrap_err().range, 2..4);
        assert!(split("a\nb").is_err());
        assert!(split("a \\").is_err());
        assert!(split("a\u{1b}[2J").is_err());
    }

    proptest! {
        #[test]
        fn a_quoted_word_reads_back(text in "\\PC*") {
            prop_assert_eq!(texts(&quote(&text)), vec![text]);
        }

        #[test]
        fn splitting_never_panics_and_ranges_fit(line in ".*") {
            match split(&line) {
                Ok(words) => for word in words { prop_assert!(line.get(word.range).is_some()); },
                Err(error) => prop_assert!(line.get(error.range).is_some()),
            }
        }
    }
}
