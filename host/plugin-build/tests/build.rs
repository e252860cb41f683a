//! Building real guests, with whatever compiler this machine has.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    let_underscore_drop,
    reason = "a test that can't go on fails"
)]

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use windlass_plugin_build::{BuildError, BuildOptions, BuiltPlugin, build};
use wit_component::{DecodedWasm, decode};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Build one folder; also gives what was told meanwhile.
fn build_one(dir: &Path, out_dir: &Path) -> (Result<BuiltPlugin, BuildError>, Vec<String>) {
    let told = RefCell::new(Vec::new());
    let result = build(&BuildOptions {
        plugin_dirs: &[dir.to_owned()],
        out_dir,
        target_dir: &root().join("target/plugins-build"),
        progress: &|line| told.borrow_mut().push(line.to_owned()),
    });
    (result.map(|mut built| built.remove(0)), told.into_inner())
}

/// A crate of no dependencies, compiled like the plugins, so that they share the standard library.
fn crate_with(source: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let workspace = fs::read_to_string(root().join("plugins/Cargo.toml")).unwrap();
    let profile = workspace.split_once("[profile.release]").unwrap().1;
    let manifest = format!(
        "[package]\nname = \"sample\"\nversion = \"1.2.3\"\nedition = \"2024\"\n\n[lib]\ncrate-type = [\"cdylib\"]\n\n[workspace]\n\n[profile.release]{profile}"
    );
    fs::write(dir.path().join("Cargo.toml"), manifest).unwrap();
    fs::write(dir.path().join("plugin.toml"), "name = \"sample\"\ndescription = \"A sample.\"\n").unwrap();
    fs::create_dir(dir.path().join("src")).unwrap();
    fs::create_dir(dir.path().join("wit")).unwrap();
    fs::write(dir.path().join("wit/world.wit"), "package test:sample;\n\nworld sample {}\n").unwrap();
    fs::write(dir.path().join("src/lib.rs"), source).unwrap();
    dir
}

/// The content of the component's section with the documentation.
fn metadata(component: &[u8]) -> serde_json::Value {
    let sections =
        wasmparser::Parser::new(0).parse_all(component).filter_map(|payload| match payload.unwrap() {
            wasmparser::Payload::CustomSection(section) if section.name() == "windlass:metadata" => {
                Some(section.data().to_vec())
            }
            _ => None,
        });
    let sections: Vec<_> = sections.collect();
    assert_eq!(sections.len(), 1);
    serde_json::from_slice(&sections[0]).unwrap()
}

#[test]
fn a_plugin_becomes_a_component_that_imports_only_what_it_uses() {
    let out = tempfile::tempdir().unwrap();
    let (built, told) = build_one(&root().join("plugins/files"), out.path());
    let built = built.unwrap();
    assert!(built.rebuilt);
    assert!(told.iter().any(|line| line.starts_with("compiling with rustc ")), "{told:?}");

    let bytes = fs::read(&built.path).unwrap();
    let DecodedWasm::Component(resolve, world) = decode(&bytes).unwrap() else { panic!("no component") };
    let name = |key| resolve.name_world_key(key);
    let mut imports: Vec<_> = resolve.worlds[world].imports.keys().map(name).collect();
    imports.retain(|name| !name.starts_with("wasi:io") && !name.starts_with("wasi:clocks"));
    imports.sort();
    assert_eq!(
        imports,
        [
            "wasi:filesystem/preopens@0.2.12",
            "wasi:filesystem/types@0.2.12",
            "wasi:random/random@0.2.12",
            "windlass:plugin/outcome@0.1.0",
            "windlass:plugin/step@0.1.0",
            "windlass:plugin/values@0.1.0",
        ]
    );
    let exports: Vec<_> = resolve.worlds[world].exports.keys().map(name).collect();
    assert_eq!(exports, ["windlass:contracts/files@0.1.0"]);

    let home = std::env::var("HOME").unwrap();
    for place in [root().to_str().unwrap(), &format!("{home}/.cargo")] {
        assert!(
            !bytes.windows(place.len()).any(|window| window == place.as_bytes()),
            "{place} is in the component"
        );
    }

    let metadata = metadata(&bytes);
    assert_eq!(metadata["description"], "Reads and writes text files in granted folders.");
    assert_eq!(metadata["slots"][0]["kind"], "folder");
    let docs = &metadata["docs"]["windlass:contracts/files@0.1.0"];
    assert_eq!(docs["functions"]["read"], "Read a UTF-8 file of at most 1 MiB.");
    assert_eq!(docs["types"]["file"]["fields"]["path"], "Within the folder; missing folders are made.");

    let (again, told) = build_one(&root().join("plugins/files"), out.path());
    assert_eq!(again.unwrap(), BuiltPlugin { rebuilt: false, ..built });
    assert_eq!(told.len(), 1, "{told:?}");
}

#[test]
fn the_configuration_is_documented_too() {
    let out = tempfile::tempdir().unwrap();
    let (built, _) = build_one(&root().join("plugins/http"), out.path());
    let metadata = metadata(&fs::read(built.unwrap().path).unwrap());
    let fields = &metadata["docs"]["world"]["types"]["config"]["fields"];
    assert!(fields["base-url"].as_str().unwrap().starts_with("Put before a URL"), "{fields}");
}

#[test]
fn code_that_does_not_compile_is_shown_with_the_compilers_words() {
    let dir = crate_with("pub fn broken() -> u32 { \"text\" }\n");
    let out = tempfile::tempdir().unwrap();
    let error = build_one(dir.path(), out.path()).0.unwrap_err();
    assert!(matches!(error, BuildError::Compile { .. }));
    let text = error.to_string();
    assert!(text.contains("error[E0308]: mismatched types") && text.contains("src/lib.rs:1:26"), "{text}");
    assert!(fs::read_dir(out.path()).unwrap().next().is_none());
}

#[test]
fn sources_that_change_are_built_again() {
    let dir = crate_with("");
    let out = tempfile::tempdir().unwrap();
    let build_it = || build_one(dir.path(), out.path()).0.unwrap();
    assert!(build_it().rebuilt);
    assert!(!build_it().rebuilt);
    for (file, text) in [
        ("src/lib.rs", "#[unsafe(no_mangle)] pub extern \"C\" fn f() {}\n"),
        ("wit/world.wit", "package test:sample;\n\n/// Said anew.\nworld sample {}\n"),
        ("plugin.toml", "name = \"sample\"\ndescription = \"Another.\"\n"),
    ] {
        fs::write(dir.path().join(file), text).unwrap();
        assert!(build_it().rebuilt, "{file}");
        assert!(!build_it().rebuilt, "{file}");
    }
    // What somebody else left under the name is not taken for ours.
    fs::write(out.path().join("sample.wasm"), b"junk").unwrap();
    assert!(build_it().rebuilt);
    assert_eq!(metadata(&fs::read(build_it().path).unwrap())["version"], "1.2.3");
}

#[test]
fn a_folder_that_is_no_plugin_is_told_what_it_lacks() {
    let dir = tempfile::tempdir().unwrap();
    let say = |dir: &Path| {
        let place = dir.to_str().unwrap().to_owned();
        build_one(dir, &dir.join("out")).0.unwrap_err().to_string().replace(&place, "DIR")
    };
    insta::assert_snapshot!(say(dir.path()), @r#"
    `DIR` is no plugin: it has no `Cargo.toml`
      help: a plugin is a Rust crate; plugins/README.md shows one from start to end
    "#);
    fs::write(dir.path().join("Cargo.toml"), "[package]\nname = \"x\"\n").unwrap();
    insta::assert_snapshot!(say(dir.path()), @r#"
    `DIR` is no plugin: it has no `plugin.toml`
      help: write one with at least `name = "…"` and `description = "…"`
    "#);
    fs::write(dir.path().join("plugin.toml"), "name = \"X\"\ndescription = \"\"\n").unwrap();
    insta::assert_snapshot!(say(dir.path()), @"`DIR/plugin.toml`: the name `X` may hold only a-z, 0-9 and `-`");
    fs::write(dir.path().join("plugin.toml"), "name = \"x\"\ndescriptin = \"\"\n").unwrap();
    insta::assert_snapshot!(say(dir.path()), @r#"
    `DIR/plugin.toml`: TOML parse error at line 2, column 1
      |
    2 | descriptin = ""
      | ^^^^^^^^^^
    unknown field `descriptin`, expected one of `name`, `description`, `wit`, `slots`
    "#);
}
