//! `wasi:filesystem`: granted folders, each seen by the guest as `/SLOT`.
//!
//! wasmtime-wasi does the work and keeps every path within its folder; `host` stands before it, where it is decided
//! whether a call may write, and where the books are kept. Invariant: nothing in a folder is made, changed or removed
//! but in write mode under a line that says so, and the call counts as sent before that happens. A file that is renamed over
//! another takes over its owner and mode (`rights`).

mod host;
mod rights;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use wasmtime::component::{HasData, Linker};
use wasmtime_wasi::filesystem::WasiFilesystemCtxView;
use wasmtime_wasi::p2::bindings::filesystem::{preopens, types};
use wasmtime_wasi::p2::{FsError, FsResult};

use crate::state::{CallContext, CallState};
use crate::text::{cut, plain};
use crate::{AuditRecord, Denial, Mode};

/// The name of this capability in grants and in the audit.
const CAPABILITY: &str = "folder";

/// The longest path that is written into the audit.
const MAX_TARGET: usize = 1024;

/// What is known of a guest's folders and of the descriptors it holds.
#[derive(Debug, Default)]
pub(crate) struct Folders {
    /// By the path of the guest, `/SLOT`: whether it may write there.
    writable: HashMap<String, bool>,
    /// The guest's path of each open descriptor.
    open: HashMap<u32, String>,
}

impl Folders {
    pub(crate) fn insert(&mut self, slot: &str, writable: bool) {
        self.writable.insert(format!("/{slot}"), writable);
    }

    fn is_writable(&self, path: &str) -> bool {
        let slot = path.get(1..).and_then(|rest| rest.split('/').next()).unwrap_or_default();
        self.writable.get(&format!("/{slot}")).copied().unwrap_or(false)
    }
}

/// One call's view of its folders.
pub(crate) struct FolderView<'a> {
    inner: WasiFilesystemCtxView<'a>,
    folders: &'a mut Folders,
    call: &'a Arc<CallContext>,
}

/// For the linker.
struct Folder;

impl HasData for Folder {
    type Data<'a> = FolderView<'a>;
}

/// Links over what wasmtime-wasi has linked already.
pub(crate) fn link(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    preopens::add_to_linker::<_, Folder>(linker, view)?;
    types::add_to_linker::<_, Folder>(linker, view)?;
    linker.allow_shadowing(false);
    Ok(())
}

fn view(state: &mut CallState) -> FolderView<'_> {
    let CallState { wasi, table, folders, call, .. } = state;
    let inner = WasiFilesystemCtxView { ctx: wasi.filesystem(), table };
    FolderView { inner, folders, call }
}

impl FolderView<'_> {
    /// The guest's path of something below a descriptor.
    fn path(&self, descriptor: u32, below: &str) -> String {
        let folder = self.folders.open.get(&descriptor).map_or("/", String::as_str);
        let path = match below {
            "" | "." => folder.to_owned(),
            below => format!("{}/{}", folder.trim_end_matches('/'), below.trim_start_matches("./")),
        };
        cut(plain(&path), MAX_TARGET)
    }

    /// To be asked before anything is made, changed or removed.
    fn may_write(&self, operation: &str, path: &str) -> FsResult<()> {
        if self.folders.is_writable(path) {
            self.call.mark_sent();
            return Ok(());
        }
        self.deny_writing(operation, path);
        Err(types::ErrorCode::NotPermitted.into())
    }

    fn deny_writing(&self, operation: &str, path: &str) -> Denial {
        let slot = path.get(1..).and_then(|rest| rest.split('/').next()).unwrap_or_default();
        let writes = self.call.grants().folder(slot) == Some(crate::grant::Effect::Write);
        let (reason, allow) = if writes && self.call.mode == Mode::Read {
            ("this call only reads: only `apply-` and `undo-` of a run may write", None)
        } else {
            ("no grant line lets the plugin write in this folder", Some(format!("folder {slot}: write")))
        };
        self.call.deny(CAPABILITY, operation, path, reason, allow)
    }

    /// Writes a finished writing call into the books.
    fn note_written<T>(&self, operation: &str, path: String, result: &FsResult<T>) {
        self.denied_after_all(operation, &path, result);
        self.audit(operation, path, result.is_ok());
    }

    /// Writes a finished reading call into the books. That there is no such file is an answer too.
    fn note_read<T>(&self, operation: &str, path: String, result: &FsResult<T>) {
        let answered = match result {
            Ok(_) => true,
            Err(error) => error.downcast_ref().is_some_and(is_answer),
        };
        if self.denied_after_all(operation, &path, result) {
            return;
        }
        if answered {
            self.call.read_succeeded();
        } else {
            self.call.read_failed();
        }
        if operation == "open" || operation == "list" {
            self.audit(operation, path, true);
        }
    }

    /// wasmtime-wasi refuses paths that lead out of the folder.
    fn denied_after_all<T>(&self, operation: &str, path: &str, result: &FsResult<T>) -> bool {
        let refused = result
            .as_ref()
            .err()
            .and_then(FsError::downcast_ref)
            .is_some_and(|code| matches!(code, types::ErrorCode::NotPermitted));
        if refused {
            self.call.deny(CAPABILITY, operation, path, "the path leads out of the folder", None);
        }
        refused
    }

    fn audit(&self, operation: &str, target: String, done: bool) {
        let slot = target.get(1..).and_then(|rest| rest.split('/').next()).unwrap_or_default();
        let access = if self.folders.is_writable(&target) { "write" } else { "read" };
        let rule = Some(format!("folder {slot}: {access}"));
        self.call.audit(AuditRecord {
            capability: CAPABILITY.to_owned(),
            operation: operation.to_owned(),
            rule: if done { rule } else { rule.map(|rule| format!("{rule} (the system refused)")) },
            target,
            mode: self.call.mode,
            allowed: true,
            bytes_in: 0,
            bytes_out: 0,
            elapsed_ms: 0,
        });
    }
}

/// Whether the code says something about the file rather than about the attempt to look at it.
const fn is_answer(code: &types::ErrorCode) -> bool {
    matches!(
        code,
        types::ErrorCode::NoEntry
            | types::ErrorCode::NotDirectory
            | types::ErrorCode::IsDirectory
            | types::ErrorCode::Loop
            | types::ErrorCode::Invalid
            | types::ErrorCode::NameTooLong
    )
}
