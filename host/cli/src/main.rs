//! The `windlass` command: parses, dispatches, prints. What it does is in the libraries.

mod app;
mod args;
mod commands;
mod error;
mod exit;
mod output;
mod signals;
mod terminal;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use crate::app::App;
use crate::args::{AuditJournal, Cli, Command};
use crate::error::CliError;
use crate::exit::Exit;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match dispatch(&cli) {
        Ok(code) => code,
        Err(error) => {
            output::Printer::new(cli.global.output, cli.global.color).talk(&error.to_string());
            error.exit.into()
        }
    }
}

fn dispatch(cli: &Cli) -> Result<ExitCode, CliError> {
    let app = || App::new(&cli.global);
    let exit = match &cli.command {
        Command::CompileWorker => return Ok(windlass_sandbox::compile_worker_main()),
        Command::Launch { arguments } => {
            return Ok(windlass_sandbox::launcher_main(arguments.iter().cloned()));
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "windlass", &mut script);
            app()?.printer.data(&String::from_utf8_lossy(&script))?;
            Exit::Succeeded
        }
        Command::Check(target) => commands::check::run(&app()?, target)?,
        Command::Test(asked) => commands::test::run(&app()?, asked)?,
        Command::Audit(asked) => match &asked.journal {
            Some(AuditJournal::Verify(asked)) => on_runtime(commands::verify::run(&app()?, asked))?,
            Some(AuditJournal::Anchor) => on_runtime(commands::verify::anchor(&app()?))?,
            None => commands::audit::run(&app()?, asked.target.as_ref())?,
        },
        Command::Plugin(command) => commands::plugin::run(&app()?, command)?,
        Command::Plan(planned) => on_runtime(commands::plan::run(&app()?, planned))?,
        Command::Run(asked) => on_runtime(commands::run::run(&app()?, asked))?,
        Command::Resume(asked) => on_runtime(commands::verbs::resume(&app()?, asked))?,
        Command::Pause(asked) => on_runtime(commands::verbs::pause(&app()?, asked))?,
        Command::Cancel(asked) => on_runtime(commands::verbs::cancel(&app()?, asked))?,
        Command::Terminate(asked) => on_runtime(commands::verbs::terminate(&app()?, asked))?,
        Command::Rollback(asked) => on_runtime(commands::verbs::rollback(&app()?, asked))?,
        Command::Approve(asked) => {
            on_runtime(commands::approve::run(&app()?, asked, windlass_engine::Decision::Approve))?
        }
        Command::Reject(asked) => {
            on_runtime(commands::approve::run(&app()?, asked, windlass_engine::Decision::Reject))?
        }
        Command::Daemon => on_runtime(commands::daemon::run(&app()?))?,
        Command::Show(asked) => on_runtime(commands::show::run(&app()?, asked))?,
        Command::Report(asked) => on_runtime(commands::report::run(&app()?, asked))?,
        Command::List => on_runtime(commands::list::run(&app()?))?,
        Command::Logs(asked) => on_runtime(commands::logs::run(&app()?, asked))?,
    };
    Ok(exit.into())
}

/// Runs a command that calls plugins or reads the store.
fn on_runtime(command: impl Future<Output = Result<Exit, CliError>>) -> Result<Exit, CliError> {
    trace();
    // Nobody but root may look into the memory of a process that holds credentials.
    let _unsupported = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(std::thread::available_parallelism().map_or(2, |cores| cores.get().clamp(2, 8)))
        .enable_all()
        .build()
        .map_err(|error| CliError::new(Exit::Fault, format!("cannot start threads: {error}")))?;
    runtime.block_on(command)
}

/// Developers' traces, by `WINDLASS_LOG`, to standard error.
fn trace() {
    if let Ok(filter) = tracing_subscriber::EnvFilter::try_from_env("WINDLASS_LOG") {
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    }
}
