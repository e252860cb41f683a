//! Every point at which a process can be killed around a write of the journal or an effect. The list comes from the
//! engine's list of events, so that a new kind of event is a point that no scenario hits.

use std::collections::BTreeSet;

use windlass_engine::Event;

/// What may be done about an effect of which nobody knows whether it was had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    /// It is had again: that does no harm.
    Repeatable,
    /// A probe tells whether it was.
    Probed,
    /// A person must say.
    Once,
}

impl Class {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Repeatable, Self::Probed, Self::Once];
}

/// A point of the list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Point {
    /// What is written, as `kill_points` names it; or `effect`.
    pub(crate) name: String,
    /// Of what kind the effect is, for what is written around one.
    pub(crate) class: Option<Class>,
    /// How far it has come.
    pub(crate) phase: String,
}

impl std::fmt::Display for Point {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.name, self.phase)?;
        self.class.map_or(Ok(()), |class| write!(f, " {class:?}"))
    }
}

/// Of every write: before its first statement; every statement done but the commit; durable, and nobody knows.
const WRITE_PHASES: [&str; 3] = ["before", "inside", "after"];
/// Of every effect: the world has changed, and the answer is on its way; the answer is there, and not on record.
const EFFECT_PHASES: [&str; 2] = ["landed", "returned"];
/// What the journal writes besides events.
const WITHOUT_EVENTS: [&str; 3] = ["message_posted", "run_taken_over", "status_set"];
/// What is written around each effect, so that it counts once for each class.
const AROUND_EFFECTS: [&str; 2] = ["attempt_started", "attempt_finished"];
/// What else is written about undos as it is about what they take back.
const OF_UNDOS: [&str; 13] = [
    "step_started",
    "step_skipped",
    "plan_failed",
    "unchanged",
    "process_started",
    "attempts_resolved",
    "question_asked",
    "operator_answered",
    "retry_scheduled",
    "step_restarted",
    "step_succeeded",
    "step_failed",
    "run_held",
];

/// The whole list.
pub(crate) fn all() -> BTreeSet<Point> {
    let mut points = BTreeSet::new();
    let mut add = |name: &str, class: Option<Class>, phases: &[&str]| {
        for phase in phases {
            points.insert(Point { name: name.to_owned(), class, phase: (*phase).to_owned() });
        }
    };
    for name in Event::KINDS.iter().filter(|kind| !AROUND_EFFECTS.contains(kind)).chain(&WITHOUT_EVENTS) {
        add(name, None, &WRITE_PHASES);
    }
    for name in OF_UNDOS {
        add(&format!("{name}:undo"), None, &WRITE_PHASES);
    }
    for class in Class::ALL {
        for direction in ["", ":undo"] {
            for name in AROUND_EFFECTS {
                add(&format!("{name}{direction}"), Some(class), &WRITE_PHASES);
            }
            add(&format!("effect{direction}"), Some(class), &EFFECT_PHASES);
        }
    }
    points
}

/// The points that a moment of a scenario is, by the names of what is written then. What is around an effect is a point
/// only where the scenario is about one class.
pub(crate) fn of(phase: &str, names: &[String], class: Option<Class>) -> BTreeSet<Point> {
    let point = |name: &String| {
        let kind = name.strip_suffix(":undo").unwrap_or(name);
        let classed = kind == "effect" || AROUND_EFFECTS.contains(&kind);
        let class = if classed { Some(class?) } else { None };
        Some(Point { name: name.clone(), class, phase: phase.to_owned() })
    };
    names.iter().filter_map(point).collect()
}
