//! What a checkpoint folder holds, and the manifest that says so: the size and SHA-256 of each file and
//! of itself.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::error::{CheckpointError, io_error};
use crate::run::{atomic, disk};

/// A change of state.json's schema is one of this too: a weft must know from the manifest whether it
/// can read the rest.
const SCHEMA: u32 = 1;
pub(super) const MANIFEST: &str = "manifest.json";
/// Far above what a manifest takes.
const MOST_MANIFEST_BYTES: u64 = 1 << 20;
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

#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Writes a checkpoint's files and, last, its manifest.
pub(super) fn fill(
    folder: &Path,
    meta: &Meta,
    files: &[(&str, &[u8])],
) -> Result<(), CheckpointError> {
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

pub(super) fn read_whole(folder: &Path, step: u64) -> Result<Checkpoint, Fault> {
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

/// The manifest and one file.
pub(super) fn read_file(
    folder: &Path,
    step: u64,
    name: &str,
) -> Result<(Manifest, Vec<u8>), Fault> {
    let manifest = read_manifest(folder, step).map_err(|reason| (MANIFEST.to_owned(), reason))?;
    let fault = |reason| (name.to_owned(), reason);
    let entry = manifest.files.get(name);
    let entry = entry.ok_or_else(|| fault("is not part of it".to_owned()))?;
    let bytes = read_verified(folder, name, entry).map_err(fault)?;
    Ok((manifest, bytes))
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

/// Whether a later weft wrote it: its manifest is one, and has a later schema.
pub(super) fn is_newer(folder: &Path) -> bool {
    #[derive(Deserialize)]
    struct Later {
        schema: u32,
        manifest_sha256: String,
    }
    let bytes = atomic::read_regular(&folder.join(MANIFEST), MOST_MANIFEST_BYTES);
    let later = bytes.map(|bytes| serde_json::from_slice::<Later>(&bytes));
    matches!(later, Ok(Ok(later)) if later.schema > SCHEMA && !later.manifest_sha256.is_empty())
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

/// A name that cannot lead out of the folder, on any system.
pub(super) fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('.')
        && name != MANIFEST
        && !name.contains(['/', '\\', ':'])
}

pub(super) fn damaged(folder: &Path, step: u64, file: &str, reason: impl Into<String>) -> Damaged {
    Damaged {
        folder: folder.to_owned(),
        step,
        file: file.to_owned(),
        reason: reason.into(),
    }
}
