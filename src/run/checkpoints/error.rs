//! What can go wrong with checkpoints, in words.

use std::io;
use std::path::{Path, PathBuf};

use super::manifest::{Damaged, MANIFEST};
use super::{Store, step_name};
use crate::run::disk;

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

pub(super) fn io_error(
    action: &'static str,
    path: &Path,
) -> impl FnOnce(io::Error) -> CheckpointError {
    let path = path.to_owned();
    move |source| CheckpointError::Io {
        action,
        path,
        source,
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
