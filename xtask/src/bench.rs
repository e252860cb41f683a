//! `cargo xtask bench`: each figure beside its limit, both measured in this run.
//!
//! The machine may be busy, so every figure is a median of rounds and every verdict a ratio; absolute times are for
//! orientation.

mod runs;

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::{Error, plugins, programs, workspace};

/// How often each is measured.
const ROUNDS: usize = 9;

/// Figures that are measured together, and their name on the command line.
type Group = (&'static str, fn(&Bench) -> Result<(), Error>);

const GROUPS: &[Group] = &[
    ("start", Bench::start),
    ("steps", Bench::steps),
    ("plan", Bench::check_and_plan),
    ("idle", Bench::idle),
    ("runs", Bench::many_runs),
    ("guard", Bench::tripped_guard),
];

/// Run the benchmarks, or those of the groups that are named.
pub(crate) fn run(arguments: &[String]) -> Result<(), Error> {
    if let Some(unknown) =
        arguments.iter().find(|name| !GROUPS.iter().any(|(group, _)| *group == name.as_str()))
    {
        let names: Vec<_> = GROUPS.iter().map(|(group, _)| *group).collect();
        return Err(format!("there is no group `{unknown}`; there are {}", names.join(", ")).into());
    }
    plugins::build_named(&["noop".to_owned()])?;
    programs::build(&["--release", "--package", "windlass-cli", "--package", "windlass-tests", "--bins"])?;
    let folder = tempfile::tempdir()?;
    let bench = Bench { folder: folder.path().to_owned(), programs: workspace::target_dir().join("release") };
    println!("{:<44} {:>11} {:>11} {:>7} {:>7}  verdict", "figure", "measured", "floor", "ratio", "limit");
    for (name, measure) in GROUPS {
        if arguments.is_empty() || arguments.iter().any(|argument| argument == *name) {
            measure(&bench)?;
        }
    }
    Ok(())
}

struct Bench {
    folder: PathBuf,
    programs: PathBuf,
}

/// What a runbook of the benchmark is made of.
const HEAD: &str = "[runbook]\nname = \"bench\"\n\n[plugins.noop]\nsource = \"builtin:noop\"\n\n";

impl Bench {
    /// Process start to the first step of a runbook whose components are compiled, journal on.
    fn start(&self) -> Result<(), Error> {
        let runbook = self.runbook(
            "one",
            &format!("{HEAD}[[step]]\nid = \"a\"\ndo = \"noop.read\"\nwith = {{ n = 1 }}\n"),
        )?;
        self.windlass(&["run", &runbook])?;
        let first_step = median(|| {
            let began = Instant::now();
            let mut child =
                self.command(&["run", &runbook, "--output", "json"]).stdout(Stdio::piped()).spawn()?;
            let lines = BufReader::new(child.stdout.take().ok_or("no standard output")?).lines();
            let mut seen = None;
            for line in lines {
                if seen.is_none() && line?.contains("\"step_succeeded\"") {
                    seen = Some(began.elapsed());
                }
            }
            child.wait()?;
            seen.ok_or_else(|| "the step did not succeed".into())
        })?;
        let store = self.folder.join("floor.db");
        let floor = median(|| self.floor_process(&["commit", &store.to_string_lossy()]))?;
        report("start to first step", first_step, floor, 5.0);
        absolute("start to first step", millis(first_step), 10.0, "ms");
        Ok(())
    }

    /// Single steps, and those of a fan-out.
    fn steps(&self) -> Result<(), Error> {
        absolute("reading no-op step", self.reading_step()?.as_secs_f64() * 1e6, 50.0, "µs");
        self.writing_step()?;
        self.fan_out()
    }

    /// A reading no-op step in a fresh instance.
    fn reading_step(&self) -> Result<Duration, Error> {
        self.per_step("read", 1, 5_000)
    }

    /// A writing step against the two durable commits that it must make. What a commit costs drifts, so each is measured
    /// beside the other.
    fn writing_step(&self) -> Result<(), Error> {
        let file = self.folder.join("commits.db").to_string_lossy().into_owned();
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            let commit = self.floor_figure(&["commits", &file, "400", "900"])?;
            rounds.push((self.one_more("write", 1, 400)?, commit * 2));
        }
        rounds.sort_by(|(one, floor), (other, beside)| {
            let (one, other) = (one.div_duration_f64(*floor), other.div_duration_f64(*beside));
            one.total_cmp(&other)
        });
        let (per_step, floor) = rounds.get(ROUNDS / 2).ok_or("nothing was measured")?;
        report("writing step, to two bare commits", *per_step, *floor, 1.2);
        Ok(())
    }

    /// What one item of a fan-out costs at 10,000 items, to what it costs at 100.
    fn fan_out(&self) -> Result<(), Error> {
        let few = self.per_step("read", 8, 100)?;
        let many = self.per_step("read", 8, 10_000)?;
        report("fan-out item at 10,000, to one at 100", many, few, 1.5);
        Ok(())
    }

    /// `check` and `plan` of 10,000 steps. A plan makes the calls of its steps, each in a fresh instance. By its own
    /// limit such a call may cost 50 µs, so 10,000 of them are many times what their TOML takes, however little the host
    /// does. The host's work is therefore held against parsing where nothing is called, and a call of a plan against the
    /// same call of a run.
    fn check_and_plan(&self) -> Result<(), Error> {
        let reading_step = self.reading_step()?;
        let calling = self.runbook("ten-thousand", &ten_thousand("", |_| false)?)?;
        let floor = self.floor_figure(&["toml", &calling, "9"])?;
        let check = median(|| self.timed(&["check", &calling]))?;
        report("check of 10,000 steps, to parsing them", check, floor, 4.0);

        let inputs = "[inputs]\ngo = { type = \"bool\", default = false }\n\n";
        let quiet = self.runbook("ten-thousand-quiet", &ten_thousand(inputs, |step| step % 10 == 9)?)?;
        let floor = self.floor_figure(&["toml", &quiet, "9"])?;
        let plan = median(|| self.timed(&["plan", &quiet]))?;
        report("check + plan of them, host only, to parsing", plan, floor, 4.0);

        let plan = median(|| self.timed(&["plan", &calling]))?;
        let per_call = plan.saturating_sub(check) / STEPS;
        report("call of their plan, to a reading no-op step", per_call, reading_step, 1.5);
        Ok(())
    }

    /// The memory of a run that waits, and of one more among many.
    fn idle(&self) -> Result<(), Error> {
        let steps = "[[step]]\nid = \"a\"\ndo = \"noop.read\"\nwith = { n = 1 }\n[[step]]\nid = \"b\"\nwait = \"60s\"\n";
        let runbook = self.runbook("wait", &format!("{HEAD}{steps}"))?;
        let mut child = self.command(&["run", &runbook]).stdout(Stdio::null()).spawn()?;
        std::thread::sleep(Duration::from_secs(2));
        let kib = resident_kib(child.id());
        child.kill()?;
        child.wait()?;
        absolute("memory of a waiting run", kib? / 1024.0, 30.0, "MB");
        self.resting_runs()
    }

    /// What one item more costs, as the median of some rounds.
    fn per_step(&self, action: &str, parallel: usize, count: u32) -> Result<Duration, Error> {
        self.timed(&["run", &self.fanned(action, parallel, 1)?])?;
        let mut differences =
            (0..5).map(|_| self.one_more(action, parallel, count)).collect::<Result<Vec<_>, _>>()?;
        differences.sort();
        differences.get(differences.len() / 2).copied().ok_or_else(|| "nothing was measured".into())
    }

    /// The run of `count` items less the run of one, per item.
    fn one_more(&self, action: &str, parallel: usize, count: u32) -> Result<Duration, Error> {
        let single = self.ran(&self.fanned(action, parallel, 1)?)?;
        let whole = self.ran(&self.fanned(action, parallel, count)?)?;
        Ok(whole.saturating_sub(single) / (count - 1))
    }

    /// A runbook of one step for so many items.
    fn fanned(&self, action: &str, parallel: usize, count: u32) -> Result<String, Error> {
        let items: Vec<String> = (0..count).map(|item| item.to_string()).collect();
        let items = items.join(",");
        let step = format!(
            "[[step]]\nid = \"a\"\ndo = \"noop.{action}\"\nfor_each = [{items}]\nmax_parallel = {parallel}\n"
        );
        self.runbook(
            &format!("{action}-{parallel}-{count}"),
            &format!("{HEAD}{step}with = {{ n = \"${{item}}\" }}\n"),
        )
    }

    /// How long the step took by the events of its own run, which leaves the start and end of the process out.
    fn ran(&self, runbook: &str) -> Result<Duration, Error> {
        let output = self.command(&["run", runbook, "--output", "plain"]).output()?;
        if !output.status.success() {
            return Err(
                format!("the run of {runbook} failed: {}", String::from_utf8_lossy(&output.stderr)).into()
            );
        }
        let text = String::from_utf8(output.stdout)?;
        let id =
            text.lines().find_map(|line| line.strip_prefix("run ")?.split(':').next()).ok_or("no run id")?;
        let shown = self.command(&["show", id, "--output", "json"]).output()?;
        let shown: serde_json::Value = serde_json::from_slice(&shown.stdout)?;
        let took = shown
            .pointer("/steps/0/took_ms")
            .and_then(serde_json::Value::as_u64)
            .ok_or("the step took no time")?;
        Ok(Duration::from_millis(took))
    }

    fn runbook(&self, name: &str, text: &str) -> Result<String, Error> {
        let path = self.folder.join(format!("{name}.toml"));
        std::fs::write(&path, text)?;
        Ok(path.to_string_lossy().into_owned())
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.programs.join("windlass"));
        command
            .args(arguments)
            .env("XDG_STATE_HOME", self.folder.join("state"))
            .env("XDG_CONFIG_HOME", self.folder.join("config"))
            .env("XDG_CACHE_HOME", self.folder.join("cache"))
            .stderr(Stdio::null());
        command
    }

    fn windlass(&self, arguments: &[&str]) -> Result<(), Error> {
        let status = self.command(arguments).stdout(Stdio::null()).status()?;
        // `plan` answers 10 where something would change.
        if matches!(status.code(), Some(0 | 10)) {
            Ok(())
        } else {
            Err(format!("windlass {arguments:?}: {status}").into())
        }
    }

    fn timed(&self, arguments: &[&str]) -> Result<Duration, Error> {
        let began = Instant::now();
        self.windlass(arguments)?;
        Ok(began.elapsed())
    }

    fn floor_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.programs.join("bench-floor"));
        command.args(arguments).current_dir(Path::new(&self.folder));
        command
    }

    fn floor_process(&self, arguments: &[&str]) -> Result<Duration, Error> {
        let began = Instant::now();
        let status = self.floor_command(arguments).status()?;
        if status.success() {
            Ok(began.elapsed())
        } else {
            Err(format!("bench-floor {arguments:?}: {status}").into())
        }
    }

    /// A figure that the floor measures itself.
    fn floor_figure(&self, arguments: &[&str]) -> Result<Duration, Error> {
        let output = self.floor_command(arguments).output()?;
        let micros: f64 = String::from_utf8(output.stdout)?.trim().parse()?;
        Ok(Duration::from_secs_f64(micros / 1e6))
    }
}

/// How many steps a large runbook has.
const STEPS: u32 = 10_000;

/// A large runbook. With `inputs` that has `go`, its steps run only if that is true, and `waits` says which of them wait
/// instead.
fn ten_thousand(inputs: &str, waits: impl Fn(u32) -> bool) -> Result<String, Error> {
    let mut text = format!("{HEAD}{inputs}");
    let when = if inputs.is_empty() { "" } else { "when = \"inputs.go\"\n" };
    for step in 0..STEPS {
        write!(text, "[[step]]\nid = \"step_{step}\"\ntitle = \"Step number {step} of the benchmark\"\n")?;
        if waits(step) {
            text.push_str("wait = \"5m\"\n\n");
            continue;
        }
        write!(text, "do = \"noop.read\"\n{when}with = {{ n = {step} }}\nexpect = \"result.n >= 0\"\n")?;
        text.push_str("retry = { attempts = 3 }\ntimeout = \"30s\"\n\n");
    }
    Ok(text)
}

fn median(mut measure: impl FnMut() -> Result<Duration, Error>) -> Result<Duration, Error> {
    let mut times = (0..ROUNDS).map(|_| measure()).collect::<Result<Vec<_>, _>>()?;
    times.sort();
    times.get(ROUNDS / 2).copied().ok_or_else(|| "nothing was measured".into())
}

/// A figure and its floor, with the ratio that counts.
fn report(name: &str, measured: Duration, floor: Duration, limit: f64) {
    let ratio = measured.as_secs_f64() / floor.as_secs_f64().max(1e-9);
    let verdict = if ratio <= limit { "met" } else { "MISSED" };
    println!(
        "{name:<44} {:>11} {:>11} {ratio:>6.2}x {limit:>6.1}x  {verdict}",
        shown(measured),
        shown(floor)
    );
}

/// A figure that is to be so many times another one.
fn at_least(name: &str, measured: Duration, other: Duration, limit: f64) {
    let ratio = measured.as_secs_f64() / other.as_secs_f64().max(1e-9);
    let verdict = if ratio >= limit { "met" } else { "MISSED" };
    println!(
        "{name:<44} {:>11} {:>11} {ratio:>6.2}x {:>7}  {verdict}",
        shown(measured),
        shown(other),
        format!("≥ {limit:.1}x")
    );
}

/// The resident memory of a process, in KiB.
fn resident_kib(id: u32) -> Result<f64, Error> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.split_whitespace().nth(1).ok_or("no VmRSS")?.parse()?)
}

/// A figure with a limit of its own.
fn absolute(name: &str, measured: f64, limit: f64, unit: &str) {
    let verdict = if measured <= limit { "met" } else { "MISSED" };
    println!(
        "{name:<44} {:>11} {:>11} {:>7} {:>7}  {verdict}",
        format!("{measured:.1} {unit}"),
        "",
        "",
        format!("{limit} {unit}")
    );
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn shown(time: Duration) -> String {
    let micros = time.as_secs_f64() * 1e6;
    if micros < 1000.0 { format!("{micros:.1} µs") } else { format!("{:.2} ms", micros / 1e3) }
}
