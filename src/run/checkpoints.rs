//! Checkpoints: folders `checkpoints/step-N` that are either whole or not there. Their manifest,
//! written last, holds the size and SHA-256 of each file and of itself; nothing is handed out
//! before it verifies. One process writes here: the one that holds the run's lock.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::atomic::{self, TEMPORARY_PREFIX};
use super::disk;

const SCHEMA: u32 = 1;
const MANIFEST: &str = "manifest.json";
/// Far above what a manifest takes.
const MOST_MANIFEST_BYTES: u64 = 1 << 20;
/// A folder under this name is being deleted.
const OLD_PREFIX: &str = ".old-";
/// A folder under this name is being replaced: should that not come about, it is needed again.
const REPLACED_PREFIX: &str = ".replaced-";
/// One to resume from, and one in case that one turns out to be damaged.
const NEWEST_KEPT: usize = 2;

/// What a checkpoint says about itself. `epoch` counts from 1 and is the one that the run is in;
/// `batch` counts the batches of that epoch that are done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    pub step: u64,
    pub epoch: u64,
    pub batch: u64,
    /// The step of the best checkpoint so far, which whoever goes on from this one needs.
    pub best: Option<u64>,
    pub config_sha256: String,
    pub data_sha256: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub schema: u32,
    pub step: u64,
    pub epoch: u64,
    pub batch: u64,
    pub best: Option<u64>,
    pub config_sha256: String,
    pub data_sha256: String,
    pub files: BTreeMap<String, FileEntry>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    pub bytes: u64,
    pub sha256: String,
}

/// The manifest as on disk: with the SHA-256 of the rest of it.
#[derive(Serialize, Deserialize)]
struct SealedManifest {
    #[serde(flatten)]
    manifest: Manifest,
    manifest_sha256: String,
}

/// A checkpoint that verified, with its files in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    pub folder: PathBuf,
    pub manifest: Manifest,
    pub files: BTreeMap<String, Vec<u8>>,
}

impl Checkpoint {
    pub fn file(&self, name: &str) -> Result<&[u8], CheckpointError> {
        match self.files.get(name) {
            Some(bytes) => Ok(bytes),
            None => {
                Err(damaged(&self.folder, self.manifest.step, name, "is not part of it").into())
            }
        }
    }
}

/// Which checkpoint cannot be used, for which file, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("checkpoint {}: {file} {reason}", folder.display())]
pub struct Damaged {
    pub folder: PathBuf,
    pub step: u64,
    pub file: String,
    pub reason: String,
}

#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    #[error("{0}\nhint: `weft resume` continues from the newest checkpoint that is whole")]
    Damaged(#[from] Damaged),
    #[error("{}: no such checkpoint\nhint: there {}", .folder.display(), listed(.steps))]
    Missing { folder: PathBuf, steps: Vec<u64> },
    #[error(
        "{}: no checkpoint to continue from{}\nhint: train again from the run's config.toml",
        .folder.display(), reasons(.damaged)
    )]
    NoneWhole {
        folder: PathBuf,
        damaged: Vec<Damaged>,
    },
    #[error(
        "{0:?} cannot be a file of a checkpoint\nhint: use a plain name, other than {MANIFEST}"
    )]
    FileName(String),
    #[error(
        "{}: it is a link, and weft writes checkpoints only in the run folder itself\n\
         hint: replace it with the folder that it points to, or link the whole run folder",
        .0.display()
    )]
    Link(PathBuf),
    #[error(
        "cannot {action} {}: {source}\nhint: {}",
        .path.display(), disk::remedy(.source)
    )]
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error(
        "checkpoint {} was not saved: cannot {action} {}: {source}; it takes {bytes} bytes{}\nhint: \
         {}, then `weft resume {}`: {}",
        step_name(*.step), .path.display(), free(.folder), disk::remedy(.source), run_of(.folder), kept(.folder)
    )]
    Save {
        step: u64,
        folder: PathBuf,
        action: &'static str,
        path: PathBuf,
        bytes: u64,
        source: io::Error,
    },
}

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

    /// Brings back checkpoints whose replacement a kill prevented.
    pub fn recover(&self) -> Result<()> {
        for name in self.leftovers()? {
            let step = name.strip_prefix(REPLACED_PREFIX).and_then(|rest| {
                let (step, _) = rest.rsplit_once('-')?;
                step_of(step)
            });
            if let Some(step) = step
                && !self.step_folder(step).exists()
            {
                let (from, to) = (self.folder.join(&name), self.step_folder(step));
                atomic::rename_dir(&from, &to).map_err(io_error("bring back", &to))?;
            }
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
                Err(error) if keep.contains(&step) => return Err(error),
                Err(_) => {}
            }
            if n_newest == NEWEST_KEPT {
                break;
            }
        }

        let deleted: Vec<u64> = steps
            .into_iter()
            .filter(|step| !kept.contains(step))
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

    /// Gives the finished folder its name, after taking a damaged one of that name away.
    fn move_in(&self, temporary: &Path, step: u64) -> Result<()> {
        let target = self.step_folder(step);
        // A link that leads nowhere does not exist, and is in the way all the same.
        let old = if target.exists() || atomic::is_link(&target) {
            Some(self.move_out(REPLACED_PREFIX, step)?)
        } else {
            None
        };
        atomic::rename_dir(temporary, &target).map_err(io_error("create", &target))?;
        old.map_or(Ok(()), |old| remove(&old))
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

#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn fill(folder: &Path, meta: &Meta, files: &[(&str, &[u8])]) -> Result<()> {
    disk::create_folder(folder).map_err(io_error("create", folder))?;
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        atomic::write_new(&path, bytes).map_err(io_error("write", &path))
    };
    let mut entries = BTreeMap::new();
    for &(name, bytes) in files {
        write(name, bytes)?;
        let entry = FileEntry {
            bytes: bytes.len() as u64,
            sha256: sha256_hex(bytes),
        };
        entries.insert(name.to_owned(), entry);
    }
    let manifest = Manifest {
        schema: SCHEMA,
        step: meta.step,
        epoch: meta.epoch,
        batch: meta.batch,
        best: meta.best,
        config_sha256: meta.config_sha256.clone(),
        data_sha256: meta.data_sha256.clone(),
        files: entries,
    };
    let sealed = seal(manifest).map_err(|error| io_error("write", folder)(error.into()))?;
    write(MANIFEST, &sealed)?;
    disk::sync_folder(folder).map_err(io_error("write", folder))
}

/// The bytes of manifest.json: a function of the manifest alone, so that reading can compare.
fn seal(manifest: Manifest) -> serde_json::Result<Vec<u8>> {
    let manifest_sha256 = sha256_hex(&serde_json::to_vec(&manifest)?);
    let mut bytes = serde_json::to_vec_pretty(&SealedManifest {
        manifest,
        manifest_sha256,
    })?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// The file at fault and what is wrong with it.
pub type Fault = (String, String);

fn read_whole(folder: &Path, step: u64) -> Result<Checkpoint, Fault> {
    let manifest = read_manifest(folder, step).map_err(|reason| (MANIFEST.to_owned(), reason))?;
    let mut files = BTreeMap::new();
    for (name, entry) in &manifest.files {
        let bytes = read_verified(folder, name, entry).map_err(|reason| (name.clone(), reason))?;
        files.insert(name.clone(), bytes);
    }
    Ok(Checkpoint {
        folder: folder.to_owned(),
        manifest,
        files,
    })
}

fn read_manifest(folder: &Path, step: u64) -> Result<Manifest, String> {
    #[derive(Deserialize)]
    struct Schema {
        schema: u32,
    }
    let bytes = atomic::read_regular(&folder.join(MANIFEST), MOST_MANIFEST_BYTES)
        .map_err(|error| unreadable(&error))?;
    let invalid = |error: serde_json::Error| format!("is not a manifest: {error}");
    // The schema first: another one may lack the other fields.
    let Schema { schema } = serde_json::from_slice(&bytes).map_err(invalid)?;
    if schema != SCHEMA {
        return Err(format!(
            "has schema {schema}, and this weft reads schema {SCHEMA}: use the weft that wrote it"
        ));
    }
    let sealed: SealedManifest = serde_json::from_slice(&bytes).map_err(invalid)?;
    let manifest = sealed.manifest;
    if seal(manifest.clone()).map_err(invalid)? != bytes {
        return Err("does not match its own SHA-256".to_owned());
    }
    if manifest.step != step {
        return Err(format!("is that of step {}", manifest.step));
    }
    Ok(manifest)
}

fn read_verified(folder: &Path, name: &str, entry: &FileEntry) -> Result<Vec<u8>, String> {
    if !is_plain(name) {
        return Err("is not a plain file name".to_owned());
    }
    let path = folder.join(name);
    // The size first: a file of the wrong size may not fit in memory.
    let size = fs::metadata(&path)
        .map_err(|error| unreadable(&error))?
        .len();
    if size != entry.bytes {
        return Err(format!(
            "has {size} bytes, and the manifest says {}",
            entry.bytes
        ));
    }
    let bytes = atomic::read_regular(&path, size).map_err(|error| unreadable(&error))?;
    let sha256 = sha256_hex(&bytes);
    if sha256 != entry.sha256 {
        return Err(format!(
            "has SHA-256 {sha256}, and the manifest says {}",
            entry.sha256
        ));
    }
    Ok(bytes)
}

fn unreadable(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "is missing".to_owned(),
        _ => format!("cannot be read: {error}"),
    }
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

/// A name that cannot lead out of the folder, on any system.
fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('.')
        && name != MANIFEST
        && !name.contains(['/', '\\', ':'])
}

fn remove(path: &Path) -> Result<()> {
    disk::remove(path).map_err(io_error("remove", path))
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CheckpointError {
    let path = path.to_owned();
    move |source| CheckpointError::Io {
        action,
        path,
        source,
    }
}

fn damaged(folder: &Path, step: u64, file: &str, reason: impl Into<String>) -> Damaged {
    Damaged {
        folder: folder.to_owned(),
        step,
        file: file.to_owned(),
        reason: reason.into(),
    }
}

fn free(folder: &Path) -> String {
    match disk::free_bytes(disk::parent(folder)) {
        Some(bytes) => format!(", and {bytes} are free"),
        None => String::new(),
    }
}

fn run_of(checkpoints: &Path) -> String {
    disk::parent(checkpoints).display().to_string()
}

/// What a run can go on from.
fn kept(checkpoints: &Path) -> String {
    let store = Store {
        folder: checkpoints.to_owned(),
    };
    match store.latest_whole() {
        Ok((checkpoint, _)) => format!("{} is whole", step_name(checkpoint.manifest.step)),
        Err(_) => "it begins anew, no checkpoint was saved before".to_owned(),
    }
}

fn listed(steps: &[u64]) -> String {
    let names: Vec<String> = steps.iter().map(|&step| step_name(step)).collect();
    if names.is_empty() {
        "is none yet".to_owned()
    } else {
        format!("are {}", names.join(", "))
    }
}

fn reasons(damaged: &[Damaged]) -> String {
    if damaged.is_empty() {
        return ": none was written yet".to_owned();
    }
    damaged
        .iter()
        .map(|one| format!("\n  {}: {} {}", step_name(one.step), one.file, one.reason))
        .collect()
}
