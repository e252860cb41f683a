//! The command line: what there is to type. Parsing only; nothing here acts.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Run TOML runbooks whose every step is a call into a sandboxed WebAssembly component
#[derive(Debug, Parser)]
#[command(name = "windlass", version, propagate_version = true, max_term_width = 100, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const AFTER_HELP: &str = "\
Exit codes of run and resume:
  0 succeeded   1 failed   2 usage or check errors   3 held, waiting for an answer
  4 partial   5 rolled back   6 cancelled   7 as the verdict says, but a finally step failed
  8 store, key or host fault   9 busy: another process has the run
plan answers 0 when nothing would change, 10 when something would, 1 when it failed.";

/// Options that every command takes.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// The store: a SQLite file [default: $XDG_STATE_HOME/windlass/store.db]
    #[arg(long, global = true, env = "WINDLASS_STORE", hide_env_values = true, value_name = "FILE")]
    pub(crate) store: Option<PathBuf>,
    /// How to print
    #[arg(long, global = true, value_enum, default_value_t = Output::Auto, value_name = "FORM")]
    pub(crate) output: Output,
    /// Colours
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, value_name = "WHEN")]
    pub(crate) color: Color,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// A live tree on a terminal, plain lines on a pipe
    Auto,
    /// Plain lines
    Plain,
    /// JSON: one event per line from run and resume, one document from the others
    Json,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Find the mistakes in a runbook without running anything
    Check(Target),
    /// Show what a run would change; writes nothing anywhere
    Plan(Planned),
    /// Run a runbook
    Run(Planned),
    /// Go on with a run that was held or whose process died
    Resume(Resume),
    /// Print the record of a run
    Show(RunName),
    /// List the runs of the store
    List,
    /// Print what the steps of a run logged
    Logs(Logs),
    /// Show who may do what: plugins, digests, imports, grants and the steps that use them
    Audit(Target),
    /// Look into plugins and build them
    #[command(subcommand)]
    Plugin(Plugin),
    /// Print the completions of a shell
    Completions {
        /// The shell to write for
        shell: clap_complete::Shell,
    },
    /// Compile a component read from standard input; the sandbox starts this itself
    #[command(name = "__compile", hide = true)]
    CompileWorker,
    /// Start a granted program under its limits; the sandbox starts this itself
    #[command(name = "__launch", hide = true)]
    Launch {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<std::ffi::OsString>,
    },
}

/// A runbook and the place it is bound to.
#[derive(Debug, Args)]
pub(crate) struct Target {
    /// The runbook
    #[arg(value_name = "RUNBOOK")]
    pub(crate) runbook: PathBuf,
    /// The environment that binds it to a place
    #[arg(long = "env", value_name = "FILE")]
    pub(crate) environment: Option<PathBuf>,
}

/// A runbook with its inputs.
#[derive(Debug, Args)]
pub(crate) struct Planned {
    #[command(flatten)]
    pub(crate) target: Target,
    /// A value for one of the runbook's inputs; repeat for more
    #[arg(long = "input", value_name = "NAME=VALUE", value_parser = name_and_value)]
    pub(crate) inputs: Vec<(String, String)>,
}

/// A run.
#[derive(Debug, Args)]
pub(crate) struct RunName {
    /// The run's id, or the beginning of it
    #[arg(value_name = "RUN")]
    pub(crate) run: String,
}

/// What to log.
#[derive(Debug, Args)]
pub(crate) struct Logs {
    #[command(flatten)]
    pub(crate) name: RunName,
    /// Only this step's lines
    #[arg(long, value_name = "ID")]
    pub(crate) step: Option<String>,
    /// Print what the plugins asked of the host instead, and what came of it
    #[arg(long)]
    pub(crate) calls: bool,
}

/// Which run to go on with, and what a person answers to its question.
#[derive(Debug, Args)]
pub(crate) struct Resume {
    #[command(flatten)]
    pub(crate) name: RunName,
    /// The step that asks whether its effect happened
    #[arg(long, value_name = "ID", requires = "answer")]
    pub(crate) step: Option<String>,
    /// The item of that step, where it has several
    #[arg(long, value_name = "KEY", requires = "step")]
    pub(crate) item: Option<String>,
    #[command(flatten)]
    pub(crate) answer: Answer,
    /// What the step would have returned, as JSON, for later steps that use it
    #[arg(long, value_name = "JSON", requires = "applied", value_parser = json)]
    pub(crate) result: Option<serde_json::Value>,
    /// Why you know; goes into the record
    #[arg(long, value_name = "TEXT", requires = "answer", value_parser = reason)]
    pub(crate) reason: Option<String>,
}

/// What happened to the effect that nobody saw the end of.
#[derive(Debug, Args)]
#[group(id = "answer", required = false, multiple = false, requires_all = ["step", "reason"])]
pub(crate) struct Answer {
    /// The effect happened: go on behind the step
    #[arg(long)]
    pub(crate) applied: bool,
    /// The effect did not happen: do the step
    #[arg(long)]
    pub(crate) not_applied: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Plugin {
    /// Show what a plugin offers and what it can do
    Inspect {
        /// A component file, or builtin:NAME
        #[arg(value_name = "PLUGIN")]
        plugin: String,
    },
    /// Build a plugin written in Rust into a component
    Build {
        /// The plugin's folder, with its Cargo.toml and plugin.toml
        #[arg(value_name = "FOLDER", default_value = ".")]
        folder: PathBuf,
        /// Where to put the component
        #[arg(long, value_name = "FOLDER", default_value = "target/plugins")]
        out: PathBuf,
    },
}

fn name_and_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE, such as --input version=v1.2.3".to_owned()),
    }
}

fn reason(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        return Err("say in a few words how you know".to_owned());
    }
    Ok(text.to_owned())
}

fn json(text: &str) -> Result<serde_json::Value, String> {
    serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// The whole help is one snapshot, so that a change of any word shows in review.
    #[test]
    fn the_help_is_as_reviewed() {
        let mut help = String::new();
        let mut commands = vec![Cli::command()];
        while let Some(mut command) = commands.pop() {
            let text = command.render_long_help().to_string();
            help.extend(["==== ", command.get_name(), " ====\n", &text, "\n"]);
            commands.extend(command.get_subcommands().filter(|sub| !sub.is_hide_set()).cloned());
        }
        let help: Vec<&str> = help.lines().map(str::trim_end).collect();
        insta::assert_snapshot!(help.join("\n"));
    }

    #[test]
    fn an_answer_needs_step_and_reason() {
        let parse = |line: &str| Cli::try_parse_from(line.split(' '));
        assert!(parse("windlass resume abc").is_ok());
        assert!(parse("windlass resume abc --applied").is_err());
        assert!(parse("windlass resume abc --step x --applied").is_err());
        assert!(parse("windlass resume abc --step x --applied --reason seen").is_ok());
        assert!(parse("windlass resume abc --step x --not-applied --reason seen").is_ok());
        assert!(parse("windlass resume abc --step x --reason seen").is_err());
    }
}
