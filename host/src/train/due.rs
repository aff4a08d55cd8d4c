//! When the next checkpoint is due.

use crate::manifest::Every;
use std::time::{Duration, Instant};

/// Counts from the last checkpoint on.
#[derive(Debug)]
pub(super) struct Due {
    every: Every,
    since: Instant,
    steps: u64,
}

impl Due {
    /// From the start of a stage or from the checkpoint that it goes on from, after so many updates.
    pub(super) fn new(every: Every, steps: u64) -> Due {
        Due { every, since: Instant::now(), steps }
    }

    /// Whether it is time within an epoch, after so many updates of the stage.
    pub(super) fn within_epoch(&self, steps: u64) -> bool {
        match self.every {
            Every::Epochs(_) => false,
            Every::Steps(every) => steps / every.max(1) > self.steps / every.max(1),
            Every::Minutes(minutes) => {
                self.since.elapsed() >= Duration::try_from_secs_f64(60.0 * minutes).unwrap_or(Duration::MAX)
            }
        }
    }

    /// Whether it is time at the end of an epoch.
    pub(super) fn after_epoch(&self, epochs: u64, steps: u64) -> bool {
        match self.every {
            Every::Epochs(every) => epochs.is_multiple_of(every.max(1)),
            _ => self.within_epoch(steps),
        }
    }

    /// One was written.
    pub(super) fn saved(&mut self, steps: u64) {
        (self.since, self.steps) = (Instant::now(), steps);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn due_by_epochs_steps_and_minutes() {
        let due = Due::new(Every::Epochs(2), 0);
        assert!(!due.within_epoch(100) && !due.after_epoch(1, 10) && due.after_epoch(2, 20));
        let mut due = Due::new(Every::Steps(10), 0);
        assert!(!due.within_epoch(9) && due.within_epoch(10) && due.after_epoch(1, 25));
        due.saved(25);
        assert!(!due.within_epoch(29) && due.within_epoch(30));
        // What it goes on from lies between two.
        assert!(!Due::new(Every::Steps(10), 13).within_epoch(19));
        assert!(!Due::new(Every::Minutes(1e9), 0).within_epoch(1));
        assert!(!Due::new(Every::Minutes(1e300), 0).within_epoch(1));
        assert!(Due::new(Every::Minutes(1e-12), 0).after_epoch(1, 1));
    }
}
