//! Taking runs back with `reverse`.
//!
//! Attempts with the same idempotency key are one run; those of a changed input are another, with its own way back. What a
//! program did can't be seen but through its probe: that is asked again right before, and what is gone by then needs no
//! reverse. Invariant: only what the plan names is run.

use crate::bindings::exports::windlass::contracts::command::Effect;
use crate::effect::{probe, run_of, target};
use crate::run::{Programs, Run};
use windlass_sdk::{Attempt, Change, Failure, Plan, Value, json};

/// What taking these attempts back would run, newest first.
pub(crate) fn plan(programs: &impl Programs, done: &[Attempt]) -> Result<Plan, Failure> {
    let (mut changes, mut runs, mut stuck) = (Vec::new(), Vec::new(), Vec::new());
    let mut repeatable = true;
    for input in runs_of(done) {
        let effect = effect(&input);
        let there = probe(programs, &effect)?;
        if there == Some(false) {
            continue;
        }
        let Some(reverse) = &effect.reverse else {
            let what = format!("{} {}", target(&effect), effect.arguments.join(" "));
            stuck.push(format!(
                "`{}`: the step has no `reverse`, so nothing here can take it back",
                what.trim_end()
            ));
            continue;
        };
        // With a probe, nothing is run that is gone already.
        repeatable &= there.is_some() || effect.repeatable;
        changes.push(Change::new(target(&effect), "run").then(reverse.join(" ")));
        runs.push(input);
    }
    let plan = match (stuck.is_empty(), runs.is_empty()) {
        (false, _) => Plan::unknown(stuck.join("; ")).with_changes(changes),
        (true, true) => Plan::in_place(),
        (true, false) => Plan::differs(changes),
    };
    Ok(plan.repeatable(repeatable).with_memo(&json!({ "runs": runs })))
}

/// Run what the plan names.
pub(crate) fn undo(programs: &impl Programs, plan: &Plan) -> Result<(), Failure> {
    if !plan.restores()? {
        return Ok(());
    }
    let memo = plan.memo_json();
    let runs = memo.get("runs").and_then(Value::as_array).filter(|runs| !runs.is_empty());
    let runs =
        runs.ok_or_else(|| Failure::conflict("the plan names nothing that could be run to restore it"))?;
    for input in runs {
        let effect = effect(input);
        let reverse = effect.reverse.as_deref().ok_or_else(|| {
            Failure::conflict("the step has no `reverse`, so nothing here can take it back")
        })?;
        if probe(programs, &effect)? == Some(false) {
            continue;
        }
        Run { exit_codes: &[], parse_json: false, stdin: None, ..run_of(&effect, reverse) }
            .complete(programs)?;
    }
    Ok(())
}

/// The inputs of the runs that attempts were made of, newest first.
fn runs_of(done: &[Attempt]) -> Vec<Value> {
    let mut runs: Vec<(&str, Value)> = Vec::new();
    for attempt in done.iter().rev() {
        if !runs.iter().any(|(key, _)| *key == attempt.key) {
            runs.push((&attempt.key, attempt.input_json()));
        }
    }
    runs.into_iter().map(|(_, input)| input).collect()
}

/// An input as the journal has it, as far as the way back needs it.
fn effect(input: &Value) -> Effect {
    let text = |name: &str| input.get(name).and_then(Value::as_str).map(str::to_owned);
    let words = |name: &str| -> Option<Vec<String>> {
        let words = input.get(name)?.as_array()?.iter();
        Some(words.filter_map(Value::as_str).map(str::to_owned).collect())
    };
    Effect {
        program: text("program"),
        arguments: words("arguments").unwrap_or_default(),
        stdin: text("stdin"),
        exit_codes: Vec::new(),
        parse_json: false,
        probe: words("probe"),
        reverse: words("reverse"),
        repeatable: input.get("repeatable").and_then(Value::as_bool).unwrap_or_default(),
        extra: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::{plan, undo};
    use crate::run::tests::Fake;
    use windlass_sdk::{Attempt, Plan, Status, Value, json};

    fn attempt(key: &str, input: &Value) -> Attempt {
        Attempt {
            key: key.to_owned(),
            number: 1,
            input: input.to_string(),
            plan: Plan::differs([]),
            receipts: Vec::new(),
            output: None,
        }
    }

    fn with_probe() -> Value {
        json!({ "arguments": ["do"], "probe": ["ask"], "reverse": ["undo"] })
    }

    #[test]
    fn undo_runs_the_reverse_unless_nothing_is_there() {
        let there = Fake { answers: vec![("ask", 0, ""), ("undo", 0, "")], ..Fake::default() };
        let planned = plan(&there, &[attempt("k", &with_probe())]).unwrap();
        assert_eq!((planned.status.clone(), planned.repeatable), (Status::Differs, true));
        undo(&there, &planned).unwrap();
        assert_eq!(there.ran.borrow().last().unwrap(), &["undo"]);

        let absent = Fake { answers: vec![("ask", 1, "")], ..Fake::default() };
        assert!(plan(&absent, &[attempt("k", &with_probe())]).unwrap().is_in_place());
        assert!(plan(&absent, &[]).unwrap().is_in_place());
        // It went between planning and undoing.
        undo(&absent, &planned).unwrap();
        assert_eq!(absent.ran.borrow().last().unwrap(), &["ask"]);

        let nothing = json!({ "arguments": ["do"] });
        assert!(matches!(plan(&absent, &[attempt("k", &nothing)]).unwrap().status, Status::Unknown(_)));
    }

    #[test]
    fn each_run_has_its_own_way_back_newest_first() {
        let fake = Fake { answers: vec![("undo", 0, ""), ("remove", 0, "")], ..Fake::default() };
        let first = json!({ "arguments": ["do"], "reverse": ["undo"] });
        let second = json!({ "arguments": ["add"], "reverse": ["remove"] });
        let done = [attempt("a", &first), attempt("a", &first), attempt("b", &second)];
        let planned = plan(&fake, &done).unwrap();
        assert!(!planned.repeatable);
        undo(&fake, &planned).unwrap();
        assert_eq!(*fake.ran.borrow(), [["remove"], ["undo"]]);
    }

    #[test]
    fn what_nobody_planned_is_not_run() {
        let fake = Fake::default();
        assert_eq!(undo(&fake, &Plan::differs([])).unwrap_err().code, "conflict");
        assert_eq!(undo(&fake, &Plan::unknown("x")).unwrap_err().code, "conflict");
        undo(&fake, &Plan::in_place()).unwrap();
    }
}
