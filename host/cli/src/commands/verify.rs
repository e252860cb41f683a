//! `windlass audit verify` and `windlass audit anchor`: whether the journal is what was written.

use std::path::Path;

use windlass_journal::{Anchor, Outcome, RunReport, State, Voucher};

use crate::app::App;
use crate::args::Verify;
use crate::error::CliError;
use crate::exit::Exit;

pub(crate) async fn run(app: &App, asked: &Verify) -> Result<Exit, CliError> {
    let store = app.store_to_read().await?;
    let anchor = asked.anchor.as_deref().map(read_anchor).transpose()?;
    let run = match &asked.run {
        Some(name) => Some(app.run_id(&store, name).await?),
        None => None,
    };
    let report = store.verify(run.as_ref(), anchor.as_ref()).await?;
    if app.printer.json() {
        let mut document = serde_json::to_value(&report)
            .map_err(|error| CliError::new(Exit::Fault, format!("cannot write JSON: {error}")))?;
        if let Some(members) = document.as_object_mut() {
            members.insert("version".to_owned(), 1.into());
            members.insert("state".to_owned(), report.state().to_string().into());
        }
        app.printer.document(&document)?;
    } else {
        let style = app.printer.style();
        let color = |state: State, text: &str| match state {
            State::Anchored => style.green(text),
            State::Unanchored => style.yellow(text),
            State::Broken => style.red(text),
        };
        for run in &report.runs {
            let outcome = color(run.outcome.state(), &run.outcome.to_string());
            app.printer.line(&format!("run {}: {outcome}", run.run))?;
            app.printer.line(&style.dim(&format!("  {}", details(run))))?;
        }
        let chain = match &report.chain {
            Some(broken) => color(State::Broken, &format!("broken at {broken}")),
            None => format!("{} starts and ends of runs, each linked to the one before", report.entries),
        };
        app.printer.line(&format!("store {}: {chain}", report.store))?;
        let voucher = match report.vouched_by {
            Some(Voucher::KeyFile) => "its key file on this machine vouches for it",
            Some(Voucher::Anchor) => "the anchor vouches for it",
            None => "nothing outside of the store vouches for it; give --anchor FILE",
        };
        app.printer.line(&format!("signed by engine key {}: {voucher}", report.engine))?;
        app.printer.line(&color(report.state(), &report.state().to_string()))?;
    }
    Ok(match report.state() {
        State::Anchored => Exit::Succeeded,
        State::Unanchored => Exit::Changes,
        State::Broken => Exit::Failed,
    })
}

fn details(run: &RunReport) -> String {
    let mut text = format!("{} events, signed up to {}", run.events, run.signed);
    if !run.erased.is_empty() {
        let erased: Vec<String> = run.erased.iter().map(u64::to_string).collect();
        text.push_str(&format_args!("; erased on purpose: {}", erased.join(", ")).to_string());
    }
    if !run.opened && !matches!(run.outcome, Outcome::Broken(_)) {
        text.push_str("; the store's key is not here, so payloads were not opened");
    }
    text
}

pub(crate) async fn anchor(app: &App) -> Result<Exit, CliError> {
    let store = app.store_to_read().await?;
    let anchor = store.anchor().await?;
    let document = serde_json::to_value(&anchor)
        .map_err(|error| CliError::new(Exit::Fault, format!("cannot write JSON: {error}")))?;
    app.printer.document(&document)?;
    Ok(Exit::Succeeded)
}

fn read_anchor(path: &Path) -> Result<Anchor, CliError> {
    let wrong = |what: String| {
        CliError::new(
            Exit::Usage,
            format!("`{}` is no anchor: {what}; make one with `windlass audit anchor`", path.display()),
        )
    };
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))
}
