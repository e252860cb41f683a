//! `windlass report`: the record of a run as a document to hand over.

use std::path::Path;

use windlass_runbook::model::Runbook;
use windlass_runner::connect::Connections;
use windlass_runner::record::Record;
use windlass_runner::{Recorded, Redactor};

use super::drive::pinned_runbook;
use crate::app::App;
use crate::args::{Form, Report};
use crate::error::CliError;
use crate::exit::Exit;

pub(crate) async fn run(app: &App, asked: &Report) -> Result<Exit, CliError> {
    let store = app.store_to_read().await?;
    let id = app.run_id(&store, &asked.name.run).await?;
    let recorded = Recorded::read(&store, id).await?;
    recorded.created()?;
    let runbook = pinned_runbook(&store, &recorded).await;
    let Some(record) = Record::of(&recorded, runbook.as_deref()) else {
        return Err(CliError::new(Exit::Fault, "the run has no beginning".to_owned()));
    };
    let form = if app.printer.json() { Form::Json } else { asked.format };
    let redactor = redactor(app, runbook.as_deref());
    let text = match form {
        Form::Md => redactor.text(&record.markdown()).into_owned(),
        Form::Html => redactor.text(&record.html()).into_owned(),
        Form::Json => pretty(&redactor.value(&record.json()))?,
    };
    match &asked.out {
        Some(path) => write(path, &text)?,
        None => app.printer.data(&text)?,
    }
    Ok(Exit::Succeeded)
}

/// Hides the secrets of the run's environment, as far as they can be had here and now: an echo of one by some service
/// could stand in a message. They are not in the journal's own words, so that a report can be made without them.
fn redactor(app: &App, runbook: Option<&Runbook>) -> Redactor {
    let Some(runbook) = runbook.filter(|runbook| !runbook.secrets.is_empty()) else {
        return Redactor::default();
    };
    match Connections::resolve(runbook, Path::new(""), &|name| std::env::var_os(name)) {
        Ok(connections) => connections.into_redactor(),
        Err(error) => {
            app.printer.talk(&format!(
                "the secrets of the run can't be had here, so echoes of them would not be hidden: {error}"
            ));
            Redactor::default()
        }
    }
}

fn pretty(value: &serde_json::Value) -> Result<String, CliError> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| CliError::new(Exit::Fault, format!("cannot write JSON: {error}")))?;
    Ok(text + "\n")
}

/// Written beside and moved into place, so that nobody reads half of it.
fn write(path: &Path, text: &str) -> Result<(), CliError> {
    let wrong = |error: std::io::Error| {
        CliError::new(Exit::Fault, format!("cannot write the report to `{}`: {error}", path.display()))
    };
    let mut beside = path.as_os_str().to_owned();
    beside.push(".part");
    std::fs::write(&beside, text).map_err(wrong)?;
    std::fs::rename(&beside, path).map_err(wrong)
}
