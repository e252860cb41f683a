//! The process of a run: it observes, carries out what the machine wants, commits, and dies.

use std::sync::Arc;

use windlass_engine::{Command, Effect, Event, Machine, Millis, Observation, State};

use super::{Happening, Run};
use crate::people;
use crate::rules::{Broken, Checked, Rules, SLOW_STORE, broken};

impl Run {
    pub(super) fn started(&mut self) -> Checked {
        self.epoch += 1;
        self.rules.restarted(self.now);
        let who = "ada".to_owned();
        self.observe(Observation::Started { epoch: self.epoch, who })?;
        for asked in self.inbox.values().cloned().collect::<Vec<_>>() {
            self.followed.push(Observation::Asked(asked));
        }
        Ok(())
    }

    pub(super) fn observe(&mut self, observation: Observation) -> Checked {
        self.tell(|_| format!("> {}", brief(&format!("{observation:?}"))));
        let commands = self.machine.decide(observation, self.now);
        Rules::order(&commands)?;
        for command in commands {
            if self.crashes > 0 && self.random.chance(2) {
                return self.crash();
            }
            if !self.carry_out(command)? {
                return self.crash();
            }
        }
        if self.shadow != *self.machine.state() {
            return broken("a replay gives the same state", difference(&self.shadow, self.machine.state()));
        }
        Ok(())
    }

    /// False where the process dies of it.
    pub(super) fn carry_out(&mut self, command: Command) -> Result<bool, Broken> {
        self.tell(|_| format!("  < {}", brief(&format!("{command:?}"))));
        match command {
            Command::Record { event, at } => {
                self.rules.event(&event, at, &self.shadow, &self.world)?;
                let text = serde_json::to_string(&event).unwrap();
                let event: Event = match serde_json::from_str(&text) {
                    Ok(event) => event,
                    Err(error) => return broken("an event survives the journal", format!("{error}: {text}")),
                };
                self.note(&event);
                self.shadow.fold(&event, at);
                self.buffer.push((event, at));
            }
            Command::Consumed { id } => self.consumed.push(id),
            Command::Lock { group } => self.wants = Some(group),
            Command::Unlock { group } => self.returns.push(group),
            Command::Commit => return self.commit(),
            Command::Cancel { call } => self.cancel(call)?,
            Command::Call { call, step, item, request } => {
                self.begin(call, &step, item.as_deref(), request)?;
            }
            Command::WakeAt { at } => {
                self.wake = Some(at);
                self.rests = false;
            }
            Command::Report => {
                self.followed.push(Observation::Report { text: "the report".to_owned() });
            }
            Command::Held { .. } | Command::Waiting { .. } => {
                self.rests = true;
                self.waits_for_people = true;
            }
            Command::Ended { .. } => self.over = true,
            Command::Sampled { .. } | Command::Watched { .. } | Command::Refused { .. } => (),
        }
        Ok(true)
    }

    /// What the world has to know of an event.
    pub(super) fn note(&mut self, event: &Event) {
        if let Event::StepSkipped { step, item, who: Some(_), .. } = event
            && let Some(of) = step.strip_prefix("undo/")
        {
            people::waive(&mut self.world, &(of.to_owned(), item.as_deref().map(str::to_owned)));
        }
        if let Event::Unchanged { step, item, .. } = event
            && let Some(of) = step.strip_prefix("undo/")
        {
            self.taken_back(&(of.to_owned(), item.as_deref().map(str::to_owned)));
        }
        if let Event::StepSucceeded { step, item, effect, .. } = event
            && *effect == Effect::Unchanged
            && let Some(of) = step.strip_prefix("undo/")
        {
            self.taken_back(&(of.to_owned(), item.as_deref().map(str::to_owned)));
        }
    }

    pub(super) fn commit(&mut self) -> Result<bool, Broken> {
        // A slow store.
        if self.random.chance(4) {
            self.now += self.random.span(1, SLOW_STORE);
        }
        if let Some(group) = self.wants.take() {
            // The lock is not to be had; the rest stands without it.
            if self.other {
                self.followed.push(Observation::LockBusy { group, by: "another".to_owned() });
            } else {
                self.locks.insert(group.clone());
                self.fence += 1;
                self.followed.push(Observation::Locked { group, fence: self.fence });
            }
        }
        for group in self.returns.drain(..) {
            self.locks.remove(&group);
        }
        for id in self.consumed.drain(..) {
            self.inbox.remove(&id);
        }
        for (event, at) in self.buffer.drain(..) {
            self.durable.fold(&event, at);
            self.journal.push((event, at));
        }
        let dies = self.crashes > 0 && self.random.chance(3);
        Ok(!dies)
    }

    pub(super) fn crash(&mut self) -> Checked {
        self.crashes = self.crashes.saturating_sub(1);
        self.tell(|_| "-- crash --".to_owned());
        for flying in std::mem::take(&mut self.flying) {
            self.orphan(flying);
        }
        self.agenda.retain(|_, happening| {
            !matches!(happening, Happening::Midway(_) | Happening::Lands(_) | Happening::Ends(_))
        });
        self.buffer.clear();
        self.consumed.clear();
        self.wants = None;
        self.returns.clear();
        self.wake = None;
        self.followed.clear();
        self.rests = false;
        self.waits_for_people = false;
        self.over = false;
        let state = replay(&self.journal);
        if state != self.durable {
            return broken("a replay gives the same state", difference(&self.durable, &state));
        }
        self.shadow = state.clone();
        self.rules.after_crash(&state);
        self.machine = Machine::new(Arc::clone(&self.runbook), state);
        self.now += self.random.pick(&[0, 50, 4_000, 60_000, 900_000]);
        self.started()
    }
}

pub(super) fn replay(journal: &[(Event, Millis)]) -> State {
    State::replay(journal.iter().map(|(event, at)| (event, *at)))
}

fn brief(text: &str) -> String {
    const LONGEST: usize = 420;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// The first lines in which two states differ.
fn difference(one: &State, other: &State) -> String {
    let (one, other) = (format!("{one:#?}"), format!("{other:#?}"));
    let differing: Vec<String> = one
        .lines()
        .zip(other.lines())
        .filter(|(a, b)| a != b)
        .take(6)
        .map(|(a, b)| format!("{} | {}", a.trim(), b.trim()))
        .collect();
    differing.join("\n")
}
