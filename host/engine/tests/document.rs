//! The page that shows what may be asked of a run in each state is the table that the machine obeys.
//!
//! `UPDATE_DOCS=1 cargo test -p windlass-engine --test document` writes the page anew.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail loudly")]

use std::fmt::Write as _;
use std::path::Path;

use windlass_engine::{Line, Rule, RunStand, StepStand, Verb, table};

const HEAD: &str = "\
# States and verbs

What a person may ask of a run, by how it stands. This page is written by a test from the table that the engine obeys
(`host/engine/src/verbs.rs`); a request that is refused is refused with the words that stand here. How to use the verbs
is in [operating.md](operating.md).

A run goes `queued → running → settling → undoing → closing → ended`, as far as each applies, and is `held` on the way
whenever something keeps it from going forward. It is *settling* while it goes back and effects of the way forward have
not ended, *undoing* while it goes back after that, and *closing* while its finally steps run. What a person cancels is
*cancelling*, and a way back that is cancelled, or anything that is terminated, *ending*, until what is being written has
come to its end.

| verb | typed as |
| --- | --- |
";

const fn typed(verb: Verb) -> &'static [&'static str] {
    match verb {
        Verb::Pause => &["windlass pause RUN"],
        Verb::Resume => &["windlass resume RUN"],
        Verb::Cancel => &["windlass cancel RUN"],
        Verb::Terminate => &["windlass terminate RUN"],
        Verb::Rollback => &["windlass rollback RUN"],
        Verb::Approve => &["windlass approve RUN STEP", "windlass reject RUN STEP"],
        Verb::Retry => &["windlass resume RUN --step ID --retry [--input NAME=VALUE]"],
        Verb::Skip => &["windlass resume RUN --step ID --skip"],
        Verb::Done => &["windlass resume RUN --step ID --done [--result JSON]"],
        Verb::Answer => &["windlass resume RUN --step ID --applied", "… --not-applied"],
        Verb::Restore => &["windlass resume RUN --step undo/ID --restore"],
        Verb::Leave => &["windlass resume RUN --step undo/ID --leave"],
    }
}

fn cell(rule: Rule) -> String {
    match rule {
        Ok(what) => what.to_owned(),
        Err(why) => format!("refused: {why}"),
    }
}

/// The lines of one state, those with the same answer in one row.
fn section(page: &mut String, state: &str, lines: &[&Line]) {
    writeln!(page, "\n### {state}\n\n| verb | what comes of it |\n| --- | --- |").unwrap();
    let mut rows: Vec<(Rule, Vec<&str>)> = Vec::new();
    for line in lines {
        match rows.iter_mut().find(|(rule, _)| *rule == line.rule) {
            Some((_, verbs)) => verbs.push(line.verb.as_str()),
            None => rows.push((line.rule, vec![line.verb.as_str()])),
        }
    }
    for (rule, verbs) in rows {
        writeln!(page, "| {} | {} |", verbs.join(", "), cell(rule)).unwrap();
    }
}

fn page() -> String {
    let mut page = HEAD.to_owned();
    for verb in Verb::ALL {
        writeln!(page, "| {verb} | `{}` |", typed(*verb).join("`, `")).unwrap();
    }
    let table = table();
    page.push_str("\n## Of a run\n");
    for stand in RunStand::ALL {
        let lines: Vec<&Line> =
            table.iter().filter(|line| !line.of_step && line.state == stand.as_str()).collect();
        assert_eq!(lines.len(), Verb::ALL.len(), "{stand}");
        section(&mut page, stand.as_str(), &lines);
    }
    page.push_str(
        "\n## Of a step, an item or an undo\n\nWhere the run leaves it to the step. While a run goes back, its undos are \
         asked about (`--step undo/ID`), and its steps no more.\n",
    );
    for stand in StepStand::ALL {
        let lines: Vec<&Line> =
            table.iter().filter(|line| line.of_step && line.state == stand.as_str()).collect();
        assert!(!lines.is_empty(), "{stand}");
        section(&mut page, stand.as_str(), &lines);
    }
    page
}

#[test]
fn the_page_of_states_and_verbs_is_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/states-and-verbs.md");
    let page = page();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &page).unwrap();
    }
    let stands = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        stands == page,
        "docs/states-and-verbs.md is not what the engine does; write it anew with\n\
         UPDATE_DOCS=1 cargo test -p windlass-engine --test document"
    );
}
