//! Fetches one gzipped IDX file from the first mirror that can give it whole.
//!
//! Nothing a server says is believed: the content's SHA-256 decides. Until it is right the bytes
//! live in `<file>.part`, where a later attempt, or a later run, goes on with a Range request.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};

use self::attempt::{Failure, MAX_DOWNLOAD_BYTES, agent, attempt};
use super::idx;

mod attempt;

/// Fashion-MNIST's own hosts: the authors' bucket, then their repository.
pub const MIRRORS: [&str; 2] = [
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",
];

/// What a download tells whoever draws it.
pub trait Progress {
    /// A body begins to arrive: its whole size where known, and how much an earlier attempt left.
    /// Comes again after each `retry`.
    fn start(&mut self, file: &str, total: Option<u64>, resumed_from: u64);
    fn advance(&mut self, bytes: u64);
    /// The file is checked and in its place.
    fn finish(&mut self);
    /// An attempt failed and another follows, at this mirror or the next.
    fn retry(&mut self, reason: &str);
    /// Work on `n_images` image files begins: "reading" or "converting". `advance` then counts images.
    fn stage(&mut self, _what: &str, _n_images: u64) {}
}

pub struct NoProgress;

impl Progress for NoProgress {
    fn start(&mut self, _file: &str, _total: Option<u64>, _resumed_from: u64) {}
    fn advance(&mut self, _bytes: u64) {}
    fn finish(&mut self) {}
    fn retry(&mut self, _reason: &str) {}
}

#[derive(Clone, Debug)]
pub struct Options {
    pub connect_timeout: Duration,
    /// The longest silence of a server, not the longest download.
    pub read_timeout: Duration,
    pub retries_per_mirror: u32,
    /// The wait before the first retry; each further one waits twice as long.
    pub backoff: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            read_timeout: Duration::from_secs(20),
            retries_per_mirror: 3,
            backoff: Duration::from_millis(500),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    #[error("could not download {file}:{}", list(.failures))]
    AllMirrorsFailed {
        file: String,
        failures: Vec<MirrorFailure>,
    },
    #[error("{}: cannot {action}: {reason}", .path.display())]
    File {
        path: PathBuf,
        action: &'static str,
        reason: io::Error,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorFailure {
    pub mirror: String,
    pub reason: String,
}

fn list(failures: &[MirrorFailure]) -> String {
    if failures.is_empty() {
        return " no mirror is given".to_owned();
    }
    failures.iter().fold(String::new(), |mut text, failure| {
        let _ = write!(text, "\n  {}: {}", failure.mirror, failure.reason);
        text
    })
}

/// Puts `file` into the folder `into`, with content of this SHA-256, and returns its path.
pub fn fetch(
    file: &str,
    sha256_of_content: &str,
    mirrors: &[String],
    into: &Path,
    options: &Options,
    progress: &mut dyn Progress,
) -> Result<PathBuf, DownloadError> {
    fs::create_dir_all(into).map_err(|reason| on_disk(into, "create the folder", reason))?;
    let _one_process_at_a_time = lock(into)?;
    let target = Target {
        file,
        sha256_of_content,
        part: into.join(format!("{file}.part")),
        destination: into.join(file),
    };
    if check_content(&target.destination, sha256_of_content).is_ok() {
        return Ok(target.destination);
    }
    // A run that was stopped between the last byte and the rename left a whole file.
    if check_content(&target.part, sha256_of_content).is_ok() {
        return target.put_in_place();
    }
    let path = try_mirrors(mirrors, &target, options, progress)?;
    progress.finish();
    Ok(path)
}

fn try_mirrors(
    mirrors: &[String],
    target: &Target,
    options: &Options,
    progress: &mut dyn Progress,
) -> Result<PathBuf, DownloadError> {
    let mut failures = Vec::new();
    for mirror in mirrors {
        match fetch_from(mirror, target, options, progress) {
            Ok(()) => return target.put_in_place(),
            Err(Failure::Local(error)) => return Err(error),
            Err(
                Failure::Retry(reason)
                | Failure::StartOver(reason)
                | Failure::NextMirror(reason)
                | Failure::WrongFile(reason),
            ) => {
                if failures.len() + 1 < mirrors.len() {
                    progress.retry(&reason);
                }
                failures.push(MirrorFailure {
                    mirror: mirror.clone(),
                    reason,
                });
            }
        }
    }
    Err(DownloadError::AllMirrorsFailed {
        file: target.file.to_owned(),
        failures,
    })
}

/// The SHA-256 in lower-case hex, as `sha256sum` prints it.
pub fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .fold(String::with_capacity(64), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
}

struct Target<'a> {
    file: &'a str,
    sha256_of_content: &'a str,
    part: PathBuf,
    destination: PathBuf,
}

impl Target<'_> {
    /// How much can be resumed. A part that is no gzip came from a server which unpacked it on the
    /// way, so that its length says nothing about the file's.
    fn resumable_bytes(&self) -> u64 {
        let mut magic = [0; 2];
        let Ok(mut part) = File::open(&self.part) else {
            return 0;
        };
        let is_gzip = part.read_exact(&mut magic).is_ok() && magic == [0x1f, 0x8b];
        let length = part.metadata().map_or(0, |metadata| metadata.len());
        if is_gzip && length < MAX_DOWNLOAD_BYTES {
            length
        } else {
            0
        }
    }

    fn forget_part(&self) -> Result<(), DownloadError> {
        match fs::remove_file(&self.part) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(on_disk(&self.part, "delete", error))
            }
            _ => Ok(()),
        }
    }

    /// Durable before visible: the bytes first, then the name, then the folder's record of it.
    fn put_in_place(&self) -> Result<PathBuf, DownloadError> {
        let synced = OpenOptions::new()
            .append(true)
            .open(&self.part)
            .and_then(|part| part.sync_all());
        synced.map_err(|reason| on_disk(&self.part, "write", reason))?;
        fs::rename(&self.part, &self.destination).map_err(|reason| {
            on_disk(&self.destination, "rename the download into place", reason)
        })?;
        #[cfg(unix)] // elsewhere a folder cannot be opened
        if let Some(folder) = self.destination.parent() {
            File::open(folder)
                .and_then(|folder| folder.sync_all())
                .map_err(|reason| on_disk(folder, "sync the folder", reason))?;
        }
        Ok(self.destination.clone())
    }
}

fn fetch_from(
    mirror: &str,
    target: &Target,
    options: &Options,
    progress: &mut dyn Progress,
) -> Result<(), Failure> {
    let agent = agent(mirror, options);
    let url = format!("{}/{}", mirror.trim_end_matches('/'), target.file);
    let mut retries = 0;
    loop {
        let Err(failure) = attempt(&agent, &url, target, progress) else {
            return Ok(());
        };
        if let Failure::StartOver(_) | Failure::WrongFile(_) = failure {
            target.forget_part().map_err(Failure::Local)?;
        }
        let reason = match failure {
            Failure::Retry(reason) | Failure::StartOver(reason)
                if retries < options.retries_per_mirror =>
            {
                reason
            }
            failure => return Err(failure),
        };
        progress.retry(&reason);
        log::debug!("{url}: {reason}; trying again");
        std::thread::sleep(options.backoff * 2_u32.saturating_pow(retries));
        retries += 1;
    }
}

/// Whether the file decompresses to the content wanted; if not, why.
fn check_content(path: &Path, sha256_of_content: &str) -> Result<(), String> {
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    let content = idx::decompress(&bytes).map_err(|error| format!("wrong content: {error}"))?;
    let found = sha256_hex(&content);
    if found == sha256_of_content {
        Ok(())
    } else {
        Err(format!(
            "wrong content: expected SHA-256 {sha256_of_content}, found {found}"
        ))
    }
}

/// Two processes must not append to one part file. The lock goes with the handle.
fn lock(folder: &Path) -> Result<File, DownloadError> {
    let path = folder.join(".download.lock");
    let file = File::create(&path).map_err(|reason| on_disk(&path, "create", reason))?;
    if let Err(error) = file.lock() {
        // Some network file systems have no locks; the SHA-256 still guards the result.
        log::debug!("{}: no lock: {error}", path.display());
    }
    Ok(file)
}

fn on_disk(path: &Path, action: &'static str, reason: io::Error) -> DownloadError {
    DownloadError::File {
        path: path.to_owned(),
        action,
        reason,
    }
}
