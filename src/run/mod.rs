//! The run folder: where its files are, and the lock that keeps two processes from writing it.

pub mod atomic;
pub mod checkpoints;
pub mod disk;
pub mod input;
pub mod records;
pub mod study;

use std::fs::{self, File, TryLockError};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use disk::Writer;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunFolder {
    pub root: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("{0:?} cannot be the name of a run: {1}\nhint: use letters, digits, `-`, `_` and `.`")]
    Name(String, &'static str),
    #[error(
        "cannot create {}: {source}\nhint: {}, or choose another folder",
        .path.display(), disk::remedy(.source)
    )]
    Create { path: PathBuf, source: io::Error },
    #[error("{}: not a run folder: {missing}\nhint: {hint}", .path.display())]
    NotARun {
        path: PathBuf,
        missing: &'static str,
        hint: String,
    },
    #[error(
        "{}: another process writes this run: {holder}\nhint: wait until it ends, or stop it",
        .path.display()
    )]
    Locked { path: PathBuf, holder: String },
    #[error(
        "cannot lock {}: {source}\n\
         hint: {}, and check that it has file locks",
        .path.display(), disk::remedy(.source)
    )]
    Lock { path: PathBuf, source: io::Error },
}

impl RunFolder {
    /// A new folder in `runs_dir`: `name`, or `name-2`, `name-3` … when that is taken.
    pub fn create(runs_dir: &Path, name: &str) -> Result<Self, RunError> {
        if let Some(reason) = fault_of_name(name) {
            return Err(RunError::Name(name.to_owned(), reason));
        }
        let failed = |path: &Path| {
            let path = path.to_owned();
            |source| RunError::Create { path, source }
        };
        disk::create_folders(runs_dir).map_err(failed(runs_dir))?;
        let numbered = (2u64..).map(|number| format!("{name}-{number}"));
        for name in std::iter::once(name.to_owned()).chain(numbered) {
            let root = runs_dir.join(name);
            // Creating is the test: of two processes that start at once, each gets its own.
            match disk::create_folder(&root) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(failed(&root)(error)),
                Ok(()) => {
                    disk::sync_folder(runs_dir).map_err(failed(&root))?;
                    return Ok(Self { root });
                }
            }
        }
        unreachable!("a folder of 2^64 runs")
    }

    /// A run folder is one that has a config.toml.
    pub fn open(path: &Path) -> Result<Self, RunError> {
        let missing = match fs::metadata(path) {
            Err(_) => "there is no such folder",
            Ok(metadata) if !metadata.is_dir() => "it is not a folder",
            Ok(_) if study::StudyFolder::is_study(path) => {
                let root = path.display();
                return Err(RunError::NotARun {
                    path: path.to_owned(),
                    missing: "it is a study",
                    hint: format!(
                        "{root}/trials holds its runs, {root}/report.html its page; `weft tune {root}` goes on with it"
                    ),
                });
            }
            Ok(_) if !is_run(path) => "it has no config.toml",
            Ok(_) => {
                return Ok(Self {
                    root: path.to_owned(),
                });
            }
        };
        Err(RunError::NotARun {
            path: path.to_owned(),
            missing,
            hint: runs_near(path),
        })
    }

    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.root.join("config.toml")
    }

    #[must_use]
    pub fn environment(&self) -> PathBuf {
        self.root.join("environment.json")
    }

    #[must_use]
    pub fn results(&self) -> PathBuf {
        self.root.join("results.csv")
    }

    #[must_use]
    pub fn checkpoints(&self) -> PathBuf {
        self.root.join("checkpoints")
    }

    #[must_use]
    pub fn evaluation(&self) -> PathBuf {
        self.root.join("evaluation.json")
    }

    #[must_use]
    pub fn predictions(&self) -> PathBuf {
        self.root.join("predictions.csv")
    }

    #[must_use]
    pub fn plots(&self) -> PathBuf {
        self.root.join("plots")
    }

    /// Makes the folder of the pictures, if it is not there.
    pub fn create_plots(&self) -> Result<PathBuf, RunError> {
        created(self.plots())
    }

    #[must_use]
    pub fn report(&self) -> PathBuf {
        self.root.join("report.html")
    }

    #[must_use]
    pub fn input(&self) -> PathBuf {
        self.root.join("input.json")
    }

    #[must_use]
    pub fn tensorboard(&self) -> PathBuf {
        self.root.join("tensorboard")
    }

    #[must_use]
    pub fn exports(&self) -> PathBuf {
        self.root.join("export")
    }

    #[must_use]
    pub fn explanations(&self) -> PathBuf {
        self.root.join("explain")
    }

    /// Makes the folder of what `weft predict --explain` draws, if it is not there.
    pub fn create_explanations(&self) -> Result<PathBuf, RunError> {
        created(self.explanations())
    }

    #[must_use]
    pub fn lock_file(&self) -> PathBuf {
        self.root.join("lock")
    }

    /// Puts a file below the run's folder, whose own folder is made if it is missing.
    pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
        let folder = disk::parent(path);
        make_folder(folder).map_err(|error| {
            let text = format!("cannot create {}: {error}", folder.display());
            io::Error::new(error.kind(), text)
        })?;
        atomic::write_file(path, bytes)
    }

    /// Who writes this run just now, if anybody. Changes nothing.
    #[must_use]
    pub fn writer(&self) -> Option<String> {
        let mut file = File::open(self.lock_file()).ok()?;
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => Some(holder(&mut file)),
            _ => None,
        }
    }

    /// Takes the run for this process, or says at once who has it. The system frees the lock when
    /// the process ends, however it ends.
    pub fn lock(&self) -> Result<RunLock, RunError> {
        let path = self.lock_file();
        if atomic::is_link(&path) {
            // Signing it would write to a file somewhere else.
            let source = io::Error::new(io::ErrorKind::InvalidInput, "it is a link");
            return Err(RunError::Lock { path, source });
        }
        // Not truncated on opening: until the lock is ours the text is the holder's.
        let mut writer = match Writer::as_it_is(&path) {
            Ok(writer) => writer,
            Err(source) => return Err(RunError::Lock { path, source }),
        };
        match try_lock(&writer.file) {
            Err(TryLockError::WouldBlock) => {
                let holder = holder(&mut writer.file);
                Err(RunError::Locked {
                    path: self.root.clone(),
                    holder,
                })
            }
            Err(TryLockError::Error(source)) => Err(RunError::Lock { path, source }),
            Ok(()) => match sign(&mut writer) {
                Ok(()) => Ok(RunLock { writer }),
                Err(source) => Err(RunError::Lock { path, source }),
            },
        }
    }
}

fn created(path: PathBuf) -> Result<PathBuf, RunError> {
    match make_folder(&path) {
        Ok(()) => Ok(path),
        Err(source) => Err(RunError::Create { path, source }),
    }
}

/// Makes a folder of a run, if it is not there. A link is refused: what is written there would land
/// somewhere else.
fn make_folder(path: &Path) -> io::Result<()> {
    if atomic::is_link(path) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is a link"));
    }
    disk::create_folders(path)
}

/// A process that this one is starting has its files, locks included, until it has become another
/// program: hence a few tries.
fn try_lock(file: &File) -> Result<(), TryLockError> {
    for _ in 0..10 {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(10)),
            other => return other,
        }
    }
    file.try_lock()
}

/// Holds the run until it is dropped.
#[derive(Debug)]
#[must_use = "the run is free again as soon as this is dropped"]
pub struct RunLock {
    writer: Writer,
}

impl Drop for RunLock {
    fn drop(&mut self) {
        // The text is for people: no name is better than that of a process that has gone. The file
        // stays, because deleting it would let two processes lock two different files.
        let _ = self.writer.empty();
    }
}

fn sign(writer: &mut Writer) -> io::Result<()> {
    let text = format!("pid {}, since {}\n", std::process::id(), records::utc_now());
    writer.empty()?;
    writer.write(text.as_bytes())
}

/// Windows lets nobody read a locked file, and the holder may not have signed yet.
fn holder(file: &mut File) -> String {
    let mut text = String::new();
    match file.read_to_string(&mut text) {
        Ok(_) if !text.trim().is_empty() => text.trim().to_owned(),
        _ => "it did not leave its pid".to_owned(),
    }
}

/// What keeps a name from being a run folder's. Some of these are allowed on Unix, but a run folder
/// may be copied to another system.
pub fn fault_of_name(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        Some("it is empty")
    } else if name.starts_with('.') {
        Some("it begins with a dot")
    } else if name.contains(['/', '\\']) {
        Some("it contains a path separator")
    } else if name.contains(|c: char| c.is_control() || r#"<>:"|?*"#.contains(c)) {
        Some("it contains a character that not every system allows")
    } else if name.starts_with(' ') || name.ends_with([' ', '.']) {
        Some("it begins or ends with a space, or ends with a dot")
    } else if name.len() > LONGEST_NAME {
        Some("it is longer than 200 bytes")
    } else if is_device_name(name) {
        Some("it is the name of a device on Windows")
    } else {
        None
    }
}

/// File systems stop at 255 bytes; the number that a taken name gets needs room too.
const LONGEST_NAME: usize = 200;

/// CON, NUL, COM1 and their like, also with an extension.
fn is_device_name(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default().trim_end();
    let stem = stem.to_ascii_uppercase();
    let is_digit = |rest: &str| matches!(rest.as_bytes(), [b'1'..=b'9']);
    ["CON", "PRN", "AUX", "NUL"].contains(&stem.as_str())
        || ["COM", "LPT"]
            .iter()
            .any(|port| stem.strip_prefix(port).is_some_and(is_digit))
}

/// Whether this is the config of a run or of a checkpoint: one that weft wrote, with every key.
pub(crate) fn is_config_of_run(path: &Path) -> bool {
    let beside = |name: &str| path.with_file_name(name).exists();
    path.file_name() == Some("config.toml".as_ref())
        && ["environment.json", "checkpoints", "manifest.json"]
            .into_iter()
            .any(beside)
}

/// Whether this is the file of a study that has begun.
pub(crate) fn is_file_of_study(path: &Path) -> bool {
    path.file_name() == Some("study.toml".as_ref()) && path.with_file_name("log.jsonl").exists()
}

fn is_run(folder: &Path) -> bool {
    folder.join("config.toml").is_file()
}

/// Up to five runs, the newest first: those in `path`, or else beside it.
fn runs_near(path: &Path) -> String {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    if is_run(parent) {
        return format!("the run folder is {}", parent.display());
    }
    if path.join("checkpoints").is_dir() {
        return "each of its checkpoints/step-N has a copy of its config.toml".to_owned();
    }
    let found = [path, parent]
        .map(runs_in)
        .into_iter()
        .find(|runs| !runs.is_empty());
    match found {
        Some(runs) => format!("run folders near it: {}", runs.join(", ")),
        None => "`weft train` makes one".to_owned(),
    }
}

fn runs_in(folder: &Path) -> Vec<String> {
    let mut runs: Vec<(SystemTime, PathBuf)> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| is_run(path))
        .filter_map(|path| Some((fs::metadata(&path).ok()?.modified().ok()?, path)))
        .collect();
    runs.sort_by(|a, b| b.cmp(a));
    runs.into_iter()
        .take(5)
        .map(|(_, path)| path.display().to_string())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_in(folder: &Path, name: &str) -> RunFolder {
        let run = RunFolder::create(folder, name).unwrap();
        fs::write(run.config(), "").unwrap();
        run
    }

    #[test]
    fn a_taken_name_gets_a_number() {
        let folder = tempfile::tempdir().unwrap();
        let runs = folder.path().join("deep/runs");
        for expected in ["quick", "quick-2", "quick-3"] {
            assert_eq!(
                RunFolder::create(&runs, "quick").unwrap().root,
                runs.join(expected)
            );
        }
    }

    #[test]
    fn eight_that_start_at_once_get_eight_folders() {
        let folder = tempfile::tempdir().unwrap();
        let create = || RunFolder::create(folder.path(), "x").unwrap().root;
        let made: std::collections::HashSet<PathBuf> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(create)).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        assert_eq!(made.len(), 8);
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "", ".", "..", "a/b", "a\\b", "/tmp", "a\nb", "a\0", "C:", "a ", "a.", "nul", "Com1.x",
        ] {
            let error = RunFolder::create(folder.path(), name).unwrap_err();
            assert!(matches!(error, RunError::Name(..)), "{name:?}: {error}");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_name_leaves_room_for_its_number() {
        let folder = tempfile::tempdir().unwrap();
        let longest = "x".repeat(LONGEST_NAME);
        for _ in 0..2 {
            RunFolder::create(folder.path(), &longest).unwrap();
        }
        let error = RunFolder::create(folder.path(), &(longest + "x")).unwrap_err();
        assert!(matches!(error, RunError::Name(..)), "{error}");
        for name in ["console", "com", "com10", "a.con"] {
            assert_eq!(fault_of_name(name), None, "{name}");
        }
    }

    #[test]
    fn a_place_that_cannot_hold_runs_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let error = RunFolder::create(&file, "x").unwrap_err().to_string();
        assert!(error.contains(&file.display().to_string()), "{error}");
    }

    #[test]
    fn open_says_what_is_missing_and_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let run = run_in(folder.path(), "real");
        assert_eq!(RunFolder::open(&run.root).unwrap(), run);
        let error = |path: &Path| RunFolder::open(path).unwrap_err().to_string();

        let absent = error(&folder.path().join("absent"));
        assert!(
            absent.contains("no such folder") && absent.contains("real"),
            "{absent}"
        );
        let above = error(folder.path());
        assert!(
            above.contains("no config.toml") && above.contains("real"),
            "{above}"
        );
        let file = error(&run.config());
        assert!(
            file.contains("the run folder is") && file.contains("real"),
            "{file}"
        );
        for n in 0..9 {
            run_in(folder.path(), &format!("other{n}"));
        }
        assert_eq!(
            error(&folder.path().join("absent"))
                .matches("other")
                .count(),
            5
        );
    }

    #[cfg(unix)]
    #[test]
    fn no_folder_of_a_run_is_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let elsewhere = folder.path().join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        let run = run_in(folder.path(), "x");
        for name in ["plots", "export", "explain", "tensorboard"] {
            std::os::unix::fs::symlink(&elsewhere, run.root.join(name)).unwrap();
        }
        for error in [
            run.create_plots().unwrap_err().to_string(),
            run.create_explanations().unwrap_err().to_string(),
            RunFolder::write(&run.exports().join("x.onnx"), b"x")
                .unwrap_err()
                .to_string(),
            RunFolder::write(&run.tensorboard().join("x"), b"x")
                .unwrap_err()
                .to_string(),
        ] {
            assert!(
                error.contains("cannot create ") && error.contains("it is a link"),
                "{error}"
            );
        }
        assert_eq!(fs::read_dir(elsewhere).unwrap().count(), 0);
    }

    #[test]
    fn a_second_lock_names_the_first_holder() {
        let folder = tempfile::tempdir().unwrap();
        let run = run_in(folder.path(), "x");
        let lock = run.lock().unwrap();
        let error = run.lock().unwrap_err().to_string();
        if cfg!(unix) {
            assert!(
                error.contains(&format!("pid {}", std::process::id())),
                "{error}"
            );
        }
        drop(lock);
        assert_eq!(fs::read(run.lock_file()).unwrap(), b"");
        let _again = run.lock().unwrap();
    }

    const RUN_TO_HOLD: &str = "WEFT_TEST_RUN_TO_HOLD";

    /// Not a test: the process that the next one kills.
    #[test]
    #[ignore = "holds a lock until it is killed; started by a_kill_frees_the_lock"]
    fn hold_a_lock() {
        if let Some(root) = std::env::var_os(RUN_TO_HOLD) {
            let _lock = RunFolder { root: root.into() }.lock().unwrap();
            std::thread::sleep(Duration::from_secs(60));
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_kill_frees_the_lock() {
        use std::process::{Command, Stdio};
        use std::time::Instant;

        let folder = tempfile::tempdir().unwrap();
        let run = run_in(folder.path(), "x");
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["run::tests::hold_a_lock", "--exact", "--ignored"])
            .env(RUN_TO_HOLD, &run.root)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let started = Instant::now();
        let signed = || fs::read_to_string(run.lock_file()).is_ok_and(|text| text.ends_with('\n'));
        while !signed() && started.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(5));
        }
        let error = run.lock().unwrap_err().to_string();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(error.contains(&format!("pid {}", child.id())), "{error}");
        let _lock = run.lock().unwrap();
    }
}
