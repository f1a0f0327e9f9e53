//! A resumed run is the run that was never stopped: on flex and ndarray the last checkpoint is the
//! same, byte for byte (its state but for the clock), wherever it was stopped; on wgpu the losses
//! agree.

use tempfile::TempDir;
use weft::experiment::{Experiment, ResumePoint};
use weft::run::RunFolder;
use weft::run::checkpoints::Store;
use weft::run::records::TrainState;
use weft::train::{Ended, StopFlag};

use crate::devices;
use crate::learning::{experiment, handful, quiet};

/// Dropout, augmentation, batch norm, a schedule, clipping, an average of the weights, a last batch that
/// is smaller.
const TOML: &str = "
seed = 5
[data]
source = \"sample\"
validation_fraction = 0.3
[augmentation]
flip = 0.5
shift = 2
erase = 0.3
erase_min = 3
erase_max = 8
[model]
kind = \"cnn\"
dense = [32]
dense_dropout = 0.2
[[model.blocks]]
filters = 8
pool = 2
batch_norm = true
dropout = 0.2
[optimizer]
kind = \"adamw\"
learning_rate = 0.005
weight_decay = 0.01
[schedule]
kind = \"cosine\"
warmup_epochs = 0.5
[train]
epochs = 3
batch_size = 150
clip_norm = 1.0
ema_decay = 0.95
label_smoothing = 0.1
[early_stopping]
patience = 2
";
/// 3,500 images in batches of 150.
const STEPS_PER_EPOCH: u64 = 24;

/// The same training of a residual network, which learns faster.
fn resnet() -> String {
    let toml = TOML
        .replace("learning_rate = 0.005", "learning_rate = 0.03")
        .replace("shift = 2", "shift = 0");
    let (before, rest) = toml.split_once("[model]\n").unwrap();
    let (_, after) = rest.split_once("[optimizer]\n").unwrap();
    let model = "kind = \"resnet\"\nstem_filters = 6\nblock_dropout = 0.1\ndropout = 0.1\n\
                 stages = [{ filters = 8 }, { filters = 16, blocks = 2 }]";
    format!("{before}[model]\n{model}\n[optimizer]\n{after}")
}

struct Trained {
    _folder: TempDir,
    run: RunFolder,
    state: TrainState,
}

/// Trains, stopping and resuming (as a new experiment, as a new process would) at each of `stops`.
fn train(make: &dyn Fn() -> Experiment, stops: &[u64]) -> Trained {
    let folder = tempfile::tempdir().unwrap();
    let run = RunFolder::create(folder.path(), "test").unwrap();
    let first = make();
    first.describe(&run, Vec::new()).unwrap();
    let mut flags = stops
        .iter()
        .map(|&step| StopFlag::at_step(step))
        .collect::<Vec<_>>();
    flags.push(StopFlag::default());
    let mut flags = flags.into_iter();
    let (mut ended, mut state) = first
        .train(&run, None, quiet(), false, flags.next().unwrap())
        .unwrap();
    for flag in flags {
        assert_eq!(ended, Ended::Stopped);
        let point = ResumePoint::find(&run).unwrap();
        assert!(point.damaged.is_empty());
        assert_eq!(without_clock(&point.state), without_clock(&state));
        let experiment = make();
        experiment.check_made(&point.checkpoint).unwrap();
        let start = Some((point.checkpoint, point.state));
        (ended, state) = experiment.train(&run, start, quiet(), false, flag).unwrap();
    }
    assert_eq!(ended, Ended::Finished);
    Trained {
        _folder: folder,
        run,
        state,
    }
}

fn without_clock(state: &TrainState) -> TrainState {
    let mut state = state.clone();
    for row in &mut state.history {
        row.seconds = 0.0;
    }
    state.epoch_seconds = 0.0;
    state.checkpoint_seconds = 0.0;
    state.starts.clear();
    state
}

fn files(trained: &Trained) -> Vec<(String, Vec<u8>)> {
    let checkpoint = Store::new(&trained.run.root)
        .load(trained.state.step)
        .unwrap();
    let files = checkpoint.files.into_iter();
    files.filter(|(name, _)| name.ends_with(".bpk")).collect()
}

/// Muon with both of its rules, and flips that alternate.
fn with_muon() -> String {
    let muon =
        "kind = \"muon\"\nlearning_rate = 0.02\nadam_learning_rate = 0.01\nweight_decay = 0.01";
    TOML.replace(
        "kind = \"adamw\"\nlearning_rate = 0.005\nweight_decay = 0.01",
        muon,
    )
    .replace("flip = 0.5", "flip = 0.5\nflip_mode = \"alternating\"")
}

fn resumes_exactly(toml: &str, device: &str) {
    let make = || experiment(toml, device, None);
    let whole = train(&make, &[]);
    assert_eq!(whole.state.step, 3 * STEPS_PER_EPOCH);
    let learned = whole.state.history[2].train_accuracy;
    assert!(
        learned > 0.5,
        "a run that learns nothing proves little: {learned}"
    );
    let expected = files(&whole);
    assert_eq!(expected.len(), 4, "average, model, optimizer, scheduler");
    for stops in [
        vec![STEPS_PER_EPOCH, 2 * STEPS_PER_EPOCH], // after each epoch
        vec![5, 6, STEPS_PER_EPOCH + 1],            // in the middle of epochs
        vec![0, 3 * STEPS_PER_EPOCH - 1],           // before the first and the last step
    ] {
        let resumed = train(&make, &stops);
        assert_eq!(
            without_clock(&resumed.state),
            without_clock(&whole.state),
            "{stops:?}"
        );
        for ((name, bytes), (_, expected)) in files(&resumed).iter().zip(&expected) {
            assert!(
                bytes == expected,
                "{device}: {name} differs after stops at {stops:?}"
            );
        }
    }
}

#[test]
fn a_resumed_run_is_identical_on_flex() {
    resumes_exactly(TOML, "cpu");
    resumes_exactly(&with_muon(), "cpu");
}

#[test]
fn a_resumed_run_is_identical_on_ndarray() {
    resumes_exactly(TOML, "ndarray");
}

#[test]
fn a_resumed_residual_network_is_identical_on_flex() {
    resumes_exactly(&resnet(), "cpu");
}

#[test]
fn a_resumed_run_goes_on_on_wgpu() {
    let Some(device) = devices::gpu_choice() else {
        return devices::skip("a_resumed_run_goes_on_on_wgpu");
    };
    goes_on_on_wgpu(TOML, &device);
    goes_on_on_wgpu(&with_muon(), &device);
}

fn goes_on_on_wgpu(toml: &str, device: &str) {
    // Small differences between two runs may end one of them early: not here. And Mesa's software
    // adapter adds no more than 65,535 numbers (75 x 28 x 28 are fewer).
    let toml = toml
        .replace("patience = 2", "patience = 0")
        .replace("batch_size = 150", "batch_size = 75")
        .replace("epochs = 3", "epochs = 2");
    let make = || experiment(&toml, device, None);
    let whole = train(&make, &[]);
    let resumed = train(&make, &[2 * STEPS_PER_EPOCH]);
    let on_flex = train(&|| experiment(&toml, "cpu", None), &[]);
    for (other, tolerance) in [(resumed, 1e-3), (on_flex, 1e-2)] {
        let rows = other.state.history.iter().zip(&whole.state.history);
        for (other, whole) in rows {
            let difference = (other.train_loss - whole.train_loss).abs();
            assert!(difference < tolerance, "{other:?} {whole:?}");
        }
    }
}

#[test]
fn a_run_that_started_on_one_device_goes_on_on_another() {
    let folder = tempfile::tempdir().unwrap();
    let run = RunFolder::create(folder.path(), "test").unwrap();
    let flex = experiment(TOML, "cpu", None);
    let stop = StopFlag::at_step(STEPS_PER_EPOCH);
    flex.train(&run, None, quiet(), false, stop).unwrap();
    let point = ResumePoint::find(&run).unwrap();
    let ndarray = experiment(TOML, "ndarray", None);
    ndarray.check_made(&point.checkpoint).unwrap();
    let start = Some((point.checkpoint, point.state));
    let (ended, there) = ndarray
        .train(&run, start, quiet(), false, StopFlag::default())
        .unwrap();
    assert_eq!(ended, Ended::Finished);
    let whole = train(&|| experiment(TOML, "cpu", None), &[]);
    let difference = there.history[1].train_loss - whole.state.history[1].train_loss;
    assert!(difference.abs() < 1e-3, "{difference}");
}

#[test]
fn changed_weights_keys_or_data_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let run = RunFolder::create(folder.path(), "test").unwrap();
    let first = experiment(TOML, "cpu", None);
    first
        .train(&run, None, quiet(), false, StopFlag::at_step(1))
        .unwrap();
    let checkpoint = ResumePoint::find(&run).unwrap().checkpoint;
    let other_seed = experiment(&TOML.replace("seed = 5", "seed = 6"), "cpu", None);
    let error = other_seed.check_made(&checkpoint).unwrap_err().to_string();
    assert!(
        error.contains("in what fixes the weights:\n  seed: 5 -> 6"),
        "{error}"
    );
    let data = handful();
    let other_data = TOML.replace("\"sample\"", &format!("\"{}\"", data.path().display()));
    let other_data = experiment(&other_data, "cpu", None);
    let error = other_data.check_made(&checkpoint).unwrap_err().to_string();
    assert!(error.contains("other images"), "{error}");
    let more_epochs = experiment(&TOML.replace("epochs = 3", "epochs = 9"), "cpu", None);
    more_epochs.check_made(&checkpoint).unwrap();
}

#[test]
fn the_plateau_schedule_is_resumed() {
    // SGD at a rate that is too high: the validation loss rises at once, and the factor falls.
    let plateau = "kind = \"reduce_on_plateau\"\nfactor = 0.5\npatience = 0";
    let toml = TOML
        .replace("kind = \"cosine\"\nwarmup_epochs = 0.5", plateau)
        .replace(
            "kind = \"adamw\"\nlearning_rate = 0.005\nweight_decay = 0.01",
            "kind = \"sgd\"\nlearning_rate = 2.0",
        )
        .replace("clip_norm = 1.0", "clip_norm = 5.0")
        .replace("ema_decay = 0.95", "ema_decay = 0.0")
        .replace("epochs = 3", "epochs = 5")
        .replace("patience = 2", "patience = 0");
    let make = || experiment(&toml, "cpu", None);
    let whole = train(&make, &[]);
    assert!(whole.state.plateau.factor < 1.0, "{:?}", whole.state);
    let resumed = train(&make, &[30, 3 * STEPS_PER_EPOCH, 4 * STEPS_PER_EPOCH + 3]);
    assert_eq!(without_clock(&resumed.state), without_clock(&whole.state));
    assert!(files(&resumed) == files(&whole));
}
