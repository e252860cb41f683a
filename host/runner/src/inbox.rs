//! The inboxes of the runs of this process: who has mail, and what a message says.
//!
//! One look serves all runs of the process, however many there are. Invariant: what can't be understood is refused and
//! consumed, so that nothing stays in an inbox for ever.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::watch;
use windlass_engine::{ASKED_VERSION, Asked};
use windlass_journal::{Message, RunId, Store};

/// How often it is looked whether there is mail.
const LOOK: Duration = Duration::from_millis(250);

/// Tells the runs of a process that they have mail.
#[derive(Debug, Clone)]
pub(crate) struct Mail(watch::Receiver<Arc<BTreeSet<RunId>>>);

impl Mail {
    /// Looks at the store's inboxes until nobody is left who wants to know, or the store is gone.
    pub(crate) fn of(store: &Arc<Store>) -> Self {
        let (tell, told) = watch::channel(Arc::default());
        tokio::spawn(look(Arc::downgrade(store), tell));
        Self(told)
    }

    /// The runs that had mail at the last look.
    pub(crate) fn waiting(&self) -> Arc<BTreeSet<RunId>> {
        Arc::clone(&self.0.borrow())
    }

    /// Waits until other runs have mail than at the last time that this was told.
    pub(crate) async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            // The store is gone; so will be who waits.
            std::future::pending::<()>().await;
        }
    }

    /// Waits until that run has mail.
    pub(crate) async fn for_run(&mut self, run: &RunId) {
        loop {
            self.changed().await;
            if self.waiting().contains(run) {
                return;
            }
        }
    }
}

async fn look(store: Weak<Store>, tell: watch::Sender<Arc<BTreeSet<RunId>>>) {
    while !tell.is_closed() {
        let Some(store) = store.upgrade() else { return };
        match store.runs_with_messages().await {
            Ok(runs) => {
                let runs: BTreeSet<RunId> = runs.into_iter().collect();
                // What was told and not heard yet is told again: a run may have begun since.
                tell.send_if_modified(|told| {
                    let news = !runs.is_empty() || !told.is_empty();
                    if news {
                        *told = Arc::new(runs);
                    }
                    news
                });
            }
            Err(error) => tracing::warn!(%error, "the inboxes could not be looked at"),
        }
        drop(store);
        tokio::time::sleep(LOOK).await;
    }
}

/// What a message asks for; the reason where it can't be understood.
pub(crate) fn read(message: &Message) -> Result<Asked, String> {
    let asked: Asked = serde_json::from_slice(&message.payload)
        .map_err(|error| format!("the message can't be understood: {error}"))?;
    if asked.version > ASKED_VERSION {
        return Err(format!(
            "the message was written by a newer windlass (form {}, this one knows {ASKED_VERSION})",
            asked.version
        ));
    }
    // Under which id it is consumed is the journal's to say.
    Ok(Asked { id: message.id.clone(), ..asked })
}
