//! Large runbooks: time linear in the steps, and no recursion along them.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail so")]

mod support;

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use support::{World, checked, draw};
use windlass_runbook::{SourceFile, check, parse};

/// Steps as people write them: each with a call, a condition and a reference to the step before it.
fn chain(steps: usize, needs: impl Fn(usize) -> String) -> String {
    let mut text = String::from(
        "[runbook]\nname = \"large\"\n[inputs]\nhost = { type = \"string\", default = \"example.com\" }\n\
         [plugins.api]\nsource = \"builtin:http\"\nallow = [\"http GET https://example.com/**\"]\n",
    );
    for step in 0..steps {
        let before = step.saturating_sub(1);
        let body =
            if step == 0 { "start".to_owned() } else { format!("${{steps.step_{before}.output.body.id}}") };
        write!(
            text,
            "\n[[step]]\nid = \"step_{step}\"\ntitle = \"Step {step} of a long chain\"\ndo = \"api.fetch\"\n{}\
             with = {{ url = \"https://${{inputs.host}}/items/{step}\", headers = {{ accept = \"application/json\" }}, \
             query = {{ id = \"{body}\" }} }}\nexpect = \"result.status_code == 200\"\ntimeout = \"30s\"\n",
            needs(step)
        )
        .unwrap();
    }
    text
}

fn time(text: &str) -> Duration {
    (0..2)
        .map(|_| {
            let begun = Instant::now();
            let (runbook, diagnostics) = checked(text, None);
            assert!(runbook.is_some(), "{}", draw(&diagnostics));
            begun.elapsed()
        })
        .min()
        .unwrap()
}

#[test]
fn a_chain_of_ten_thousand_steps_is_checked_without_recursion() {
    let text = chain(10_000, |_| String::new());
    // A small stack: one frame per step would not fit.
    let worker = std::thread::Builder::new().stack_size(1 << 20);
    let steps = worker
        .spawn(move || {
            let (document, _) = parse(SourceFile::new("large.toml", text), None);
            let (runbook, diagnostics) = check(&document.unwrap(), &World);
            assert!(diagnostics.is_empty());
            runbook.unwrap().steps.len()
        })
        .unwrap()
        .join()
        .unwrap();
    assert_eq!(steps, 10_000);
}

#[test]
fn time_grows_with_the_steps_and_not_with_their_square() {
    type Needs = fn(usize) -> String;
    let shapes: [(&str, Needs); 3] = [
        ("chain", |_| String::new()),
        ("times", |step| format!("at = \"T+{step}m\"\ncommit = true\n")),
        // Each also needs the first: a fan and a chain in one.
        ("needs", |step| match step {
            0 => String::new(),
            1 => "needs = [\"step_0\"]\n".to_owned(),
            _ => format!("needs = [\"step_0\", \"step_{}\"]\n", step - 1),
        }),
    ];
    for (name, needs) in shapes {
        let small = time(&chain(1_000, needs));
        let large = time(&chain(8_000, needs));
        let ratio = large.as_secs_f64() / small.as_secs_f64();
        // Eight for a line, sixty-four for a square; the machine may be busy.
        assert!(ratio < 32.0, "{name}: eight times the steps took {ratio:.1} times as long");
    }
}

#[test]
fn references_far_back_are_found_without_walking_the_chain() {
    let mut text = chain(6_000, |_| String::new());
    for step in 0..3_000 {
        write!(
            text,
            "\n[[step]]\nid = \"far_{step}\"\ndo = \"api.fetch\"\n\
             with = {{ url = \"/${{steps.step_0.output.body.id}}/${{steps.step_{step}.output.body.id}}\" }}\n"
        )
        .unwrap();
    }
    let begun = Instant::now();
    let (runbook, _) = checked(&text, None);
    assert!(runbook.is_some());
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[test]
fn a_cycle_of_ten_thousand_steps_is_one_short_diagnostic() {
    let text =
        chain(10_000, |step| if step == 0 { "needs = [\"step_9999\"]\n".to_owned() } else { String::new() });
    let (runbook, diagnostics) = checked(&text, None);
    assert!(runbook.is_none());
    assert_eq!(diagnostics.len(), 1);
    let drawn = draw(&diagnostics);
    assert!(drawn.lines().count() < 400, "{} lines", drawn.lines().count());
}
