//! `[read] program SLOT ARGUMENT…`: with which arguments a plugin may run a program.
//!
//! Knows nothing of processes; it compares arguments with templates and keeps their number.
//!
//! Invariant: each argument fits the template at its place, and there is none without a template.

use std::fmt;
use std::ops::Range;

use super::slot::is_slot;
use super::template::{ArgumentTemplate, Piece};
use super::words::{Word, quote};
use super::{Effect, GrantError};

/// A line that allows one form of a command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramGrant {
    /// `read` where the operator says that running it changes nothing.
    pub effect: Effect,
    /// The plugin's own name for the program.
    pub slot: String,
    /// One for each argument.
    pub arguments: Vec<ArgumentTemplate>,
}

impl ProgramGrant {
    /// The arguments in pieces, or why they don't fit, for a person.
    pub fn check(&self, arguments: &[String]) -> Result<Vec<Vec<Piece>>, String> {
        if arguments.len() != self.arguments.len() {
            return Err(format!("it takes {} arguments, not {}", self.arguments.len(), arguments.len()));
        }
        let checked = self.arguments.iter().zip(arguments).enumerate();
        checked
            .map(|(index, (template, argument))| {
                template.check(argument).map_err(|reason| format!("argument {} {reason}", index + 1))
            })
            .collect()
    }

    pub(super) fn parse(effect: Effect, words: &[Word], whole: &Range<usize>) -> Result<Self, GrantError> {
        let help = "write `program dump --format=custom --file={path:out} {ident}`";
        let Some((slot, arguments)) = words.split_first() else {
            return Err(GrantError::new(whole.clone(), "a `program` line names a slot").help(help));
        };
        if !is_slot(&slot.text) {
            let message = format!("`{}` is not the name of a slot", slot.text);
            return Err(GrantError::new(slot.range.clone(), message).help(
                "a program is named by its slot, without a path or a colon; the connection says where it is",
            ));
        }
        let arguments = arguments
            .iter()
            .map(|word| ArgumentTemplate::parse(&word.text).map_err(|error| word.wrong_part(error)))
            .collect::<Result<_, _>>()?;
        Ok(Self { effect, slot: slot.text.clone(), arguments })
    }
}

impl fmt::Display for ProgramGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.effect == Effect::Read {
            f.write_str("read ")?;
        }
        write!(f, "program {}", self.slot)?;
        self.arguments.iter().try_for_each(|argument| write!(f, " {}", quote(&argument.to_string())))
    }
}
