//! Compiling in a child process, and finding the result again. This program is its own compiling child.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use windlass_sandbox::{Compiler, Launcher, LoadError, Plugin, Sandbox, SandboxOptions, compile_worker_main};

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("__compile") {
        return compile_worker_main();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        a_child_compiles_and_the_next_process_finds_it().await;
        what_can_not_be_compiled_is_refused().await;
        a_child_that_is_something_else_is_no_end().await;
    });
    ExitCode::SUCCESS
}

fn sandbox(cache: Option<&std::path::Path>, compiler: Compiler) -> Sandbox {
    let launcher = Launcher { program: "/nonexistent".into(), arguments: Vec::new() };
    Sandbox::new(SandboxOptions { cache_dir: cache.map(Into::into), compiler, launcher }).unwrap()
}

fn child() -> Compiler {
    Compiler::Child { program: std::env::current_exe().unwrap(), arguments: vec!["__compile".to_owned()] }
}

/// A child that never answers anything of use.
fn no_child() -> Compiler {
    Compiler::Child { program: "/bin/false".into(), arguments: Vec::new() }
}

async fn load(sandbox: &Sandbox, text: &str) -> Result<Arc<Plugin>, LoadError> {
    sandbox.load(wat::parse_str(text).unwrap().into()).await
}

const GOOD: &str = "(component (core module (func (export \"f\"))))";

async fn a_child_compiles_and_the_next_process_finds_it() {
    let temporary = tempfile::tempdir().unwrap();
    let cache = temporary.path().join("code");
    load(&sandbox(Some(&cache), child()), GOOD).await.unwrap();
    assert_eq!(std::fs::read_dir(&cache).unwrap().count(), 1);

    // Nothing can be compiled any more, and nothing has to be.
    let start = Instant::now();
    load(&sandbox(Some(&cache), no_child()), GOOD).await.unwrap();
    assert!(start.elapsed().as_millis() < 1000, "{:?}", start.elapsed());

    // One flipped bit: a miss, compiled again and mended.
    let entry = std::fs::read_dir(&cache).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&entry).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&entry, &bytes).unwrap();
    assert!(load(&sandbox(Some(&cache), no_child()), GOOD).await.is_err());
    load(&sandbox(Some(&cache), child()), GOOD).await.unwrap();
    load(&sandbox(Some(&cache), no_child()), GOOD).await.unwrap();

    // Without a cache it is compiled each time.
    assert!(load(&sandbox(None, no_child()), GOOD).await.is_err());
    load(&sandbox(None, child()), GOOD).await.unwrap();
}

async fn what_can_not_be_compiled_is_refused() {
    // Valid WebAssembly of a kind that the engine is built without.
    let text = "(component (core module (type $t (struct)) (func (drop (struct.new $t)))))";
    let refused = load(&sandbox(None, child()), text).await.err().unwrap();
    assert!(refused.to_string().starts_with("it can't be compiled: "), "{refused}");
}

async fn a_child_that_is_something_else_is_no_end() {
    for (program, argument) in [("/bin/cat", "-"), ("/bin/echo", "hello"), ("/nonexistent", "")] {
        let compiler = Compiler::Child { program: program.into(), arguments: vec![argument.to_owned()] };
        assert!(load(&sandbox(None, compiler), GOOD).await.is_err(), "{program}");
    }
}
