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
Exit codes of run, resume and rollback:
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
    Run(Run),
    /// Go on with a run that was held or whose process died, or say what is to become of a step
    Resume(Box<Resume>),
    /// Stop a run for now: nothing new starts, what is being applied comes to its end
    Pause(Stop),
    /// End a run where it is; its effects stay
    Cancel(Stop),
    /// End a run at once: calls are cut off, and nothing runs after them
    Terminate(Stop),
    /// Take back what a run has done, also after its end
    Rollback(Rollback),
    /// Approve what a run asks for, with your SSH key
    Approve(Word),
    /// Reject what a run asks for, with your SSH key
    Reject(Word),
    /// Drive the detached runs of the store until it is told to end
    Daemon,
    /// Print the record of a run
    Show(RunName),
    /// List the runs of the store
    List,
    /// Print what the steps of a run logged
    Logs(Logs),
    /// Write the record of a run as a document to hand over
    Report(Report),
    /// Play the stories beside runbooks, without any plugin, connection or store
    #[command(
        after_help = "Exit codes: 0 every story went as written, 1 one did not, 2 a file has mistakes."
    )]
    Test(Test),
    /// Show who may do what: plugins, digests, imports, grants and the steps that use them; or verify the journal
    #[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
    Audit(Audit),
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

/// Stories to play.
#[derive(Debug, Args)]
pub(crate) struct Test {
    /// Files of stories, or folders with `*.test.toml` in them
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// Only stories whose name has this in it
    #[arg(long, value_name = "TEXT")]
    pub(crate) only: Option<String>,
    /// Print the events of each story
    #[arg(long)]
    pub(crate) events: bool,
}

/// A runbook to run.
#[derive(Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) planned: Planned,
    /// Only create the run; `windlass daemon` drives it
    #[arg(long)]
    pub(crate) detach: bool,
    /// When T is, for steps and stages that start `at` an offset from it: RFC 3339
    #[arg(long, value_name = "TIME", value_parser = timestamp)]
    pub(crate) at: Option<i64>,
    /// Take over what the last run of the group has left, and take it back where this run is rolled back
    #[arg(long = "continue", value_name = "RUN", conflicts_with = "ignored")]
    pub(crate) continued: Option<String>,
    /// Leave what the last run of the group has left
    #[arg(long = "ignore", value_name = "RUN", id = "ignored", requires = "reason")]
    pub(crate) ignored: Option<String>,
    /// Why; goes into the record
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    pub(crate) reason: Option<String>,
}

/// A run to be stopped.
#[derive(Debug, Args)]
pub(crate) struct Stop {
    #[command(flatten)]
    pub(crate) name: RunName,
    /// Where another process drives the run: wait until it stands still, and answer with its exit code
    #[arg(long)]
    pub(crate) wait: bool,
    /// Why; goes into the record
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    pub(crate) reason: Option<String>,
}

/// A run to be rolled back.
#[derive(Debug, Args)]
pub(crate) struct Rollback {
    #[command(flatten)]
    pub(crate) name: RunName,
    /// Where another process drives the run: wait until it stands still, and answer with its exit code
    #[arg(long)]
    pub(crate) wait: bool,
    /// Show what would be taken back, and write nothing anywhere
    #[arg(long, conflicts_with_all = ["reason", "wait"])]
    pub(crate) plan: bool,
    /// Only this step, with everything applied that depends on it; repeat for more
    #[arg(long, value_name = "ID")]
    pub(crate) only: Vec<String>,
    /// Also what lies before the commit of the run; needs a reason
    #[arg(long)]
    pub(crate) past_commit: bool,
    /// Why; goes into the record
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    pub(crate) reason: Option<String>,
}

/// A word on what is asked.
#[derive(Debug, Args)]
pub(crate) struct Word {
    #[command(flatten)]
    pub(crate) name: RunName,
    /// The step that asks
    #[arg(value_name = "STEP")]
    pub(crate) step: String,
    /// Why; goes into what is signed
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    pub(crate) reason: String,
    /// In which of your roles
    #[arg(long, value_name = "ROLE")]
    pub(crate) role: Option<String>,
    /// What shows that it is so: a text, or @FILE; goes into what is signed
    #[arg(long, value_name = "TEXT")]
    pub(crate) evidence: Option<String>,
    /// The SSH key to sign with; a public one is looked for in the agent
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// Don't ask before signing
    #[arg(long)]
    pub(crate) yes: bool,
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

/// A run to report on.
#[derive(Debug, Args)]
pub(crate) struct Report {
    #[command(flatten)]
    pub(crate) name: RunName,
    /// Markdown, one HTML page that needs nothing beside itself, or JSON
    #[arg(long, value_enum, default_value_t = Form::Md, value_name = "FORM")]
    pub(crate) format: Form,
    /// Where to write it [default: standard output]
    #[arg(short, long = "out", value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

/// The form of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    Md,
    Html,
    Json,
}

/// A runbook to audit, or the journal.
#[derive(Debug, Args)]
pub(crate) struct Audit {
    #[command(subcommand)]
    pub(crate) journal: Option<AuditJournal>,
    #[command(flatten)]
    pub(crate) target: Option<Target>,
}

/// What there is to do about the journal.
#[derive(Debug, Subcommand)]
pub(crate) enum AuditJournal {
    /// Check that the journal is what was written: 0 anchored, 10 intact but unanchored, 1 broken
    Verify(Verify),
    /// Print where the store's chain stands now; kept elsewhere, it shows later whether anything was cut off
    Anchor,
}

/// What to verify.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// The run's id, or the beginning of it [default: every run of the store]
    #[arg(value_name = "RUN")]
    pub(crate) run: Option<String>,
    /// What `windlass audit anchor` printed earlier
    #[arg(long, value_name = "FILE")]
    pub(crate) anchor: Option<PathBuf>,
}

/// Which run to go on with, and what is to become of one of its steps.
#[derive(Debug, Args)]
pub(crate) struct Resume {
    #[command(flatten)]
    pub(crate) name: RunName,
    /// Where another process drives the run: wait until it stands still, and answer with its exit code
    #[arg(long)]
    pub(crate) wait: bool,
    /// The step that failed or asks; `undo/ID` for the undo of a step
    #[arg(long, value_name = "ID", requires = "fate")]
    pub(crate) step: Option<String>,
    /// The item of that step, where it has several
    #[arg(long, value_name = "KEY", requires = "step")]
    pub(crate) item: Option<String>,
    #[command(flatten)]
    pub(crate) fate: Fate,
    /// Another value for a field of the step's input; repeat for more
    #[arg(long = "input", value_name = "NAME=VALUE", requires = "retry", value_parser = name_and_value)]
    pub(crate) inputs: Vec<(String, String)>,
    /// What the step would have returned, as JSON, for later steps that use it
    #[arg(long, value_name = "JSON", conflicts_with_all = ["retry", "skip", "not_applied", "restore", "leave"],
          requires = "fate", value_parser = json)]
    pub(crate) result: Option<serde_json::Value>,
    /// Why you know, or why it is right; goes into the record
    #[arg(long, value_name = "TEXT", requires = "fate", value_parser = reason)]
    pub(crate) reason: Option<String>,
}

/// What is to become of a step.
#[derive(Debug, Args)]
#[group(id = "fate", required = false, multiple = false, requires_all = ["step", "reason"])]
pub(crate) struct Fate {
    /// Try it again
    #[arg(long)]
    pub(crate) retry: bool,
    /// Leave it out; the run ends as partial at best
    #[arg(long)]
    pub(crate) skip: bool,
    /// It was done by hand: go on behind it
    #[arg(long)]
    pub(crate) done: bool,
    /// The effect that nobody saw the end of happened: go on behind the step
    #[arg(long)]
    pub(crate) applied: bool,
    /// That effect did not happen: do the step
    #[arg(long)]
    pub(crate) not_applied: bool,
    /// Of an undo: put back what was there before the step, whoever changed it since
    #[arg(long)]
    pub(crate) restore: bool,
    /// Of an undo: leave what is there now
    #[arg(long)]
    pub(crate) leave: bool,
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
        return Err("say in a few words why".to_owned());
    }
    Ok(text.to_owned())
}

fn timestamp(text: &str) -> Result<i64, String> {
    windlass_runner::parse_time(text)
        .ok_or_else(|| "expected a time with its offset, such as 2030-05-17T09:00:00+02:00".to_owned())
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
