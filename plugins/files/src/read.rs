//! Reading a file.

use crate::bindings::exports::windlass::contracts::files::{Content, Location};
use crate::state::path;
use windlass_sdk::fs::Folders;
use windlass_sdk::{Failure, digest};

/// The longest file that is read, in bytes.
const LIMIT: u64 = 1 << 20;

/// Read a UTF-8 file.
pub(crate) fn read(folders: &dyn Folders, input: &Location) -> Result<Content, Failure> {
    let path = path(input.folder.as_deref(), &input.path)?;
    let bytes = folders.read(&path, LIMIT)?;
    let sha256 = digest::sha256(&bytes);
    let size = bytes.len() as u64;
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Failure::new("not-text", format!("{path} is no UTF-8 text: its byte {at} fits none"))
    })?;
    Ok(Content { text, size, sha256 })
}

#[cfg(test)]
mod tests {
    use super::read;
    use crate::bindings::exports::windlass::contracts::files::Location;
    use windlass_sdk::fs::{Folders, Path};
    use windlass_sdk::testing::Memory;

    fn location(path: &str) -> Location {
        Location { folder: None, path: path.to_owned(), extra: Vec::new() }
    }

    #[test]
    fn a_text_is_read_and_what_is_none_is_said() {
        let folders = Memory::with_slots(&["out"]);
        folders.write(&Path::new("out", "a.md").unwrap(), "grün".as_bytes()).unwrap();
        folders.write(&Path::new("out", "b.bin").unwrap(), b"ab\xff").unwrap();
        folders.write(&Path::new("out", "big").unwrap(), &vec![b'x'; (1 << 20) + 1]).unwrap();

        let content = read(&folders, &location("a.md")).unwrap();
        assert_eq!((content.text.as_str(), content.size), ("grün", 5));

        let failure = |path| read(&folders, &location(path)).map(|content| content.text).unwrap_err();
        assert_eq!(failure("b.bin").message, "/out/b.bin is no UTF-8 text: its byte 2 fits none");
        assert_eq!(failure("big").code, "too-large");
        assert_eq!(failure("c").message, "there is no /out/c");
        assert_eq!(failure("../c").code, "invalid-path");
        let elsewhere = Location { folder: Some("in".to_owned()), ..location("a") };
        let failure = read(&folders, &elsewhere).map(|content| content.text).unwrap_err();
        assert_eq!(failure.message, "no folder is granted as `in`, only `out`");
    }
}
