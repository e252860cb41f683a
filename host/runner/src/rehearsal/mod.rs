//! `windlass test`: drives a checked runbook through stories that somebody wrote down, in virtual time.
//!
//! The runbook, its types and the engine are the real ones; plugins, people, clocks and crashes are played. No plugin
//! is called, no connection is opened, no store is written, and no time passes.

mod coverage;
mod drive;
mod expect;
mod made_up;
mod read;
mod script;
mod stage;

pub use coverage::Coverage;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use windlass_engine::Millis;
use windlass_runbook::{Diagnostics, SourceFile};

use crate::catalog::Plugins;
use crate::error::RunError;
use crate::project::Project;
use crate::text_file;

/// What the stories of one file came to.
#[derive(Debug)]
pub struct Rehearsal {
    /// The file, as it was named.
    pub file: String,
    /// The runbook that it is about.
    pub runbook: String,
    /// In the order of the file.
    pub cases: Vec<Case>,
    /// What of the runbook they have been through.
    pub coverage: Coverage,
}

impl Rehearsal {
    /// Whether every story went as it was written.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.cases.iter().all(Case::passed)
    }
}

/// What one story came to.
#[derive(Debug)]
pub struct Case {
    /// Its name.
    pub name: String,
    /// A verdict, or `held` or `waiting`.
    pub outcome: String,
    /// How long it took by the run's own clock, milliseconds.
    pub took_ms: u64,
    /// What was not as expected.
    pub wrong: Diagnostics,
    began: Millis,
    events: Vec<(Millis, String)>,
}

impl Case {
    /// Whether it went as it was written.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.wrong.iter().next().is_none()
    }

    /// Each event as `expect.events` would name it, with the milliseconds since the start.
    pub fn timed(&self) -> impl Iterator<Item = (u64, &str)> {
        self.events
            .iter()
            .map(|(at, line)| (u64::try_from(at - self.began).unwrap_or_default(), line.as_str()))
    }
}

/// Plays those stories of a file whose names are wanted.
///
/// # Errors
/// [`RunError::Read`] for files, [`RunError::Check`] with everything that is wrong with them.
pub fn rehearse(
    path: &Path,
    plugins: &Plugins,
    wanted: &dyn Fn(&str) -> bool,
) -> Result<Rehearsal, RunError> {
    let source = read_source(path)?;
    let file = read::parse(&source).map_err(RunError::Check)?;
    let beside = |name: &str| path.parent().map_or_else(|| PathBuf::from(name), |folder| folder.join(name));
    let runbook = match &file.test.runbook {
        Some(name) => beside(name.get_ref()),
        None => default_runbook(path),
    };
    let environment = file.test.env.as_ref().map(|name| beside(name.get_ref()));
    let project = Project::open(&runbook, environment.as_deref(), plugins)?;
    let stories = read::understand(&file, &source, &project).map_err(RunError::Check)?;
    let mut coverage = Coverage::new(&project.runbook);
    let readings = Arc::new(made_up::Readings::of(&project.runbook));
    let cases = stories
        .iter()
        .filter(|story| wanted(&story.name))
        .map(|story| {
            let played = drive::play(story, &project, &readings);
            coverage.add(&played.state);
            let wrong = expect::compare(story, &played, &source);
            Case {
                name: story.name.clone(),
                outcome: played.outcome(),
                took_ms: played.took_ms(),
                wrong,
                began: played.began,
                events: played.lines,
            }
        })
        .collect();
    Ok(Rehearsal {
        file: path.display().to_string(),
        runbook: runbook.display().to_string(),
        cases,
        coverage,
    })
}

/// The stories that lie at a path: a file, or every `*.test.toml` in a folder and below, in order.
///
/// # Errors
/// Where the path can't be read.
pub fn find(path: &Path) -> Result<Vec<PathBuf>, RunError> {
    let error = |path: &Path| {
        let path = path.to_owned();
        |source| RunError::Read { path, source }
    };
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).map_err(error(&folder))? {
            let entry = entry.map_err(error(&folder))?;
            let is_folder = entry.file_type().map_err(error(&folder))?.is_dir();
            if is_folder {
                folders.push(entry.path());
            } else if entry.file_name().to_string_lossy().ends_with(".test.toml") {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}

/// `release.test.toml` is about `release.toml`.
fn default_runbook(path: &Path) -> PathBuf {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let stem = name.strip_suffix(".toml").unwrap_or(&name);
    path.with_file_name(format!("{}.toml", stem.strip_suffix(".test").unwrap_or(stem)))
}

fn read_source(path: &Path) -> Result<Arc<SourceFile>, RunError> {
    let text = text_file::read(path, text_file::RUNBOOK)
        .map_err(|source| RunError::Read { path: path.to_owned(), source })?;
    Ok(Arc::new(SourceFile::new(path.display().to_string(), text)))
}
