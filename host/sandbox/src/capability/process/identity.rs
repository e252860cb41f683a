//! Which process is which, also after a crash of the host.
//!
//! A number alone tells nothing, since numbers are given again: with the start of the group's leader and the machine's
//! boot it does. Reads `/proc` and changes nothing.

use std::fs;
use std::io;

use crate::ProcessIdentity;

/// Whether no process of the group lives any more: neither its leader nor a child that stayed in the group.
///
/// Where `/proc` can't be read, the answer is no. A process that left the group by itself is not seen.
#[must_use]
pub fn process_group_is_gone(process: &ProcessIdentity) -> bool {
    match boot_id() {
        Ok(boot) if boot != process.boot_id => return true,
        Ok(_) => {}
        Err(_) => return false,
    }
    // The kernel gives no number away that a group still bears: a leader with another start is of a later group.
    if let Ok(leader) = Stat::read(process.group)
        && leader.start_time != process.start_time
    {
        return true;
    }
    let Ok(entries) = fs::read_dir("/proc") else { return false };
    let numbers = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    // A zombie has ended and only waits to be counted.
    !numbers
        .filter_map(|pid| Stat::read(pid).ok())
        .any(|stat| stat.group == process.group && stat.state != 'Z')
}

/// The identity of a process that leads a group.
pub(super) fn of_leader(pid: u32) -> io::Result<ProcessIdentity> {
    let stat = Stat::read(pid)?;
    if stat.group != pid {
        return Err(io::Error::other("the process leads no group"));
    }
    Ok(ProcessIdentity { group: pid, start_time: stat.start_time, boot_id: boot_id()? })
}

fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// The fields of `/proc/PID/stat` that matter here.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    state: char,
    group: u32,
    start_time: u64,
}

impl Stat {
    fn read(pid: u32) -> io::Result<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        Self::parse(&text).ok_or_else(|| io::Error::other("/proc has another form than expected"))
    }

    /// `PID (NAME) STATE PARENT GROUP …`; the name may hold anything, so the last parenthesis counts.
    fn parse(text: &str) -> Option<Self> {
        let mut fields = text.get(text.rfind(')')? + 1..)?.split_ascii_whitespace();
        let state = fields.next()?.chars().next()?;
        let group = fields.nth(1)?.parse().ok()?;
        let start_time = fields.nth(16)?.parse().ok()?;
        Some(Self { state, group, start_time })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_parentheses_do_not_confuse() {
        let text = "42 (a) b (c) S 1 40 40 0 -1 4194304 99 0 0 0 0 0 0 0 20 0 1 0 123456 1000 10 18446744073709551615";
        assert_eq!(Stat::parse(text), Some(Stat { state: 'S', group: 40, start_time: 123_456 }));
        assert_eq!(Stat::parse("42 (sh"), None);
    }

    #[test]
    fn a_group_lives_with_its_boot_start_and_members() {
        use std::os::unix::process::CommandExt as _;
        let mut child = std::process::Command::new("/bin/sleep").arg("30").process_group(0).spawn().unwrap();
        let identity = of_leader(child.id()).unwrap();
        assert!(!process_group_is_gone(&identity));
        let other_boot = ProcessIdentity { boot_id: "another".to_owned(), ..identity.clone() };
        assert!(process_group_is_gone(&other_boot));
        let reused = ProcessIdentity { start_time: identity.start_time + 1, ..identity.clone() };
        assert!(process_group_is_gone(&reused));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(process_group_is_gone(&identity));
    }
}
