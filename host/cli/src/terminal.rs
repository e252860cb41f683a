//! Asking the person at the terminal, whatever standard input and output lead to.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

/// Asks for a passphrase, which is not shown.
///
/// # Errors
/// Where there is no terminal.
pub(crate) fn passphrase(question: &str) -> io::Result<Zeroizing<String>> {
    let mut terminal = open()?;
    write!(terminal, "{question}: ")?;
    let hidden = Hidden::new(terminal.try_clone()?)?;
    let answer = line(&terminal);
    drop(hidden);
    writeln!(terminal)?;
    answer
}

/// Asks a question that is answered with yes or no; no where the answer is anything else.
///
/// # Errors
/// Where there is no terminal.
pub(crate) fn yes(question: &str) -> io::Result<bool> {
    let mut terminal = open()?;
    write!(terminal, "{question} [y/N] ")?;
    Ok(matches!(line(&terminal)?.trim(), "y" | "Y" | "yes"))
}

/// Whether there is a person to ask.
pub(crate) fn is_there() -> bool {
    open().is_ok()
}

fn open() -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open("/dev/tty")
}

fn line(terminal: &File) -> io::Result<Zeroizing<String>> {
    let mut answer = Zeroizing::new(String::with_capacity(256));
    BufReader::new(terminal).read_line(&mut answer)?;
    let length = answer.trim_end_matches(['\n', '\r']).len();
    answer.truncate(length);
    Ok(answer)
}

/// A terminal that does not show what is typed, until this is dropped.
struct Hidden {
    terminal: File,
    before: Termios,
}

impl Hidden {
    fn new(terminal: File) -> io::Result<Self> {
        let before = tcgetattr(&terminal)?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&terminal, OptionalActions::Flush, &hidden)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // A terminal that is gone needs no echo.
        let _gone = tcsetattr(&self.terminal, OptionalActions::Flush, &self.before);
    }
}
