//! What people ask for: taken, or refused with the reason; and the message it came in consumed with it.

use super::Machine;
use crate::command::Command;
use crate::request::{Asked, Request};

impl Machine {
    /// Deals with a request, and has its message consumed in the same commit as what came of it.
    pub(super) fn asked(&mut self, asked: Asked) {
        let Asked { id, who, request, .. } = asked;
        match request {
            Request::Resume => self.resume(&who),
            Request::Cancel { reason } => self.cancel_run(&who, reason),
            Request::Answer { step, item, answer, reason } => {
                self.answered(&step, item.as_deref(), answer, &who, reason);
            }
            _ => self.refuse("this can't be done here".to_owned()),
        }
        if !id.is_empty() {
            self.batch.within.push(Command::Consumed { id });
        }
    }

    pub(super) fn refuse(&mut self, message: String) {
        self.batch.rest.push(Command::Refused { message });
    }
}
