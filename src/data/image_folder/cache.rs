//! The packed cache: fitted images in one file, found by the content of the folder that they were made of.
//!
//! `[pixels][about: JSON][length of about: u64, little end first][SHA-256 of about][magic]`; `about` has the
//! SHA-256 of the pixels. Pixels come first so that the file's own buffer becomes the images.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::convert::Packed;
use super::files::hex;
use super::{Color, Size};
use crate::run::atomic::{self, TEMPORARY_PREFIX};

/// Goes up when the layout does, or what decoding and fitting give.
const FORMAT: u32 = 2;
const MAGIC: &[u8; 16] = b"weft images   1\n";
/// Length, SHA-256 and magic.
const TAIL: usize = 8 + 32 + MAGIC.len();
/// Of the folder that holds the cache, below the data folder.
const FOLDER: &str = ".weft-cache";
/// As the Cache Directory Tagging Specification has it: backup programs then leave the folder out.
const CACHEDIR_TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n\
    # Images that weft converted. It makes them again when they are missing.\n";
/// What a kill left behind is surely nobody's after this.
const STALE: Duration = Duration::from_secs(3600);

#[derive(Serialize, Deserialize)]
struct About {
    format: u32,
    key: String,
    height: usize,
    width: usize,
    channels: usize,
    n_files: usize,
    n_fitted: usize,
    bad: Vec<(usize, String)>,
    pixels_sha256: String,
}

/// What the cache of a folder is found by.
pub(super) struct Key {
    listing: String,
    all: String,
    n_files: usize,
}

impl Key {
    /// * `listing`: SHA-256 over names and contents
    pub(super) fn new(listing: &[u8; 32], n_files: usize, size: Size, color: Color) -> Self {
        let listing = hex(listing);
        let version = env!("CARGO_PKG_VERSION");
        let all = format!("{FORMAT} {version} {listing} {size:?} {color:?}");
        Self {
            all: hex(&Sha256::digest(all)),
            listing,
            n_files,
        }
    }

    /// Files of the same content, in other sizes, begin alike.
    fn prefix(&self) -> &str {
        &self.listing[..16]
    }

    fn file_name(&self) -> String {
        format!("{}-{}.bin", self.prefix(), &self.all[..16])
    }
}

/// What was found in the cache.
pub(super) enum Found {
    Whole(Packed, PathBuf),
    /// Why it has to be made anew.
    Damaged(PathBuf, String),
    Nothing,
}

/// The folders that may hold the cache of `folder`: within it, and below weft's own cache.
fn places(folder: &Path, cache_root: &Path) -> [PathBuf; 2] {
    let resolved = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    let name = hex(&Sha256::digest(resolved.as_os_str().as_encoded_bytes()));
    let own = cache_root.join("image-folders").join(&name[..16]);
    [folder.join(FOLDER), own]
}

/// Looks for a cache with this key.
pub(super) fn find(folder: &Path, cache_root: &Path, key: &Key) -> Found {
    let mut found = Found::Nothing;
    for place in places(folder, cache_root) {
        let path = place.join(key.file_name());
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() => {}
            _ => continue,
        }
        let read = fs::read(&path).map_err(|error| error.to_string());
        match read.and_then(|bytes| unpack(bytes, key)) {
            Ok(packed) => return Found::Whole(packed, path),
            Err(reason) => found = Found::Damaged(path, reason),
        }
    }
    found
}

fn unpack(mut bytes: Vec<u8>, key: &Key) -> Result<Packed, String> {
    let cut = || "it is cut short".to_owned();
    let tail_at = bytes.len().checked_sub(TAIL).ok_or_else(cut)?;
    let tail = &bytes[tail_at..];
    if !tail.ends_with(MAGIC) {
        return Err("it does not end as it should".to_owned());
    }
    let mut length = [0; 8];
    length.copy_from_slice(&tail[..8]);
    let length = usize::try_from(u64::from_le_bytes(length)).map_err(|_| cut())?;
    let about_at = tail_at.checked_sub(length).ok_or_else(cut)?;
    let about = &bytes[about_at..tail_at];
    if Sha256::digest(about)[..] != tail[8..40] {
        return Err("its SHA-256 is wrong".to_owned());
    }
    let about: About = serde_json::from_slice(about).map_err(|error| error.to_string())?;
    if about.key != key.all || about.format != FORMAT || about.n_files != key.n_files {
        return Err("it is of something else".to_owned());
    }
    bytes.truncate(about_at);
    let n_images = about.n_files.checked_sub(about.bad.len());
    let sides = [about.channels, about.height, about.width];
    let expected = sides
        .iter()
        .try_fold(n_images.unwrap_or(0), |n, &side| n.checked_mul(side));
    if expected != Some(bytes.len()) || hex(&Sha256::digest(&bytes)) != about.pixels_sha256 {
        return Err("its pixels are not those that were written".to_owned());
    }
    Ok(Packed {
        height: about.height,
        width: about.width,
        channels: about.channels,
        n_fitted: about.n_fitted,
        bad: about.bad,
        pixels: bytes,
        sha256: about.pixels_sha256,
    })
}

/// Keeps converted images, in the data folder where that can be written, and removes those of an earlier
/// content. Returns where.
pub(super) fn keep(
    folder: &Path,
    cache_root: &Path,
    key: &Key,
    packed: &mut Packed,
) -> io::Result<PathBuf> {
    let [within, own] = places(folder, cache_root);
    let n_bytes = packed.pixels.len();
    let about = About {
        format: FORMAT,
        key: key.all.clone(),
        height: packed.height,
        width: packed.width,
        channels: packed.channels,
        n_files: key.n_files,
        n_fitted: packed.n_fitted,
        bad: packed.bad.clone(),
        pixels_sha256: packed.sha256.clone(),
    };
    let about = serde_json::to_vec(&about)?;
    let bytes = &mut packed.pixels;
    bytes.extend(&about);
    bytes.extend((about.len() as u64).to_le_bytes());
    bytes.extend(Sha256::digest(&about));
    bytes.extend(MAGIC);
    let kept = write_in(&within, key, bytes).or_else(|_| write_in(&own, key, bytes));
    bytes.truncate(n_bytes);
    kept
}

fn write_in(place: &Path, key: &Key, bytes: &[u8]) -> io::Result<PathBuf> {
    // What is written through a link lands somewhere else.
    if fs::symlink_metadata(place).is_ok_and(|it| !it.is_dir()) {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    let parent = place.parent().unwrap_or(place);
    if place.ends_with(FOLDER) {
        match fs::create_dir(place) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    } else {
        fs::create_dir_all(parent)?;
        fs::create_dir_all(place)?;
    }
    let path = place.join(key.file_name());
    atomic::write_file(&path, bytes)?;
    let tag = place.join("CACHEDIR.TAG");
    if !tag.exists() {
        atomic::write_file(&tag, CACHEDIR_TAG.as_bytes())?;
    }
    remove_old(place, key);
    Ok(path)
}

/// Removes what was made of an earlier content, and what a kill left. A file that stays does no harm.
fn remove_old(place: &Path, key: &Key) {
    for entry in fs::read_dir(place).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let old = name.ends_with(".bin")
            && !name.starts_with(TEMPORARY_PREFIX)
            && !name.starts_with(key.prefix());
        let age = || entry.metadata().ok()?.modified().ok()?.elapsed().ok();
        let left = name.starts_with(TEMPORARY_PREFIX) && age().is_some_and(|age| age > STALE);
        if old || left {
            let _ = fs::remove_file(entry.path());
        }
    }
}
