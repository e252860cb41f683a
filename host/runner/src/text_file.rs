//! Reading the text files that an operator names.
//!
//! Invariant: no more is read than such a file may hold, so a device or a dump that is named by mistake costs an error
//! and not the machine's memory.

use std::io::{Error, ErrorKind, Read as _, Result};
use std::path::Path;

/// The most that a runbook or an environment may hold, in bytes: a hundred times what a long one does.
pub(crate) const RUNBOOK: u64 = 4 * 1024 * 1024;

/// The most that a secret may hold, in bytes: a long chain of certificates with its key.
pub(crate) const SECRET: u64 = 64 * 1024;

/// The whole file.
///
/// # Errors
/// [`ErrorKind::FileTooLarge`] and [`ErrorKind::InvalidData`] (no UTF-8) besides those of the file system.
pub(crate) fn read(path: &Path, most: u64) -> Result<String> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > most) {
        let message = format!("it is longer than {} KiB", most / 1024);
        return Err(Error::new(ErrorKind::FileTooLarge, message));
    }
    String::from_utf8(bytes).map_err(|_| Error::new(ErrorKind::InvalidData, "it is not UTF-8 text"))
}

#[cfg(test)]
mod tests {
    use super::read;
    use std::path::Path;

    #[test]
    fn a_file_without_end_is_given_up() {
        assert!(read(Path::new("/dev/zero"), 10).unwrap_err().to_string().contains("longer"));
    }

    #[test]
    fn a_file_of_just_that_length_is_read() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "grün").unwrap();
        assert_eq!(read(file.path(), 5).unwrap(), "grün");
        assert!(read(file.path(), 4).unwrap_err().to_string().contains("longer"));
    }

    #[test]
    fn what_is_no_text_is_called_so() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"\xff\xfe").unwrap();
        assert_eq!(read(file.path(), 10).unwrap_err().to_string(), "it is not UTF-8 text");
    }
}
