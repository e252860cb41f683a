//! The functions of `wasi:filesystem`: each is passed on to wasmtime-wasi, those that name a path with a decision before
//! and an entry in the books after.

use wasmtime::component::Resource;
use wasmtime_wasi::filesystem::Descriptor;
use wasmtime_wasi::p2::bindings::filesystem::preopens;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    Advice, DescriptorFlags, DescriptorStat, DescriptorType, DirectoryEntry, DirectoryEntryStream, ErrorCode,
    Filesize, Host, HostDescriptor, HostDirectoryEntryStream, MetadataHashValue, NewTimestamp, OpenFlags,
    PathFlags,
};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, FsError, FsResult};

use super::FolderView;
use super::rights::Entry;

type File = Resource<Descriptor>;

impl preopens::Host for FolderView<'_> {
    fn get_directories(&mut self) -> wasmtime::Result<Vec<(File, String)>> {
        let folders = preopens::Host::get_directories(&mut self.inner)?;
        for (descriptor, path) in &folders {
            self.folders.open.insert(descriptor.rep(), path.clone());
        }
        Ok(folders)
    }
}

impl Host for FolderView<'_> {
    fn convert_error_code(&mut self, error: FsError) -> wasmtime::Result<ErrorCode> {
        self.inner.convert_error_code(error)
    }

    fn filesystem_error_code(
        &mut self,
        error: Resource<wasmtime::Error>,
    ) -> wasmtime::Result<Option<ErrorCode>> {
        self.inner.filesystem_error_code(error)
    }
}

impl HostDescriptor for FolderView<'_> {
    async fn open_at(
        &mut self,
        at: File,
        follow: PathFlags,
        path: String,
        how: OpenFlags,
        flags: DescriptorFlags,
    ) -> FsResult<File> {
        let target = self.path(at.rep(), &path);
        let writes = flags.contains(DescriptorFlags::WRITE)
            || how.intersects(OpenFlags::CREATE | OpenFlags::TRUNCATE | OpenFlags::EXCLUSIVE);
        if writes {
            self.may_write("open for writing", &target)?;
        }
        let opened = self.inner.open_at(at, follow, path, how, flags).await;
        if let Ok(file) = &opened {
            self.folders.open.insert(file.rep(), target.clone());
        }
        if writes {
            self.note_written("open for writing", target, &opened);
        } else {
            self.note_read("open", target, &opened);
        }
        opened
    }

    async fn create_directory_at(&mut self, at: File, path: String) -> FsResult<()> {
        let target = self.path(at.rep(), &path);
        self.may_write("create folder", &target)?;
        let done = self.inner.create_directory_at(at, path).await;
        self.note_written("create folder", target, &done);
        done
    }

    async fn remove_directory_at(&mut self, at: File, path: String) -> FsResult<()> {
        let target = self.path(at.rep(), &path);
        self.may_write("remove folder", &target)?;
        let done = self.inner.remove_directory_at(at, path).await;
        self.note_written("remove folder", target, &done);
        done
    }

    async fn unlink_file_at(&mut self, at: File, path: String) -> FsResult<()> {
        let target = self.path(at.rep(), &path);
        self.may_write("remove", &target)?;
        let done = self.inner.unlink_file_at(at, path).await;
        self.note_written("remove", target, &done);
        done
    }

    async fn rename_at(&mut self, from: File, old: String, to: File, new: String) -> FsResult<()> {
        let (source, target) = (self.path(from.rep(), &old), self.path(to.rep(), &new));
        self.may_write("rename", &source)?;
        self.may_write("rename", &target)?;
        self.keep_rights(Entry { folder: &from, name: &old }, Entry { folder: &to, name: &new }).await;
        let done = self.inner.rename_at(from, old, to, new).await;
        self.note_written("rename", target, &done);
        done
    }

    async fn link_at(
        &mut self,
        from: File,
        follow: PathFlags,
        old: String,
        to: File,
        new: String,
    ) -> FsResult<()> {
        let (source, target) = (self.path(from.rep(), &old), self.path(to.rep(), &new));
        self.may_write("link", &source)?;
        self.may_write("link", &target)?;
        let done = self.inner.link_at(from, follow, old, to, new).await;
        self.note_written("link", target, &done);
        done
    }

    async fn symlink_at(&mut self, at: File, to: String, path: String) -> FsResult<()> {
        let target = self.path(at.rep(), &path);
        self.may_write("link", &target)?;
        let done = self.inner.symlink_at(at, to, path).await;
        self.note_written("link", target, &done);
        done
    }

    async fn set_times(&mut self, file: File, read: NewTimestamp, written: NewTimestamp) -> FsResult<()> {
        let target = self.path(file.rep(), "");
        self.may_write("set times", &target)?;
        let done = self.inner.set_times(file, read, written).await;
        self.note_written("set times", target, &done);
        done
    }

    async fn set_times_at(
        &mut self,
        at: File,
        follow: PathFlags,
        path: String,
        read: NewTimestamp,
        written: NewTimestamp,
    ) -> FsResult<()> {
        let target = self.path(at.rep(), &path);
        self.may_write("set times", &target)?;
        let done = self.inner.set_times_at(at, follow, path, read, written).await;
        self.note_written("set times", target, &done);
        done
    }

    async fn read_directory(&mut self, folder: File) -> FsResult<Resource<DirectoryEntryStream>> {
        let target = self.path(folder.rep(), "");
        let entries = self.inner.read_directory(folder).await;
        self.note_read("list", target, &entries);
        entries
    }

    async fn stat_at(&mut self, at: File, follow: PathFlags, path: String) -> FsResult<DescriptorStat> {
        let target = self.path(at.rep(), &path);
        let stat = self.inner.stat_at(at, follow, path).await;
        self.note_read("look at", target, &stat);
        stat
    }

    async fn readlink_at(&mut self, at: File, path: String) -> FsResult<String> {
        let target = self.path(at.rep(), &path);
        let link = self.inner.readlink_at(at, path).await;
        self.note_read("look at", target, &link);
        link
    }

    async fn metadata_hash_at(
        &mut self,
        at: File,
        follow: PathFlags,
        path: String,
    ) -> FsResult<MetadataHashValue> {
        let target = self.path(at.rep(), &path);
        let hash = self.inner.metadata_hash_at(at, follow, path).await;
        self.note_read("look at", target, &hash);
        hash
    }

    // What follows works on descriptors, which were decided about when they were opened.

    async fn set_size(&mut self, file: File, size: Filesize) -> FsResult<()> {
        self.inner.set_size(file, size).await
    }

    async fn write(&mut self, file: File, bytes: Vec<u8>, offset: Filesize) -> FsResult<Filesize> {
        self.inner.write(file, bytes, offset).await
    }

    fn write_via_stream(&mut self, file: File, offset: Filesize) -> FsResult<Resource<DynOutputStream>> {
        self.inner.write_via_stream(file, offset)
    }

    fn append_via_stream(&mut self, file: File) -> FsResult<Resource<DynOutputStream>> {
        self.inner.append_via_stream(file)
    }

    async fn read(&mut self, file: File, length: Filesize, offset: Filesize) -> FsResult<(Vec<u8>, bool)> {
        HostDescriptor::read(&mut self.inner, file, length, offset).await
    }

    fn read_via_stream(&mut self, file: File, offset: Filesize) -> FsResult<Resource<DynInputStream>> {
        self.inner.read_via_stream(file, offset)
    }

    async fn advise(
        &mut self,
        file: File,
        offset: Filesize,
        length: Filesize,
        advice: Advice,
    ) -> FsResult<()> {
        self.inner.advise(file, offset, length, advice).await
    }

    async fn sync_data(&mut self, file: File) -> FsResult<()> {
        self.inner.sync_data(file).await
    }

    async fn sync(&mut self, file: File) -> FsResult<()> {
        self.inner.sync(file).await
    }

    async fn get_flags(&mut self, file: File) -> FsResult<DescriptorFlags> {
        self.inner.get_flags(file).await
    }

    async fn get_type(&mut self, file: File) -> FsResult<DescriptorType> {
        self.inner.get_type(file).await
    }

    async fn stat(&mut self, file: File) -> FsResult<DescriptorStat> {
        self.inner.stat(file).await
    }

    async fn is_same_object(&mut self, one: File, other: File) -> wasmtime::Result<bool> {
        self.inner.is_same_object(one, other).await
    }

    async fn metadata_hash(&mut self, file: File) -> FsResult<MetadataHashValue> {
        self.inner.metadata_hash(file).await
    }

    fn drop(&mut self, file: File) -> wasmtime::Result<()> {
        self.folders.open.remove(&file.rep());
        HostDescriptor::drop(&mut self.inner, file)
    }
}

impl HostDirectoryEntryStream for FolderView<'_> {
    async fn read_directory_entry(
        &mut self,
        entries: Resource<DirectoryEntryStream>,
    ) -> FsResult<Option<DirectoryEntry>> {
        self.inner.read_directory_entry(entries).await
    }

    fn drop(&mut self, entries: Resource<DirectoryEntryStream>) -> wasmtime::Result<()> {
        HostDirectoryEntryStream::drop(&mut self.inner, entries)
    }
}
