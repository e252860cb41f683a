//! The figures of many runs at once, under `windlass daemon`, and of a guard.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{Bench, HEAD, absolute, at_least, report};
use crate::Error;

/// How many runs are in flight.
const RUNS: u32 = 1_000;
/// Durable steps of each.
const STEPS: u32 = 10;
/// How many are compared with twice as many, for what one more costs.
const RESTING: u32 = 500;
/// A daemon that needed no processor for so long has brought all its runs to rest.
const SETTLED: Duration = Duration::from_secs(1);
/// How often it is looked whether the runs have ended.
const LOOK: Duration = Duration::from_millis(100);
/// Nothing here takes longer.
const PATIENCE: Duration = Duration::from_secs(120);

impl Bench {
    /// Many runs in flight, against the same events committed in groups by nothing but a writer; and with one core.
    pub(super) fn many_runs(&self) -> Result<(), Error> {
        let steps: String = (0..STEPS)
            .map(|step| {
                format!("[[step]]\nid = \"s{step}\"\ndo = \"noop.write\"\nwith = {{ n = {step} }}\n\n")
            })
            .collect();
        let runbook = self.runbook("ten-durable", &format!("{HEAD}{steps}"))?;
        let both = self.driven(&runbook, &[])?;
        let one = self.driven(&runbook, &["taskset", "-c", "0"])?;
        let (events, bytes) = (both.events, both.bytes);
        let commits = u64::from(RUNS * STEPS * 2);
        let file = self.folder.join("group.db");
        let floor = self.floor_figure(&[
            "group",
            &file.to_string_lossy(),
            &RUNS.to_string(),
            &(STEPS * 2).to_string(),
            &(events.div_ceil(commits)).to_string(),
            &(bytes / events.max(1)).to_string(),
        ])?;
        report("1,000 runs of 10 durable steps, to their commits", both.took, floor, 3.0);
        at_least("the same on one core, to two", one.took, both.took, 1.5);
        Ok(())
    }

    /// What a run holds of memory that is at work, and one that is put aside.
    pub(super) fn resting_runs(&self) -> Result<(), Error> {
        for (name, wait, limit) in
            [("memory of a live run", "28s", 100.0), ("memory of a parked run", "1h", 4.0)]
        {
            let step = format!(
                "[[step]]\nid = \"a\"\ndo = \"noop.read\"\nwith = {{ n = 1 }}\n[[step]]\nid = \"b\"\nwait = \"{wait}\"\n"
            );
            let runbook = self.runbook(&format!("rest-{wait}"), &format!("{HEAD}{step}"))?;
            let few = self.memory_with(&runbook, RESTING)?;
            let many = self.memory_with(&runbook, RESTING * 2)?;
            absolute(name, (many - few) / f64::from(RESTING), limit, "KiB");
        }
        Ok(())
    }

    /// From the moment at which a guard trips to the first undo.
    pub(super) fn tripped_guard(&self) -> Result<(), Error> {
        let steps = "[[step]]\nid = \"a\"\ndo = \"noop.write\"\nwith = { n = 1 }\n\
                     undo = { do = \"noop.write\", with = { n = 0 } }\n\n\
                     [[step]]\nid = \"b\"\nwait = \"60s\"\n\n\
                     [[guard]]\nid = \"g\"\ndo = \"noop.read\"\nwith = { n = 7 }\nevery = \"50ms\"\nfrom = \"a\"\nno_data = \"hold\"\n\
                     rollback_when = \"result.n > 5\"\n";
        let runbook = self.runbook("guarded", &format!("{HEAD}{steps}"))?;
        let mut times = Vec::new();
        for _ in 0..super::ROUNDS {
            times.push(self.trip_to_undo(&runbook)?);
        }
        times.sort_unstable();
        let median = times.get(times.len() / 2).copied().unwrap_or_default();
        absolute("a guard's trip to the first undo", median.as_secs_f64() * 1e3, 10.0, "ms");
        Ok(())
    }

    fn trip_to_undo(&self, runbook: &str) -> Result<Duration, Error> {
        let mut child = self.command(&["run", runbook, "--output", "json"]).stdout(Stdio::piped()).spawn()?;
        let lines = BufReader::new(child.stdout.take().ok_or("no standard output")?).lines();
        let (mut tripped, mut undone) = (None, None);
        for line in lines {
            let line = line?;
            if tripped.is_none() && line.contains("\"guard_tripped\"") {
                tripped = Some(Instant::now());
            }
            if tripped.is_some() && undone.is_none() && line.contains("\"attempt_started\"") {
                undone = Some(Instant::now());
            }
        }
        child.wait()?;
        match (tripped, undone) {
            (Some(tripped), Some(undone)) => Ok(undone - tripped),
            _ => Err("the guard did not turn the run back".into()),
        }
    }

    /// Lets a daemon drive the runs to their end.
    fn driven(&self, runbook: &str, prefix: &[&str]) -> Result<Driven, Error> {
        let store = self.detached(runbook, RUNS)?;
        let began = Instant::now();
        let mut daemon = self.daemon(&store, prefix, Stdio::piped())?;
        // It says of each run how it has ended.
        let lines = BufReader::new(daemon.stdout.take().ok_or("no standard output")?).lines();
        let ended =
            lines.map_while(Result::ok).filter(|line| line.contains("succeeded")).take(RUNS as usize).count();
        let took = began.elapsed();
        end(daemon)?;
        if ended < RUNS as usize {
            return Err("the daemon did not drive all runs to their end".into());
        }
        let output = Command::new(self.programs.join("bench-floor")).args(["events", &store]).output()?;
        let text = String::from_utf8(output.stdout)?;
        let mut numbers = text.split_whitespace().map(str::parse::<u64>);
        let mut number = || numbers.next().ok_or("bench-floor counted no events")?.map_err(Error::from);
        Ok(Driven { took, events: number()?, bytes: number()? })
    }

    /// KiB of a daemon that has so many runs resting.
    fn memory_with(&self, runbook: &str, runs: u32) -> Result<f64, Error> {
        let store = self.detached(runbook, runs)?;
        let mut daemon = self.daemon(&store, &[], Stdio::null())?;
        let id = daemon.id();
        let mut before = None;
        let rested = until(&mut daemon, || {
            std::thread::sleep(SETTLED);
            let now = Some(processor_ticks(id)?);
            Ok((std::mem::replace(&mut before, now) == now).then_some(()))
        });
        let memory = super::resident_kib(id);
        end(daemon)?;
        rested.and(memory)
    }

    /// A store of its own with detached runs that nobody drives yet.
    fn detached(&self, runbook: &str, count: u32) -> Result<String, Error> {
        let store =
            tempfile::Builder::new().prefix("store").tempdir_in(&self.folder)?.keep().join("store.db");
        let store = store.to_string_lossy().into_owned();
        for _ in 0..count {
            self.windlass(&["run", runbook, "--detach", "--store", &store])?;
        }
        Ok(store)
    }

    fn daemon(&self, store: &str, prefix: &[&str], output: Stdio) -> Result<Child, Error> {
        let daemon = self.command(&["daemon", "--store", store]);
        let mut command = match prefix.split_first() {
            None => daemon,
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(daemon.get_program()).args(daemon.get_args());
                let variables = daemon.get_envs().filter_map(|(name, value)| Some((name, value?)));
                command.envs(variables);
                command
            }
        };
        Ok(command.stdout(output).stderr(Stdio::null()).spawn()?)
    }
}

/// A store's runs, driven to their end.
struct Driven {
    took: Duration,
    events: u64,
    /// Of their sealed payloads.
    bytes: u64,
}

/// Looks again and again until there is something, or until the daemon is gone.
fn until<T>(daemon: &mut Child, mut look: impl FnMut() -> Result<Option<T>, Error>) -> Result<T, Error> {
    let began = Instant::now();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if let Some(status) = daemon.try_wait()? {
            return Err(format!("the daemon ended: {status}").into());
        }
        if began.elapsed() > PATIENCE {
            return Err("the daemon has not come to an end with its runs".into());
        }
        std::thread::sleep(LOOK);
    }
}

fn end(mut daemon: Child) -> Result<(), Error> {
    daemon.kill()?;
    daemon.wait()?;
    Ok(())
}

/// Time that a process has spent on processors, in clock ticks: `utime` and `stime` of proc(5).
fn processor_ticks(id: u32) -> Result<u64, Error> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat"))?;
    let (_, fields) = stat.rsplit_once(')').ok_or("a strange /proc/PID/stat")?;
    // The fields after the name begin with the third.
    fields.split_whitespace().skip(11).take(2).map(|ticks| Ok(ticks.parse::<u64>()?)).sum()
}
