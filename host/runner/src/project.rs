//! A runbook with its environment, read and checked: from files for a new run, from the journal for one that goes on.

use std::borrow::Cow;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value};
use windlass_engine::PinnedText;
use windlass_runbook::catalog::{Catalog, CatalogError, GrantFacts, GrantProblem, PluginUse};
use windlass_runbook::expression::Scope;
use windlass_runbook::model::Runbook;
use windlass_runbook::wit::Signature;
use windlass_runbook::{Diagnostics, SourceFile, check, parse};
use windlass_sandbox::grant::{Grant, substitute};

use crate::catalog::Plugins;
use crate::error::RunError;
use crate::text_file;

/// A runbook that passed `check`.
#[derive(Debug)]
pub struct Project {
    /// What to run.
    pub runbook: Arc<Runbook>,
    /// The files it was made from.
    pub source: SourceFile,
    /// The environment's file.
    pub environment: Option<SourceFile>,
    /// What is probably not as meant.
    pub warnings: Diagnostics,
}

impl Project {
    /// Reads and checks the files.
    ///
    /// # Errors
    /// [`RunError::Read`] for files, [`RunError::Check`] with everything that is wrong.
    pub fn open(runbook: &Path, environment: Option<&Path>, plugins: &Plugins) -> Result<Self, RunError> {
        let environment = environment.map(read).transpose()?;
        Self::check(read(runbook)?, environment, plugins)
    }

    /// Checks texts that were read already, such as those that a run has pinned.
    ///
    /// # Errors
    /// [`RunError::Check`] with everything that is wrong.
    pub fn check(
        source: SourceFile,
        environment: Option<SourceFile>,
        plugins: &Plugins,
    ) -> Result<Self, RunError> {
        let (document, mut diagnostics) = parse(source.clone(), environment.clone());
        let runbook = match document {
            Some(document) => {
                let (runbook, found) = check(&document, &Checked(plugins));
                diagnostics.extend(found);
                runbook
            }
            None => None,
        };
        match runbook {
            Some(runbook) if !diagnostics.has_errors() => {
                Ok(Self { runbook: Arc::new(runbook), source, environment, warnings: diagnostics })
            }
            _ => Err(RunError::Check(diagnostics)),
        }
    }

    /// The text as a run pins it.
    #[must_use]
    pub fn pinned(file: &SourceFile) -> PinnedText {
        PinnedText {
            name: file.name.clone(),
            folder: file.folder.to_string_lossy().into_owned(),
            text: Arc::clone(&file.text),
        }
    }

    /// A pinned text as it was read.
    #[must_use]
    pub fn unpinned(text: &PinnedText) -> SourceFile {
        SourceFile::new(text.name.clone(), Arc::clone(&text.text)).in_folder(PathBuf::from(&text.folder))
    }
}

fn read(path: &Path) -> Result<SourceFile, RunError> {
    let error = |source| RunError::Read { path: path.to_owned(), source };
    let text = text_file::read(path, text_file::RUNBOOK).map_err(error)?;
    // Relative paths are pinned with the run, which may go on from another working folder.
    let absolute = std::path::absolute(path).map_err(error)?;
    let folder = absolute.parent().map(Path::to_owned).unwrap_or_default();
    Ok(SourceFile::new(path.display().to_string(), text).in_folder(folder))
}

/// The plugins as the checker asks for them.
struct Checked<'a>(&'a Plugins);

impl Catalog for Checked<'_> {
    fn signature(&self, plugin: &PluginUse) -> Result<Arc<Signature>, CatalogError> {
        self.0
            .find(&plugin.source)
            .map(|found| Arc::new(found.inspection.signature.clone()))
            .map_err(|error| CatalogError { message: error.message, help: error.help })
    }

    fn check_grant(&self, line: &str) -> Result<GrantFacts, GrantProblem> {
        let problem = |message: String, help: Option<String>, range: Range<usize>| GrantProblem {
            message,
            help,
            range,
        };
        Grant::check(line).map_err(|error| problem(error.message, error.help, error.range))?;
        // The line is right; with any value in the placeholders its other parts can be read.
        let grant: Grant = substitute(line, |_| Some("x".to_owned()))
            .and_then(|line| line.parse())
            .map_err(|error| problem(error.message, error.help, 0..line.len()))?;
        let capability = match grant {
            Grant::Http(_) => "http",
            Grant::Postgres(_) => "postgres",
            Grant::Folder(_) => "folder",
            Grant::Program(_) => "program",
        };
        let mut slots: Vec<String> = grant.slot().map(str::to_owned).into_iter().collect();
        if let Grant::Program(program) = &grant {
            slots.extend(program.arguments.iter().flat_map(|argument| argument.folders()).map(str::to_owned));
        }
        Ok(GrantFacts { slots, writes: !grant.reads_only(), capability: capability.to_owned() })
    }
}

/// Inputs and vars alone: what configurations and grants may cite.
pub(crate) struct Settings<'a> {
    pub(crate) inputs: &'a Map<String, Value>,
    pub(crate) vars: &'a Map<String, Value>,
}

impl Scope for Settings<'_> {
    fn input(&self, name: &str) -> Option<Cow<'_, Value>> {
        self.inputs.get(name).map(Cow::Borrowed)
    }
    fn var(&self, name: &str) -> Option<Cow<'_, Value>> {
        self.vars.get(name).map(Cow::Borrowed)
    }
}
