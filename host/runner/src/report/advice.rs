//! What a run that stands still waits for, and the exact words to type.
//!
//! Cheap while nothing stands still, however many steps there are: a screen asks after each event that could change it.

use windlass_engine::{Decision, Hold, Millis, Phase, ScheduledFor, SkipReason, Stand, State, Verdict, Work};
use windlass_runbook::model::{OnExpiry, OnFailure, Runbook, StepBody};
use windlass_sandbox::plain_text;

use super::Report;
use super::words::{quoted, without_name};
use crate::clock::rfc3339;

/// More questions or failed steps than this are told by their number: the first are answered first.
const TOLD: usize = 5;
/// What stands before a command, so that the commands stand below each other.
const LABEL: usize = 30;

impl Report<'_> {
    /// What a run that stands still waits for, and what to type; empty where nobody need do anything.
    #[must_use]
    pub fn next_steps(&self) -> Vec<String> {
        let run = self.state.created().map_or("RUN", |created| created.run.as_str());
        let (runbook, now) = (self.runbook, self.now);
        let mut advice = Advice { run, state: self.state, runbook, now, lines: Vec::new() };
        if let Some(ended) = self.state.ended() {
            advice.after_the_end(ended.verdict);
            return advice.lines;
        }
        if self.interrupted {
            advice.say("its process ended in the middle");
            advice.way("to go on", "resume", "");
            advice.way_back();
        }
        advice.approvals();
        advice.questions();
        advice.failures();
        advice.holds();
        advice.lines
    }
}

struct Advice<'a> {
    run: &'a str,
    state: &'a State,
    runbook: Option<&'a Runbook>,
    now: Option<Millis>,
    lines: Vec<String>,
}

impl<'a> Advice<'a> {
    fn say(&mut self, text: &str) {
        let text = plain_text(text);
        if !self.lines.contains(&text) {
            self.lines.push(text);
        }
    }

    /// A command of the run, with what it is for.
    fn way(&mut self, label: &str, verb: &str, rest: &str) {
        let (label, run) = (format!("{label}:"), self.run);
        let line = format!("  {label:<LABEL$} windlass {verb} {run}{rest}");
        if !self.lines.contains(&line) {
            self.lines.push(line);
        }
    }

    /// One of the words that a person can say about a step.
    fn fate(&mut self, label: &str, place: &str, fate: &str) {
        self.way(label, "resume", &format!(" --step {place} {fate} --reason '…'"));
    }

    /// How to go back, where there is anything to take back.
    fn way_back(&mut self) {
        if self.state.goes_back() || !self.is_anything_to_take_back() {
            return;
        }
        let past = self.past_commit();
        self.way("to take back what was done", "rollback", &format!("{past} --reason '…'"));
    }

    fn past_commit(&self) -> &'static str {
        if self.state.horizons().is_empty() { "" } else { " --past-commit" }
    }

    fn is_anything_to_take_back(&self) -> bool {
        self.state.has_applied()
            && self.state.undo_list().any(|(step, item, _)| {
                let path = format!("undo/{step}");
                let undo = self.state.work(&path, item).or_else(|| self.state.work(&path, None));
                !undo.is_some_and(|undo| matches!(undo.skipped, Some((SkipReason::NoUndo, _))))
            })
    }

    /// An ended run can still be taken back, by a run of its own.
    fn after_the_end(&mut self, verdict: Verdict) {
        if verdict != Verdict::Succeeded && self.is_anything_to_take_back() {
            let past = self.past_commit();
            self.way("to take back what it has left", "rollback", &format!("{past} --reason '…'"));
        }
    }

    fn approvals(&mut self) {
        if self.state.verdict().is_some() || self.state.goes_back() {
            return;
        }
        let state = self.state;
        for (step, approval) in state.approvals() {
            let asking = state.work(step, None).is_some_and(|work| work.phase == Phase::Approving);
            let Some(request) = approval.request.as_ref().filter(|_| asking) else { continue };
            let late = self.now.zip(request.expires_at).is_some_and(|(now, at)| now >= at);
            match approval.stand {
                Stand::Expired => {
                    self.too_late(step);
                    self.fate("to ask again", step, "--retry");
                    continue;
                }
                Stand::Open if late => {
                    self.too_late(step);
                    continue;
                }
                Stand::Open => (),
                Stand::Granted | Stand::Void(..) | Stand::Rejected => continue,
            }
            let until = request.expires_at.map(|at| format!(" until {}", rfc3339(at))).unwrap_or_default();
            self.say(&format!("`{step}` asks {}{until}: {}", request.roles.join(", "), request.text));
            self.way("to approve", "approve", &format!(" {step} --reason '…'"));
            self.way("to reject", "reject", &format!(" {step} --reason '…'"));
        }
    }

    /// Nobody answered in time, and what comes of that is still to come.
    fn too_late(&mut self, step: &str) {
        let comes = match self.runbook.map(|runbook| self.at_expiry(runbook, step)) {
            Some(true) => "going on takes back what was done",
            Some(false) => "going on holds the run there",
            None => "going on does what the runbook says of that",
        };
        self.say(&format!("`{step}` was not answered in time; {comes}"));
    }

    /// Whether the run goes back when nobody answers.
    fn at_expiry(&self, runbook: &Runbook, step: &str) -> bool {
        let Some(step) = runbook.steps.iter().find(|known| known.id == step) else { return false };
        let StepBody::Approve(approval) = &step.body else { return false };
        let goes_back = match step.on_failure {
            OnFailure::Rollback => true,
            OnFailure::Auto => self.state.has_applied(),
            OnFailure::Pause | OnFailure::Continue => false,
        };
        approval.on_expiry != OnExpiry::Hold && goes_back && self.state.horizons().is_empty()
    }

    fn questions(&mut self) {
        let count = self.state.open_questions();
        if count == 0 {
            return;
        }
        let state = self.state;
        for (step, item, question) in state.questions().take(TOLD) {
            let place = place_to_type(step, item);
            self.say(&format!("`{}` asks: {}", place_to_read(step, item), question.message));
            if step.starts_with("undo/") {
                // Only what can work: without a conflict nothing tells what to put back.
                if question.may_be_restored() {
                    self.fate("to put back what was before", &place, "--restore");
                }
                self.fate("to leave what is there now", &place, "--leave");
                self.fate("it was taken back by hand", &place, "--applied");
                if !question.blind {
                    self.fate("to look once more", &place, "--not-applied");
                }
            } else {
                self.fate("it took effect", &place, "--applied");
                self.fate("it did not", &place, "--not-applied");
            }
        }
        if count > TOLD {
            self.say(&format!("and {} more questions", count - TOLD));
        }
        self.way_back();
    }

    /// What can become of steps that failed.
    fn failures(&mut self) {
        let state = self.state;
        let held = || state.holds().iter().filter(|held| held.reason == Hold::Failure);
        for held in held().take(TOLD) {
            self.say(&held.message);
            let Some(step) = held.step.as_deref() else {
                self.way("to try it again", "resume", "");
                continue;
            };
            self.failure(step);
        }
        let count = held().count();
        if count > TOLD {
            self.say(&format!("and {} more failed steps", count - TOLD));
        }
        if count > 0 {
            self.way_back();
        }
    }

    fn failure(&mut self, step: &str) {
        let state = self.state;
        if state.approval(step).is_some() {
            return self.way("to ask again", "resume", "");
        }
        let Some(of_step) = state.step(step) else { return };
        let failed: Vec<&str> = of_step
            .items
            .iter()
            .flatten()
            .filter(|(_, item)| item.work.phase == Phase::Failed)
            .map(|(key, _)| &**key)
            .collect();
        if step.starts_with("undo/") {
            for item in places(&failed) {
                let place = place_to_type(step, item);
                self.fate("to try it again", &place, "--retry");
                self.fate("it was taken back by hand", &place, "--done");
                self.fate("to leave it as it is", &place, "--skip");
            }
            return;
        }
        self.way("to try it again", "resume", "");
        for item in places(&failed) {
            let place = place_to_type(step, item);
            let work: Option<&Work> = state.work(step, item);
            if work.is_some_and(|work| work.input.is_some()) {
                self.fate("with another input", &place, "--retry --input NAME=VALUE");
            }
            self.fate("it was done by hand", &place, "--done");
            self.fate("to go on without it", &place, "--skip");
        }
    }

    fn holds(&mut self) {
        let state = self.state;
        for held in state.holds() {
            match held.reason {
                Hold::Failure | Hold::Unknown => (),
                Hold::Operator => {
                    self.say(&held.message);
                    if let Some(rollback) = state.rollback().filter(|_| state.goes_back()) {
                        let why = without_name(&rollback.started.reason, &rollback.started.who);
                        let who = &rollback.started.who;
                        self.say(&format!(
                            "it goes back because of {who} ({why}); going on begins the undos"
                        ));
                    }
                    self.way("to go on", "resume", "");
                    self.way_back();
                    if state.verdict().is_none() && !state.goes_back() {
                        self.way("to end it where it is", "cancel", " --reason '…'");
                    }
                }
                Hold::Identity => {
                    let message =
                        if held.message.is_empty() { "a connection leads elsewhere" } else { &held.message };
                    self.say(&format!("{message}; put the connection right, then"));
                    self.way("to go on", "resume", "");
                }
                Hold::Guard => {
                    self.say(&format!("{}; it goes on by itself when that is good again", held.message));
                    self.way_back();
                }
                Hold::Window => {
                    self.say(&format!("{}; it goes on by itself then", held.message));
                    self.way_back();
                }
                Hold::Late => {
                    self.say(&held.message);
                    self.way("to go on, and move T", "resume", "");
                    self.way_back();
                }
            }
        }
    }
}

/// The items that a command has to name, or the step itself.
fn places<'k>(failed: &[&'k str]) -> Vec<Option<&'k str>> {
    if failed.is_empty() { vec![None] } else { failed.iter().take(TOLD).map(|key| Some(*key)).collect() }
}

fn place_to_type(step: &str, item: Option<&str>) -> String {
    item.map_or_else(|| step.to_owned(), |item| format!("{step} --item {}", quoted(item)))
}

fn place_to_read(step: &str, item: Option<&str>) -> String {
    item.map_or_else(|| step.to_owned(), |item| format!("{step}[{item}]"))
}

/// What people have said to an approval, or what became of it.
pub(super) fn approval_told(state: &State, step: &str) -> Option<String> {
    let approval = state.approval(step)?;
    let request = approval.request.as_ref()?;
    let said = |decision| {
        let given = approval.given.iter().map(|(given, _)| given).filter(|given| given.decision == decision);
        let said: Vec<String> = given
            .map(|given| match &given.role {
                Some(role) => format!("{} as {role}", given.who),
                None => given.who.clone(),
            })
            .collect();
        said.join(", ")
    };
    let approved = said(Decision::Approve);
    Some(match &approval.stand {
        Stand::Open => {
            let so_far = if approved.is_empty() { String::new() } else { format!("; so far {approved}") };
            format!("asks {}: {}{so_far}", request.roles.join(", "), request.text)
        }
        Stand::Granted => format!("approved by {approved}"),
        Stand::Void(covered, difference) => {
            format!("void, `{covered}` would do something else: {difference}")
        }
        Stand::Expired => "nobody answered in time".to_owned(),
        Stand::Rejected => format!("rejected by {}", said(Decision::Reject)),
    })
}

/// What a step or stage waits for by the clock.
pub(super) fn schedule_told(state: &State, path: &str, now: Millis) -> Option<String> {
    let scheduled = state.scheduled(path).filter(|scheduled| scheduled.until > now)?;
    let what = match scheduled.why {
        ScheduledFor::Time => "its time",
        ScheduledFor::Window => "its window",
    };
    Some(format!("waits for {what}, {}", rfc3339(scheduled.until)))
}
