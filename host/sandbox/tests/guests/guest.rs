//! Makes components out of WIT and hand-written WebAssembly text, and calls them.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::Value;
use windlass_sandbox::{
    ArtifactContent, Bindings, Call, CallReport, Compiler, Grants, KeptArtifact, Launcher, Limits, LogLevel,
    Phase, Plugin, ProcessIdentity, RunServices, Sandbox, SandboxOptions, ServiceError, StepContext,
};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// The interface that most guests here export.
pub(crate) const JOBS: &str = "acme:test/jobs@0.1.0";

/// The WIT of a guest that exports one reading action, `check`.
pub(crate) const CHECK: &str = "
    package acme:test@0.1.0;
    interface jobs {
        use windlass:plugin/outcome@0.1.0.{failure};
        record input { count: u32 }
        record output { text: string, count: u32 }
        check: func(input: input) -> result<output, failure>;
    }
    world plugin {
        import windlass:plugin/step@0.1.0;
        export jobs;
    }
";

/// A component of this world and this core module.
pub(crate) fn component(wit: &str, module: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let wits = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit");
    resolve.push_path(wits.join("plugin")).unwrap();
    let package = resolve.push_str("guest.wit", wit).unwrap();
    let world = resolve.select_world(&[package], None).unwrap();
    let mut module = wat::parse_str(module).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default().module(&module).unwrap().validate(true).encode().unwrap()
}

/// A component whose action `check` has this body. Its parameter is `count`; it returns the address of its result.
/// There are a log line at 512 (6 bytes), and `$ok` returns a good result with the text of that address and length.
pub(crate) fn check(body: &str) -> Vec<u8> {
    check_with("", body)
}

/// The same, with more parts of the module before it.
pub(crate) fn check_with(more: &str, body: &str) -> Vec<u8> {
    let module = format!(
        r#"(module
            (import "windlass:plugin/step@0.1.0" "log" (func $log (param i32 i32 i32 i32 i32)))
            (memory (export "memory") 1)
            (data (i32.const 512) "a line")
            (global $next (mut i32) (i32.const 4096))
            {more}
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
                (local $at i32)
                (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
                (global.set $next (i32.add (local.get $at) (local.get 3)))
                (local.get $at))
            (func $ok (param $text i32) (param $length i32) (param $count i32) (result i32)
                (i32.store8 (i32.const 1024) (i32.const 0))
                (i32.store (i32.const 1032) (local.get $text))
                (i32.store (i32.const 1036) (local.get $length))
                (i32.store (i32.const 1040) (local.get $count))
                (i32.const 1024))
            (func $failed (param $text i32) (param $length i32) (result i32)
                (i32.store8 (i32.const 1024) (i32.const 1))
                (i32.store (i32.const 1032) (local.get $text))
                (i32.store (i32.const 1036) (local.get $length))
                (i32.store (i32.const 1040) (local.get $text))
                (i32.store (i32.const 1044) (local.get $length))
                (i32.store8 (i32.const 1048) (i32.const 0))
                (i32.store8 (i32.const 1060) (i32.const 1))
                (i32.store8 (i32.const 1064) (i32.const 0))
                (i32.const 1024))
            (func (export "acme:test/jobs@0.1.0#check") (param $count i32) (result i32) {body}))"#
    );
    component(CHECK, &module)
}

/// Level, message and fields of a log line.
pub(crate) type Line = (LogLevel, String, Vec<(String, Value)>);

/// A run that remembers what it was told.
#[derive(Default)]
pub(crate) struct Recorder {
    pub(crate) logs: Mutex<Vec<Line>>,
    pub(crate) receipts: Mutex<Vec<String>>,
}

impl RunServices for Recorder {
    fn log(&self, level: LogLevel, message: String, fields: Vec<(String, Value)>) {
        self.logs.lock().unwrap().push((level, message, fields));
    }

    fn progress(&self, _: u64, _: Option<u64>, _: String) {}

    fn receipt(&self, text: String) -> BoxFuture<'_, Result<(), ServiceError>> {
        self.receipts.lock().unwrap().push(text);
        Box::pin(async { Ok(()) })
    }

    fn keep(
        &self,
        name: String,
        _: String,
        _: ArtifactContent,
    ) -> BoxFuture<'_, Result<KeptArtifact, ServiceError>> {
        Box::pin(async { Ok(KeptArtifact { name, digest: String::new(), size: 0 }) })
    }

    fn process_started(&self, _: ProcessIdentity) -> BoxFuture<'_, Result<(), ServiceError>> {
        Box::pin(async { Ok(()) })
    }
}

/// A sandbox that compiles in this process and keeps nothing.
pub(crate) fn sandbox() -> Sandbox {
    Sandbox::new(SandboxOptions {
        cache_dir: None,
        compiler: Compiler::InProcess,
        launcher: Launcher { program: "/nonexistent".into(), arguments: Vec::new() },
    })
    .unwrap()
}

pub(crate) async fn load(bytes: Vec<u8>) -> Arc<Plugin> {
    sandbox().load(bytes.into()).await.unwrap()
}

pub(crate) fn limits(deadline: Duration) -> Limits {
    Limits { deadline, ..Limits::default() }
}

/// Calls an action with no grants and no connections.
pub(crate) async fn call(
    plugin: &Plugin,
    action: &str,
    phase: Phase<'_>,
    limits: Limits,
) -> (CallReport, Arc<Recorder>) {
    let recorder = Arc::new(Recorder::default());
    let call = Call {
        interface: &plugin.signature().interfaces[0].id.clone(),
        action,
        phase,
        grants: Arc::new(Grants::parse([]).unwrap()),
        bindings: Arc::new(Bindings::default()),
        config: None,
        context: StepContext {
            run: "run-1".to_owned(),
            step: "check".to_owned(),
            item: None,
            attempt: 1,
            idempotency_key: "key".to_owned(),
            plugin: "acme".to_owned(),
        },
        limits,
    };
    (plugin.call(call, recorder.clone()).await, recorder)
}

/// Loads the component, calls its `check`, and gives the report.
pub(crate) async fn run(bytes: Vec<u8>) -> (CallReport, Arc<Recorder>) {
    run_within(bytes, Limits::default()).await
}

pub(crate) async fn run_within(bytes: Vec<u8>, limits: Limits) -> (CallReport, Arc<Recorder>) {
    let plugin = load(bytes).await;
    let input = serde_json::json!({ "count": 7 });
    call(&plugin, "check", Phase::Read { input: &input }, limits).await
}

/// What a call ended with, in words.
pub(crate) fn said(report: &CallReport) -> String {
    match &report.result {
        Ok(returned) => format!("{returned:?}"),
        Err(error) => error.to_string(),
    }
}
