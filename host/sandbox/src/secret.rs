//! Secret text: owns the bytes of a credential for as long as it is needed and wipes them after.
//!
//! It refuses to know what the secret is for. Invariant: no `Debug`, `Display` or serialisation shows the content, so
//! that a secret can only leave through an explicit [`Secret::expose`].

use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

/// A secret value. Clones share the same memory, which is wiped when the last one goes.
#[derive(Clone)]
pub struct Secret(Arc<Zeroizing<String>>);

impl Secret {
    /// Takes over the text.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Arc::new(Zeroizing::new(text)))
    }

    /// The text itself. Never put it into a log line, an error, an argument list or a URL that is shown.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

#[cfg(test)]
mod tests {
    use super::Secret;

    #[test]
    fn debug_output_shows_nothing() {
        let secret = Secret::new("hunter2-hunter2".to_owned());
        assert_eq!(format!("{secret:?}"), "Secret(…)");
        assert_eq!(secret.expose(), "hunter2-hunter2");
    }
}
