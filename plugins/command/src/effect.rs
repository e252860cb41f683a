//! A run for its effect: planned with the probe where there is one.

use crate::bindings::exports::windlass::contracts::command::{Completed, Effect};
use crate::run::{Programs, Run};
use windlass_sdk::{Attempt, Change, Failure, Plan, step};

pub(crate) fn plan(programs: &impl Programs, input: &Effect, before: &[Attempt]) -> Result<Plan, Failure> {
    let run = run_of(input, &input.arguments);
    let key = step::idempotency_key();
    let change = Change::new(target(input), "run").then(input.arguments.join(" "));
    let differs = Plan::differs([change]).repeatable(input.repeatable);
    match probe(programs, input)? {
        Some(true) => Ok(Plan::in_place()),
        // The probe has just told that it is not there, so running it does not repeat it.
        Some(false) => Ok(differs.repeatable(true)),
        // The attempts of a changed input are another run.
        None if input.repeatable || before.iter().all(|attempt| attempt.key != key) => Ok(differs),
        None => Ok(Plan::unknown(format!(
            "`{}` was started and its end was not seen; without a `probe` nothing tells whether it had its effect",
            run.slot()
        ))),
    }
}

pub(crate) fn apply(programs: &impl Programs, input: &Effect, plan: &Plan) -> Result<Completed, Failure> {
    match &input.probe {
        // What the probe prints stands for what the run would have printed.
        Some(arguments) if plan.is_in_place() => {
            Run { exit_codes: &[], ..run_of(input, arguments) }.complete(programs)
        }
        _ => run_of(input, &input.arguments).complete(programs),
    }
}

/// Whether the effect is there; none where there is no probe.
pub(crate) fn probe(programs: &impl Programs, input: &Effect) -> Result<Option<bool>, Failure> {
    let Some(arguments) = &input.probe else { return Ok(None) };
    let run = Run { exit_codes: &[0, 1], parse_json: false, ..run_of(input, arguments) };
    let exit = run.start(programs)?;
    let there = exit.code == Some(0);
    run.judge(&exit).map_err(|failure| Failure {
        code: "probe-failed".to_owned(),
        message: format!("the probe tells by 0 or 1, but {}", failure.message),
        ..failure
    })?;
    Ok(Some(there))
}

pub(crate) fn run_of<'a>(input: &'a Effect, arguments: &'a [String]) -> Run<'a> {
    Run {
        program: input.program.as_deref(),
        arguments,
        stdin: input.stdin.as_deref(),
        exit_codes: &input.exit_codes,
        parse_json: input.parse_json,
    }
}

pub(crate) fn target(input: &Effect) -> String {
    format!("program {}", input.program.as_deref().unwrap_or(crate::run::DEFAULT_SLOT))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::tests::Fake;
    use windlass_sdk::Status;

    fn effect() -> Effect {
        Effect {
            program: None,
            arguments: vec!["do".to_owned()],
            stdin: None,
            exit_codes: Vec::new(),
            parse_json: false,
            probe: None,
            reverse: None,
            repeatable: false,
            extra: Vec::new(),
        }
    }

    fn with_probe() -> Effect {
        Effect { probe: Some(vec!["ask".to_owned()]), reverse: Some(vec!["undo".to_owned()]), ..effect() }
    }

    fn started() -> Vec<Attempt> {
        vec![Attempt {
            key: "test-key".to_owned(),
            number: 1,
            input: "{}".to_owned(),
            plan: Plan::differs([]),
            receipts: Vec::new(),
            output: None,
        }]
    }

    #[test]
    fn without_a_probe_the_first_plan_differs_and_a_lost_end_is_unknown() {
        let fake = Fake::default();
        assert_eq!(plan(&fake, &effect(), &[]).unwrap().status, Status::Differs);
        assert!(matches!(plan(&fake, &effect(), &started()).unwrap().status, Status::Unknown(_)));
        let other = [Attempt { key: "another".to_owned(), ..started().remove(0) }];
        assert_eq!(plan(&fake, &effect(), &other).unwrap().status, Status::Differs);
        let repeatable = Effect { repeatable: true, ..effect() };
        assert_eq!(plan(&fake, &repeatable, &started()).unwrap().status, Status::Differs);
        assert!(fake.ran.borrow().is_empty(), "planning runs nothing without a probe");
    }

    #[test]
    fn the_probe_tells() {
        let there = Fake { answers: vec![("ask", 0, "done before")], ..Fake::default() };
        let planned = plan(&there, &with_probe(), &started()).unwrap();
        assert!(planned.is_in_place());
        assert_eq!(apply(&there, &with_probe(), &planned).unwrap().stdout, "done before");
        let absent = Fake { answers: vec![("ask", 1, "")], ..Fake::default() };
        assert_eq!(plan(&absent, &with_probe(), &started()).unwrap().status, Status::Differs);
        let broken = Fake { answers: vec![("ask", 2, "")], ..Fake::default() };
        assert_eq!(plan(&broken, &with_probe(), &[]).unwrap_err().code, "probe-failed");
    }
}
