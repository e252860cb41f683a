//! Stand-ins for the host, for native tests of a plugin's logic. Not there in a guest.

use crate::fs::{self, Folders, Kind, Metadata, Path};
use crate::http::{Error, Request, Response, Transport};
use serde_json::Value;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// An HTTP service that answers what it is told, in that order, and remembers what it was asked.
#[derive(Debug, Default)]
pub struct Script {
    answers: RefCell<VecDeque<Result<Response, Error>>>,
    requests: RefCell<Vec<Request>>,
}

impl Script {
    /// A service with these answers.
    #[must_use]
    pub fn new(answers: impl IntoIterator<Item = Result<Response, Error>>) -> Self {
        Self { answers: RefCell::new(answers.into_iter().collect()), requests: RefCell::default() }
    }

    /// What it was asked so far.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.requests.borrow().clone()
    }
}

impl Transport for Script {
    fn send(&self, request: &Request) -> Result<Response, Error> {
        self.requests.borrow_mut().push(request.clone());
        let none = Err(Error::Connect("the script has no more answers".to_owned()));
        self.answers.borrow_mut().pop_front().unwrap_or(none)
    }
}

/// An answer of this status and JSON body that took 12.5 ms.
#[must_use]
pub fn json_response(status: u16, body: &Value) -> Response {
    text_response(status, "application/json", &body.to_string())
}

/// An answer of this status, content type and body that took 12.5 ms.
#[must_use]
pub fn text_response(status: u16, content_type: &str, body: &str) -> Response {
    Response {
        status,
        headers: vec![("content-type".to_owned(), content_type.to_owned())],
        body: body.as_bytes().to_vec(),
        elapsed: Duration::from_micros(12_500),
    }
}

/// Folders in memory. A slot that was never added is not granted.
#[derive(Debug, Default)]
pub struct Memory {
    files: RefCell<BTreeMap<Path, Vec<u8>>>,
    folders: RefCell<BTreeSet<Path>>,
    slots: Vec<String>,
    read_only: std::cell::Cell<bool>,
}

impl Memory {
    /// These slots are granted, empty and may be written.
    #[must_use]
    pub fn with_slots(slots: &[&str]) -> Self {
        Self { slots: slots.iter().map(|slot| (*slot).to_owned()).collect(), ..Self::default() }
    }

    /// Whether writing is denied, as in a call that only reads.
    pub fn set_read_only(&self, read_only: bool) {
        self.read_only.set(read_only);
    }

    fn granted(&self, slot: &str) -> Result<(), fs::Error> {
        if self.slots.iter().any(|granted| granted == slot) {
            Ok(())
        } else {
            Err(fs::Error::NotGranted { slot: slot.to_owned(), granted: self.slots.clone() })
        }
    }

    fn writable(&self, path: &Path) -> Result<(), fs::Error> {
        self.granted(path.slot())?;
        if self.read_only.get() { Err(fs::Error::Denied(path.clone())) } else { Ok(()) }
    }
}

impl Folders for Memory {
    fn read_pieces(
        &self,
        path: &Path,
        take: &mut dyn FnMut(&[u8]) -> Result<(), fs::Error>,
    ) -> Result<u64, fs::Error> {
        self.granted(path.slot())?;
        let files = self.files.borrow();
        let content = files.get(path).ok_or_else(|| fs::Error::NotFound(path.clone()))?;
        content.chunks(1024).try_for_each(take)?;
        Ok(content.len() as u64)
    }

    fn write(&self, path: &Path, content: &[u8]) -> Result<(), fs::Error> {
        self.writable(path)?;
        if let Some(parent) = path.parent() {
            self.create_dir_all(&parent)?;
        }
        self.files.borrow_mut().insert(path.clone(), content.to_vec());
        Ok(())
    }

    fn metadata(&self, path: &Path) -> Result<Metadata, fs::Error> {
        self.granted(path.slot())?;
        if self.folders.borrow().contains(path) {
            return Ok(Metadata { kind: Kind::Folder, size: 0 });
        }
        let files = self.files.borrow();
        let content = files.get(path).ok_or_else(|| fs::Error::NotFound(path.clone()))?;
        Ok(Metadata { kind: Kind::File, size: content.len() as u64 })
    }

    fn remove(&self, path: &Path) -> Result<(), fs::Error> {
        self.writable(path)?;
        self.files.borrow_mut().remove(path).map(|_| ()).ok_or_else(|| fs::Error::NotFound(path.clone()))
    }

    fn remove_folder(&self, path: &Path) -> Result<(), fs::Error> {
        self.writable(path)?;
        if !self.folders.borrow().contains(path) {
            return Err(fs::Error::NotFound(path.clone()));
        }
        if !self.list(path.slot(), path.inner())?.is_empty() {
            return Err(fs::Error::Exists(path.clone()));
        }
        self.folders.borrow_mut().remove(path);
        Ok(())
    }

    fn create_dir_all(&self, path: &Path) -> Result<(), fs::Error> {
        self.writable(path)?;
        if let Some(parent) = path.parent() {
            self.create_dir_all(&parent)?;
        }
        self.folders.borrow_mut().insert(path.clone());
        Ok(())
    }

    fn list(&self, slot: &str, inner: &str) -> Result<Vec<String>, fs::Error> {
        self.granted(slot)?;
        let start = if inner.is_empty() { String::new() } else { format!("{inner}/") };
        let files = self.files.borrow();
        let made = self.folders.borrow();
        let inside = files.keys().chain(made.iter()).filter(|path| path.slot() == slot);
        let names: BTreeSet<_> = inside
            .filter_map(|path| path.inner().strip_prefix(&start)?.split('/').next().map(str::to_owned))
            .collect();
        Ok(names.into_iter().collect())
    }
}
