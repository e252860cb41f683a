//! Colours and signs. Everything reads the same without them.

use windlass_engine::{Band, Phase};

/// Whether to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Style {
    pub(crate) color: bool,
}

impl Style {
    pub(crate) fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    pub(crate) fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    pub(crate) fn red(self, text: &str) -> String {
        self.paint("31", text)
    }

    pub(crate) fn green(self, text: &str) -> String {
        self.paint("32", text)
    }

    pub(crate) fn yellow(self, text: &str) -> String {
        self.paint("33", text)
    }

    pub(crate) fn cyan(self, text: &str) -> String {
        self.paint("36", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.color && !text.is_empty() {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }

    /// One sign for what a step is busy with.
    pub(crate) fn sign(self, phase: Phase) -> String {
        match phase {
            Phase::Succeeded => self.green("✓"),
            Phase::Failed => self.red("✗"),
            Phase::Skipped => self.dim("–"),
            Phase::Pending => self.dim("·"),
            Phase::Asking | Phase::Approving => self.yellow("?"),
            Phase::Retrying | Phase::Resolving => self.yellow("↻"),
            Phase::Waiting | Phase::Sampling | Phase::Scheduled => self.cyan("◷"),
            Phase::Reading | Phase::Planning | Phase::Applying | Phase::Items => self.cyan("▸"),
        }
    }

    /// One sign for what a guard sees; none before its first sample.
    pub(crate) fn band(self, band: Option<Band>) -> String {
        match band {
            Some(Band::Good) => self.green("●"),
            Some(Band::Hold) => self.yellow("◐"),
            Some(Band::Rollback) => self.red("○"),
            Some(Band::NoData) | None => self.dim("◌"),
        }
    }

    /// The sign of a run that goes back.
    pub(crate) fn back(self) -> String {
        self.yellow("↶")
    }
}
