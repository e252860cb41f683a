//! Tells from the first bytes what a file is, before any parser sees it.

use crate::LoadError;
use crate::limits::Size;

/// The largest component. Python's, the largest seen, take 22 MiB.
pub(crate) const MAX_SIZE: usize = 64 * 1024 * 1024;

const MAGIC: &[u8] = b"\0asm";
const COMPONENT: &[u8] = &[0x0d, 0, 1, 0];
const CORE_MODULE: &[u8] = &[1, 0, 0, 0];

const EXPECTED: &str = "expected is a WebAssembly component, as `windlass plugin build` makes it";

/// Refuses everything that can't be a component, and says what it is instead.
pub(super) fn check(bytes: &[u8]) -> Result<(), LoadError> {
    if bytes.is_empty() {
        return Err(LoadError::with_help("the file is empty", EXPECTED));
    }
    if bytes.len() > MAX_SIZE {
        let (size, most) = (bytes.len().div_ceil(1024 * 1024), Size(MAX_SIZE as u64));
        return Err(LoadError::with_help(
            format!("the file has {size} MiB, more than the {most} a component may have"),
            "leave debug information and unused parts out of it",
        ));
    }
    match bytes.split_at_checked(4) {
        Some((MAGIC, rest)) => match rest.get(..4) {
            Some(COMPONENT) => Ok(()),
            Some(CORE_MODULE) => Err(LoadError::with_help(
                "it is a core WebAssembly module, not a component",
                "run `windlass plugin build`, which makes a component of it",
            )),
            Some(_) => Err(LoadError::with_help(
                "it is a WebAssembly file of a version that this host doesn't know",
                EXPECTED,
            )),
            None => {
                Err(LoadError::with_help("it is cut off within its first 8 bytes", "fetch or build it again"))
            }
        },
        _ => Err(not_wasm(bytes)),
    }
}

fn not_wasm(bytes: &[u8]) -> LoadError {
    let start = bytes.get(..64).unwrap_or(bytes);
    let text = String::from_utf8_lossy(start).trim_start().to_ascii_lowercase();
    let (what, help) = if text.starts_with("<!doctype") || text.starts_with("<html") {
        ("an HTML page", "most likely the address leads to a page about the file: fetch the file itself")
    } else if text.starts_with("(component") || text.starts_with("(module") {
        ("WebAssembly in its text format", "compile it to a component first")
    } else if text.starts_with("package ") || text.starts_with("interface ") || text.starts_with("world ") {
        ("a WIT file, which holds only types", EXPECTED)
    } else if text.starts_with("version https://git-lfs") {
        ("a pointer of Git LFS", "run `git lfs pull` to get the file itself")
    } else if start.starts_with(&[0x1f, 0x8b]) {
        ("a gzip archive", "unpack it first")
    } else if start.starts_with(b"PK\x03\x04") {
        ("a zip archive", "unpack it first")
    } else if start.starts_with(b"\x7fELF") {
        ("a program of this machine", EXPECTED)
    } else if MAGIC.starts_with(start) {
        ("cut off within its first 8 bytes", "fetch or build it again")
    } else if std::str::from_utf8(bytes).is_ok() {
        ("text", EXPECTED)
    } else {
        ("no WebAssembly file", EXPECTED)
    };
    LoadError::with_help(format!("it is {what}"), help)
}

#[cfg(test)]
mod tests {
    use super::check;

    fn said(bytes: &[u8]) -> String {
        match check(bytes) {
            Ok(()) => "fine".to_owned(),
            Err(error) => format!("{error} / {}", error.help.as_deref().unwrap_or_default()),
        }
    }

    #[test]
    fn everything_but_a_component_is_named() {
        let big = vec![0; super::MAX_SIZE + 1];
        let all = [
            said(b""),
            said(b"\0asm\x0d\0\x01\0"),
            said(b"\0asm\x01\0\0\0"),
            said(b"\0asm\x07\0\0\0"),
            said(b"\0as"),
            said(b"\0asm\x0d\0"),
            said(b"<!DOCTYPE html><html>"),
            said(b"(component)"),
            said(b"package a:b;"),
            said(b"hello"),
            said(b"\x1f\x8b\x08\0"),
            said(b"\x7fELF\x02\x01"),
            said(b"\xff\xfe\x00\x01\x02\x03\x04\x05"),
            said(&big),
        ];
        insta::assert_snapshot!(all.join("\n"));
    }
}
