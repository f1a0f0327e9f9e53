//! Which trial to train next, and for how long: pure decisions from the plan and from what is known
//! of the trials. Nothing here trains, draws or remembers, so a search that was interrupted goes on
//! as soon as it has read its log of trials.
//!
//! `hyperband` plans the rungs, `halving` decides who climbs them.

mod halving;
mod hyperband;
#[cfg(test)]
mod simulated;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

/// How a search spends its epochs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    /// Every trial is trained to the end.
    Random,
    /// Brackets of successive halving, from many short trials to few long ones (Li, Jamieson,
    /// DeSalvo, Rostamizadeh and Talwalkar, "Hyperband", JMLR 18(185), 2018, Algorithm 1).
    Hyperband,
    /// Successive halving that never waits for a rung to fill (Li, Jamieson, Rostamizadeh, Gonina,
    /// Hardt, Recht and Talwalkar, "A system for massively parallel hyperparameter tuning", MLSys
    /// 2020, Algorithm 2), with early stopping rate s = 0. What it promotes depends on who finishes
    /// first: with more than one worker, two runs of a search may differ.
    Asha,
}

/// What a search may spend. A factor below 2, or no epoch, is not meant to arrive here; it is
/// taken as 2, or as one epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub algorithm: Algorithm,
    /// No rung is shorter.
    pub min_epochs: u64,
    /// What a trial has that climbs to the last rung.
    pub max_epochs: u64,
    /// One in so many trials goes on to the next rung, which is so many times longer.
    pub factor: u64,
    /// Random, ASHA: trials in all. Hyperband follows from the epochs alone.
    pub n_trials: usize,
    /// Hyperband: how often all brackets are run.
    pub iterations: usize,
    /// Hyperband: no bracket starts before the earlier ones are done, because sampling learns from
    /// them. Otherwise a later one may fill in while an earlier one waits for a rung.
    pub in_sequence: bool,
}

/// A rung of a bracket as planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rung {
    /// Brackets count in the order in which they run.
    pub bracket: usize,
    pub rung: usize,
    pub n_trials: usize,
    /// What a trial has in all when it leaves the rung.
    pub epochs: u64,
}

/// What is known of a trial.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Standing {
    pub bracket: usize,
    /// By rung; higher is better, and not-a-number is worst.
    pub scores: Vec<f64>,
    pub running: bool,
    /// It takes no further part, and counts as the worst of the rung in which it failed.
    pub failed: bool,
}

/// What a free worker should do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Add a trial and train it to `epochs`.
    Start { bracket: usize, epochs: u64 },
    /// Train a trial (an index into the standings) on to `epochs`, through `rung`. That is rung 0
    /// for a trial which was started and then interrupted.
    Promote {
        trial: usize,
        rung: usize,
        epochs: u64,
    },
    /// Nothing until a running trial is done.
    Wait,
    /// Nothing runs, and nothing is left.
    Done,
}

impl Plan {
    /// The rungs by bracket. Under ASHA a rung's trials are those that are sure to reach it if none
    /// fails: it promotes early and may promote more. Rungs that nothing is sure to reach are left
    /// out.
    #[must_use]
    pub fn rungs(&self) -> Vec<Rung> {
        self.brackets()
            .into_iter()
            .flatten()
            .filter(|rung| rung.n_trials > 0)
            .collect()
    }

    /// The epochs of all rungs together. A trial that climbs goes on from where it was, so a rung
    /// costs only what it adds. ASHA may spend more: see [`Plan::rungs`].
    #[must_use]
    pub fn epochs(&self) -> u64 {
        let mut total: u64 = 0;
        for bracket in self.brackets() {
            let mut before = 0;
            for rung in bracket {
                let added = rung.epochs - before;
                total = total.saturating_add(added.saturating_mul(rung.n_trials as u64));
                before = rung.epochs;
            }
        }
        total
    }

    /// What a worker that is free now should do, given all trials in the order of their start.
    #[must_use]
    pub fn next(&self, trials: &[Standing]) -> Next {
        let brackets = self.brackets();
        let found = match self.algorithm {
            Algorithm::Random | Algorithm::Hyperband => {
                halving::synchronous(&brackets, self.in_sequence, trials)
            }
            Algorithm::Asha => brackets
                .first()
                .and_then(|bracket| halving::asynchronous(bracket, self.factor(), trials)),
        };
        found.unwrap_or_else(|| {
            if trials.iter().any(|trial| trial.running) {
                Next::Wait
            } else {
                Next::Done
            }
        })
    }

    fn brackets(&self) -> Vec<Vec<Rung>> {
        match self.algorithm {
            Algorithm::Random => vec![vec![Rung {
                bracket: 0,
                rung: 0,
                n_trials: self.n_trials,
                epochs: self.max_epochs.max(1),
            }]],
            Algorithm::Hyperband => hyperband::brackets(self),
            Algorithm::Asha => vec![hyperband::asynchronous_bracket(self)],
        }
    }

    fn factor(&self) -> u64 {
        self.factor.max(2)
    }
}
