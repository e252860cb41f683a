//! `windlass:plugin/artifacts`: things kept with the run.
//!
//! Invariant: a file is opened beneath the folder that is bound to the slot, without following a link out of it, and
//! only if a grant names the slot.

use std::fs::File;
use std::path::{Component, Path};

use rustix::fs::{Mode as FileMode, OFlags, ResolveFlags};

use crate::bindings::artifacts::{Artifact, Host};
use crate::bindings::outcome::Failure;
use crate::state::{CallContext, CallState};
use crate::text::{cut, plain};
use crate::{ArtifactContent, Connection};

impl Host for CallState {
    async fn keep(
        &mut self,
        name: String,
        media_type: String,
        content: Vec<u8>,
    ) -> wasmtime::Result<Result<Artifact, Failure>> {
        Ok(self.call.clone().keep_content(name, media_type, ArtifactContent::Bytes(content)).await)
    }

    async fn keep_file(
        &mut self,
        name: String,
        media_type: String,
        path: String,
    ) -> wasmtime::Result<Result<Artifact, Failure>> {
        let file = match self.call.open_granted(&path) {
            Ok(file) => file,
            Err(failure) => return Ok(Err(failure)),
        };
        Ok(self.call.clone().keep_content(name, media_type, ArtifactContent::File(file)).await)
    }
}

impl CallContext {
    async fn keep_content(
        &self,
        name: String,
        media_type: String,
        content: ArtifactContent,
    ) -> Result<Artifact, Failure> {
        let name = cut(plain(&name), 256);
        if self.planning || self.configuring() {
            let reason = "artifacts belong to a run, and this call belongs to none";
            return Err(super::denied(&self.deny("artifact", "keep", &name, reason, None)));
        }
        if !is_media_type(&media_type) {
            return Err(super::failure(
                "bad-media-type",
                format!("`{}` is no media type", plain(&media_type)),
            ));
        }
        let kept = self.services.keep(name, media_type, content).await.map_err(super::service_failure)?;
        Ok(Artifact { name: kept.name, digest: kept.digest, size: kept.size })
    }

    /// Opens `/SLOT/name` for reading.
    fn open_granted(&self, guest_path: &str) -> Result<File, Failure> {
        let shown = plain(guest_path);
        let not_found = || super::failure("not-found", format!("there is no file `{shown}`"));
        let (slot, rest) =
            guest_path.strip_prefix('/').and_then(|path| path.split_once('/')).ok_or_else(|| {
                super::failure("not-found", format!("`{shown}` is not of the form `/SLOT/name`"))
            })?;
        let inside = !rest.is_empty()
            && Path::new(rest)
                .components()
                .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        let Some(Connection::Folder { path }) = self.visible(slot).map(|bound| &bound.connection) else {
            let allow = Some(format!("folder {}: read", plain(slot)));
            let reason = "no granted folder has this name";
            return Err(super::denied(&self.deny("folder", "keep-file", &shown, reason, allow)));
        };
        if !inside {
            let reason = "the path leads out of the folder";
            return Err(super::denied(&self.deny("folder", "keep-file", &shown, reason, None)));
        }
        let folder = File::open(path).map_err(|_| not_found())?;
        let file = rustix::fs::openat2(
            &folder,
            rest,
            OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK,
            FileMode::empty(),
            ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS,
        )
        .map_err(|_| not_found())?;
        let file = File::from(file);
        if file.metadata().is_ok_and(|data| data.is_file()) { Ok(file) } else { Err(not_found()) }
    }
}

fn is_media_type(text: &str) -> bool {
    let word = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b))
    };
    text.len() <= 128
        && text.split_once('/').is_some_and(|(kind, rest)| {
            let (sub, parameters) = rest.split_once(';').unwrap_or((rest, ""));
            word(kind) && word(sub.trim_end()) && parameters.bytes().all(|b| (b' '..=b'~').contains(&b))
        })
}
