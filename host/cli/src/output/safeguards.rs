//! What a runbook says beside its steps: times, guards, the point of no return, criteria. For people before they run it.

use serde_json::{Value, json};
use windlass_engine::{Millis, Slot, Span, default_t, feasibility};
use windlass_runbook::model::{Guard, Interrupt, Late, MetBy, NoData, Runbook, WhenBusy};
use windlass_runner::rfc3339;
use windlass_sandbox::plain_text;

use super::Style;

/// What stands around the steps of a runbook, if it began now.
pub(crate) struct Safeguards {
    t: Option<Millis>,
    late: Late,
    schedule: Vec<Slot>,
    guards: Vec<(String, String)>,
    others: Vec<String>,
    criteria: Vec<(String, String)>,
}

impl Safeguards {
    pub(crate) fn of(runbook: &Runbook, now: Millis) -> Self {
        let id_of = |step: usize| runbook.steps.get(step).map_or("", |step| step.id.as_str());
        Self {
            t: default_t(runbook, now),
            late: runbook.late,
            schedule: feasibility(runbook, None, now),
            guards: runbook
                .guards
                .iter()
                .map(|guard| (format!("guard/{}", guard.id), guard_told(guard, &id_of)))
                .collect(),
            others: others(runbook),
            criteria: runbook
                .criteria
                .iter()
                .map(|criterion| {
                    let met_by = match criterion.met_by {
                        MetBy::Step(step) => format!("`{}` succeeds", id_of(step)),
                        MetBy::Guard(guard) => {
                            let id = runbook.guards.get(guard).map_or("", |guard| guard.id.as_str());
                            format!("`guard/{id}` never trips")
                        }
                    };
                    (plain_text(&criterion.text), met_by)
                })
                .collect(),
        }
    }

    /// For people; nothing where the runbook says nothing of the kind.
    pub(crate) fn lines(&self, style: Style) -> Vec<String> {
        let mut lines = Vec::new();
        let mut section = |heading: &str, body: Vec<String>| {
            if !body.is_empty() {
                lines.push(String::new());
                lines.push(style.bold(heading));
                lines.extend(body);
            }
        };
        section(&self.schedule_heading(), self.schedule.iter().map(|slot| slot_told(slot, style)).collect());
        let guard = |(name, told): &(String, String)| format!("  {} {name:<24} {told}", style.band(None));
        section("Guards", self.guards.iter().map(guard).collect());
        section("Safety", self.others.iter().map(|line| format!("  {line}")).collect());
        let criterion = |(text, met_by): &(String, String)| format!("  {text}: {met_by}");
        section("Succeeded means", self.criteria.iter().map(criterion).collect());
        lines
    }

    fn schedule_heading(&self) -> String {
        let Some(t) = self.t else { return "Schedule, if it began now".to_owned() };
        let late = match self.late {
            Late::Shift => "what is late moves T",
            Late::Compress => "what is late starts at once",
            Late::Abort => "what is late keeps the run from going on",
        };
        format!("Schedule, if it began now: T is {}, {late}", rfc3339(t))
    }

    pub(crate) fn json(&self) -> Value {
        let schedule: Vec<Value> = self
            .schedule
            .iter()
            .map(|slot| {
                json!({
                    "name": slot.name, "stage": slot.is_stage, "at": slot.at.map(rfc3339),
                    "starts": rfc3339(slot.starts), "problem": slot.problem,
                })
            })
            .collect();
        let named = |pairs: &[(String, String)], name: &str, told: &str| -> Vec<Value> {
            pairs.iter().map(|(one, other)| json!({ name: one, told: other })).collect()
        };
        json!({
            "t": self.t.map(rfc3339), "schedule": schedule, "guards": named(&self.guards, "guard", "told"),
            "safety": self.others, "criteria": named(&self.criteria, "text", "met_by"),
        })
    }
}

fn slot_told(slot: &Slot, style: Style) -> String {
    let what = if slot.is_stage { "stage" } else { "step" };
    let name = format!("{what} {}", plain_text(&slot.name));
    let problem =
        slot.problem.as_ref().map(|problem| format!("  {}", style.yellow(problem))).unwrap_or_default();
    format!("  {name:<26} {}{problem}", rfc3339(slot.starts))
}

fn guard_told<'r>(guard: &'r Guard, id_of: &dyn Fn(usize) -> &'r str) -> String {
    let mut text = format!("{}.{} every {}", guard.call.plugin, guard.call.action, Span(guard.every_ms));
    let lasting = if guard.for_ms > 0 { format!(" for {}", Span(guard.for_ms)) } else { String::new() };
    let mut also = |part: String| text.push_str(&part);
    if let Some(from) = guard.from {
        also(format!(" from `{}`", id_of(from)));
    }
    if let Some(until) = guard.until {
        also(format!(" until `{}`", id_of(until)));
    }
    if let Some(when) = &guard.rollback_when {
        also(format!("; rolls back when {}{lasting}", when.source()));
    }
    if let Some(when) = &guard.hold_when {
        also(format!("; holds when {}{lasting}", when.source()));
    }
    also(match guard.no_data {
        NoData::Hold => "; holds without data".to_owned(),
        NoData::Rollback => "; rolls back without data".to_owned(),
        NoData::Ignore => "; goes on without data".to_owned(),
    });
    if guard.interrupt == Interrupt::Never {
        also("; lets what is being applied end".to_owned());
    }
    if guard.past_commit {
        also("; holds past the commit too".to_owned());
    }
    plain_text(&text)
}

/// What is told in a line of its own.
fn others(runbook: &Runbook) -> Vec<String> {
    let mut lines = Vec::new();
    let steps = runbook.steps.iter().filter(|step| step.commit).map(|step| format!("`{}` is done", step.id));
    let stages = runbook
        .stages
        .iter()
        .filter(|stage| stage.commit)
        .map(|stage| format!("stage `{}` begins", stage.name));
    for point in steps.chain(stages) {
        lines.push(format!("once {point}, nothing before it is rolled back by itself any more"));
    }
    if let Some(limit) = runbook.rollback_within_ms {
        lines.push(format!("a rollback is to be done within {}", Span(limit)));
    }
    if let Some(concurrency) = &runbook.concurrency {
        let busy = match concurrency.when_busy {
            WhenBusy::Queue => "a second one waits",
            WhenBusy::Reject => "a second one does not start",
        };
        lines.push(format!("one run at a time of group `{}`; {busy}", concurrency.group));
    }
    lines.into_iter().map(|line| plain_text(&line)).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use windlass_runbook::catalog::{Catalog, CatalogError, GrantFacts, GrantProblem, PluginUse};
    use windlass_runbook::expression::{Expression, Template};
    use windlass_runbook::model::{Invocation, MetBy};
    use windlass_runbook::wit::{ActionKind, Record};
    use windlass_runbook::{SourceFile, check, parse};

    use super::*;

    struct NoPlugins;

    impl Catalog for NoPlugins {
        fn signature(&self, _: &PluginUse) -> Result<Arc<windlass_runbook::wit::Signature>, CatalogError> {
            Err(CatalogError { message: "none here".to_owned(), help: None })
        }
        fn check_grant(&self, _: &str) -> Result<GrantFacts, GrantProblem> {
            Ok(GrantFacts::default())
        }
    }

    fn runbook(text: &str) -> Runbook {
        let (document, problems) = parse(SourceFile::new("release.toml", text), None);
        let document = document.unwrap_or_else(|| panic!("{problems}"));
        let (runbook, problems) = check(&document, &NoPlugins);
        runbook.unwrap_or_else(|| panic!("{problems}"))
    }

    fn release() -> Runbook {
        let mut runbook = runbook(
            "[runbook]\nname = \"release\"\nrollback_within = \"5m\"\nlate = \"compress\"\n\
             [concurrency]\ngroup = \"production\"\nwhen_busy = \"reject\"\n\
             [[stage]]\nname = \"Before\"\nat = \"T-15m\"\n[[stage.step]]\nid = \"rest\"\nwait = \"1s\"\n\
             [[stage]]\nname = \"At night\"\nwindow = { from = \"02:00\", to = \"05:00\", zone = \"Europe/Zurich\" }\n\
             [[stage.step]]\nid = \"switch\"\nwait = \"1s\"\n\
             [[stage]]\nname = \"All is well\"\nat = \"T+1d\"\ncommit = true\n",
        );
        let expression = |source: &str| Some(Expression::compile(source).unwrap());
        let span = runbook.steps[0].span;
        let call = Invocation {
            plugin: "metrics".into(),
            interface: "windlass:contracts/metrics@0.1.0".into(),
            action: "query".into(),
            kind: ActionKind::Reading,
            input: Template::Literal(Value::Null),
            input_type: Arc::new(Record { name: String::new(), fields: Vec::new() }),
            output_type: None,
        };
        runbook.guards.push(Guard {
            id: "error_rate".to_owned(),
            title: None,
            call: Box::new(call),
            every_ms: 10_000,
            from: Some(0),
            until: None,
            rollback_when: expression("result.value > 0.05"),
            hold_when: expression("result.value > 0.01"),
            fresh_when: None,
            no_data: NoData::Hold,
            for_ms: 30_000,
            clear_for_ms: 60_000,
            grace_ms: 5_000,
            interrupt: Interrupt::Never,
            past_commit: false,
            timeout_ms: None,
            span,
        });
        for (text, met_by) in [("the switch is done", MetBy::Step(1)), ("few errors", MetBy::Guard(0))] {
            let text = text.to_owned();
            runbook.criteria.push(windlass_runbook::model::Criterion { text, met_by, span });
        }
        runbook
    }

    /// 2026-11-22T19:00:00Z.
    const NOW: Millis = 1_795_374_000_000;

    #[test]
    fn what_stands_around_the_steps_is_told_before_they_run() {
        let lines = Safeguards::of(&release(), NOW).lines(Style { color: false });
        insta::assert_snapshot!(lines.join("\n"));
    }

    #[test]
    fn machines_get_the_same() {
        insta::assert_json_snapshot!(Safeguards::of(&release(), NOW).json());
    }

    #[test]
    fn a_plain_runbook_has_nothing_around_it() {
        let plain = runbook("[runbook]\nname = \"plain\"\n[[step]]\nid = \"rest\"\nwait = \"1s\"\n");
        assert!(Safeguards::of(&plain, NOW).lines(Style { color: false }).is_empty());
    }
}
