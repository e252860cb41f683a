//! Cuts SQL text into tokens and statements, by PostgreSQL's lexical rules.
//!
//! It knows quotes, comments and dollar quotes, and refuses to know what a statement means. Invariant: the tokens of a
//! text, put together again, are the text; no input makes it panic.
//!
//! It need not agree with the server to the last byte: every statement that it finds is sent alone, by a protocol that
//! takes one statement at a time, so a wrong cut ends in a syntax error and never in a hidden statement.

use thiserror::Error;

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenKind {
    /// Spaces and line ends.
    Space,
    /// `-- …` or `/* … */`.
    Comment,
    /// A keyword or a name without quotes.
    Word,
    /// `"…"`.
    QuotedName,
    /// `'…'`, `E'…'` without its letter, or `$tag$ … $tag$`.
    Text,
    /// A number or a parameter such as `$1`.
    Number,
    /// `;`.
    Semicolon,
    /// `(`.
    Open,
    /// `)`.
    Close,
    /// A backslash, which begins a command of psql.
    Backslash,
    /// Any other character.
    Other,
}

/// A piece of SQL text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    pub(crate) kind: TokenKind,
    pub(crate) text: &'a str,
    /// Where it begins, in bytes.
    pub(crate) start: usize,
    /// The line it begins on, from 1.
    pub(crate) line: u32,
}

impl Token<'_> {
    /// Whether it is this word without quotes, in any case.
    pub(crate) fn is_word(&self, word: &str) -> bool {
        self.kind == TokenKind::Word && self.text.eq_ignore_ascii_case(word)
    }

    fn is_blank(&self) -> bool {
        matches!(self.kind, TokenKind::Space | TokenKind::Comment)
    }
}

/// A text that can't be cut.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum LexError {
    /// Something that was opened is not closed.
    #[error("{what} that begins on line {line} is not closed")]
    Open {
        /// What it is, with its article.
        what: &'static str,
        /// From 1.
        line: u32,
    },
    /// A command for psql, which is no SQL.
    #[error("line {line} has a command for psql, `{command}`, which only psql understands")]
    MetaCommand {
        /// With its backslash.
        command: String,
        /// From 1.
        line: u32,
    },
    /// Rows in the text itself.
    #[error("the COPY … FROM STDIN on line {line} has its rows in the text, which only psql reads")]
    CopyFromStdin {
        /// From 1.
        line: u32,
    },
}

impl LexError {
    /// The line it is on, from 1.
    pub(crate) const fn line(&self) -> u32 {
        match self {
            Self::Open { line, .. } | Self::MetaCommand { line, .. } | Self::CopyFromStdin { line } => *line,
        }
    }

    /// What to do instead, where there is something.
    pub(crate) const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Open { .. } => None,
            Self::MetaCommand { .. } => Some("write it as SQL, or run the file with a granted psql"),
            Self::CopyFromStdin { .. } => Some("write INSERT statements: `pg_dump --inserts` makes them"),
        }
    }
}

/// One statement of a text, from its first to its last token that is neither space nor comment, without the semicolon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Statement<'a> {
    pub(crate) sql: &'a str,
    /// The line it begins on, from 1.
    pub(crate) line: u32,
    /// Its tokens, without spaces and comments.
    pub(crate) tokens: Vec<Token<'a>>,
}

/// The statements of the text. Empty ones are left out.
pub(crate) fn split(sql: &str) -> Result<Vec<Statement<'_>>, LexError> {
    let mut lexer = Lexer { sql, at: 0, line: 1 };
    let mut statements = Vec::new();
    let mut current: Vec<Token<'_>> = Vec::new();
    let mut nesting = Nesting::default();
    // Token by token, since after a COPY … FROM STDIN comes what is no SQL and could end in any error.
    while let Some(token) = lexer.next()? {
        if token.kind == TokenKind::Backslash {
            return Err(LexError::MetaCommand { command: lexer.meta_command(&token), line: token.line });
        }
        if token.kind == TokenKind::Semicolon && !nesting.inside() {
            finish(sql, std::mem::take(&mut current), &mut statements)?;
            nesting = Nesting::default();
        } else if !token.is_blank() {
            nesting.follow(&current, &token);
            current.push(token);
        }
    }
    finish(sql, current, &mut statements)?;
    Ok(statements)
}

fn finish<'a>(
    sql: &'a str,
    tokens: Vec<Token<'a>>,
    statements: &mut Vec<Statement<'a>>,
) -> Result<(), LexError> {
    let (Some(first), Some(last)) = (tokens.first(), tokens.last()) else { return Ok(()) };
    let line = first.line;
    if first.is_word("copy")
        && tokens.windows(2).any(|pair| matches!(pair, [a, b] if a.is_word("from") && b.is_word("stdin")))
    {
        return Err(LexError::CopyFromStdin { line });
    }
    let text = sql.get(first.start..last.start + last.text.len()).unwrap_or_default();
    statements.push(Statement { sql: text, line, tokens });
    Ok(())
}

/// Where a semicolon does not end the statement: in parentheses (CREATE RULE) and in the SQL body of a function
/// (`BEGIN ATOMIC … END`).
#[derive(Default)]
struct Nesting {
    parentheses: usize,
    blocks: usize,
}

impl Nesting {
    const fn inside(&self) -> bool {
        self.parentheses > 0 || self.blocks > 0
    }

    fn follow(&mut self, before: &[Token<'_>], token: &Token<'_>) {
        match token.kind {
            TokenKind::Open => self.parentheses += 1,
            TokenKind::Close => self.parentheses = self.parentheses.saturating_sub(1),
            TokenKind::Word if self.blocks > 0 => {
                if token.is_word("begin") || token.is_word("case") {
                    self.blocks += 1;
                } else if token.is_word("end") {
                    self.blocks -= 1;
                }
            }
            TokenKind::Word
                if token.is_word("atomic")
                    && before.last().is_some_and(|last| last.is_word("begin"))
                    && before.first().is_some_and(|first| first.is_word("create")) =>
            {
                self.blocks = 1;
            }
            _ => {}
        }
    }
}

struct Lexer<'a> {
    sql: &'a str,
    at: usize,
    line: u32,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        self.sql.get(self.at..).unwrap_or_default()
    }

    fn next(&mut self) -> Result<Option<Token<'a>>, LexError> {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else { return Ok(None) };
        let (kind, length) = match first {
            c if c.is_ascii_whitespace() || c == '\u{b}' => {
                (TokenKind::Space, run(rest, |c| c.is_ascii_whitespace() || c == '\u{b}'))
            }
            '-' if rest.starts_with("--") => (TokenKind::Comment, run(rest, |c| c != '\n' && c != '\r')),
            '/' if rest.starts_with("/*") => {
                (TokenKind::Comment, block_comment(rest).ok_or_else(|| self.open("the comment"))?)
            }
            '\'' => {
                let length = if self.after_escape_letter() { escaped(rest) } else { quoted(rest, '\'') };
                (TokenKind::Text, length.ok_or_else(|| self.open("the text"))?)
            }
            '"' => (TokenKind::QuotedName, quoted(rest, '"').ok_or_else(|| self.open("the quoted name"))?),
            '$' => match dollar_tag(rest) {
                Some(tag) => (
                    TokenKind::Text,
                    dollar_quoted(rest, tag).ok_or_else(|| self.open("the dollar-quoted text"))?,
                ),
                None => {
                    (TokenKind::Number, 1 + run(rest.get(1..).unwrap_or_default(), |c| c.is_ascii_digit()))
                }
            },
            c if begins_word(c) => (TokenKind::Word, run(rest, continues_word)),
            c if c.is_ascii_digit() => {
                (TokenKind::Number, run(rest, |c| c.is_ascii_alphanumeric() || c == '_' || c == '.'))
            }
            ';' => (TokenKind::Semicolon, 1),
            '(' => (TokenKind::Open, 1),
            ')' => (TokenKind::Close, 1),
            '\\' => (TokenKind::Backslash, 1),
            c => (TokenKind::Other, c.len_utf8()),
        };
        let text = rest.get(..length).unwrap_or(rest);
        let token = Token { kind, text, start: self.at, line: self.line };
        self.at += text.len();
        let lines = text.bytes().filter(|byte| *byte == b'\n').count();
        self.line = self.line.saturating_add(u32::try_from(lines).unwrap_or(u32::MAX));
        Ok(Some(token))
    }

    const fn open(&self, what: &'static str) -> LexError {
        LexError::Open { what, line: self.line }
    }

    /// Whether the word just before this quote is a lone `E`, after which backslashes escape.
    fn after_escape_letter(&self) -> bool {
        let mut before = self.sql.get(..self.at).unwrap_or_default().chars().rev();
        matches!(before.next(), Some('e' | 'E')) && !before.next().is_some_and(continues_word)
    }

    fn meta_command(&self, backslash: &Token<'_>) -> String {
        let rest = self.sql.get(backslash.start..).unwrap_or_default();
        rest.chars().take_while(|c| !c.is_whitespace()).take(40).collect()
    }
}

/// The length in bytes of the longest start of the text whose characters all pass.
fn run(text: &str, passes: impl Fn(char) -> bool) -> usize {
    text.find(|c| !passes(c)).unwrap_or(text.len())
}

const fn begins_word(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_' || !c.is_ascii()
}

const fn continues_word(c: char) -> bool {
    begins_word(c) || c.is_ascii_digit() || c == '$'
}

/// The length of a text in quotes that are doubled inside, both quotes included.
fn quoted(text: &str, quote: char) -> Option<usize> {
    let mut characters = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = characters.next() {
        if c == quote && characters.next_if(|(_, next)| *next == quote).is_none() {
            return Some(at + 1);
        }
    }
    None
}

/// The length of a text in quotes where a backslash escapes too.
fn escaped(text: &str) -> Option<usize> {
    let mut characters = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = characters.next() {
        match c {
            '\\' => {
                characters.next();
            }
            '\'' if characters.next_if(|(_, next)| *next == '\'').is_none() => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// The length of a comment, which may have others inside.
fn block_comment(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut characters = text.char_indices().peekable();
    while let Some((at, c)) = characters.next() {
        match (c, characters.peek().map(|(_, next)| *next)) {
            ('/', Some('*')) => {
                characters.next();
                depth += 1;
            }
            ('*', Some('/')) => {
                characters.next();
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return Some(at + 2);
                }
            }
            _ => {}
        }
    }
    None
}

/// The tag that opens a dollar quote, both dollars included: `$$` or `$body$`.
fn dollar_tag(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('$')?;
    let name = inner.get(..inner.find('$')?)?;
    let valid = name.chars().next().is_none_or(begins_word)
        && name.chars().all(|c| begins_word(c) || c.is_ascii_digit());
    if valid { text.get(..name.len() + 2) } else { None }
}

fn dollar_quoted(text: &str, tag: &str) -> Option<usize> {
    let body = text.get(tag.len()..)?;
    Some(tag.len() + body.find(tag)? + tag.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tokens(sql: &str) -> Result<Vec<Token<'_>>, LexError> {
        let mut lexer = Lexer { sql, at: 0, line: 1 };
        let mut tokens = Vec::new();
        while let Some(token) = lexer.next()? {
            tokens.push(token);
        }
        Ok(tokens)
    }

    fn pieces(sql: &str) -> Vec<(u32, &str)> {
        split(sql).unwrap().into_iter().map(|statement| (statement.line, statement.sql)).collect()
    }

    #[test]
    fn quotes_and_comments_hide_semicolons() {
        for sql in [
            "select ';'",
            "select 'it''s; fine'",
            r"select E'a\';b'",
            r"select e'\\', 1",
            "select \"odd;name\"\"x\"",
            "select $$ ; $$",
            "select $body$ ; $$ ; $body$",
            "select $é$ ; $é$",
            "select /* ; /* ; */ ; */ 1",
            "select 1 -- ; not here",
            "create rule r as on insert to t do (select 1; select 2)",
            "create function f() returns int begin atomic select 1; select case when true then 1 end; end",
            "select a$b$, 1",
        ] {
            assert_eq!(split(sql).unwrap().len(), 1, "{sql}");
        }
    }

    #[test]
    fn statements_have_their_line_and_no_comments_around_them() {
        let sql = "-- first\n\nselect 1 ; /* two\nlines */ select\n2 -- end\n;;\n\nselect '\n';select 4";
        assert_eq!(pieces(sql), [(3, "select 1"), (4, "select\n2"), (8, "select '\n'"), (9, "select 4")]);
        assert!(split(" \n-- nothing\n;").unwrap().is_empty());
    }

    #[test]
    fn backslash_is_plain_without_the_letter_e() {
        assert_eq!(pieces(r"select 'a\'; select 2"), [(1, r"select 'a\'"), (1, "select 2")]);
        assert_eq!(pieces(r"select name'a\'; select 2").len(), 2);
    }

    #[test]
    fn what_is_not_closed_is_named_with_its_line() {
        for (sql, message) in [
            ("select 1;\nselect 'x", "the text that begins on line 2 is not closed"),
            ("select \"x", "the quoted name that begins on line 1 is not closed"),
            ("\n\n/* /* */", "the comment that begins on line 3 is not closed"),
            ("do $a$ begin end $b$", "the dollar-quoted text that begins on line 1 is not closed"),
            (
                "select 1;\n\\connect other\n",
                "line 2 has a command for psql, `\\connect`, which only psql understands",
            ),
            (
                "COPY public.t (a)\n  FROM stdin;\nit's\n\\.\n",
                "the COPY … FROM STDIN on line 1 has its rows in the text, which only psql reads",
            ),
        ] {
            assert_eq!(split(sql).unwrap_err().to_string(), message);
        }
    }

    proptest! {
        #[test]
        fn tokens_put_together_are_the_text(sql in "[a-eE$'\"\\\\;()/*\\-\n 0-9é]{0,60}") {
            if let Ok(tokens) = tokens(&sql) {
                let whole: String = tokens.iter().map(|token| token.text).collect();
                prop_assert_eq!(whole, sql);
            }
        }

        #[test]
        fn no_text_makes_it_panic(sql in any::<String>()) {
            drop(split(&sql));
        }

        #[test]
        fn statements_split_again_are_the_same(sql in "[a-c$'\";()/*\\-\n 0-9]{0,60}") {
            for statement in split(&sql).unwrap_or_default() {
                let again = split(statement.sql).unwrap();
                prop_assert_eq!(again.len(), 1);
                prop_assert_eq!(again[0].sql, statement.sql);
            }
        }
    }
}
