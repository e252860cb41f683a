//! Lines of the form `KIND SLOT: ACCESS` for Postgres and folders, and the slot's name that all such lines share.
//!
//! Knows nothing of what is bound to a slot.

use std::fmt;
use std::ops::Range;

use super::words::Word;
use super::{Effect, GrantError};

/// `postgres SLOT: read | write | ddl`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresGrant {
    /// The plugin's own name for the connection.
    pub slot: String,
    /// The most that is allowed.
    pub access: PostgresAccess,
}

/// What may be done to a database. Each includes the ones before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PostgresAccess {
    /// Look at rows.
    Read,
    /// Change rows.
    Write,
    /// Change the schema.
    Ddl,
}

impl PostgresAccess {
    /// As in the line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Ddl => "ddl",
        }
    }
}

/// `folder SLOT: read | write`. The guest sees the folder as `/SLOT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderGrant {
    /// The plugin's own name for the folder.
    pub slot: String,
    /// Whether files may be made and changed, too.
    pub access: Effect,
}

/// Whether a text can name a slot: it is also the name of a folder that a guest sees.
pub(super) fn is_slot(text: &str) -> bool {
    text.len() <= 63
        && text.bytes().next().is_some_and(|b| b.is_ascii_lowercase())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-')
}

/// The slot of `SLOT:`, and the words after it.
pub(super) fn slot_with_colon<'a>(
    words: &'a [Word],
    whole: &Range<usize>,
    kind: &str,
    example: &str,
) -> Result<(String, &'a [Word]), GrantError> {
    let Some((word, rest)) = words.split_first() else {
        return Err(GrantError::new(whole.clone(), format!("a `{kind}` line names a slot")).help(example));
    };
    let Some(slot) = word.text.strip_suffix(':') else {
        return Err(GrantError::new(
            word.range.clone(),
            format!("after the slot `{}` comes a colon", word.text),
        )
        .help(example));
    };
    if !is_slot(slot) {
        return Err(GrantError::new(word.range.clone(), format!("`{slot}` is not the name of a slot"))
            .help("a slot is named as under `connections`: small letters, digits, `_` and `-`"));
    }
    Ok((slot.to_owned(), rest))
}

fn one_word<'a>(
    rest: &'a [Word],
    whole: &Range<usize>,
    what: &str,
    help: &str,
) -> Result<&'a Word, GrantError> {
    match rest {
        [word] => Ok(word),
        [] => Err(GrantError::new(whole.clone(), format!("{what} is missing")).help(help)),
        [_, extra, ..] => {
            Err(GrantError::new(extra.range.clone(), format!("`{}` is one word too many", extra.text))
                .help(help))
        }
    }
}

impl PostgresGrant {
    pub(super) fn parse(words: &[Word], whole: &Range<usize>) -> Result<Self, GrantError> {
        let help = "write `postgres db: read`, `postgres db: write` or `postgres db: ddl`";
        let (slot, rest) = slot_with_colon(words, whole, "postgres", help)?;
        let word = one_word(rest, whole, "what may be done (`read`, `write` or `ddl`)", help)?;
        let access = match word.text.as_str() {
            "read" => PostgresAccess::Read,
            "write" => PostgresAccess::Write,
            "ddl" => PostgresAccess::Ddl,
            other => {
                return Err(GrantError::new(
                    word.range.clone(),
                    format!("`{other}` is no access to Postgres"),
                )
                .help(help));
            }
        };
        Ok(Self { slot, access })
    }
}

impl FolderGrant {
    pub(super) fn parse(words: &[Word], whole: &Range<usize>) -> Result<Self, GrantError> {
        let help = "write `folder out: read` or `folder out: write`";
        let (slot, rest) = slot_with_colon(words, whole, "folder", help)?;
        let word = one_word(rest, whole, "what may be done (`read` or `write`)", help)?;
        let access = match word.text.as_str() {
            "read" => Effect::Read,
            "write" => Effect::Write,
            other => {
                return Err(GrantError::new(
                    word.range.clone(),
                    format!("`{other}` is no access to a folder"),
                )
                .help(help));
            }
        };
        Ok(Self { slot, access })
    }
}

impl fmt::Display for PostgresGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "postgres {}: {}", self.slot, self.access.as_str())
    }
}

impl fmt::Display for FolderGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "folder {}: {}", self.slot, self.access)
    }
}
