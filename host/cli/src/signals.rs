//! What a person does to the process that drives a run: ctrl-c, and a service manager's polite end.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use windlass_engine::{Asked, Observation, Request};
use windlass_runner::Signals;

use crate::app::App;
use crate::output::Printer;

/// For a run in the foreground: the first ctrl-c pauses it, the second cancels it and cuts off what is being applied, or
/// only leaves it where nothing is. A polite end pauses it, so that it is left in good order.
pub(crate) fn of_run(printer: Printer) -> Signals {
    let (sender, person) = mpsc::channel(WORDS);
    let (leaving, leave) = watch::channel(false);
    tokio::spawn(async move {
        let Ok(mut terminate) = signal(SignalKind::terminate()) else { return };
        let mut pressed = false;
        loop {
            let observation = tokio::select! {
                key = tokio::signal::ctrl_c() => {
                    if key.is_err() {
                        return;
                    }
                    // What comes of the second one is an event, or the end of the process.
                    if !std::mem::replace(&mut pressed, true) {
                        printer.talk(PAUSING);
                    }
                    Observation::Interrupt { who: App::who() }
                }
                _ = terminate.recv() => {
                    let reason = "its process was told to end".to_owned();
                    let pause = Observation::Asked(Asked::here(App::who(), Request::Pause { reason }));
                    // Left once the pause was taken, also where a guard or an expiry would keep the process.
                    if sender.send(pause).await.is_ok() && sender.reserve_many(WORDS).await.is_ok() {
                        let _gone = leaving.send(true);
                    }
                    continue;
                }
            };
            if sender.send(observation).await.is_err() {
                return;
            }
        }
    });
    Signals { person, leave }
}

const PAUSING: &str = "pausing; what is being applied comes to its end. Once more to cut it off and cancel the run, \
                       or, where nothing is being applied any more, to leave it paused";

/// So many words of a person may wait to be heard.
const WORDS: usize = 4;

/// For a process that only leaves a word with a run.
pub(crate) fn none() -> Signals {
    let (_nobody, person) = mpsc::channel(1);
    Signals { person, leave: never() }
}

/// True once the process is told to end, in whichever way.
pub(crate) fn end() -> watch::Receiver<bool> {
    let (sender, receiver) = watch::channel(false);
    tokio::spawn(async move {
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => (),
                _ = terminate.recv() => (),
            }
            // Nobody listens any more only at the end of the process.
            let _gone = sender.send(true);
        }
    });
    receiver
}

fn never() -> watch::Receiver<bool> {
    watch::channel(false).1
}
