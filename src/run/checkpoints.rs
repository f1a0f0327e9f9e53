//! Checkpoints: folders `checkpoints/step-N` that are either whole or not there. Their manifest,
//! written last, holds the size and SHA-256 of each file and of itself; nothing is handed out
//! before it verifies. One process writes here: the one that holds the run's lock.

mod error;
mod manifest;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub use error::CheckpointError;
pub use manifest::{Checkpoint, Damaged, Fault, FileEntry, Manifest, Meta, sha256_hex};

use super::atomic::{self, TEMPORARY_PREFIX};
use super::disk;
use error::io_error;
use manifest::{damaged, fill, is_newer, is_plain, read_file, read_whole};

/// A folder under this name is being deleted.
const OLD_PREFIX: &str = ".old-";
/// A folder under this name is being replaced: should that not come about, it is needed again.
const REPLACED_PREFIX: &str = ".replaced-";
/// One to resume from, and one in case that one turns out to be damaged.
const NEWEST_KEPT: usize = 2;

type Result<T, E = CheckpointError> = std::result::Result<T, E>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pointer {
    Best,
    Last,
}

impl Pointer {
    fn file_name(self) -> &'static str {
        match self {
            Self::Best => "best",
            Self::Last => "last",
        }
    }
}

#[derive(Debug, Clone)]
pub struct Store {
    folder: PathBuf,
}

impl Store {
    #[must_use]
    pub fn new(run_root: &Path) -> Self {
        Self {
            folder: run_root.join("checkpoints"),
        }
    }

    #[must_use]
    pub fn step_folder(&self, step: u64) -> PathBuf {
        self.folder.join(step_name(step))
    }

    /// Returns once the checkpoint is on the disk. One of the same step that is whole and equal stays
    /// as it is; any other is replaced.
    pub fn write(&self, meta: &Meta, files: &[(&str, &[u8])]) -> Result<()> {
        if let Some((name, _)) = files.iter().find(|(name, _)| !is_plain(name)) {
            return Err(CheckpointError::FileName((*name).to_owned()));
        }
        self.check_own()?;
        let is_there = |found: Checkpoint| {
            let differs = |(name, bytes): &(&str, &[u8])| {
                found.files.get(*name).is_none_or(|there| there != bytes)
            };
            found.files.len() == files.len() && !files.iter().any(differs)
        };
        if self.step_folder(meta.step).exists() && self.load(meta.step).is_ok_and(is_there) {
            return Ok(());
        }
        let written = self.write_aside(meta, files);
        written.map_err(|error| match error {
            CheckpointError::Io {
                action,
                path,
                source,
            } => CheckpointError::Save {
                step: meta.step,
                folder: self.folder.clone(),
                action,
                path,
                bytes: files.iter().map(|(_, bytes)| bytes.len() as u64).sum(),
                source,
            },
            other => other,
        })
    }

    fn write_aside(&self, meta: &Meta, files: &[(&str, &[u8])]) -> Result<()> {
        self.create_folder()?;
        let temporary = self.aside(TEMPORARY_PREFIX, meta.step);
        remove(&temporary)?;
        let written =
            fill(&temporary, meta, files).and_then(|()| self.move_in(&temporary, meta.step));
        if written.is_err() {
            let _ = remove(&temporary); // the first error is the one to report
        }
        written
    }

    /// Deletes the checkpoints after `step`: those of a way that the run has turned back from.
    pub fn remove_after(&self, step: u64) -> Result<()> {
        for later in self
            .steps()?
            .into_iter()
            .filter(|&later| later > step)
            .rev()
        {
            remove(&self.move_out(OLD_PREFIX, later)?)?;
        }
        Ok(())
    }

    /// Reads a checkpoint, and returns it only if its schema, sizes and SHA-256 are right.
    pub fn load(&self, step: u64) -> Result<Checkpoint> {
        self.check_own()?;
        let folder = self.step_folder(step);
        if atomic::is_link(&folder) || !folder.is_dir() {
            return Err(CheckpointError::Missing {
                folder,
                steps: self.steps()?,
            });
        }
        read_whole(&folder, step)
            .map_err(|(file, reason)| damaged(&folder, step, &file, reason).into())
    }

    /// The manifest of a checkpoint and one of its files, both verified; the others are not read.
    pub fn load_file(&self, step: u64, name: &str) -> Result<(Manifest, Vec<u8>)> {
        self.check_own()?;
        let folder = self.step_folder(step);
        read_file(&folder, step, name)
            .map_err(|(file, reason)| damaged(&folder, step, &file, reason).into())
    }

    /// The steps that have a checkpoint, whole or not, ascending.
    pub fn steps(&self) -> Result<Vec<u64>> {
        let mut steps: Vec<u64> = self
            .entries()?
            .iter()
            .filter(|entry| entry.is_folder)
            .filter_map(|entry| step_of(&entry.name))
            .collect();
        steps.sort_unstable();
        Ok(steps)
    }

    /// What processes that were killed left behind, by name.
    pub fn leftovers(&self) -> Result<Vec<String>> {
        let mut names: Vec<String> = self
            .entries()?
            .into_iter()
            .map(|entry| entry.name)
            .collect();
        names.retain(|name| is_leftover(name));
        names.sort_unstable();
        Ok(names)
    }

    /// The newest checkpoint that verifies, and the newer ones that do not.
    pub fn latest_whole(&self) -> Result<(Checkpoint, Vec<Damaged>)> {
        let (checkpoint, (), damaged) = self.latest_read(|_| Ok(()))?;
        Ok((checkpoint, damaged))
    }

    /// The newest checkpoint that verifies and that `read` takes, what `read` made of it, and the
    /// newer ones that are of no use. `read` says which file is at fault, and why.
    pub fn latest_read<T>(
        &self,
        read: impl Fn(&Checkpoint) -> Result<T, Fault>,
    ) -> Result<(Checkpoint, T, Vec<Damaged>)> {
        let mut damaged = Vec::new();
        for step in self.steps()?.into_iter().rev() {
            match self.load(step) {
                Ok(checkpoint) => match read(&checkpoint) {
                    Ok(content) => return Ok((checkpoint, content, damaged)),
                    Err((file, reason)) => {
                        damaged.push(self::damaged(&checkpoint.folder, step, &file, reason));
                    }
                },
                Err(CheckpointError::Damaged(reason)) => damaged.push(reason),
                // A trainer that is at work has pruned it.
                Err(CheckpointError::Missing { .. }) => {}
                Err(other) => return Err(other),
            }
        }
        Err(CheckpointError::NoneWhole {
            folder: self.folder.clone(),
            damaged,
        })
    }

    /// Sets a pointer. One that is right already is left alone.
    pub fn point(&self, pointer: Pointer, step: u64) -> Result<()> {
        self.check_own()?;
        if self.pointed(pointer) == Some(step) {
            return Ok(());
        }
        let path = self.folder.join(pointer.file_name());
        atomic::write_file(&path, format!("{}\n", step_name(step)).as_bytes())
            .map_err(io_error("write", &path))
    }

    /// The step that a pointer names. None if it was never set, or is not readable as a step.
    #[must_use]
    pub fn pointed(&self, pointer: Pointer) -> Option<u64> {
        let path = self.folder.join(pointer.file_name());
        let bytes = atomic::read_regular(&path, 64).ok()?;
        step_of(std::str::from_utf8(&bytes).ok()?.trim_end())
    }

    /// Checkpoints whose replacement a kill prevented: their folder, and their step.
    pub fn recoverable(&self) -> Result<Vec<(PathBuf, u64)>> {
        let replaced = |name: String| {
            let (step, _) = name.strip_prefix(REPLACED_PREFIX)?.rsplit_once('-')?;
            let step = step_of(step)?;
            (!self.step_folder(step).exists()).then(|| (self.folder.join(&name), step))
        };
        Ok(self.leftovers()?.into_iter().filter_map(replaced).collect())
    }

    /// Brings them back.
    pub fn recover(&self) -> Result<()> {
        for (from, step) in self.recoverable()? {
            let to = self.step_folder(step);
            atomic::rename_dir(&from, &to).map_err(io_error("bring back", &to))?;
        }
        Ok(())
    }

    /// Deletes the checkpoints that are not in `keep`, and what kills left behind. The two newest
    /// whole ones, the best of each of them, and those that `best` and `last` name always stay. The
    /// newest of `keep` must verify before anything goes. Returns the deleted steps.
    pub fn prune(&self, keep: &[u64]) -> Result<Vec<u64>> {
        self.recover()?;
        for leftover in self.leftovers()? {
            remove(&self.folder.join(leftover))?;
        }
        let steps = self.steps()?;
        let mut kept: BTreeSet<u64> = keep.iter().copied().collect();
        let pointed = [Pointer::Best, Pointer::Last].map(|pointer| self.pointed(pointer));
        kept.extend(pointed.into_iter().flatten());
        let mut n_newest = 0;
        for &step in steps.iter().rev() {
            match self.load(step) {
                Ok(checkpoint) => {
                    // What it would need if it were gone on from.
                    kept.extend([step].into_iter().chain(checkpoint.manifest.best));
                    n_newest += 1;
                }
                // It was just written: the disk gave back something else.
                Err(error) if keep.iter().max() == Some(&step) => return Err(error),
                Err(_) => {}
            }
            if n_newest == NEWEST_KEPT {
                break;
            }
        }

        let deleted: Vec<u64> = steps
            .into_iter()
            .filter(|&step| !kept.contains(&step) && !is_newer(&self.step_folder(step)))
            .collect();
        for &step in &deleted {
            remove(&self.move_out(OLD_PREFIX, step)?)?;
        }
        Ok(deleted)
    }

    /// Refuses a folder of checkpoints that is a link: what is written and deleted there would not
    /// be the run's own.
    fn check_own(&self) -> Result<()> {
        match atomic::is_link(&self.folder) {
            true => Err(CheckpointError::Link(self.folder.clone())),
            false => Ok(()),
        }
    }

    fn create_folder(&self) -> Result<()> {
        if self.folder.is_dir() {
            return Ok(());
        }
        disk::create_folders(&self.folder).map_err(io_error("create", &self.folder))
    }

    /// Gives the finished folder its name. What had that name goes once the new one verifies, and comes
    /// back if it does not.
    fn move_in(&self, temporary: &Path, step: u64) -> Result<()> {
        let target = self.step_folder(step);
        if is_newer(&target) {
            // Another weft's work: it stays, under another name.
            let aside = self.aside("newer-", step);
            atomic::rename_dir(&target, &aside).map_err(io_error("move", &target))?;
        }
        let rename =
            |from: &Path| atomic::rename_dir(from, &target).map_err(io_error("create", &target));
        // A link that leads nowhere does not exist, and is in the way all the same.
        if !target.exists() && !atomic::is_link(&target) {
            return rename(temporary);
        }
        let old = self.move_out(REPLACED_PREFIX, step)?;
        rename(temporary)?;
        if let Err(error) = self.load(step) {
            remove(&self.move_out(OLD_PREFIX, step)?)?;
            rename(&old)?;
            return Err(error);
        }
        remove(&old)
    }

    /// Renames a checkpoint first, so that a kill amid the removal leaves no part of it there.
    fn move_out(&self, prefix: &str, step: u64) -> Result<PathBuf> {
        let (from, to) = (self.step_folder(step), self.aside(prefix, step));
        remove(&to)?;
        atomic::rename_dir(&from, &to).map_err(io_error("remove", &from))?;
        Ok(to)
    }

    fn aside(&self, prefix: &str, step: u64) -> PathBuf {
        self.folder.join(format!(
            "{prefix}{}-{}",
            step_name(step),
            std::process::id()
        ))
    }

    /// None at all if the folder is not there yet. Names that are not UTF-8 are not ours.
    fn entries(&self) -> Result<Vec<Entry>> {
        self.check_own()?;
        let listed = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            listed => listed,
        };
        let entry = |entry: io::Result<fs::DirEntry>| {
            let entry = entry?;
            // The type of the entry itself: a link to a folder elsewhere is not a folder.
            let is_folder = entry.file_type()?.is_dir();
            Ok(entry
                .file_name()
                .into_string()
                .ok()
                .map(|name| Entry { name, is_folder }))
        };
        listed
            .and_then(|entries| {
                entries
                    .map(entry)
                    .filter_map(io::Result::transpose)
                    .collect()
            })
            .map_err(io_error("read", &self.folder))
    }
}

struct Entry {
    name: String,
    is_folder: bool,
}

fn step_name(step: u64) -> String {
    format!("step-{step}")
}

/// Only the exact name that `step_name` gives: `step-07` is somebody else's.
fn step_of(name: &str) -> Option<u64> {
    let step = name.strip_prefix("step-")?.parse().ok()?;
    (step_name(step) == name).then_some(step)
}

fn is_leftover(name: &str) -> bool {
    [TEMPORARY_PREFIX, OLD_PREFIX, REPLACED_PREFIX]
        .iter()
        .any(|prefix| name.starts_with(prefix))
}

fn remove(path: &Path) -> Result<()> {
    disk::remove(path).map_err(io_error("remove", path))
}
