//! A SQLite VFS in front of the system's own: it takes down what is written, truncated, synced and deleted below a
//! folder, and fails there when told to.
//!
//! It is the default VFS of the whole process, so that the store is tested as it is. Nothing is really synced: a power
//! cut is replayed from what was taken down. Tests that use it exclude each other by [`Watch`].

#![allow(
    unsafe_code,
    reason = "SQLite calls a VFS through C function pointers, and there is no safe layer for that"
)]
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part of this")]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use libsqlite3_sys as ffi;

/// What was done to a file, in order.
#[derive(Debug, Clone)]
pub enum Op {
    Write {
        file: Kind,
        offset: usize,
        bytes: Vec<u8>,
    },
    Truncate {
        file: Kind,
        size: usize,
    },
    /// With the folder where the file may be new in it.
    Sync {
        file: Kind,
        folder: bool,
    },
    Delete {
        file: Kind,
        folder: bool,
    },
    /// Something that the test was told at this moment.
    Told(usize),
}

/// The files of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Database,
    Wal,
    Journal,
}

impl Kind {
    fn of(path: &str) -> Self {
        match path {
            _ if path.ends_with("-wal") => Self::Wal,
            _ if path.ends_with("-journal") => Self::Journal,
            _ => Self::Database,
        }
    }

    /// What stands behind the name of the database.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Database => "",
            Self::Wal => "-wal",
            Self::Journal => "-journal",
        }
    }
}

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The device is gone.
    Io,
    /// There is no room; half of what was to be written is.
    Full,
}

/// Which call fails, counted from the beginning of the watch.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    pub call: usize,
    pub failure: Failure,
    /// Whether all calls after it fail too.
    pub lasting: bool,
}

#[derive(Default)]
struct State {
    folder: String,
    ops: Vec<Op>,
    taking_down: bool,
    synchronous_off: bool,
    fault: Option<Fault>,
    calls: usize,
}

static STATE: Mutex<Option<State>> = Mutex::new(None);
static EXCLUSIVE: Mutex<()> = Mutex::new(());

/// What is done below a folder from now on; ends when dropped.
pub struct Watch {
    _exclusive: MutexGuard<'static, ()>,
}

impl Watch {
    /// Keeps others from watching; nothing is watched yet.
    pub fn new() -> Self {
        register();
        Self { _exclusive: EXCLUSIVE.lock().unwrap_or_else(PoisonError::into_inner) }
    }

    /// Takes down what is done; with `synchronous_off` every connection has that setting, whatever it asks for.
    pub fn take_down(&self, folder: &Path, synchronous_off: bool) {
        let folder = folder.to_str().unwrap().to_owned();
        *state() = Some(State { folder, taking_down: true, synchronous_off, ..State::default() });
    }

    /// Lets a call fail.
    pub fn fail(&self, folder: &Path, fault: Fault) {
        let folder = folder.to_str().unwrap().to_owned();
        *state() = Some(State { folder, fault: Some(fault), ..State::default() });
    }

    /// Ends it; answers what was done, and how many calls could have failed.
    pub fn end(&self) -> (Vec<Op>, usize) {
        state().take().map_or((Vec::new(), 0), |state| (state.ops, state.calls))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.end();
    }
}

/// Takes down that the test was told something.
pub fn told(what: usize) {
    if let Some(state) = &mut *state() {
        state.ops.push(Op::Told(what));
    }
}

fn state() -> MutexGuard<'static, Option<State>> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A file as SQLite holds it: this, and behind it the file of the system's VFS.
#[repr(C)]
struct File {
    base: ffi::sqlite3_file,
    kind: Kind,
    watched: bool,
    /// The system's VFS syncs the folder with the first sync of a journal or write-ahead log that it may have made.
    folder_due: bool,
}

struct System(*mut ffi::sqlite3_vfs);
// SAFETY: SQLite's own VFS is static and made for many threads.
unsafe impl Send for System {}
// SAFETY: as above.
unsafe impl Sync for System {}

static SYSTEM: OnceLock<System> = OnceLock::new();

fn system() -> *mut ffi::sqlite3_vfs {
    SYSTEM.get().unwrap().0
}

fn register() {
    SYSTEM.get_or_init(|| {
        // SAFETY: the system's VFS is valid for ever; the copy is leaked, so it is too. All functions of the copy but
        // two are the system's, which look at no more of the VFS than was copied.
        unsafe {
            let system = ffi::sqlite3_vfs_find(std::ptr::null());
            let mut vfs = *system;
            vfs.zName = c"windlass-test".as_ptr();
            vfs.pNext = std::ptr::null_mut();
            vfs.szOsFile += size_of::<File>() as c_int;
            vfs.xOpen = Some(open);
            vfs.xDelete = Some(delete);
            let registered = ffi::sqlite3_vfs_register(Box::leak(Box::new(vfs)), 1);
            assert_eq!(registered, ffi::SQLITE_OK);
            System(system)
        }
    });
}

/// The file of the system's VFS behind one of ours, and its functions.
unsafe fn real(file: *mut ffi::sqlite3_file) -> (*mut ffi::sqlite3_file, ffi::sqlite3_io_methods) {
    // SAFETY: `szOsFile` made room for both, and an open file has functions.
    unsafe {
        let real: *mut ffi::sqlite3_file = file.cast::<File>().add(1).cast();
        (real, *(*real).pMethods)
    }
}

fn text<'a>(name: *const c_char) -> &'a str {
    if name.is_null() {
        return "";
    }
    // SAFETY: SQLite gives names that end with a zero byte and live as long as the call.
    unsafe { CStr::from_ptr(name) }.to_str().unwrap_or("")
}

fn is_watched(path: &str) -> bool {
    state().as_ref().is_some_and(|state| path.starts_with(&state.folder))
}

/// Counts a call, and answers whether and how it fails.
fn failure(watched: bool) -> Option<Failure> {
    let mut state = state();
    let state = state.as_mut().filter(|_| watched)?;
    let call = state.calls;
    state.calls += 1;
    let fault = state.fault?;
    let hit = if fault.lasting { call >= fault.call } else { call == fault.call };
    hit.then_some(fault.failure)
}

fn take_down(watched: bool, op: impl FnOnce() -> Op) {
    if let Some(state) = state().as_mut().filter(|state| watched && state.taking_down) {
        state.ops.push(op());
    }
}

unsafe extern "C" fn open(
    _: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    // SAFETY: SQLite gives room for `szOsFile` bytes at `file`.
    unsafe {
        (*file).pMethods = std::ptr::null();
        let opened =
            (*system()).xOpen.unwrap()(system(), name, file.cast::<File>().add(1).cast(), flags, out);
        if opened == ffi::SQLITE_OK {
            let (kind, watched) = (Kind::of(text(name)), is_watched(text(name)));
            let base = ffi::sqlite3_file { pMethods: &METHODS };
            file.cast::<File>().write(File { base, kind, watched, folder_due: kind != Kind::Database });
        }
        opened
    }
}

unsafe extern "C" fn delete(_: *mut ffi::sqlite3_vfs, name: *const c_char, folder: c_int) -> c_int {
    let watched = is_watched(text(name));
    if failure(watched).is_some() {
        return ffi::SQLITE_IOERR_DELETE;
    }
    take_down(watched, || Op::Delete { file: Kind::of(text(name)), folder: folder != 0 });
    // SAFETY: the arguments are passed on; nothing is really synced.
    unsafe { (*system()).xDelete.unwrap()(system(), name, 0) }
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    bytes: *const c_void,
    length: c_int,
    offset: ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: SQLite gives an open file of ours and `length` readable bytes.
    unsafe {
        let (real, methods) = real(file);
        let (kind, watched) = ((*file.cast::<File>()).kind, (*file.cast::<File>()).watched);
        match failure(watched) {
            None => {}
            Some(Failure::Io) => return ffi::SQLITE_IOERR_WRITE,
            Some(Failure::Full) => {
                methods.xWrite.unwrap()(real, bytes, length / 2, offset);
                return ffi::SQLITE_FULL;
            }
        }
        take_down(watched, || {
            let bytes = std::slice::from_raw_parts(bytes.cast::<u8>(), length as usize).to_vec();
            Op::Write { file: kind, offset: offset as usize, bytes }
        });
        methods.xWrite.unwrap()(real, bytes, length, offset)
    }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: ffi::sqlite3_int64) -> c_int {
    // SAFETY: SQLite gives an open file of ours.
    unsafe {
        let (real, methods) = real(file);
        let (kind, watched) = ((*file.cast::<File>()).kind, (*file.cast::<File>()).watched);
        if failure(watched).is_some() {
            return ffi::SQLITE_IOERR_TRUNCATE;
        }
        take_down(watched, || Op::Truncate { file: kind, size: size as usize });
        methods.xTruncate.unwrap()(real, size)
    }
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    // SAFETY: SQLite gives an open file of ours, to one thread at a time.
    let file = unsafe { &mut *file.cast::<File>() };
    if failure(file.watched).is_some() {
        return ffi::SQLITE_IOERR_FSYNC;
    }
    let folder = std::mem::take(&mut file.folder_due);
    take_down(file.watched, || Op::Sync { file: file.kind, folder });
    ffi::SQLITE_OK
}

unsafe extern "C" fn control(file: *mut ffi::sqlite3_file, what: c_int, argument: *mut c_void) -> c_int {
    // SAFETY: SQLite gives an open file of ours; for a pragma the argument is three texts, of which the third is its
    // own copy of the value and may be written.
    unsafe {
        if what == ffi::SQLITE_FCNTL_PRAGMA && state().as_ref().is_some_and(|state| state.synchronous_off) {
            let texts = argument.cast::<*mut c_char>();
            let (name, value) = (*texts.add(1), *texts.add(2));
            if text(name).eq_ignore_ascii_case("synchronous") && text(value).len() >= 3 {
                std::ptr::copy_nonoverlapping(c"OFF".as_ptr(), value, 4);
            }
        }
        let (real, methods) = real(file);
        methods.xFileControl.unwrap()(real, what, argument)
    }
}

/// A function that only passes its arguments on.
macro_rules! passed_on {
    ($name:ident, $method:ident, ($($argument:ident: $type:ty),*) $(-> $answer:ty)?) => {
        unsafe extern "C" fn $name(file: *mut ffi::sqlite3_file, $($argument: $type),*) $(-> $answer)? {
            // SAFETY: SQLite gives an open file of ours; the arguments are those of the function behind.
            unsafe {
                let (real, methods) = real(file);
                methods.$method.unwrap()(real, $($argument),*)
            }
        }
    };
}

passed_on!(close, xClose, () -> c_int);
passed_on!(read, xRead, (bytes: *mut c_void, length: c_int, offset: ffi::sqlite3_int64) -> c_int);
passed_on!(file_size, xFileSize, (size: *mut ffi::sqlite3_int64) -> c_int);
passed_on!(lock, xLock, (level: c_int) -> c_int);
passed_on!(unlock, xUnlock, (level: c_int) -> c_int);
passed_on!(check_lock, xCheckReservedLock, (out: *mut c_int) -> c_int);
passed_on!(sector_size, xSectorSize, () -> c_int);
passed_on!(characteristics, xDeviceCharacteristics, () -> c_int);
passed_on!(shm_map, xShmMap, (page: c_int, size: c_int, extend: c_int, out: *mut *mut c_void) -> c_int);
passed_on!(shm_lock, xShmLock, (offset: c_int, count: c_int, flags: c_int) -> c_int);
passed_on!(shm_barrier, xShmBarrier, ());
passed_on!(shm_unmap, xShmUnmap, (delete: c_int) -> c_int);

/// Of version 2: files are not mapped, so that every write is seen.
static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_lock),
    xFileControl: Some(control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};
