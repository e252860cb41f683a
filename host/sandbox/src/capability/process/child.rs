//! Starts a program through the launcher, streams what it says, and ends it with all its children.
//!
//! It decides nothing and knows no grants. Invariants: the program starts only after the host's [`Gate`] said so; when
//! this future ends or is dropped, no process of the program's group is left.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin, Command};
use zeroize::Zeroizing;

use super::identity;
use super::launcher::{GO, NOT_STARTED, Orders, READY, TOKEN};
use crate::{Launcher, ProcessIdentity};

/// Bytes kept of each stream.
pub(super) const KEPT: usize = 1024 * 1024;
/// How long a program may take to end by itself when it is asked to.
const GRACE: Duration = Duration::from_secs(2);
/// How long what is left in the pipes is waited for once the program ended. A child that it left behind may hold them.
const DRAIN: Duration = Duration::from_millis(500);
/// A line longer than this is logged in pieces.
const LINE: usize = 8 * 1024;

/// What is to run.
pub(super) struct Order<'a> {
    pub(super) launcher: &'a Launcher,
    pub(super) orders: Orders,
    /// The whole environment.
    pub(super) environment: Vec<(String, Zeroizing<String>)>,
    pub(super) stdin: Vec<u8>,
    /// When it is ended, at the latest.
    pub(super) until: Instant,
}

/// How it ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) status: ExitStatus,
    pub(super) stdout: Kept,
    pub(super) stderr: Kept,
    /// Whether the host ended it, since its time was over.
    pub(super) timed_out: bool,
}

/// The start of a stream.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) bytes: Vec<u8>,
    /// Of the whole stream.
    pub(super) length: u64,
}

impl Kept {
    pub(super) fn truncated(&self) -> bool {
        self.length > self.bytes.len() as u64
    }
}

/// Why it did not run.
#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    /// The launcher or the program could not be started.
    #[error("{0}")]
    Spawn(String),
    /// The run could not take note of it.
    #[error("{0}")]
    Gate(String),
    /// The time was over before it started.
    #[error("its time was over before it started")]
    TimedOut,
}

impl From<io::Error> for StartError {
    fn from(error: io::Error) -> Self {
        Self::Spawn(error.to_string())
    }
}

/// Which stream a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Stdout,
    Stderr,
}

/// What watches a program run.
pub(super) trait Gate: Sync {
    /// Takes note of the process, durably before it returns. The program starts after that.
    fn started(&self, process: ProcessIdentity) -> impl Future<Output = Result<(), String>> + Send;
    /// A line that it wrote.
    fn line(&self, source: Source, line: &[u8]);
}

/// Runs a program to its end.
pub(super) async fn run(order: Order<'_>, gate: &impl Gate) -> Result<Ended, StartError> {
    let until = order.until;
    let token = token()?;
    let stdin_bytes = order.stdin;
    let mut child = spawn(order.launcher, &order.orders, order.environment).await?;
    let group = Group::of(&child)?;
    let (Some(mut stdin), Some(mut stdout), Some(mut stderr)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(StartError::Spawn("the program has no streams".to_owned()));
    };
    let start = async {
        wait_until_ready(&mut stdout).await?;
        gate.started(identity::of_leader(group.leader())?).await.map_err(StartError::Gate)?;
        stdin.write_all(&[[GO].as_slice(), token.as_slice()].concat()).await?;
        Ok::<_, StartError>(())
    };
    tokio::time::timeout_at(until.into(), start).await.map_err(|_| StartError::TimedOut)??;

    let (mut kept_out, mut kept_err) = (Kept::default(), Kept::default());
    let mut streams = Box::pin(async {
        tokio::join!(
            feed(stdin, &stdin_bytes),
            take(&mut stdout, &mut kept_out, |line| gate.line(Source::Stdout, line)),
            take(&mut stderr, &mut kept_err, |line| {
                // Not a line of the program, but of the launcher that could not become it.
                if !line.starts_with(token.as_slice()) {
                    gate.line(Source::Stderr, line);
                }
            }),
        )
    });
    let mut streams_ended = false;
    let ended = tokio::time::timeout_at(until.into(), async {
        loop {
            tokio::select! {
                status = child.wait() => return status,
                _ = &mut streams, if !streams_ended => streams_ended = true,
            }
        }
    });
    let (status, timed_out) = match ended.await {
        Ok(status) => (status?, false),
        Err(_) => (end(&group, &mut child).await?, true),
    };
    // Children that it left behind end with it, or they would hold the pipes and outlive the step.
    drop(group);
    if !streams_ended {
        // Whatever is still in the pipes after that time came from outside the group.
        let _cut = tokio::time::timeout(DRAIN, &mut streams).await.is_err();
    }
    drop(streams);
    if let Some(reason) = kept_err.bytes.strip_prefix(token.as_slice())
        && status.code() == Some(NOT_STARTED.into())
    {
        return Err(StartError::Spawn(String::from_utf8_lossy(reason).into_owned()));
    }
    Ok(Ended { status, stdout: kept_out, stderr: kept_err, timed_out })
}

/// Asks the group to end, and makes it end.
async fn end(group: &Group, child: &mut Child) -> io::Result<ExitStatus> {
    group.signal(Signal::TERM);
    if let Ok(status) = tokio::time::timeout(GRACE, child.wait()).await {
        return status;
    }
    group.signal(Signal::KILL);
    child.wait().await
}

/// The process group that the launcher makes of itself. Dropped, it is killed.
struct Group(Pid);

impl Group {
    fn of(child: &Child) -> Result<Self, StartError> {
        let number = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        number.map(Self).ok_or_else(|| StartError::Spawn("it ended at once".to_owned()))
    }

    fn leader(&self) -> u32 {
        self.0.as_raw_nonzero().get().unsigned_abs()
    }

    /// A group that is gone can't be signalled, which is as good.
    fn signal(&self, signal: Signal) {
        let _already_gone = rustix::process::kill_process_group(self.0, signal).is_err();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// Waits for the launcher's word, which comes before anything of the program.
async fn wait_until_ready(stdout: &mut (impl AsyncRead + Unpin)) -> Result<(), StartError> {
    let mut said = Vec::with_capacity(READY.len());
    // Not a byte more than the word: what follows is the program's.
    while said != READY {
        let mut byte = [0];
        if stdout.read(&mut byte).await? == 0 || said.len() > 4096 {
            let reason = String::from_utf8_lossy(&said).trim().to_owned();
            return Err(StartError::Spawn(match reason.as_str() {
                "" => "the launcher did not start".to_owned(),
                reason => format!("the launcher failed: {reason}"),
            }));
        }
        said.extend_from_slice(&byte);
    }
    Ok(())
}

/// A program need not read what it is given.
async fn feed(mut stdin: ChildStdin, bytes: &[u8]) {
    let written = stdin.write_all(bytes).await;
    drop(written);
}

/// Reads a stream to its end, keeps its start and hands over its lines.
async fn take(stream: &mut (impl AsyncRead + Unpin), kept: &mut Kept, mut line: impl FnMut(&[u8])) {
    let mut chunk = vec![0; 16 * 1024];
    let mut open: Vec<u8> = Vec::new();
    while let Ok(count @ 1..) = stream.read(&mut chunk).await {
        let read = chunk.get(..count).unwrap_or_default();
        kept.length += count as u64;
        let room = KEPT.saturating_sub(kept.bytes.len());
        kept.bytes.extend_from_slice(read.get(..room.min(count)).unwrap_or_default());
        for piece in read.split_inclusive(|byte| *byte == b'\n') {
            open.extend_from_slice(piece);
            if open.ends_with(b"\n") || open.len() >= LINE {
                line(open.trim_ascii_end());
                open.clear();
            }
        }
    }
    if !open.is_empty() {
        line(open.trim_ascii_end());
    }
}

fn token() -> Result<[u8; TOKEN], StartError> {
    let mut token = [0; TOKEN];
    getrandom::fill(&mut token).map_err(|error| StartError::Spawn(error.to_string()))?;
    // Letters, so that it has no line end in it.
    for byte in &mut token {
        *byte = b'a' + *byte % 16;
    }
    Ok(token)
}

/// Starts the launcher, from a thread that lives as long as this process: the kernel ends the child when the thread that
/// started it ends, and the runtime's threads come and go.
async fn spawn(
    launcher: &Launcher,
    orders: &Orders,
    environment: Vec<(String, Zeroizing<String>)>,
) -> Result<Child, StartError> {
    let mut command = Command::new(&launcher.program);
    command.args(&launcher.arguments).args(orders.to_arguments()).env_clear().kill_on_drop(true);
    command
        .envs(environment.iter().map(|(name, value)| (OsString::from(name), OsString::from(value.as_str()))));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let (answer, answered) = tokio::sync::oneshot::channel();
    let job = Job { command, runtime: tokio::runtime::Handle::current(), answer };
    let gone = || StartError::Spawn("the thread that starts programs is gone".to_owned());
    spawner()?.send(job).map_err(|_| gone())?;
    Ok(answered.await.map_err(|_| gone())??)
}

struct Job {
    command: Command,
    runtime: tokio::runtime::Handle,
    answer: tokio::sync::oneshot::Sender<io::Result<Child>>,
}

fn spawner() -> Result<&'static mpsc::Sender<Job>, StartError> {
    static SPAWNER: OnceLock<Option<mpsc::Sender<Job>>> = OnceLock::new();
    let started = SPAWNER.get_or_init(|| {
        let (jobs, waiting) = mpsc::channel::<Job>();
        let thread = std::thread::Builder::new().name("windlass-spawn".to_owned());
        let work = move || {
            for mut job in waiting {
                let _runtime = job.runtime.enter();
                // Where nobody waits any more, the child is dropped and so ended.
                drop(job.answer.send(job.command.spawn()));
            }
        };
        thread.spawn(work).ok().map(|_| jobs)
    });
    started.as_ref().ok_or_else(|| StartError::Spawn("no thread to start programs from".to_owned()))
}

/// The status and the signal that ended it.
pub(super) fn code_and_signal(status: ExitStatus) -> (Option<i32>, Option<i32>) {
    (status.code(), status.signal())
}
