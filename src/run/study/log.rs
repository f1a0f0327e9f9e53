//! The log of a study: its lines, and what they say together.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Result, StudyError};

/// Of the log.
pub const STUDY_SCHEMA: u32 = 1;

/// How often a trial may take its process down in one rung before that counts as its failure.
pub const MOST_CRASHES: usize = 3;

/// The values of a trial by the name of their dimension.
pub type Values = BTreeMap<String, toml::Value>;

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case", deny_unknown_fields)]
pub enum Event {
    /// The first line.
    Study {
        schema: u32,
        weft: String,
        /// Of what makes it this study.
        study_sha256: String,
        data_sha256: String,
        time: String,
    },
    /// A worker begins a rung of a trial, or goes on with one whose worker has gone.
    Start {
        /// Counted from 1.
        trial: usize,
        bracket: usize,
        rung: usize,
        /// That the trial has at the end of the rung.
        epochs: u64,
        /// With the first start of a trial.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        values: Option<Values>,
        worker: String,
        time: String,
    },
    /// The rung is done.
    End {
        trial: usize,
        rung: usize,
        /// The objective in the best epoch so far.
        value: f64,
        best_epoch: u64,
        /// Epochs that this rung took: fewer than planned where the trial stopped early.
        trained: u64,
        /// Of these epochs.
        seconds: f64,
        device: String,
        time: String,
    },
    /// The trial diverged or cannot be trained: it takes no further part.
    Fail {
        trial: usize,
        rung: usize,
        why: String,
        trained: u64,
        seconds: f64,
        time: String,
    },
    /// The trial took its process down. Another worker may have it by now.
    Crash {
        trial: usize,
        rung: usize,
        worker: String,
        why: String,
        time: String,
    },
    /// The best config is trained for its test result.
    Final {
        trial: usize,
        trained_on: String,
        epochs: u64,
        time: String,
    },
    /// The test split was read.
    Tested {
        loss: f64,
        accuracy: f64,
        time: String,
    },
}

/// A rung that is done.
#[derive(Clone, Debug, PartialEq)]
pub struct RungResult {
    pub epochs: u64,
    pub value: f64,
    pub best_epoch: u64,
    pub trained: u64,
    pub seconds: f64,
}

/// A rung that somebody works on, or did when its process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    pub rung: usize,
    pub epochs: u64,
    pub worker: String,
    pub crashes: usize,
}

/// What the log says of a trial.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    pub bracket: usize,
    pub values: Values,
    pub rungs: Vec<RungResult>,
    pub running: Option<Running>,
    /// Why it takes no further part.
    pub failed: Option<Failure>,
}

/// The rung in which a trial failed.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    pub why: String,
    /// That the trial was to have at its end.
    pub epochs: u64,
    pub trained: u64,
    pub seconds: f64,
}

impl Trial {
    /// Epochs that went into it.
    #[must_use]
    pub fn trained(&self) -> u64 {
        let lost = self.failed.as_ref().map_or(0, |failure| failure.trained);
        self.rungs.iter().map(|rung| rung.trained).sum::<u64>() + lost
    }

    /// Seconds that went into it.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        let lost = self.failed.as_ref().map_or(0.0, |failure| failure.seconds);
        self.rungs.iter().map(|rung| rung.seconds).sum::<f64>() + lost
    }
}

/// The best config's training.
#[derive(Clone, Debug, PartialEq)]
pub struct Final {
    pub trial: usize,
    pub trained_on: String,
    pub epochs: u64,
    /// Loss and accuracy on the test split.
    pub tested: Option<(f64, f64)>,
}

/// All that has happened.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StudyLog {
    pub study_sha256: Option<String>,
    pub data_sha256: Option<String>,
    pub started: Option<String>,
    pub trials: Vec<Trial>,
    /// The last rung that each worker began: its trial and its number.
    pub claims: BTreeMap<String, (usize, usize)>,
    pub last: Option<Final>,
    /// Lines that a kill tore: what they were to say did not happen.
    pub torn: Vec<usize>,
    /// Lines in all.
    pub n_lines: usize,
}

impl StudyLog {
    /// Reads the lines of a log. A line that is not whole JSON was torn by a kill before anybody could
    /// act on it, and counts for nothing.
    pub fn parse(path: &Path, text: &str) -> Result<Self> {
        let mut log = Self::default();
        for (number, line) in (1..).zip(text.lines()) {
            log.n_lines = number;
            let is_json = serde_json::from_str::<serde::de::IgnoredAny>(line).is_ok();
            if !is_json {
                log.torn.push(number);
                continue;
            }
            let refuse = |why| StudyError::Log {
                path: path.to_owned(),
                line: number,
                why,
            };
            let event = serde_json::from_str(line).map_err(|error| refuse(error.to_string()))?;
            log.apply(event).map_err(refuse)?;
        }
        Ok(log)
    }

    /// Takes in what happened, or says why it cannot have.
    pub fn apply(&mut self, event: Event) -> std::result::Result<(), String> {
        match event {
            Event::Study {
                schema,
                study_sha256,
                data_sha256,
                time,
                ..
            } => {
                if schema != STUDY_SCHEMA {
                    return Err(format!(
                        "it is of schema {schema}, and this weft reads {STUDY_SCHEMA}"
                    ));
                }
                self.study_sha256 = Some(study_sha256);
                self.data_sha256 = Some(data_sha256);
                self.started = Some(time);
            }
            Event::Start {
                trial,
                bracket,
                rung,
                epochs,
                values,
                worker,
                ..
            } => {
                if let Some(values) = values.filter(|_| trial == self.trials.len() + 1) {
                    self.trials.push(Trial {
                        bracket,
                        values,
                        rungs: Vec::new(),
                        running: None,
                        failed: None,
                    });
                }
                let known = self.trial(trial)?;
                let before = known.rungs.last().map_or(0, |rung| rung.epochs);
                if known.rungs.len() != rung || known.failed.is_some() || epochs <= before {
                    return Err(format!("trial {trial} cannot begin rung {rung}"));
                }
                let crashes = known.running.take().map_or(0, |before| before.crashes);
                known.running = Some(Running {
                    rung,
                    epochs,
                    worker: worker.clone(),
                    crashes,
                });
                self.claims.insert(worker, (trial, rung));
            }
            Event::End {
                trial,
                rung,
                value,
                best_epoch,
                trained,
                seconds,
                ..
            } => {
                let running = self.ended(trial, rung)?;
                self.trial(trial)?.rungs.push(RungResult {
                    epochs: running.epochs,
                    value,
                    best_epoch,
                    trained,
                    seconds,
                });
            }
            Event::Fail {
                trial,
                rung,
                why,
                trained,
                seconds,
                ..
            } => {
                let running = self.ended(trial, rung)?;
                self.trial(trial)?.failed = Some(Failure {
                    why,
                    epochs: running.epochs,
                    trained,
                    seconds,
                });
            }
            Event::Crash {
                trial,
                rung,
                worker,
                why,
                ..
            } => {
                let mut running = self.ended(trial, rung)?;
                running.crashes += 1;
                let is_its = running.worker == worker;
                let known = self.trial(trial)?;
                if is_its && running.crashes >= MOST_CRASHES {
                    known.failed = Some(Failure {
                        why,
                        epochs: running.epochs,
                        trained: 0,
                        seconds: 0.0,
                    });
                } else {
                    known.running = Some(running);
                }
            }
            Event::Final {
                trial,
                trained_on,
                epochs,
                ..
            } => {
                self.trial(trial)?;
                self.last = Some(Final {
                    trial,
                    trained_on,
                    epochs,
                    tested: None,
                });
            }
            Event::Tested { loss, accuracy, .. } => match &mut self.last {
                Some(last) => last.tested = Some((loss, accuracy)),
                None => return Err("nothing was trained for it".to_owned()),
            },
        }
        Ok(())
    }

    fn trial(&mut self, number: usize) -> std::result::Result<&mut Trial, String> {
        let index = number.checked_sub(1);
        let known = index.and_then(|index| self.trials.get_mut(index));
        known.ok_or(format!("there is no trial {number} before it"))
    }

    fn ended(&mut self, trial: usize, rung: usize) -> std::result::Result<Running, String> {
        let known = self.trial(trial)?;
        match known.running.take() {
            Some(running) if running.rung == rung => Ok(running),
            other => {
                known.running = other;
                Err(format!("trial {trial} was not in rung {rung}"))
            }
        }
    }

    /// Epochs that were trained.
    #[must_use]
    pub fn epochs(&self) -> u64 {
        self.trials.iter().map(Trial::trained).sum()
    }
}
