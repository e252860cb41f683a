//! Owner, group and mode of a file that another is renamed over.
//!
//! A guest replaces a file by renaming a new one over it, so that readers see the old or the new and nothing between; but
//! `wasi:filesystem` has no word for modes and owners, and the new file would be readable to whom the old one was not, or
//! lose its executable bit. Invariant: the new file takes them over before it gets the name.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::sync::Arc;

use rustix::fs::{Gid, Uid};
use wasmtime::component::Resource;
use wasmtime_wasi::filesystem::Descriptor;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    DescriptorFlags, DescriptorType, HostDescriptor, OpenFlags, PathFlags,
};

use super::FolderView;

/// A name within an open folder.
pub(super) struct Entry<'a> {
    pub(super) folder: &'a Resource<Descriptor>,
    pub(super) name: &'a str,
}

impl FolderView<'_> {
    /// Gives `new` what `old` has, if both are regular files. That it can't be done is no reason to fail: an owner other
    /// than ourselves can be given by root alone, and whoever may not even read a file can't know more.
    pub(super) async fn keep_rights(&mut self, new: Entry<'_>, old: Entry<'_>) {
        let Some(old) = self.regular(old).await else { return };
        let Some(new) = self.regular(new).await else { return };
        let copy = move || -> std::io::Result<()> {
            let (wanted, found) = (old.metadata()?, new.metadata()?);
            if (wanted.uid(), wanted.gid()) != (found.uid(), found.gid()) {
                let (owner, group) = (Uid::from_raw(wanted.uid()), Gid::from_raw(wanted.gid()));
                rustix::fs::fchown(&*new, Some(owner), Some(group))?;
            }
            // Last, since a change of the owner takes the bits of setuid and setgid away.
            new.set_permissions(std::fs::Permissions::from_mode(wanted.mode() & 0o7777))
        };
        match tokio::task::spawn_blocking(copy).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "owner and mode of a replaced file can't be kept"),
            Err(error) => tracing::debug!(%error, "owner and mode of a replaced file were not kept"),
        }
    }

    /// The file of this name, open for reading; none where it is no regular file or can't be read.
    async fn regular(&mut self, entry: Entry<'_>) -> Option<Arc<std::fs::File>> {
        let at = || Resource::new_borrow(entry.folder.rep());
        let (inner, flags) = (&mut self.inner, PathFlags::empty());
        // Opening a pipe would wait for its other end.
        let stat = inner.stat_at(at(), flags, entry.name.to_owned()).await.ok()?;
        if stat.type_ != DescriptorType::RegularFile {
            return None;
        }
        let (how, read) = (OpenFlags::empty(), DescriptorFlags::READ);
        let opened = inner.open_at(at(), flags, entry.name.to_owned(), how, read).await.ok()?;
        let file = match inner.table.get(&opened) {
            Ok(Descriptor::File(file)) => Some(Arc::clone(&file.file)),
            _ => None,
        };
        // Only a descriptor that is not there can't be dropped.
        drop(HostDescriptor::drop(inner, opened));
        file
    }
}
