//! A process that trains trials, one after the other, until the search is over or it is told to stop.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::turn::{Job, Turn};
use super::{Monitor, Study};
use crate::experiment::{Experiment, ResumePoint, command_line};
use crate::run::disk;
use crate::run::records::EpochRow;
use crate::run::study::{Event, STUDY_SCHEMA, StudyFolder, StudyLock, StudyLog, Worker, now};
use crate::text::first_line;
use crate::train::progress::{Progress, Verbosity};
use crate::train::{Ended, StopFlag};

/// How often a worker that waits for another one looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// After which it looks whether that one is alive.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// All that a worker needs.
pub struct Workplace<'a> {
    /// What is searched.
    pub study: &'a Study,
    /// Where it is kept.
    pub folder: &'a StudyFolder,
    /// Images and device, which all trials share.
    pub experiment: &'a Experiment,
    /// Epochs that the study may take in all.
    pub most_epochs: Option<u64>,
    /// Asks it to leave; it saves a checkpoint first.
    pub stop: &'a StopFlag,
    /// What its supervisor calls it: see [`crate::run::study::token`].
    pub token: &'a str,
}

/// Why a worker left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// Nothing is left to do.
    Done,
    /// The next rung would take more epochs than it may.
    BudgetSpent,
    /// It was told to.
    Stopped,
}

/// How a rung ended.
enum Outcome {
    Ended {
        value: f64,
        best_epoch: u64,
        cost: Cost,
    },
    Failed {
        why: String,
        cost: Cost,
    },
    Stopped,
}

/// What a rung took.
#[derive(Clone, Copy, Default)]
struct Cost {
    epochs: u64,
    seconds: f64,
}

impl Workplace<'_> {
    /// Trains until there is nothing left to do.
    pub fn work(&self) -> Result<Left> {
        let worker = {
            let lock = self.folder.lock()?;
            lock.sweep();
            lock.join(self.token)?
        };
        loop {
            if self.stop.signal().is_some() {
                return Ok(Left::Stopped);
            }
            match self.claim(&worker)? {
                Turn::Train(job) => match self.train(&job)? {
                    Outcome::Stopped => return Ok(Left::Stopped),
                    outcome => self.record(&job, outcome)?,
                },
                Turn::Wait => self.wait(),
                Turn::Done => return Ok(Left::Done),
                Turn::BudgetSpent => return Ok(Left::BudgetSpent),
            }
        }
    }

    /// Until somebody has written a line, or may have died.
    fn wait(&self) {
        let length = || std::fs::metadata(self.folder.log()).map_or(0, |log| log.len());
        let (before, since) = (length(), Instant::now());
        while length() == before && since.elapsed() < LONGEST_WAIT && self.stop.signal().is_none() {
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// Finds what is next, and says so in the log before anybody else can.
    fn claim(&self, worker: &Worker) -> Result<Turn> {
        let lock = self.folder.lock()?;
        let log = lock.read()?;
        self.begin(&lock, &log)?;
        let is_alive = |id: &str| id == worker.id || self.folder.is_alive(id);
        let turn = self.study.turn(&log, self.most_epochs, &is_alive);
        if let Turn::Train(job) = &turn {
            lock.append(&Event::Start {
                trial: job.trial,
                bracket: job.bracket,
                rung: job.rung,
                epochs: job.epochs,
                values: job.is_new.then(|| job.point.clone()),
                worker: worker.id.clone(),
                time: now(),
            })?;
        }
        Ok(turn)
    }

    /// The first line of the log, or a check that the study is of these images.
    fn begin(&self, lock: &StudyLock, log: &StudyLog) -> Result<()> {
        if log.data_sha256.is_none() {
            lock.append(&Event::Study {
                schema: STUDY_SCHEMA,
                weft: env!("CARGO_PKG_VERSION").to_owned(),
                study_sha256: self.study.identity()?,
                data_sha256: self.experiment.data_sha256(),
                time: now(),
            })?;
        }
        check_same(self.study, self.folder, log, self.experiment)
    }

    fn record(&self, job: &Job, outcome: Outcome) -> Result<()> {
        let (trial, rung) = (job.trial, job.rung);
        let event = match outcome {
            Outcome::Ended {
                value,
                best_epoch,
                cost,
            } => Event::End {
                trial,
                rung,
                value,
                best_epoch,
                trained: cost.epochs,
                seconds: cost.seconds,
                device: self.experiment.device.name.clone(),
                time: now(),
            },
            Outcome::Failed { why, cost } => Event::Fail {
                trial,
                rung,
                why,
                trained: cost.epochs,
                seconds: cost.seconds,
                time: now(),
            },
            Outcome::Stopped => return Ok(()),
        };
        Ok(self.folder.lock()?.append(&event)?)
    }

    /// Trains a trial to the end of its rung, from its newest checkpoint.
    fn train(&self, job: &Job) -> Result<Outcome> {
        let name = format!("{}-{:04}", self.study.config.name, job.trial);
        let experiment = match self.experiment_of(job, &name) {
            Ok(experiment) => experiment,
            // What cannot be trained is an outcome of the search, not its end.
            Err(error) => {
                return Ok(Outcome::Failed {
                    why: first_line(&format!("{error:#}")),
                    cost: Cost::default(),
                });
            }
        };
        let run = self.folder.trial(job.trial);
        experiment.check_room(&run.root)?;
        create(&run.root)?;
        let _lock = run.lock()?;
        let mut point = ResumePoint::find_any(&run).with_context(|| {
            format!(
                "trial {} cannot go on\nhint: remove {}, and it is trained again",
                job.trial,
                run.root.display()
            )
        })?;
        if let Some(point) = &mut point {
            experiment.check_made(&point.checkpoint)?;
            point.forget_lost_best(&run);
            point.mend(&run)?;
        }
        if point.is_none() || !run.config().is_file() {
            experiment.describe(&run, command_line())?;
        }
        let start = point.map(|point| (point.checkpoint, point.state));
        let progress = Progress::new(Verbosity::Quiet, self.study.search.max_epochs, None);
        let stop = self.stop.after_epochs(job.epochs);
        let (ended, state) = experiment.train(&run, start, progress, false, stop)?;
        // Somebody may have trained it further.
        let n_rows = state.history.partition_point(|row| row.epoch <= job.epochs);
        let history = &state.history[..n_rows];
        let of_rung = history.iter().filter(|row| row.epoch > job.from);
        let cost = Cost {
            epochs: of_rung.clone().count() as u64,
            seconds: of_rung.map(|row| row.seconds).sum(),
        };
        let why = match ended {
            Ended::Diverged(diverged) => diverged.to_string(),
            Ended::Stopped if state.epoch <= job.epochs => return Ok(Outcome::Stopped),
            _ => match best(history, self.study.search.objective) {
                Some((best_epoch, value)) => {
                    return Ok(Outcome::Ended {
                        value,
                        best_epoch,
                        cost,
                    });
                }
                None => "it has no validation result".to_owned(),
            },
        };
        Ok(Outcome::Failed { why, cost })
    }

    fn experiment_of(&self, job: &Job, name: &str) -> Result<Experiment> {
        let mut loaded = self.study.trial(&job.point, name)?;
        loaded.config.train.device = self.experiment.config.train.device.clone();
        let experiment = self.experiment.with_config(loaded)?;
        experiment.check_training_fits()?;
        Ok(experiment)
    }
}

/// Refuses a study that is not the one of its log, and other images than it was begun with.
pub fn check_same(
    study: &Study,
    folder: &StudyFolder,
    log: &StudyLog,
    experiment: &Experiment,
) -> Result<()> {
    let root = folder.root.display();
    if log
        .study_sha256
        .as_ref()
        .is_some_and(|before| study.identity().is_ok_and(|now| now != *before))
    {
        bail!(
            "{}: it was changed since the study began\n\
             hint: undo that, or begin another study with --name",
            folder.study().display()
        );
    }
    if log
        .data_sha256
        .as_ref()
        .is_some_and(|before| *before != experiment.data_sha256())
    {
        bail!(
            "{root} was begun with other images than {} holds\n\
             hint: give the first ones with --data DIR, or begin another study with --name",
            experiment.splits.source().location
        );
    }
    Ok(())
}

fn create(path: &Path) -> Result<()> {
    disk::create_folders(path).map_err(|error| {
        anyhow::anyhow!(
            "cannot create {}: {error}\nhint: {}",
            path.display(),
            disk::remedy(&error)
        )
    })
}

/// The best epoch and its value; the first of equal ones.
#[must_use]
pub fn best(rows: &[EpochRow], objective: Monitor) -> Option<(u64, f64)> {
    let mut best: Option<(u64, f64)> = None;
    for row in rows {
        let value = match objective {
            Monitor::ValidationAccuracy => row.valid_accuracy?,
            Monitor::ValidationLoss => row.valid_loss?,
        };
        let better = best.is_none_or(|(_, best)| match objective {
            Monitor::ValidationAccuracy => value > best,
            Monitor::ValidationLoss => value < best,
        });
        if better {
            best = Some((row.epoch, value));
        }
    }
    best
}
