//! Guards, approvals, times: in runbooks made in code, and for the small runner.
#![allow(dead_code, reason = "each suite uses some of it")]

use serde_json::json;
use windlass_engine::{ApprovalGiven, Asked, Command, Decision, Event, Millis, Observation, Request, State};
use windlass_runbook::model::{
    Approval, At, Bind, Guard, Interrupt, Invocation, NoData, OnExpiry, Runbook, Step, StepBody, Window,
};

use super::{Driver, Outcome, expression, read, template};

fn reading() -> Box<Invocation> {
    match read("x").body {
        StepBody::Call(invocation) => invocation,
        _ => panic!("a read is a call"),
    }
}

/// Rolls back over 5 and holds over 1, at once; looks every second.
pub(crate) fn guard(id: &str) -> Guard {
    Guard {
        id: id.into(),
        title: None,
        call: reading(),
        every_ms: 1_000,
        from: None,
        until: None,
        rollback_when: Some(expression("result.n > 5.0")),
        hold_when: Some(expression("result.n > 1.0")),
        fresh_when: None,
        no_data: NoData::Hold,
        for_ms: 0,
        clear_for_ms: 2_000,
        grace_ms: 5_000,
        interrupt: Interrupt::AfterGrace,
        past_commit: false,
        timeout_ms: None,
        span: windlass_runbook::source::Span::new(windlass_runbook::source::FileId::Runbook, &(0..0)),
    }
}

pub(crate) fn guarded(mut runbook: Runbook, guards: Vec<Guard>) -> Runbook {
    runbook.guards = guards;
    runbook
}

/// One of role `owner`, for everything up to the next.
pub(crate) fn asks() -> Approval {
    Approval {
        roles: vec!["owner".into()],
        each: 1,
        any: None,
        text: template(&json!("Go?")),
        expires_ms: None,
        on_expiry: OnExpiry::Hold,
        covers: None,
        bind: Bind::Plan,
        owner: None,
        evidence: false,
        own: false,
    }
}

pub(crate) fn approve(id: &str, approval: Approval) -> Step {
    let mut step = read(id);
    step.body = StepBody::Approve(Box::new(approval));
    step
}

pub(crate) trait Timed {
    fn at(self, offset_ms: i64) -> Self;
    fn window(self, from_minute: u16, to_minute: u16) -> Self;
}

impl Timed for Step {
    fn at(mut self, offset_ms: i64) -> Self {
        self.at = Some(At { offset_ms });
        self
    }
    fn window(mut self, from_minute: u16, to_minute: u16) -> Self {
        self.window = Some(Window { from_minute, to_minute, zone: "UTC".into(), days: Vec::new() });
        self
    }
}

/// A word of `who`, who has these roles, on what the step asks now.
pub(crate) fn word(state: &State, step: &str, who: &str, roles: &[&str]) -> ApprovalGiven {
    let request = state.approval(step).and_then(|approval| approval.request.clone()).unwrap_or_default();
    ApprovalGiven {
        step: step.into(),
        request: request.digest.clone(),
        who: who.into(),
        key: "SHA256:k".into(),
        roles: roles.iter().map(|role| (*role).to_owned()).collect(),
        role: None,
        decision: Decision::Approve,
        reason: "looked".into(),
        evidence: None,
        head: "00".into(),
        signature: "sig".into(),
    }
}

pub(crate) fn asked(who: &str, request: Request) -> Observation {
    Observation::Asked(Asked::here(who, request))
}

impl Driver {
    pub(crate) fn say(&mut self, given: ApprovalGiven) -> Outcome {
        let who = given.who.clone();
        self.observe(asked(&who, Request::Approve { given: Box::new(given) }))
    }

    pub(crate) fn approves(&mut self, step: &str, who: &str, roles: &[&str]) -> Outcome {
        let given = word(self.state(), step, who, roles);
        self.say(given)
    }

    /// When the first event of that kind happened, after the start.
    pub(crate) fn when(&self, kind: &str) -> Option<Millis> {
        let all = self.journal.iter().chain(&self.buffer);
        all.into_iter().find(|(event, _)| event.kind() == kind).map(|(_, at)| at - super::START)
    }

    pub(crate) fn count(&self, kind: &str) -> usize {
        self.journal.iter().filter(|(event, _)| event.kind() == kind).count()
    }

    pub(crate) fn events(&self, kind: &str) -> Vec<Event> {
        self.journal.iter().map(|(event, _)| event.clone()).filter(|event| event.kind() == kind).collect()
    }
}

/// The commands of these kinds, as words.
pub(crate) fn is_watched(command: &Command) -> bool {
    matches!(command, Command::Watched { .. })
}
