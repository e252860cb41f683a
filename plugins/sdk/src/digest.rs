//! SHA-256, of bytes and of files.

use crate::fs::{Error, Folders, Path};
use sha2::{Digest, Sha256};

/// The SHA-256 of some bytes, in lower-case hex.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The SHA-256 of a file, in lower-case hex, and its size; it is read piece by piece.
///
/// # Errors
/// Where the file can't be read.
pub fn sha256_of_file(folders: &dyn Folders, path: &Path) -> Result<(String, u64), Error> {
    let mut hash = Sha256::new();
    let size = folders.read_pieces(path, &mut |piece| {
        hash.update(piece);
        Ok(())
    })?;
    Ok((hex(&hash.finalize()), size))
}

/// Bytes as lower-case hex.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_digest_is_that_of_the_standard() {
        assert_eq!(super::sha256(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
