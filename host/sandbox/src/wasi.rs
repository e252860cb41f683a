//! The WASI context of a call: nothing but clocks, random numbers, granted folders, and streams that become log lines.
//!
//! It is real and empty rather than absent, since the runtimes of Python, JavaScript and Go import all of it. Invariant:
//! no environment, no arguments, no sockets, no name lookup; a folder is there only if a grant names its slot, and
//! writable only in write mode under a line that says so.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use hyper::body::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};
use wasmtime_wasi::{FsPerms, WasiCtx};

use crate::capability::folder::Folders;
use crate::grant::Effect;
use crate::state::CallContext;
use crate::{Connection, HostFault, LogLevel, Mode};

/// The context, and the folders in it.
pub(crate) fn context(call: &Arc<CallContext>, folders: bool) -> Result<(WasiCtx, Folders), HostFault> {
    let mut builder = WasiCtx::builder();
    builder
        .max_random_size(call.limits.random_bytes)
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false)
        .stdout(LogStream::new(call, Source::Stdout))
        .stderr(LogStream::new(call, Source::Stderr));
    let mut shown = Folders::default();
    if folders {
        for (slot, bound) in call.bindings().iter() {
            let Connection::Folder { path } = &bound.connection else { continue };
            let Some(access) = call.grants().folder(slot) else { continue };
            let writable = call.mode == Mode::Write && access == Effect::Write;
            let perms = if writable { FsPerms::ReadWrite } else { FsPerms::ReadOnly };
            let guest = format!("/{slot}");
            builder.preopened_dir(path, &guest, perms).map_err(|error| {
                let cause = error.root_cause();
                HostFault(format!("the folder `{}` of connection `{}`: {cause}", path.display(), bound.name))
            })?;
            shown.insert(slot, writable);
        }
    }
    Ok((builder.build(), shown))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Stdout,
    Stderr,
}

/// Standard output or error of a guest: each line becomes one of the run's log.
#[derive(Clone)]
struct LogStream {
    call: Arc<CallContext>,
    source: Source,
    /// The beginning of a line whose end has not come yet.
    started: Arc<Mutex<Vec<u8>>>,
}

impl LogStream {
    fn new(call: &Arc<CallContext>, source: Source) -> Self {
        Self { call: Arc::clone(call), source, started: Arc::default() }
    }

    fn take(&self, bytes: &[u8]) {
        if self.source == Source::Stderr {
            self.call.keep_stderr(bytes);
        }
        let most = self.call.limits.log_line_bytes;
        let mut started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            // One byte over the limit is enough for the log to see that the line is too long.
            let room = (most + 1).saturating_sub(started.len());
            started.extend_from_slice(part.get(..room).unwrap_or(part));
            if part.ends_with(b"\n") {
                let line = std::mem::take(&mut *started);
                self.log(&line);
            }
        }
    }

    fn log(&self, line: &[u8]) {
        let text = String::from_utf8_lossy(line);
        let text = text.trim_end();
        if !text.is_empty() {
            let (level, source) = match self.source {
                Source::Stdout => (LogLevel::Info, "stdout"),
                Source::Stderr => (LogLevel::Warn, "stderr"),
            };
            self.call.log(level, text, vec![("source".to_owned(), source.into())]);
        }
    }
}

impl Drop for LogStream {
    fn drop(&mut self) {
        // The last handle logs the line that never ended.
        if Arc::strong_count(&self.started) == 1 {
            let line = std::mem::take(&mut *self.started.lock().unwrap_or_else(PoisonError::into_inner));
            self.log(&line);
        }
    }
}

impl IsTerminal for LogStream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for LogStream {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for LogStream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.take(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(64 * 1024)
    }
}

impl Pollable for LogStream {
    fn ready<'a, 'b>(&'a mut self) -> Pin<Box<dyn Future<Output = ()> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(std::future::ready(()))
    }
}

impl AsyncWrite for LogStream {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.take(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
