//! Compiles components, in a child process with limits wherever there is one.
//!
//! The compiler is written for programs, not for attacks: it may take any amount of time and memory, or panic. So it
//! runs in a process of its own, which is given the component and hands back the code, and has no environment, no files
//! and no network to speak of. Invariant: a component that the compiler can't manage is a [`LoadError`], and nothing
//! worse happens.

use std::io::{Read as _, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, setrlimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use wasmtime::Engine;

use crate::engine::{Kind, config};
use crate::limits::Size;
use crate::text::plain;
use crate::{HostFault, LoadError};

/// Data memory of the compiling process. Python's component, the largest seen, takes 368 MB.
const MEMORY: u64 = 1024 * 1024 * 1024;
/// Processor time of the compiling process, in seconds.
const PROCESSOR_SECONDS: u64 = 60;
/// Wall time of the compiling process.
const WALL: Duration = Duration::from_secs(120);
/// The longest answer.
const MAX_ANSWER: u64 = 512 * 1024 * 1024;

const DONE: u8 = 0;
const REFUSED: u8 = 1;

/// Where components are compiled.
#[derive(Debug, Clone)]
pub enum Compiler {
    /// In a process of its own: this program, with these arguments, calls [`compile_worker_main`].
    Child {
        /// The `windlass` executable.
        program: PathBuf,
        /// Its hidden subcommand.
        arguments: Vec<String>,
    },
    /// In this process, without limits. For tests.
    InProcess,
}

impl Compiler {
    /// Compiles for the engine of this kind.
    pub(crate) async fn compile(&self, component: Arc<[u8]>, kind: Kind) -> Result<Vec<u8>, LoadError> {
        match self {
            Self::InProcess => {
                let compiled = tokio::task::spawn_blocking(move || compile_here(&component, kind)).await;
                compiled
                    .map_err(|error| HostFault::new("the compiler's thread is gone", error))?
                    .map_err(|why| refused(&why))
            }
            Self::Child { program, arguments } => {
                let mut command = Command::new(program);
                command.args(arguments);
                compile_in(command, &component, kind).await
            }
        }
    }
}

fn refused(why: &str) -> LoadError {
    LoadError::with_help(
        format!("it can't be compiled: {why}"),
        "if the same file was compiled before, it is damaged; else build it with another version of its tools",
    )
}

async fn compile_in(mut command: Command, component: &[u8], kind: Kind) -> Result<Vec<u8>, LoadError> {
    let starting = |error| LoadError::from(HostFault::new("the compiling process doesn't start", error));
    let mut child = command
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(starting)?;
    let (Some(mut input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(HostFault("the compiling process has no pipes".to_owned()).into());
    };
    let write = async move {
        let tag = [u8::from(kind == Kind::Big)];
        // The worker may end before it has read everything; its answer says why.
        let _broken = async {
            input.write_all(&tag).await?;
            input.write_all(component).await?;
            input.shutdown().await
        }
        .await;
    };
    let mut answer = Vec::new();
    let mut output = output.take(MAX_ANSWER);
    let work = async {
        let ((), read) = tokio::join!(write, output.read_to_end(&mut answer));
        read?;
        child.wait().await
    };
    let status = match tokio::time::timeout(WALL, work).await {
        Ok(Ok(status)) => status,
        Ok(Err(error)) => return Err(HostFault::new("the compiling process can't be heard", error).into()),
        Err(_) => return Err(refused(&format!("compiling took longer than {} s", WALL.as_secs()))),
    };
    match answer.split_first() {
        Some((&DONE, code)) if status.success() => Ok(code.to_vec()),
        Some((&REFUSED, why)) if status.success() => Err(refused(&plain(&String::from_utf8_lossy(why)))),
        _ => Err(refused(&format!(
            "the compiler was stopped ({status}); it may use {} and {PROCESSOR_SECONDS} s of processor time",
            Size(MEMORY)
        ))),
    }
}

/// What the hidden subcommand for compiling does: reads a component from standard input, writes code to standard output.
#[must_use]
pub fn compile_worker_main() -> ExitCode {
    match work() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn work() -> std::io::Result<()> {
    let limit = |resource, most| setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) });
    limit(Resource::Data, MEMORY)?;
    limit(Resource::Cpu, PROCESSOR_SECONDS)?;
    limit(Resource::Core, 0)?;
    limit(Resource::Fsize, 0)?;
    rustix::thread::set_no_new_privs(true)?;
    let mut tag = [0];
    let mut component = Vec::new();
    let mut input = std::io::stdin().lock();
    input.read_exact(&mut tag)?;
    input.read_to_end(&mut component)?;
    let kind = if tag == [0] { Kind::Small } else { Kind::Big };
    let mut output = std::io::stdout().lock();
    match compile_here(&component, kind) {
        Ok(code) => {
            output.write_all(&[DONE])?;
            output.write_all(&code)?;
        }
        Err(why) => {
            output.write_all(&[REFUSED])?;
            output.write_all(why.as_bytes())?;
        }
    }
    output.flush()
}

fn compile_here(component: &[u8], kind: Kind) -> Result<Vec<u8>, String> {
    let compiled =
        catch_unwind(AssertUnwindSafe(|| Engine::new(&config(kind, false))?.precompile_component(component)));
    match compiled {
        Ok(Ok(code)) => Ok(code),
        Ok(Err(error)) => Err(plain(&error.root_cause().to_string())),
        Err(_) => Err("the compiler gave up on it".to_owned()),
    }
}
