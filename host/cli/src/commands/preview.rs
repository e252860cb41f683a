//! `windlass rollback RUN --plan`: what a rollback would take back.

use std::sync::Arc;

use serde_json::{Value, json};
use windlass_engine::Phase;
use windlass_journal::Store;
use windlass_runbook::outcome::{Plan, Status};
use windlass_runner::{Recorded, UndoOutcome, UndoRow, preview_rollback};
use windlass_sandbox::plain_text;

use crate::app::App;
use crate::args::Rollback;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::Style;
use crate::output::lines::place;

pub(crate) async fn run(
    app: &App,
    store: Store,
    recorded: &Recorded,
    asked: &Rollback,
) -> Result<Exit, CliError> {
    let store = Arc::new(store);
    let host = app.host(&store)?;
    let rows = preview_rollback(&host, &recorded.id, asked.only.clone(), asked.past_commit).await?;
    if app.printer.json() {
        let steps: Vec<Value> = rows.iter().map(machine_readable).collect();
        app.printer.document(&json!({ "version": 1, "run": recorded.id.as_str(), "steps": steps }))?;
    } else {
        app.printer.data(&text(&rows, app.printer.style()))?;
    }
    Ok(exit_of(&rows))
}

fn exit_of(rows: &[UndoRow]) -> Exit {
    let is = |wanted: fn(&UndoOutcome) -> bool| rows.iter().any(|row| wanted(&row.outcome));
    if is(|outcome| match outcome {
        UndoOutcome::Failed(_) => true,
        UndoOutcome::Planned(plan) => matches!(plan.status, Status::Conflict(_) | Status::Unknown(_)),
        UndoOutcome::NoUndo | UndoOutcome::NotNeeded => false,
    }) {
        Exit::Failed
    } else if is(|outcome| matches!(outcome, UndoOutcome::Planned(plan) if plan.status != Status::InPlace)) {
        Exit::Changes
    } else {
        Exit::Succeeded
    }
}

fn machine_readable(row: &UndoRow) -> Value {
    let (outcome, plan, message) = match &row.outcome {
        UndoOutcome::Planned(plan) => (word(plan), Some(&plan.changes), why(plan).map(str::to_owned)),
        UndoOutcome::Failed(failure) => ("failed", None, Some(failure.clone())),
        UndoOutcome::NoUndo => ("no_undo", None, None),
        UndoOutcome::NotNeeded => ("not_needed", None, None),
    };
    json!({ "step": row.step, "item": row.item, "outcome": outcome, "changes": plan, "message": message })
}

const fn word(plan: &Plan) -> &'static str {
    match &plan.status {
        Status::Differs => "differs",
        Status::InPlace => "in_place",
        Status::InProgress => "in_progress",
        Status::Conflict(_) => "conflict",
        Status::Unknown(_) => "unknown",
    }
}

fn why(plan: &Plan) -> Option<&str> {
    match &plan.status {
        Status::Conflict(why) | Status::Unknown(why) => Some(why),
        Status::Differs | Status::InPlace | Status::InProgress => None,
    }
}

fn text(rows: &[UndoRow], style: Style) -> String {
    let mut lines = Vec::new();
    for row in rows {
        let name = place(&row.step, row.item.as_deref());
        match &row.outcome {
            UndoOutcome::Planned(plan) => lines.extend(planned(&name, plan, style)),
            UndoOutcome::Failed(failure) => {
                let why = plain_text(failure);
                lines.push(format!("{} {name} can't be planned: {why}", style.sign(Phase::Failed)));
            }
            UndoOutcome::NoUndo => {
                lines.push(format!("{} {name} stays: its action has no undo", style.sign(Phase::Skipped)));
            }
            UndoOutcome::NotNeeded => {
                let sign = style.sign(Phase::Succeeded);
                lines.push(format!("{sign} {name} is not needed: the runbook says so"));
            }
        }
    }
    let to_do = rows
        .iter()
        .filter(|row| matches!(&row.outcome, UndoOutcome::Planned(plan) if plan.status != Status::InPlace));
    let sum = match to_do.count() {
        0 => "nothing to take back".to_owned(),
        1 => "1 thing to do".to_owned(),
        more => format!("{more} things to do"),
    };
    lines.push(format!("{} {sum}; nothing was changed", style.bold("rollback:")));
    lines.push(String::new());
    lines.join("\n")
}

fn planned(name: &str, plan: &Plan, style: Style) -> Vec<String> {
    let mut lines = vec![match (&plan.status, why(plan)) {
        (_, Some(why)) => format!(
            "{} {name} would ask a person ({}): {}",
            style.sign(Phase::Asking),
            word(plan),
            plain_text(why)
        ),
        (Status::InPlace, None) => format!("{} {name} is not needed", style.sign(Phase::Succeeded)),
        (Status::InProgress, None) => format!("{} {name} is on its way", style.sign(Phase::Waiting)),
        (_, None) => format!("{} {name}", style.sign(Phase::Applying)),
    }];
    for change in &plan.changes {
        let to = change.to.as_deref().map(|to| format!(" to {to}")).unwrap_or_default();
        lines.push(format!("    {}", plain_text(&format!("{} {}{to}", change.kind, change.target))));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use windlass_runbook::outcome::Change;

    fn row(step: &str, status: Status, changes: Vec<Change>) -> UndoRow {
        let plan = Plan { status, changes, memo: String::new(), repeatable: true };
        UndoRow { step: step.into(), item: None, outcome: UndoOutcome::Planned(plan) }
    }

    #[test]
    fn what_a_rollback_would_do_reads_well() {
        let change = Change {
            kind: "delete".to_owned(),
            target: "file /out/a.txt\u{1b}[2J".to_owned(),
            from: None,
            to: None,
        };
        let rows = [
            row("undo/write", Status::Differs, vec![change]),
            row("undo/again", Status::InPlace, Vec::new()),
            row("undo/theirs", Status::Conflict("someone wrote it".to_owned()), Vec::new()),
            UndoRow { step: "undo/told".into(), item: Some("a".into()), outcome: UndoOutcome::NoUndo },
        ];
        insta::assert_snapshot!(text(&rows, Style { color: false }));
        assert_eq!(exit_of(&rows), Exit::Failed);
        assert_eq!(exit_of(&rows[..2]), Exit::Changes);
        assert_eq!(exit_of(&rows[1..2]), Exit::Succeeded);
    }
}
