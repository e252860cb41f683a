//! Every runbook in `bad/` and what is said about it. A file `NAME.env.toml` beside it is its environment.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail so")]

mod support;

use std::fs;
use std::path::Path;

use support::{checked, draw};

#[test]
fn every_mistake_is_located_and_explained() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad");
    let mut names: Vec<String> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| name.strip_suffix(".toml").map(str::to_owned))
        .filter(|name| !name.ends_with(".env"))
        .collect();
    names.sort();
    assert!(!names.is_empty());
    for name in names {
        let runbook = fs::read_to_string(folder.join(format!("{name}.toml"))).unwrap();
        let environment = fs::read_to_string(folder.join(format!("{name}.env.toml"))).ok();
        let (made, diagnostics) = checked(&runbook, environment.as_deref());
        assert!(made.is_none() == diagnostics.has_errors(), "{name}");
        for diagnostic in &diagnostics {
            assert!(!diagnostic.labels.is_empty(), "{name}: `{diagnostic}` has no place");
        }
        let count = diagnostics.len();
        insta::with_settings!({ snapshot_path => "bad", prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_snapshot!(name, format!("{count} found\n\n{}", draw(&diagnostics)));
        });
    }
}

#[test]
fn ten_mistakes_are_ten_diagnostics_in_one_go() {
    let text = include_str!("bad/ten.toml");
    let (runbook, diagnostics) = checked(text, None);
    assert!(runbook.is_none());
    assert_eq!(diagnostics.len(), 10, "{}", draw(&diagnostics));
    let mut codes: Vec<&str> = diagnostics.iter().map(|diagnostic| diagnostic.code).collect();
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(codes.len(), 10, "{codes:?}");
    let lines: std::collections::BTreeSet<usize> =
        diagnostics.iter().map(|diagnostic| diagnostic.line()).collect();
    assert_eq!(lines.len(), 10, "each stands on its own line");
}
