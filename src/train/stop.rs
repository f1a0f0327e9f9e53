//! When a training is to end before its end: a signal, or a place that a drill asks for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::run::records::TrainState;

/// Asks a training to save a checkpoint and end; looked at between steps.
#[derive(Clone, Debug)]
pub struct StopFlag {
    signal: Arc<AtomicUsize>,
    stop: Place,
    kill: Place,
    /// Epochs that may be done.
    most_epochs: u64,
}

/// A place in a run: rollbacks so far, then steps done. A rollback goes over the same steps again, so
/// the steps alone do not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Rollbacks so far.
    pub n_rollbacks: usize,
    /// Steps done.
    pub step: u64,
}

impl Place {
    /// No run gets there.
    pub const NEVER: Self = Self {
        n_rollbacks: usize::MAX,
        step: u64::MAX,
    };

    /// Where a state stands.
    pub fn of(state: &TrainState) -> Self {
        Self {
            n_rollbacks: state.rollbacks.len(),
            step: state.step,
        }
    }
}

impl Default for StopFlag {
    fn default() -> Self {
        Self::at(Place::NEVER)
    }
}

impl StopFlag {
    /// A flag that is up from a place on.
    pub fn at(stop: Place) -> Self {
        Self {
            signal: Arc::default(),
            stop,
            kill: Place::NEVER,
            most_epochs: u64::MAX,
        }
    }

    /// The same signal, and a flag that is up once this many epochs are done, whatever rollbacks there were.
    #[must_use]
    pub fn after_epochs(&self, n: u64) -> Self {
        Self {
            most_epochs: n,
            ..self.clone()
        }
    }

    /// A flag that is up once this many steps are done.
    pub fn at_step(step: u64) -> Self {
        Self::at(Place {
            n_rollbacks: 0,
            step,
        })
    }

    /// The same flag, and the process is killed from a place on: for drills.
    #[must_use]
    pub fn and_kill_at(self, kill: Place) -> Self {
        Self { kill, ..self }
    }

    /// The number of the signal that was caught, if any.
    pub fn signal(&self) -> Option<i32> {
        match self.signal.load(Ordering::Acquire) {
            0 => None,
            signal => Some(signal as i32),
        }
    }

    /// What a signal handler sets.
    pub fn handle(&self) -> Arc<AtomicUsize> {
        self.signal.clone()
    }

    pub(super) fn is_up(&self, state: &TrainState) -> bool {
        let place = Place::of(state);
        if place >= self.kill {
            kill_this_process();
        }
        self.signal().is_some() || place >= self.stop || state.epoch > self.most_epochs
    }
}

/// As `kill -9` does: no handler runs, nothing is flushed.
fn kill_this_process() -> ! {
    #[cfg(unix)]
    let _ = signal_hook::low_level::raise(9); // SIGKILL
    std::process::abort()
}
