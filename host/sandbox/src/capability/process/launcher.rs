//! What stands between the host and a program: a process of its own that gives away what the program must not have, waits
//! until the host has written down who it is, and becomes the program.
//!
//! It holds no secret of its own and decides nothing. Invariant: the program is not started before the host's word came,
//! and not at all where one of the steps before failed.
//!
//! With the host it speaks over the program's own streams: it writes [`READY`] to standard output, and waits on standard
//! input for [`GO`] and a token. Where the program can't be started, it writes the token and the reason to standard error.
//! The program never learns the token, so it can't pretend.

use std::ffi::{OsStr, OsString};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use rustix::process::{Resource, Rlimit, Signal};

/// What the launcher writes when it waits.
pub(super) const READY: &[u8] = b"windlass: ready\n";
/// What it waits for, followed by the token.
pub(super) const GO: u8 = b'g';
/// Bytes of the token.
pub(super) const TOKEN: usize = 32;
/// The status it ends with where there is no program to take its own.
pub(super) const NOT_STARTED: u8 = 125;

/// What the program may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ProcessLimits {
    /// Seconds of processor time.
    pub(super) cpu: u64,
    /// Bytes of memory of its own, not counting files it maps.
    pub(super) memory: u64,
    /// Bytes of a file it writes.
    pub(super) file: u64,
    /// Open files.
    pub(super) files: u64,
}

/// The launcher's orders, handed over as its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Orders {
    pub(super) limits: ProcessLimits,
    /// Where the program runs.
    pub(super) directory: PathBuf,
    /// Absolute.
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<OsString>,
}

impl Orders {
    pub(super) fn to_arguments(&self) -> Vec<OsString> {
        let ProcessLimits { cpu, memory, file, files } = self.limits;
        let mut arguments: Vec<OsString> =
            [cpu, memory, file, files].iter().map(|limit| limit.to_string().into()).collect();
        arguments.push(self.directory.clone().into_os_string());
        arguments.push(self.program.clone().into_os_string());
        arguments.extend(self.arguments.iter().cloned());
        arguments
    }

    fn from_arguments(mut arguments: impl Iterator<Item = OsString>) -> Option<Self> {
        let mut limit = || arguments.next()?.to_str()?.parse().ok();
        let limits = ProcessLimits { cpu: limit()?, memory: limit()?, file: limit()?, files: limit()? };
        let directory = arguments.next()?.into();
        let program = arguments.next()?.into();
        Some(Self { limits, directory, program, arguments: arguments.collect() })
    }
}

/// Takes the orders from the arguments that follow the hidden subcommand, waits for the host's word on standard input and
/// becomes the program, with the environment that it was started with. Returns only where it can't: with status 125.
pub fn launcher_main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let failed = ExitCode::from(NOT_STARTED);
    let Some(orders) = Orders::from_arguments(arguments) else {
        tell(&mut std::io::stdout(), b"this command is for windlass itself to start programs by");
        return failed;
    };
    if let Err(reason) = give_up_rights(&orders) {
        tell(&mut std::io::stdout(), reason.as_bytes());
        return failed;
    }
    tell(&mut std::io::stdout(), READY);
    let Some(token) = wait_for_go() else { return failed };
    let error = Command::new(&orders.program).args(&orders.arguments).exec();
    let mut text = token.to_vec();
    text.extend_from_slice(error.to_string().as_bytes());
    tell(&mut std::io::stderr(), &text);
    failed
}

/// Everything that has to be so before the program starts, and that it can't take back.
fn give_up_rights(orders: &Orders) -> Result<(), String> {
    let step = |what: &str, error: rustix::io::Errno| format!("{what}: {error}");
    // A session of its own: a group to end all of it by, and no terminal to ask for a password on.
    rustix::process::setsid().map_err(|error| step("a new session", error))?;
    // The host is the parent: when it dies, so does the program.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| step("ending with the host", error))?;
    rustix::thread::set_no_new_privs(true).map_err(|error| step("no new privileges", error))?;
    close_inherited().map_err(|error| format!("closing inherited files: {error}"))?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let ProcessLimits { cpu, memory, file, files } = orders.limits;
    for (resource, limit) in [
        (Resource::Cpu, cpu),
        (Resource::Data, memory),
        (Resource::Fsize, file),
        (Resource::Nofile, files),
        (Resource::Core, 0),
    ] {
        // What was set for the host itself may be lower already, and can't be raised.
        let most = rustix::process::getrlimit(resource).maximum.map_or(limit, |most| most.min(limit));
        rustix::process::setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })
            .map_err(|error| step("limits", error))?;
    }
    std::env::set_current_dir(&orders.directory)
        .map_err(|error| format!("{}: {error}", orders.directory.display()))
}

/// The host opens its own files so that they are not inherited; this closes what the host itself was started with.
fn close_inherited() -> std::io::Result<()> {
    let number = |name: &OsStr| name.to_str().and_then(|name| name.parse::<i32>().ok());
    let open: Vec<i32> = std::fs::read_dir("/proc/self/fd")?
        .flatten()
        .filter_map(|entry| number(&entry.file_name()))
        .filter(|descriptor| *descriptor > 2)
        .collect();
    for descriptor in open {
        // The one that listed the folder is closed already.
        if let Err(error) = nix::unistd::close(descriptor)
            && error != nix::errno::Errno::EBADF
        {
            return Err(error.into());
        }
    }
    Ok(())
}

/// The token, or none where the host ended or changed its mind. Read byte by byte to the last: what follows is for the
/// program.
fn wait_for_go() -> Option<[u8; TOKEN]> {
    let stdin = std::io::stdin();
    let mut taken = [0; TOKEN + 1];
    let mut room = taken.as_mut_slice();
    while !room.is_empty() {
        match rustix::io::read(stdin.as_fd(), &mut *room) {
            Ok(0) => return None,
            Ok(count) => room = room.get_mut(count..)?,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return None,
        }
    }
    let (go, token) = taken.split_first()?;
    if *go == GO { token.try_into().ok() } else { None }
}

/// Nobody is left to tell where this fails.
fn tell(stream: &mut impl std::io::Write, text: &[u8]) {
    drop(stream.write_all(text).and_then(|()| stream.flush()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_survive_the_way_through_arguments() {
        let orders = Orders {
            limits: ProcessLimits { cpu: 1, memory: 2, file: 3, files: 4 },
            directory: "/tmp/a b".into(),
            program: "/bin/echo".into(),
            arguments: vec!["--".into(), "".into(), "x y".into()],
        };
        assert_eq!(Orders::from_arguments(orders.to_arguments().into_iter()), Some(orders));
        assert_eq!(Orders::from_arguments(["1".into(), "x".into()].into_iter()), None);
    }
}
