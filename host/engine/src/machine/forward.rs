//! Where the run stands between going forward and being over.

use super::Machine;
use crate::event::Event;
use crate::words::Verdict;

impl Machine {
    /// Whether the run is past a point after which nothing is rolled back by itself.
    pub(super) fn is_committed(&self) -> bool {
        !self.state.horizons().is_empty()
    }

    /// Ends the run, which has not done anything: it can't begin.
    pub(super) fn give_up(&mut self, reason: String) {
        if self.state.verdict().is_some() {
            return;
        }
        self.end_guards();
        self.drop_drafts();
        self.cut_off(false);
        self.calls.clear();
        self.ready.clear();
        self.live.clear();
        let world = self.state.world();
        self.record(Event::VerdictDecided { verdict: Verdict::Failed, world, reason });
        self.commit();
        self.begin_finally();
    }
}
