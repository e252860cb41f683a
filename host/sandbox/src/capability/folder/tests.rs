//! The functions of `wasi:filesystem` as a guest would call them, on real folders.

use std::path::Path;
use std::sync::Arc;

use wasmtime::component::{Resource, ResourceTable};
use wasmtime_wasi::filesystem::Descriptor;
use wasmtime_wasi::p2::FsResult;
use wasmtime_wasi::p2::bindings::filesystem::preopens::Host as _;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    DescriptorFlags, ErrorCode, HostDescriptor as _, OpenFlags, PathFlags,
};
use wasmtime_wasi_http::WasiHttpCtx;

use super::{FolderView, view};
use crate::capability::testing::{Scene, folder};
use crate::limits::Meter;
use crate::state::CallState;
use crate::{Limits, Mode};

/// A call with one folder bound to the slot `out`, under this grant line.
fn call(mode: Mode, grant: &str, path: &Path) -> CallState {
    let call = Scene::new(mode, &[grant]).bind("out", folder(path)).call();
    let (wasi, folders) = crate::wasi::context(&call, true).unwrap();
    CallState {
        wasi,
        table: ResourceTable::new(),
        http: WasiHttpCtx::new(),
        http_hooks: crate::capability::http_hooks(&call),
        folders,
        meter: Meter::new(&Limits::default(), 0),
        call: Arc::clone(&call),
    }
}

/// The guest's only folder.
fn root(view: &mut FolderView<'_>) -> Resource<Descriptor> {
    let (descriptor, path) = view.get_directories().unwrap().pop().unwrap();
    assert_eq!(path, "/out");
    descriptor
}

async fn open(state: &mut CallState, path: &str, how: OpenFlags, flags: DescriptorFlags) -> FsResult<()> {
    let mut view = view(state);
    let folder = root(&mut view);
    let opened = view.open_at(folder, PathFlags::SYMLINK_FOLLOW, path.to_owned(), how, flags).await;
    opened.map(|_| ())
}

async fn create(state: &mut CallState, path: &str) -> FsResult<()> {
    open(state, path, OpenFlags::CREATE | OpenFlags::TRUNCATE, DescriptorFlags::WRITE).await
}

async fn look(state: &mut CallState, path: &str) -> FsResult<()> {
    open(state, path, OpenFlags::empty(), DescriptorFlags::READ).await
}

fn code(result: FsResult<()>) -> Option<ErrorCode> {
    result.err().map(|error| error.downcast().unwrap())
}

#[tokio::test]
async fn writing_needs_both_the_mode_and_the_line() {
    let mut denials = Vec::new();
    for (mode, grant) in [
        (Mode::Read, "folder out: write"),
        (Mode::Write, "folder out: read"),
        (Mode::Read, "folder out: read"),
    ] {
        let temporary = tempfile::tempdir().unwrap();
        std::fs::write(temporary.path().join("old"), "old").unwrap();
        let mut state = call(mode, grant, temporary.path());
        assert_eq!(code(create(&mut state, "new").await), Some(ErrorCode::NotPermitted));
        assert_eq!(code(create(&mut state, "old").await), Some(ErrorCode::NotPermitted));
        let mut view = view(&mut state);
        let folder = root(&mut view);
        let at = || Resource::new_borrow(folder.rep());
        assert!(view.create_directory_at(at(), "sub".to_owned()).await.is_err());
        assert!(view.unlink_file_at(at(), "old".to_owned()).await.is_err());
        assert!(view.rename_at(at(), "old".to_owned(), at(), "new".to_owned()).await.is_err());
        assert!(
            view.link_at(at(), PathFlags::empty(), "old".to_owned(), at(), "new".to_owned()).await.is_err()
        );
        assert!(view.symlink_at(at(), "old".to_owned(), "new".to_owned()).await.is_err());
        assert!(!state.call.sent());
        assert_eq!(state.call.reads().denied, 7);
        assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 1);
        assert_eq!(std::fs::read_to_string(temporary.path().join("old")).unwrap(), "old");
        denials.push(state.call.take_denial().unwrap().to_string());
    }
    insta::assert_snapshot!(denials.join("\n"));
}

#[tokio::test]
async fn writing_counts_as_sent_and_is_in_the_audit() {
    let temporary = tempfile::tempdir().unwrap();
    let mut state = call(Mode::Write, "folder out: write", temporary.path());
    assert_eq!(code(look(&mut state, "new").await), Some(ErrorCode::NoEntry));
    assert!(!state.call.sent(), "looking is not writing");
    create(&mut state, "new").await.unwrap();
    assert!(state.call.sent());
    let audit = state.call.take_audit();
    let said: Vec<_> = audit
        .iter()
        .map(|record| format!("{} {} {:?} {}", record.operation, record.target, record.rule, record.allowed))
        .collect();
    insta::assert_snapshot!(said.join("\n"));
}

#[tokio::test]
async fn a_missing_file_is_an_answer() {
    let temporary = tempfile::tempdir().unwrap();
    let mut state = call(Mode::Read, "folder out: read", temporary.path());
    assert_eq!(code(look(&mut state, "none").await), Some(ErrorCode::NoEntry));
    let reads = state.call.reads();
    assert_eq!((reads.succeeded, reads.failed, reads.denied), (1, 0, 0));
}

#[tokio::test]
async fn no_path_leads_out_of_the_folder() {
    let temporary = tempfile::tempdir().unwrap();
    let inside = temporary.path().join("inside");
    std::fs::create_dir(&inside).unwrap();
    std::fs::write(temporary.path().join("secret"), "secret").unwrap();
    std::os::unix::fs::symlink("../secret", inside.join("link")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", inside.join("absolute")).unwrap();
    std::os::unix::fs::symlink("..", inside.join("up")).unwrap();
    let mut state = call(Mode::Write, "folder out: write", &inside);
    for path in
        ["../secret", "link", "absolute", "up/secret", "/etc/passwd", "./../secret", "up/../../secret"]
    {
        assert_eq!(code(look(&mut state, path).await), Some(ErrorCode::NotPermitted), "{path}");
        assert!(create(&mut state, path).await.is_err(), "{path}");
    }
    assert_eq!(std::fs::read_to_string(temporary.path().join("secret")).unwrap(), "secret");
    assert_eq!(state.call.reads().denied, 14);
    assert_eq!(state.call.reads().succeeded, 0);
}

#[tokio::test]
async fn a_folder_without_a_line_is_not_there() {
    let temporary = tempfile::tempdir().unwrap();
    let mut state = call(Mode::Write, "folder other: write", temporary.path());
    assert!(view(&mut state).get_directories().unwrap().is_empty());
}

#[tokio::test]
async fn a_file_that_replaces_another_takes_over_its_mode() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let mode = |name: &str| std::fs::metadata(path(name)).unwrap().mode() & 0o7777;
    let mut state = call(Mode::Write, "folder out: write", folder.path());
    for (name, wanted) in [("script", 0o750), ("secret", 0o600)] {
        std::fs::write(path(name), "old").unwrap();
        std::fs::set_permissions(path(name), std::fs::Permissions::from_mode(wanted)).unwrap();
        std::fs::write(path("draft"), "new").unwrap();
        let mut view = view(&mut state);
        let (from, to) = (root(&mut view), root(&mut view));
        view.rename_at(from, "draft".to_owned(), to, name.to_owned()).await.unwrap();
        assert_eq!((mode(name), std::fs::read_to_string(path(name)).unwrap().as_str()), (wanted, "new"));
    }
    // A link is replaced, and what it points to has no say.
    std::os::unix::fs::symlink("secret", path("link")).unwrap();
    std::fs::write(path("draft"), "new").unwrap();
    std::fs::set_permissions(path("draft"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let mut view = view(&mut state);
    let (from, to) = (root(&mut view), root(&mut view));
    view.rename_at(from, "draft".to_owned(), to, "link".to_owned()).await.unwrap();
    assert_eq!((mode("link"), mode("secret")), (0o644, 0o600));
}
