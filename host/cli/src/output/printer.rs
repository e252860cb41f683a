//! Writing to the two streams, with a closed pipe as a normal end.

use std::io::{self, IsTerminal as _, Write as _};

use super::Style;
use crate::args::{Color, Output};
use crate::error::CliError;
use crate::exit::Exit;

/// Writes what the commands have to say.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Printer {
    output: Output,
    out_style: Style,
    err_style: Style,
    terminal: bool,
}

impl Printer {
    pub(crate) fn new(output: Output, color: Color) -> Self {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let style = |terminal: bool| Style {
            color: match color {
                Color::Always => true,
                Color::Never => false,
                Color::Auto => terminal && !no_color,
            },
        };
        let terminal = io::stdout().is_terminal();
        Self { output, out_style: style(terminal), err_style: style(io::stderr().is_terminal()), terminal }
    }

    /// Whether JSON was asked for.
    pub(crate) fn json(&self) -> bool {
        self.output == Output::Json
    }

    /// Whether there is a terminal to draw a live tree on.
    pub(crate) fn live(&self) -> bool {
        self.output == Output::Auto && self.terminal
    }

    /// The style of standard output.
    pub(crate) const fn style(&self) -> Style {
        self.out_style
    }

    /// The style of standard error.
    pub(crate) const fn talk_style(&self) -> Style {
        self.err_style
    }

    /// Data.
    ///
    /// # Errors
    /// Whatever keeps the text from being written. A reader that has gone away is none: the command goes on and ends
    /// with the exit code of what it found.
    pub(crate) fn data(&self, text: &str) -> Result<(), CliError> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).or_else(|error| closed(&error))
    }

    /// A line of data.
    pub(crate) fn line(&self, text: &str) -> Result<(), CliError> {
        self.data(&format!("{text}\n"))
    }

    /// One JSON object on a line of its own, with the version that all JSON has.
    pub(crate) fn record(&self, record: &impl serde::Serialize) -> Result<(), CliError> {
        let mut value = serde_json::to_value(record).unwrap_or_default();
        if let Some(members) = value.as_object_mut() {
            members.insert("version".to_owned(), 1.into());
        }
        self.line(&value.to_string())
    }

    /// A JSON document on one line, or over several for people.
    pub(crate) fn document(&self, value: &serde_json::Value) -> Result<(), CliError> {
        self.line(&format!("{value:#}"))
    }

    /// Talk. If nobody listens there is nobody to tell.
    pub(crate) fn talk(&self, text: &str) {
        let _nobody = writeln!(io::stderr().lock(), "{text}");
    }
}

/// A reader that has gone away is a normal end.
fn closed(error: &io::Error) -> Result<(), CliError> {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Ok(()),
        _ => Err(CliError::new(Exit::Fault, format!("cannot write to standard output: {error}"))),
    }
}
