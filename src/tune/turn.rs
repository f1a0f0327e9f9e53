//! What a worker does next. A pure function of the study, its log and who is alive, so that a study that was
//! killed goes on as if it had not been.

use super::sampler::{self, Observed};
use super::schedule::{Algorithm, Next, Standing};
use super::space::{self, Point};
use super::{Monitor, Study};
use crate::random::mix;
use crate::run::study::{StudyLog, Trial};

/// A trial that is to be trained to the end of a rung.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Counted from 1.
    pub trial: usize,
    /// As the schedule numbers them.
    pub bracket: usize,
    /// Counted from 0.
    pub rung: usize,
    /// That the trial has at the end of the rung.
    pub epochs: u64,
    /// Epochs that it has before.
    pub from: u64,
    /// Its values.
    pub point: Point,
    /// Whether the log does not have the trial yet.
    pub is_new: bool,
}

/// What comes next.
#[derive(Clone, Debug, PartialEq)]
pub enum Turn {
    /// This.
    Train(Job),
    /// Nothing until another worker has ended its rung.
    Wait,
    /// The search is over.
    Done,
    /// The next rung would take more epochs than there are to spend.
    BudgetSpent,
}

/// Draws of another point where one is there already, before it is taken again.
const MOST_REDRAWS: u64 = 20;

impl Study {
    /// What comes next. `most_epochs` is what may be spent in all; `is_alive` tells of a worker.
    pub fn turn(
        &self,
        log: &StudyLog,
        most_epochs: Option<u64>,
        is_alive: &dyn Fn(&str) -> bool,
    ) -> Turn {
        // First what a worker left that has gone: then the order of things is as if it had not.
        let orphan = (1..).zip(&log.trials).find_map(|(number, trial)| {
            let running = trial.running.as_ref()?;
            (!is_alive(&running.worker)).then(|| self.resumed(number, trial))
        });
        let job = match orphan.flatten() {
            Some(job) => job,
            None => match self.next(log) {
                Next::Start { bracket, epochs } => self.new_trial(log, bracket, epochs),
                Next::Promote {
                    trial,
                    rung,
                    epochs,
                } => promoted(trial, rung, epochs, &log.trials[trial]),
                Next::Wait => return Turn::Wait,
                Next::Done => return Turn::Done,
            },
        };
        match most_epochs {
            Some(most) if promised(log, &job) + job.epochs - job.from > most => Turn::BudgetSpent,
            _ => Turn::Train(job),
        }
    }

    fn next(&self, log: &StudyLog) -> Next {
        let standing = |trial: &Trial| Standing {
            bracket: trial.bracket,
            scores: trial
                .rungs
                .iter()
                .map(|rung| self.score(rung.value))
                .collect(),
            running: trial.running.is_some(),
            failed: trial.failed.is_some(),
        };
        let standings: Vec<Standing> = log.trials.iter().map(standing).collect();
        self.plan().next(&standings)
    }

    fn resumed(&self, number: usize, trial: &Trial) -> Option<Job> {
        let running = trial.running.as_ref()?;
        Some(Job {
            trial: number,
            bracket: trial.bracket,
            rung: running.rung,
            epochs: running.epochs,
            from: epochs_of(trial),
            point: trial.values.clone(),
            is_new: false,
        })
    }

    fn new_trial(&self, log: &StudyLog, bracket: usize, epochs: u64) -> Job {
        let axes = space::axes(&self.dimensions);
        let history = self.history(log, bracket);
        let trial = log.trials.len() as u64 + 1;
        let draw = |attempt: u64| {
            let seed = match attempt {
                0 => self.search.seed,
                _ => mix(&[self.search.seed, attempt]),
            };
            let sampling = self.search.sampling;
            self.point(&sampler::propose(sampling, seed, trial, &axes, &history))
        };
        let is_taken = |point: &Point| log.trials.iter().any(|trial| trial.values == *point);
        let fresh = (0..MOST_REDRAWS).map(draw).find(|point| !is_taken(point));
        Job {
            trial: trial as usize,
            bracket,
            rung: 0,
            epochs,
            from: 0,
            point: fresh.unwrap_or_else(|| draw(0)),
            is_new: true,
        }
    }

    /// What sampling learns from. In brackets these are the results of earlier ones only: so a study has the
    /// same trials, however many workers it has and whoever ends first.
    fn history(&self, log: &StudyLog, bracket: usize) -> Vec<Observed> {
        let trials = log.trials.iter();
        trials
            .filter(|trial| {
                self.search.algorithm != Algorithm::Hyperband || trial.bracket < bracket
            })
            .flat_map(|trial| self.observed(trial))
            .collect()
    }

    /// Each rung of a trial, for samplers and importance; one in which it failed is the worst.
    #[must_use]
    pub fn observed(&self, trial: &Trial) -> Vec<Observed> {
        let point = space::coordinates_of(&self.dimensions, &trial.values);
        let rungs = trial.rungs.iter();
        let scores = rungs.map(|rung| (self.score(rung.value), rung.epochs));
        let failure = trial
            .failed
            .iter()
            .map(|failure| (f64::NAN, failure.epochs));
        scores
            .chain(failure)
            .map(|(score, epochs)| Observed {
                point: point.clone(),
                score,
                epochs,
            })
            .collect()
    }

    /// A value of the objective, so that higher is better.
    #[must_use]
    pub fn score(&self, value: f64) -> f64 {
        match self.search.objective {
            Monitor::ValidationAccuracy => value,
            Monitor::ValidationLoss => -value,
        }
    }
}

fn promoted(index: usize, rung: usize, epochs: u64, trial: &Trial) -> Job {
    Job {
        trial: index + 1,
        bracket: trial.bracket,
        rung,
        epochs,
        from: epochs_of(trial),
        point: trial.values.clone(),
        is_new: false,
    }
}

fn epochs_of(trial: &Trial) -> u64 {
    trial.rungs.last().map_or(0, |rung| rung.epochs)
}

/// Epochs that were spent, and those that others are about to spend.
fn promised(log: &StudyLog, job: &Job) -> u64 {
    let others = (1..)
        .zip(&log.trials)
        .filter(|(number, _)| *number != job.trial);
    let running = others.filter_map(|(_, trial)| {
        let running = trial.running.as_ref()?;
        Some(running.epochs - epochs_of(trial))
    });
    log.epochs() + running.sum::<u64>()
}

#[cfg(test)]
#[path = "turn/tests.rs"]
mod tests;
