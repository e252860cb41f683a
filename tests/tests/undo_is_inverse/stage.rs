//! Calls one action of a built plugin as the engine does, and keeps its attempts.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use windlass_runbook::outcome::{Attempt, Failure, Plan, Status};
use windlass_sandbox::{
    ArtifactContent, Bindings, Bound, Call, CallError, CallReport, Compiler, Connection, Grants,
    KeptArtifact, Launcher, Limits, LogLevel, Mode, Phase, Plugin, ProcessIdentity, Returned, RunServices,
    Sandbox, SandboxOptions, ServiceError, StepContext,
};

static RUNTIME: LazyLock<tokio::runtime::Runtime> =
    LazyLock::new(|| tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap());

static SANDBOX: LazyLock<Sandbox> = LazyLock::new(|| {
    windlass_tests::build();
    let arguments = vec!["__launch".to_owned()];
    let launcher = Launcher { program: windlass_tests::windlass_program(), arguments };
    Sandbox::new(SandboxOptions { cache_dir: None, compiler: Compiler::InProcess, launcher }).unwrap()
});

/// A built plugin, compiled once for all tests.
fn plugin(name: &str) -> Arc<Plugin> {
    static LOADED: Mutex<BTreeMap<String, Arc<Plugin>>> = Mutex::new(BTreeMap::new());
    let mut loaded = LOADED.lock().unwrap();
    let load = || {
        let file = windlass_tests::target_folder().join(format!("plugins/{name}.wasm"));
        let bytes = std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        RUNTIME.block_on(SANDBOX.load(bytes.into())).unwrap()
    };
    Arc::clone(loaded.entry(name.to_owned()).or_insert_with(load))
}

/// Checks a property on so many cases, the same ones in each run.
pub(crate) fn check<S: proptest::strategy::Strategy>(
    cases: u32,
    strategy: &S,
    test: impl Fn(S::Value) -> Result<(), TestCaseError>,
) {
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 40, ..Config::default() };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    if let Err(error) = TestRunner::new_with_rng(config, rng).run(strategy, test) {
        panic!("{error}");
    }
}

/// What a run keeps of a call.
#[derive(Default)]
struct Kept {
    receipts: Mutex<Vec<String>>,
    processes: Mutex<Vec<ProcessIdentity>>,
}

impl RunServices for Kept {
    fn log(&self, _: LogLevel, _: String, _: Vec<(String, Value)>) {}

    fn progress(&self, _: u64, _: Option<u64>, _: String) {}

    fn receipt(&self, text: String) -> BoxFuture<'_, Result<(), ServiceError>> {
        self.receipts.lock().unwrap().push(text);
        Box::pin(async { Ok(()) })
    }

    fn keep(
        &self,
        name: String,
        _: String,
        _: ArtifactContent,
    ) -> BoxFuture<'_, Result<KeptArtifact, ServiceError>> {
        Box::pin(async { Ok(KeptArtifact { name, digest: String::new(), size: 0 }) })
    }

    fn process_started(&self, process: ProcessIdentity) -> BoxFuture<'_, Result<(), ServiceError>> {
        self.processes.lock().unwrap().push(process);
        Box::pin(async { Ok(()) })
    }
}

/// An action of a plugin with what it was granted.
pub(crate) struct Actor {
    plugin: Arc<Plugin>,
    interface: String,
    action: &'static str,
    grants: Arc<Grants>,
    bindings: Arc<Bindings>,
    limits: Limits,
}

impl Actor {
    /// An action of a built plugin, under these grant lines and with these slots.
    pub(crate) fn new(
        plugin: &str,
        action: &'static str,
        lines: &[&str],
        slots: impl IntoIterator<Item = (&'static str, Connection)>,
    ) -> Self {
        // The first use builds the plugins.
        LazyLock::force(&SANDBOX);
        let plugin = self::plugin(plugin);
        let interfaces = &plugin.signature().interfaces;
        let owner = interfaces.iter().find(|found| found.actions.iter().any(|known| known.name == action));
        let interface = owner.unwrap_or_else(|| panic!("no action {action}")).id.clone();
        let bound = slots
            .into_iter()
            .map(|(slot, connection)| (slot.to_owned(), Bound { name: format!("the_{slot}"), connection }));
        Self {
            interface,
            action,
            grants: Arc::new(Grants::parse(lines.iter().copied()).unwrap()),
            bindings: Arc::new(bound.collect()),
            limits: Limits { deadline: Duration::from_secs(60), ..Limits::default() },
            plugin,
        }
    }

    /// Makes a call, cut off after so long. None where it was cut off.
    fn call(&self, phase: Phase<'_>, key: &str, cut: Option<Duration>) -> (Option<CallReport>, Vec<String>) {
        let kept = Arc::new(Kept::default());
        let call = Call {
            interface: &self.interface,
            action: self.action,
            phase,
            grants: Arc::clone(&self.grants),
            bindings: Arc::clone(&self.bindings),
            config: None,
            context: StepContext {
                run: "run-1".to_owned(),
                step: "step".to_owned(),
                item: None,
                attempt: 1,
                idempotency_key: key.to_owned(),
                plugin: "plugin".to_owned(),
            },
            limits: self.limits.clone(),
        };
        let services: Arc<dyn RunServices> = kept.clone();
        let calling = self.plugin.call(call, services);
        let report = RUNTIME.block_on(async {
            match cut {
                None => Some(calling.await),
                Some(cut) => tokio::time::timeout(cut, calling).await.ok(),
            }
        });
        if report.is_none() {
            // The engine proves a child gone before it plans again.
            for process in kept.processes.lock().unwrap().iter() {
                until("a program that was cut off to end", || {
                    windlass_sandbox::process_group_is_gone(process)
                });
            }
        }
        let receipts = kept.receipts.lock().unwrap().clone();
        (report, receipts)
    }
}

/// Waits until it is so; fails after ten seconds.
#[track_caller]
pub(crate) fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(std::time::Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A step of a run: its attempts as the journal has them.
pub(crate) struct Step<'a> {
    actor: &'a Actor,
    input: Value,
    generation: u32,
    pub(crate) done: Vec<Attempt>,
}

/// What a planned effect came to.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// There was nothing to do.
    InPlace,
    Done,
    /// The call was cut off.
    Cut,
    Failed(Failure),
    /// The plan can't be applied without a person.
    Question(Status),
}

impl<'a> Step<'a> {
    pub(crate) fn new(actor: &'a Actor, input: Value) -> Self {
        Self { actor, input, generation: 1, done: Vec::new() }
    }

    /// Takes another input from here on; a changed one is a new generation.
    pub(crate) fn take(&mut self, input: Value) {
        if self.input != input {
            self.input = input;
            self.generation += 1;
        }
    }

    /// Takes another input that stands for the same one.
    pub(crate) fn set(&mut self, input: Value) {
        self.input = input;
    }

    /// Of this generation: 64 hex digits, as the engine has it.
    fn key(&self, direction: &str) -> String {
        let hash = Sha256::digest(format!("{:p} {} {direction}", self.actor, self.generation));
        hash.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Plans, and applies what was planned.
    pub(crate) fn attempt(&mut self, cut: Option<Duration>) -> Outcome {
        let plan = match self.plan() {
            Ok(plan) => plan,
            Err(failure) => return Outcome::Failed(failure),
        };
        match &plan.status {
            Status::InPlace => {
                let phase = Phase::Apply { input: &self.input, plan: &plan, mode: Mode::Read };
                let (report, _) = self.actor.call(phase, &self.key("do"), None);
                let report = report.unwrap();
                assert!(report.result.is_ok(), "the output of what is in place: {:?}", report.result);
                Outcome::InPlace
            }
            Status::Differs => self.apply(&plan, cut),
            other => Outcome::Question(other.clone()),
        }
    }

    /// What is to be done.
    pub(crate) fn plan(&self) -> Result<Plan, Failure> {
        let phase = Phase::Plan { input: &self.input, before: &self.done };
        planned(self.actor.call(phase, &self.key("do"), None).0)
    }

    /// Applies a plan as a new attempt.
    pub(crate) fn apply(&mut self, plan: &Plan, cut: Option<Duration>) -> Outcome {
        let key = self.key("do");
        let phase = Phase::Apply { input: &self.input, plan, mode: Mode::Write };
        let (report, receipts) = self.actor.call(phase, &key, cut);
        let number = self.done.iter().filter(|attempt| attempt.key == key).count() + 1;
        let mut attempt = Attempt {
            key,
            number: u32::try_from(number).unwrap(),
            input: self.input.clone(),
            plan: plan.clone(),
            receipts,
            output: None,
        };
        let Some(report) = report else {
            self.done.push(attempt);
            return Outcome::Cut;
        };
        let sent = report.sent;
        match report.result {
            Ok(Returned::Output(output)) => {
                attempt.output = Some(output);
                self.done.push(attempt);
                Outcome::Done
            }
            Ok(other) => panic!("{other:?}"),
            Err(error) => {
                // Where nothing was sent, the attempt is proven to be without effect, and undo never hears of it.
                if sent {
                    self.done.push(attempt);
                }
                Outcome::Failed(failure(error))
            }
        }
    }

    /// What taking it back would change.
    pub(crate) fn plan_undo(&self) -> Result<Plan, Failure> {
        let phase = Phase::PlanUndo { input: &self.input, done: &self.done };
        planned(self.actor.call(phase, &self.key("undo"), None).0)
    }

    /// Takes it back by a plan.
    pub(crate) fn undo(&self, plan: &Plan, cut: Option<Duration>) -> Outcome {
        let phase = Phase::Undo { input: &self.input, done: &self.done, plan };
        match self.actor.call(phase, &self.key("undo"), cut).0.map(|report| report.result) {
            None => Outcome::Cut,
            Some(Ok(_)) => Outcome::Done,
            Some(Err(error)) => Outcome::Failed(failure(error)),
        }
    }

    /// Takes it back as a rollback does, the first attempts cut off. `settle` waits until what a cut call has begun is over.
    /// Afterwards planning says that nothing is left to do.
    #[track_caller]
    pub(crate) fn roll_back(&self, cuts: &[Duration], settle: impl Fn()) {
        let cuts = cuts.iter().copied().map(Some).chain(std::iter::repeat_n(None, 3));
        for cut in cuts {
            let plan = self.plan_undo().unwrap_or_else(|failure| panic!("plan-undo: {failure:?}"));
            match plan.status {
                Status::InPlace => return,
                Status::Differs => {}
                other => panic!("plan-undo says {other:?} of {:#?}", self.done),
            }
            match self.undo(&plan, cut) {
                Outcome::Done => {
                    let again = self.plan_undo().unwrap_or_else(|failure| panic!("plan-undo: {failure:?}"));
                    assert_eq!(again.status, Status::InPlace, "planning the undo again: {again:#?}");
                    return;
                }
                Outcome::Cut => settle(),
                Outcome::Failed(failure) if failure.retryable => settle(),
                other => panic!("undo: {other:?}"),
            }
        }
        panic!("the undo never came to an end");
    }

    /// Asserts that planning the undo finds a conflict, that nobody may act on it undecided, and gives the plan back as a
    /// person's *ours* makes it.
    #[track_caller]
    pub(crate) fn conflict(&self, names: &[&str]) -> Plan {
        let plan = self.plan_undo().unwrap_or_else(|failure| panic!("plan-undo: {failure:?}"));
        let Status::Conflict(found) = &plan.status else { panic!("no conflict: {plan:#?}") };
        for name in names {
            assert!(found.contains(name), "`{name}` is not in: {found}");
        }
        match self.undo(&plan, None) {
            Outcome::Failed(failure) => assert_eq!(failure.code, "conflict", "{failure:?}"),
            other => panic!("an undecided conflict: {other:?}"),
        }
        Plan { status: Status::Differs, ..plan }
    }

    /// Asserts that undoing by this plan is refused since something changed, and that the failure names what.
    #[track_caller]
    pub(crate) fn refused(&self, plan: &Plan, target: &str) {
        match self.undo(plan, None) {
            Outcome::Failed(failure) => {
                assert_eq!(
                    (failure.code.as_str(), failure.retryable),
                    ("changed-meanwhile", true),
                    "{failure:?}"
                );
                let told = failure.message.contains("expected") && failure.message.contains("found");
                assert!(failure.message.contains(target) && told, "{}", failure.message);
            }
            other => panic!("not refused: {other:?}"),
        }
    }
}

fn planned(report: Option<CallReport>) -> Result<Plan, Failure> {
    match report.unwrap().result {
        Ok(Returned::Plan(plan)) => Ok(plan),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(failure(error)),
    }
}

/// The plugin's own failure; whatever else ends a call is none of these tests' stories.
#[track_caller]
fn failure(error: CallError) -> Failure {
    match error {
        CallError::Failure(failure) => failure,
        other => panic!("{other}"),
    }
}
