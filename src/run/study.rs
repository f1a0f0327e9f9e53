//! The folder of a study: an append-only log of what happened, one JSON object a line, and the trials'
//! run folders. Any number of processes write it, on several machines too where the folder is shared:
//! whoever decides reads the log and adds its line while it holds the lock of the folder.

mod log;

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

pub use log::{
    Event, Failure, Final, MOST_CRASHES, RungResult, Running, STUDY_SCHEMA, StudyLog, Trial, Values,
};

use super::disk::Writer;
use super::{RunFolder, atomic, disk, records};

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
