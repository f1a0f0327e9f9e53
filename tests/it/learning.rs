//! Every architecture, optimizer and schedule learns, on flex, ndarray and wgpu: a handful of images
//! is learned by heart. And the loop's numbers are what evaluation finds on the same weights.

use std::path::Path;

use tempfile::TempDir;
use weft::config::Loaded;
use weft::data::download::NoProgress;
use weft::data::fashion_mnist::{Dataset, LabeledImages, Source, SourceKind};
use weft::data::idx::Images;
use weft::data::{DataConfig, Splits};
use weft::device::DeviceChoice;
use weft::experiment::{Experiment, SplitName};
use weft::model::InputShape;
use weft::run::RunFolder;
use weft::run::checkpoints::Store;
use weft::run::records::{self, TrainState};
use weft::train::progress::{Progress, Verbosity};
use weft::train::{Ended, StopFlag};

use crate::devices;

/// An experiment on the embedded sample or on a folder, from TOML.
pub(crate) fn experiment(toml: &str, device: &str, data: Option<&Path>) -> Experiment {
    // This configures burn's runtimes, which must come before any device is used in this process.
    devices::gpu_choice();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.toml");
    std::fs::write(&path, toml).unwrap();
    let assignments = [format!("train.device={device}")];
    let loaded = Loaded::new(Some(&path), &assignments).unwrap();
    let device = device.parse::<DeviceChoice>().unwrap().open().unwrap();
    Experiment::prepare(loaded, device, data, &mut NoProgress).unwrap()
}

pub(crate) fn quiet() -> Progress {
    Progress::new(Verbosity::Quiet, 1, None)
}

/// Trains in a new run folder until the end.
pub(crate) fn train(experiment: &Experiment) -> (TempDir, RunFolder, TrainState) {
    let folder = tempfile::tempdir().unwrap();
    let run = RunFolder::create(folder.path(), "test").unwrap();
    experiment.describe(&run, Vec::new()).unwrap();
    let stop = StopFlag::default();
    let (ended, state) = experiment.train(&run, None, quiet(), false, stop).unwrap();
    assert_ne!(ended, Ended::Stopped);
    (folder, run, state)
}

/// A data set of 40 training images (and 20 test images) of the sample, as a folder.
pub(crate) fn handful() -> TempDir {
    use weft::data::{fashion_mnist, idx};
    let lookup = fashion_mnist::Lookup::standard("sample", None);
    let dataset = fashion_mnist::load(&lookup, &mut NoProgress).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for (name, images, n_images) in [("train", &dataset.train, 40), ("t10k", &dataset.test, 20)] {
        // Every 97th image: the sample is sorted in no way that matters, and this mixes classes.
        let picked: Vec<usize> = (0..n_images)
            .map(|n| n * 97 % images.labels.len())
            .collect();
        let pixels = picked
            .iter()
            .flat_map(|&at| &images.images.pixels[at * 784..][..784]);
        let few = idx::Images {
            n_images,
            channels: 1,
            height: 28,
            width: 28,
            pixels: pixels.copied().collect(),
        };
        let labels: Vec<u8> = picked.iter().map(|&at| images.labels[at]).collect();
        let path = folder.path();
        std::fs::write(
            path.join(format!("{name}-images-idx3-ubyte")),
            idx::write_images(&few),
        )
        .unwrap();
        std::fs::write(
            path.join(format!("{name}-labels-idx1-ubyte")),
            idx::write_labels(&labels),
        )
        .unwrap();
    }
    folder
}

pub(crate) const MODELS: [&str; 6] = [
    "kind = \"softmax_regression\"",
    "kind = \"mlp\"\nhidden = [64, 32]\nactivation = \"selu\"\ninitializer = \"lecun_normal\"",
    "kind = \"mlp\"\nhidden = [64]\nactivation = \"gelu\"\nbatch_norm = true",
    "kind = \"cnn\"\ndense = [32]\n[[model.blocks]]\nfilters = 8\nbatch_norm = true\n\
     [[model.blocks]]\nfilters = 8\npadding = \"valid\"",
    "kind = \"cnn\"\ndense = [32]\nhead = \"average_pool\"\n\
     [[model.blocks]]\nfilters = 16\nbatch_norm = true\npool_first = true\n\
     [[model.blocks]]\nfilters = 32\nbatch_norm = true\npool_first = true",
    "kind = \"resnet\"\nstem_filters = 8\n[[model.stages]]\nfilters = 16\n[[model.stages]]\nfilters = 32",
];

fn learns_by_heart(device: &str) {
    let data = handful();
    let path = data.path().display();
    for model in MODELS {
        let toml = format!(
            "[data]\nsource = \"{path}\"\nvalidation_fraction = 0.0\n[model]\n{model}\n\
             [optimizer]\nkind = \"adam\"\nlearning_rate = 0.01\n[train]\nepochs = 60\n\
             batch_size = 40\n[early_stopping]\npatience = 0\n"
        );
        let (_folder, _run, state) = train(&experiment(&toml, device, None));
        let last = state.history.last().unwrap();
        assert!(
            last.train_accuracy == 1.0 && last.train_loss < 0.1,
            "{device}: {model}: {last:?}"
        );
    }
}

/// 24 colour images of 12 x 10 pixels: noise, which can be learned by heart but no other way.
pub(crate) fn colour_splits() -> Splits {
    let images = |n_images: usize, key: u64| {
        let byte = |at: usize| (weft::random::mix(&[key, at as u64]) % 256) as u8;
        LabeledImages {
            images: Images {
                n_images,
                channels: 3,
                height: 12,
                width: 10,
                pixels: (0..n_images * 360).map(byte).collect(),
            },
            labels: (0..n_images).map(|image| (image % 3) as u8).collect(),
        }
    };
    let source = Source {
        kind: SourceKind::Sample,
        location: String::new(),
        sha256: Vec::new(),
        warning: None,
        images: None,
    };
    let dataset = Dataset {
        train: images(24, 1),
        test: images(6, 2),
        validation: None,
        class_names: ["a", "b", "c"].map(str::to_owned).to_vec(),
        source,
    };
    let config = DataConfig {
        validation_fraction: 0.0,
        ..DataConfig::default()
    };
    Splits::new(dataset, &config, 1).unwrap()
}

fn learns_colour_by_heart(device: &str) {
    for model in MODELS {
        let toml = format!(
            "[data]\nsource = \"sample\"\nvalidation_fraction = 0.0\nnormalization = \
             \"standardize\"\n[model]\n{model}\n[optimizer]\nkind = \"adam\"\nlearning_rate = 0.01\n\
             [train]\nepochs = 60\nbatch_size = 24\n[early_stopping]\npatience = 0\n"
        );
        let input = InputShape {
            channels: 3,
            height: 12,
            width: 10,
            n_classes: 3,
        };
        let experiment = experiment(&toml, device, None).with_splits(colour_splits(), input);
        let (_folder, _run, state) = train(&experiment);
        let last = state.history.last().unwrap();
        assert!(
            last.train_accuracy == 1.0 && last.train_loss < 0.1,
            "{device}: {model}: {last:?}"
        );
    }
}

#[test]
fn every_model_learns_colour_by_heart_on_flex() {
    learns_colour_by_heart("cpu");
}

#[test]
fn every_model_learns_colour_by_heart_on_ndarray() {
    learns_colour_by_heart("ndarray");
}

#[test]
fn every_model_learns_colour_by_heart_on_wgpu() {
    match devices::gpu_choice() {
        Some(device) => learns_colour_by_heart(&device),
        None => devices::skip("every_model_learns_colour_by_heart_on_wgpu"),
    }
}

#[test]
fn every_model_learns_a_batch_by_heart_on_flex() {
    learns_by_heart("cpu");
}

#[test]
fn every_model_learns_a_batch_by_heart_on_ndarray() {
    learns_by_heart("ndarray");
}

#[test]
fn every_model_learns_a_batch_by_heart_on_wgpu() {
    match devices::gpu_choice() {
        Some(device) => learns_by_heart(&device),
        None => devices::skip("every_model_learns_a_batch_by_heart_on_wgpu"),
    }
}

#[test]
fn every_optimizer_and_schedule_learns() {
    let data = handful();
    let path = data.path().display();
    for (optimizer, schedule) in [
        ("kind = \"sgd\"\nlearning_rate = 0.1", "kind = \"constant\""),
        (
            "kind = \"sgd\"\nlearning_rate = 0.1\nnesterov = true\nweight_decay = 1e-4",
            "kind = \"cosine\"\nwarmup_epochs = 2.5",
        ),
        (
            "kind = \"adam\"\nlearning_rate = 0.01\nweight_decay = 1e-4",
            "kind = \"one_cycle\"",
        ),
        (
            "kind = \"adamw\"\nlearning_rate = 0.01\nweight_decay = 0.1",
            "kind = \"cosine\"",
        ),
        (
            "kind = \"muon\"\nweight_decay = 0.1\nadam_learning_rate = 0.01",
            "kind = \"cosine\"",
        ),
    ] {
        let toml = format!(
            "[data]\nsource = \"{path}\"\nvalidation_fraction = 0.0\nnormalization = \
             \"standardize\"\n[model]\nkind = \"mlp\"\nhidden = [64]\n[optimizer]\n{optimizer}\n\
             [schedule]\n{schedule}\n[train]\nepochs = 60\nbatch_size = 40\nclip_norm = 1.0\n\
             label_smoothing = 0.01\n[early_stopping]\npatience = 0\n"
        );
        let (_folder, _run, state) = train(&experiment(&toml, "cpu", None));
        let last = state.history.last().unwrap();
        assert_eq!(last.train_accuracy, 1.0, "{optimizer} {schedule}: {last:?}");
    }
}

#[test]
fn validation_and_evaluation_find_the_same_numbers() {
    let mlp = "kind = \"mlp\"\nhidden = [32]\ndropout = 0.3";
    let resnet = "kind = \"resnet\"\nstem_filters = 8\nblock_dropout = 0.1\n\
                  stages = [{ filters = 16 }, { filters = 32 }]\n\
                  [optimizer]\nkind = \"adam\"\nlearning_rate = 0.01";
    let mut cases = vec![("cpu".to_owned(), mlp), ("cpu".to_owned(), resnet)];
    cases.push(("ndarray".to_owned(), mlp));
    match devices::gpu_choice() {
        Some(device) => cases.push((device, mlp)),
        None => devices::skip("validation_and_evaluation_find_the_same_numbers"),
    }
    for (device, model) in cases {
        let toml = format!("[data]\nsource = \"sample\"\n[model]\n{model}\n[train]\nepochs = 2\n");
        let experiment = experiment(&toml, &device, None);
        let (_folder, run, state) = train(&experiment);
        let row = state.history.last().unwrap();
        let checkpoint = Store::new(&run.root).load(row.step).unwrap();
        let outcome = experiment
            .evaluate(&checkpoint, SplitName::Validation, &|_| Ok(()))
            .unwrap();
        assert_eq!(outcome.n_images, 1_000);
        assert_eq!(Some(outcome.accuracy()), row.valid_accuracy, "{device}");
        let loss = row.valid_loss.unwrap();
        assert!(
            (outcome.loss - loss).abs() < 1e-5,
            "{device}: {} {loss}",
            outcome.loss
        );
        let test = experiment
            .evaluate(&checkpoint, SplitName::Test, &|_| Ok(()))
            .unwrap();
        assert!(test.accuracy() > 0.6, "{device}: {}", test.accuracy());
        assert_eq!(records::read(&run.results()).unwrap(), state.history);
    }
}

#[test]
fn clipping_limits_the_joint_norm() {
    // With a tiny limit, SGD moves all weights together by at most rate * limit per step.
    let data = handful();
    let toml = format!(
        "[data]\nsource = \"{}\"\nvalidation_fraction = 0.0\n[model]\nkind = \
         \"softmax_regression\"\n[optimizer]\nkind = \"sgd\"\nlearning_rate = 0.5\nmomentum = 0.0\n\
         [train]\nepochs = 1\nbatch_size = 40\nclip_norm = 1e-3\n[early_stopping]\npatience = 0\n",
        data.path().display()
    );
    let experiment = experiment(&toml, "cpu", None);
    let (_folder, run, state) = train(&experiment);
    let checkpoint = Store::new(&run.root).load(state.step).unwrap();
    let device = devices::cpus()[0].clone();
    let weights = |model: weft::model::Classifier| -> Vec<f32> {
        struct Flat(Vec<f32>);
        impl burn::module::ModuleVisitor for Flat {
            fn visit_float<const D: usize>(
                &mut self,
                param: &burn::module::Param<burn::tensor::Tensor<D>>,
            ) {
                self.0.extend(param.val().into_data().iter::<f32>());
            }
        }
        let mut flat = Flat(Vec::new());
        burn::module::Module::visit(&model, &mut flat);
        flat.0
    };
    let initial = experiment
        .config
        .model
        .init(experiment.input, experiment.config.seed, &device);
    let trainee = weft::train::step::Trainee::new(initial.clone(), 0.0, 0.0);
    let trained = trainee
        .with_weights(checkpoint.file("model.bpk").unwrap())
        .unwrap();
    let moved: f64 = weights(initial)
        .iter()
        .zip(weights(trained.classifier))
        .map(|(before, after)| f64::from(before - after).powi(2))
        .sum();
    let (moved, limit) = (moved.sqrt(), 0.5 * 1e-3);
    assert!(
        moved > 0.9 * limit && moved < 1.01 * limit,
        "{moved} of {limit}"
    );
}

#[test]
fn the_best_epoch_is_the_result_and_early_stopping_counts_from_it() {
    // A network that learns 2,500 images by heart gets worse on the other 2,500 before long.
    let toml = |restore: bool| {
        format!(
            "[data]\nsource = \"sample\"\nvalidation_fraction = 0.5\n[model]\nkind = \"mlp\"\n\
             hidden = [128]\n[optimizer]\nkind = \"adam\"\nlearning_rate = 0.003\n[train]\n\
             epochs = 200\nbatch_size = 50\n[early_stopping]\npatience = 5\nrestore_best = \
             {restore}\n"
        )
    };
    for restore in [true, false] {
        let experiment = experiment(&toml(restore), "cpu", None);
        let (_folder, run, state) = train(&experiment);
        let best = state.best.as_ref().unwrap();
        let losses: Vec<f64> = state
            .history
            .iter()
            .filter_map(|row| row.valid_loss)
            .collect();
        let lowest = losses.iter().copied().fold(f64::INFINITY, f64::min);
        assert_eq!(best.value, lowest);
        assert_eq!(
            losses.len() as u64,
            best.epoch + 5,
            "five epochs without improvement"
        );
        let expected = if restore { best.step } else { state.step };
        assert_eq!(experiment.result_step(&state), expected);
        let checkpoint = Store::new(&run.root).load(expected).unwrap();
        let outcome = experiment
            .evaluate(&checkpoint, SplitName::Validation, &|_| Ok(()))
            .unwrap();
        let loss = if restore {
            lowest
        } else {
            losses[losses.len() - 1]
        };
        assert!(
            (outcome.loss - loss).abs() < 1e-5,
            "{} {loss}",
            outcome.loss
        );
    }
}
