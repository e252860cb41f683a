//! What other processes ask of the run that this driver drives.
//!
//! Invariant: the answer to a message that is refused stands in the run's log before the message is consumed.

use std::sync::Arc;

use serde_json::Value;
use windlass_engine::{Asked, Command, Observation, Request};
use windlass_journal::logs::{LogLine, LogSource};

use super::Driver;
use crate::asking::ANSWERS;
use crate::error::RunError;
use crate::{approvals, inbox};

impl Driver {
    /// Takes up every message that waits and was not taken up yet.
    pub(super) async fn read_mail(&mut self) -> Result<(), RunError> {
        let mut refused = false;
        for message in self.writer.inbox().await? {
            if !self.heard.insert(message.id.clone()) {
                continue;
            }
            let asked = match inbox::read(&message) {
                Ok(asked) => self.verified(asked).await?,
                Err(why) => Err(why),
            };
            match asked {
                Ok(asked) => self.pending.push_back(Observation::Asked(asked)),
                Err(why) => {
                    self.answer(&message.id, &why);
                    self.writer.consume(&message.id);
                    refused = true;
                }
            }
        }
        if refused {
            self.writer.append(Vec::new()).await?;
        }
        Ok(())
    }

    /// Believes nobody's word on an approval but by its signature.
    async fn verified(&self, mut asked: Asked) -> Result<Result<Asked, String>, RunError> {
        let Request::Approve { given } = &mut asked.request else { return Ok(Ok(asked)) };
        let shared = &self.shared;
        let run = self.writer.run_id();
        Ok(
            match approvals::believe(&shared.store, &shared.signers, run, self.machine.state(), given).await?
            {
                Ok(believed) => {
                    asked.who.clone_from(&believed.who);
                    **given = believed;
                    Ok(asked)
                }
                Err(error) => Err(error.to_string()),
            },
        )
    }

    /// Tells whoever asked, before anything is carried out, that it is refused.
    pub(super) fn tell_refusals(&mut self, commands: &[Command], message: &str) {
        for command in commands {
            let Command::Refused { message: why } = command else { continue };
            if message.is_empty() {
                self.watcher.refused(why);
                self.refusals.push(why.clone());
            } else {
                self.answer(message, why);
            }
        }
    }

    /// Leaves the answer to a message where its sender looks for it.
    fn answer(&self, message: &str, why: &str) {
        let log = Arc::clone(&self.shared.log);
        log.write(LogLine {
            time_ms: self.shared.clock.now(),
            level: "warn".to_owned(),
            step: None,
            item: None,
            attempt: None,
            source: LogSource::Host,
            message: why.to_owned(),
            fields: [(ANSWERS.to_owned(), Value::from(message))].into_iter().collect(),
        });
    }
}
