//! A run that is over in a twentieth of a second and has everything that a resume could get wrong:
//! dropout, augmentation, batch norm, a schedule, clipping, an average of the weights, a smaller last
//! batch, checkpoints within epochs. What it ends with is compared, but for the clock, with what an undisturbed one ends with.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use weft::data::idx;
use weft::run::RunFolder;
use weft::run::checkpoints::{Pointer, Store, sha256_hex};
use weft::run::records;

use crate::common::weft;

pub(crate) const STEPS_PER_EPOCH: u64 = 8;
pub(crate) const EPOCHS: u64 = 3;

/// Saves whenever a step has taken longer than that: about at every one. Draws nothing, to be quick:
/// `writes` has a test of that.
const CONFIG: &str = "
name = \"tiny\"
seed = 3
[data]
source = \"DATA\"
validation_fraction = 0.25
[augmentation]
flip = 0.5
shift = 1
[model]
kind = \"mlp\"
hidden = [8]
dropout = 0.2
batch_norm = true
[optimizer]
kind = \"adamw\"
learning_rate = 0.02
[schedule]
kind = \"cosine\"
warmup_epochs = 0.5
[train]
epochs = 3
batch_size = 20
clip_norm = 1.0
ema_decay = 0.9
label_smoothing = 0.1
device = \"cpu\"
[early_stopping]
patience = 0
[checkpoint]
every_minutes = 1e-5
[report]
at_end = false
plots = false
";

/// A folder in memory where the system has one: a kill does not lose what the system has taken, and
/// waiting for a disk would only slow it down.
pub(crate) fn scratch() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        tempfile::tempdir_in(memory).unwrap()
    } else {
        tempfile::tempdir().unwrap()
    }
}

/// A config file and the images it names.
pub(crate) struct Tiny {
    folder: TempDir,
}

impl Tiny {
    /// 200 training images (150 after the validation split, in batches of 20) of 6 x 6 pixels.
    pub(crate) fn new() -> Self {
        let folder = scratch();
        for (name, n_images) in [("train", 200), ("t10k", 20)] {
            let label = |image: usize| image % 10;
            let pixel = |image: usize, at: usize| (at * (label(image) + 3) * 29 + image * 7) % 251;
            let pixels = (0..n_images)
                .flat_map(|image| (0..36).map(move |at| pixel(image, at) as u8))
                .collect();
            let images = idx::Images {
                n_images,
                channels: 1,
                height: 6,
                width: 6,
                pixels,
            };
            let labels: Vec<u8> = (0..n_images).map(|image| label(image) as u8).collect();
            let file = |kind: &str| folder.path().join(format!("{name}-{kind}-ubyte"));
            fs::write(file("images-idx3"), idx::write_images(&images)).unwrap();
            fs::write(file("labels-idx1"), idx::write_labels(&labels)).unwrap();
        }
        let data = folder.path().display().to_string();
        let config = CONFIG.replace("DATA", &data.replace('\\', "/"));
        fs::write(folder.path().join("tiny.toml"), config).unwrap();
        Self { folder }
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.folder.path().join("tiny.toml")
    }

    /// A folder for runs of its own.
    pub(crate) fn place(&self) -> TempDir {
        tempfile::tempdir_in(self.folder.path()).unwrap()
    }

    /// `weft train` in `place`, with more arguments.
    pub(crate) fn train(&self, place: &Path, more: &[&str]) -> Command {
        let mut command = weft();
        command.arg("train").arg(self.config());
        command
            .arg("--runs-dir")
            .arg(place)
            .args(["-q", "--no-test"]);
        command.args(more).stdin(Stdio::null());
        command
    }

    /// `weft resume` of the run in `place`.
    pub(crate) fn resume(&self, place: &Path, more: &[&str]) -> Command {
        let mut command = weft();
        command.arg("resume").arg(place.join("tiny"));
        command
            .args(["-q", "--no-test"])
            .args(more)
            .stdin(Stdio::null());
        command
    }

    /// The end of a run that nothing disturbed, and how long it took.
    pub(crate) fn undisturbed(&self, more: &[&str]) -> (End, Duration) {
        let place = self.place();
        let started = std::time::Instant::now();
        succeed(&mut self.train(place.path(), more));
        (End::of(&place.path().join("tiny")), started.elapsed())
    }
}

/// Runs a process to its end, which must be a good one.
pub(crate) fn succeed(command: &mut Command) {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{command:?}: {:?}\n{text}",
        output.status
    );
}

/// What a run ends with, but for the clock: the SHA-256 of the tensors of the last and of the best
/// checkpoint, and results.csv without its seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct End {
    last: Vec<(String, String)>,
    best: Vec<(String, String)>,
    results: Vec<String>,
}

impl End {
    pub(crate) fn of(run: &Path) -> Self {
        let store = Store::new(run);
        let tensors = |pointer| -> Vec<(String, String)> {
            let checkpoint = store.load(store.pointed(pointer).unwrap()).unwrap();
            let files = checkpoint.files.iter();
            files
                .filter(|(name, _)| name.ends_with(".bpk"))
                .map(|(name, bytes)| (name.clone(), sha256_hex(bytes)))
                .collect()
        };
        Self {
            last: tensors(Pointer::Last),
            best: tensors(Pointer::Best),
            results: results(run),
        }
    }
}

/// The lines of results.csv without the seconds.
fn results(run: &Path) -> Vec<String> {
    let text = fs::read_to_string(run.join("results.csv")).unwrap();
    assert!(text.ends_with('\n'), "{text}");
    let lines = text.lines().map(|line| {
        let mut fields: Vec<&str> = line.split(',').collect();
        fields.remove(2);
        fields.join(",")
    });
    lines.collect()
}

/// Whether a folder is a run by now: what a kill in its first moments leaves is not.
pub(crate) fn is_run(run: &Path) -> bool {
    RunFolder::open(run).is_ok()
}

/// What holds at any moment of a run: the checkpoints that were reported as done are whole, and each
/// epoch that was reported is in one.
pub(crate) fn assert_nothing_lost(run: &Path) {
    let folder = RunFolder {
        root: run.to_owned(),
    };
    let rows = records::read(&folder.results()).unwrap();
    let store = Store::new(run);
    if !store.recoverable().unwrap().is_empty() {
        return; // a resume brings one back first
    }
    let newest = match store.latest_whole() {
        Ok((newest, damaged)) => {
            assert!(damaged.is_empty(), "{damaged:?}");
            newest
        }
        Err(error) => {
            assert!(rows.is_empty(), "{error}");
            return;
        }
    };
    let state = weft::experiment::state_of(&newest).unwrap();
    assert!(
        rows.len() <= state.history.len(),
        "{} epochs were reported, and the newest checkpoint has {}",
        rows.len(),
        state.history.len()
    );
    if let Some(best) = &state.best {
        store.load(best.step).unwrap();
    }
}

/// Numbers that look random and are the same each time (SplitMix64).
pub(crate) struct Draws(pub(crate) u64);

impl Draws {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}
