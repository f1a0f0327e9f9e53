//! The folder of a study: an append-only log of what happened, one JSON object a line, and the trials'
//! run folders. Any number of processes write it, on several machines too where the folder is shared:
//! whoever decides reads the log and adds its line while it holds the lock of the folder.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::disk::Writer;
use super::{RunFolder, atomic, disk, records};

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

#[derive(Debug, thiserror::Error)]
pub enum StudyError {
    #[error("{}: not a study: it has no study.toml\nhint: `weft tune CONFIG` makes one", .0.display())]
    NotAStudy(PathBuf),
    #[error(
        "{}: a run, not a study, has this name\nhint: give the study another one with --name",
        .0.display()
    )]
    IsARun(PathBuf),
    #[error(
        "{}:{line}: the log of the study cannot be followed: {why}\n\
         hint: a weft of another version, or a change by hand, wrote this; take the line out, or begin \
         a new study with --name",
        .path.display()
    )]
    Log {
        path: PathBuf,
        line: usize,
        why: String,
    },
    #[error("cannot {action} {}: {source}\nhint: {}", .path.display(), disk::remedy(.source))]
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
}

type Result<T> = std::result::Result<T, StudyError>;

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StudyError {
    let path = path.to_owned();
    move |source| StudyError::Io {
        action,
        path,
        source,
    }
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

/// Where everything of a study is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StudyFolder {
    pub root: PathBuf,
}

impl StudyFolder {
    /// Whether a folder holds a study.
    #[must_use]
    pub fn is_study(path: &Path) -> bool {
        path.join("study.toml").is_file()
    }

    /// A study that is there.
    pub fn open(path: &Path) -> Result<Self> {
        match Self::is_study(path) {
            true => Ok(Self {
                root: path.to_owned(),
            }),
            false => Err(StudyError::NotAStudy(path.to_owned())),
        }
    }

    /// A study that is there or is made now. `toml` is what its study.toml then holds.
    pub fn create(path: &Path, toml: &str) -> Result<Self> {
        if path.join("config.toml").is_file() {
            return Err(StudyError::IsARun(path.to_owned()));
        }
        let folder = Self {
            root: path.to_owned(),
        };
        disk::create_folders(&folder.trials()).map_err(failed("create", &folder.trials()))?;
        disk::create_folders(&folder.workers()).map_err(failed("create", &folder.workers()))?;
        if !Self::is_study(path) {
            let file = folder.study();
            match atomic::publish_new(&file, toml.as_bytes()) {
                // Somebody else was faster.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                other => other.map_err(failed("write", &file))?,
            }
        }
        Ok(folder)
    }

    #[must_use]
    pub fn study(&self) -> PathBuf {
        self.root.join("study.toml")
    }

    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.root.join("log.jsonl")
    }

    #[must_use]
    pub fn best(&self) -> PathBuf {
        self.root.join("best.toml")
    }

    #[must_use]
    pub fn csv(&self) -> PathBuf {
        self.root.join("study.csv")
    }

    #[must_use]
    pub fn report(&self) -> PathBuf {
        self.root.join("report.html")
    }

    #[must_use]
    pub fn trials(&self) -> PathBuf {
        self.root.join("trials")
    }

    #[must_use]
    pub fn workers(&self) -> PathBuf {
        self.root.join("workers")
    }

    /// The run folder of a trial.
    #[must_use]
    pub fn trial(&self, number: usize) -> RunFolder {
        RunFolder {
            root: self.trials().join(format!("{number:04}")),
        }
    }

    /// The run folder of the best config.
    #[must_use]
    pub fn last(&self) -> RunFolder {
        RunFolder {
            root: self.root.join("final"),
        }
    }

    /// What has happened so far.
    pub fn read(&self) -> Result<StudyLog> {
        let path = self.log();
        let text = match fs::read(&path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(failed("read", &path)(error)),
        };
        // What follows the last newline is being written.
        let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
        StudyLog::parse(&path, whole)
    }

    /// Waits for the lock of the folder: what is read under it stays true until it is dropped.
    pub fn lock(&self) -> Result<StudyLock<'_>> {
        let path = self.root.join("lock");
        let writer = Writer::as_it_is(&path).map_err(failed("lock", &path))?;
        writer.file.lock().map_err(failed("lock", &path))?;
        Ok(StudyLock {
            folder: self,
            _writer: writer,
        })
    }

    /// Whether a worker's process lives: the system frees its lock when it ends, however it ends. To be
    /// asked under the lock of the folder, under which workers come.
    #[must_use]
    pub fn is_alive(&self, worker: &str) -> bool {
        let path = self.workers().join(format!("{worker}.lock"));
        match File::open(path) {
            // Whatever cannot be told is taken for alive: work is not to be done twice.
            Ok(file) => file.try_lock_shared().is_err(),
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        }
    }
}

/// A worker that is alive.
#[derive(Debug)]
pub struct Worker {
    pub id: String,
    path: PathBuf,
    _file: Writer,
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = disk::remove(&self.path);
    }
}

/// The right to decide, and to write the log.
#[must_use = "the folder is free again as soon as this is dropped"]
pub struct StudyLock<'a> {
    folder: &'a StudyFolder,
    _writer: Writer,
}

impl StudyLock<'_> {
    /// What has happened so far. Nothing is being written now.
    pub fn read(&self) -> Result<StudyLog> {
        let path = self.folder.log();
        match fs::read(&path) {
            Ok(bytes) => StudyLog::parse(&path, &String::from_utf8_lossy(&bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(StudyLog::default()),
            Err(error) => Err(failed("read", &path)(error)),
        }
    }

    /// A worker of this process, alive until what is returned is dropped. `token` keeps it apart from
    /// workers of the same number on other machines; see [`token`].
    pub fn join(&self, token: &str) -> Result<Worker> {
        let id = worker_id(std::process::id(), token);
        let path = self.folder.workers().join(format!("{id}.lock"));
        let file = Writer::new(&path).map_err(failed("create", &path))?;
        file.file.try_lock().map_err(|error| {
            failed("lock", &path)(match error {
                TryLockError::Error(error) => error,
                TryLockError::WouldBlock => io::ErrorKind::WouldBlock.into(),
            })
        })?;
        Ok(Worker {
            id,
            path,
            _file: file,
        })
    }

    /// Removes what workers left that are gone.
    pub fn sweep(&self) {
        let Ok(entries) = fs::read_dir(self.folder.workers()) else {
            return;
        };
        for path in entries.flatten().map(|entry| entry.path()) {
            let name = path.file_name().map(|name| name.to_string_lossy());
            let worker = name.as_deref().and_then(|name| name.strip_suffix(".lock"));
            if worker.is_some_and(|worker| !self.folder.is_alive(worker)) {
                let _ = disk::remove(&path);
            }
        }
    }

    /// Adds a line, and waits for the disk.
    pub fn append(&self, event: &Event) -> Result<()> {
        let path = self.folder.log();
        let line = serde_json::to_string(event).map_err(io::Error::from);
        line.and_then(|line| atomic::append_line(&path, &line))
            .map_err(failed("write", &path))
    }
}

/// What nobody else gives a worker.
#[must_use]
pub fn token() -> String {
    let time = SystemTime::now().duration_since(UNIX_EPOCH);
    let nanos = time.map_or(0, |since| since.as_nanos() as u64);
    let parts = [u64::from(std::process::id()), nanos];
    format!("{:012x}", crate::random::mix(&parts) >> 16)
}

/// The name of the worker that a process is.
#[must_use]
pub fn worker_id(pid: u32, token: &str) -> String {
    format!("{pid}-{token}")
}

/// UTC, ISO 8601.
#[must_use]
pub fn now() -> String {
    records::utc_now()
}

#[cfg(test)]
#[path = "study/tests.rs"]
mod tests;
