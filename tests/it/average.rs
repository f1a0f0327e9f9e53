//! The average of the weights: that of the formula on every device, beside a training that it does not
//! change, and the model wherever a model is asked for.

use std::path::Path;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;
use tempfile::TempDir;
use weft::bench::turns::upload;
use weft::experiment::{Experiment, LoadedModel, ResumePoint, SplitName};
use weft::export::{Exported, Format};
use weft::run::RunFolder;
use weft::run::checkpoints::{Checkpoint, Meta, Store};
use weft::run::records::TrainState;
use weft::train::StopFlag;
use weft::train::step::Trainee;
use weft::train::steps::Steps;
use weft::verify;

use crate::devices;
use crate::learning::{experiment, handful, train};

/// Decays below and at the limit, which update 8 reaches.
const DECAY: f64 = 0.5;
const N_STEPS: u64 = 20;

/// 30 images in batches of 10, batch norm with running statistics.
fn toml(data: &Path, ema_decay: f64) -> String {
    format!(
        "[data]\nsource = \"{}\"\nvalidation_fraction = 0.25\n[model]\nkind = \"mlp\"\nhidden = [8]\n\
         batch_norm = true\n[optimizer]\nkind = \"adamw\"\nlearning_rate = 0.01\n[train]\nepochs = 4\n\
         batch_size = 10\nema_decay = {ema_decay}\n[early_stopping]\npatience = 0\nrestore_best = false\n",
        data.display()
    )
}

struct Flat(Vec<f64>);

impl ModuleVisitor for Flat {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let data = param.val().into_data();
        self.0.extend(data.iter::<f32>().map(f64::from));
    }
}

/// All parameters and running statistics.
fn numbers(model: &impl Module) -> Vec<f64> {
    let mut flat = Flat(Vec::new());
    model.visit(&mut flat);
    flat.0
}

#[test]
fn the_average_is_that_of_the_formula_on_every_device() {
    let mut choices = vec!["cpu".to_owned(), "ndarray".to_owned()];
    match devices::gpu_choice() {
        Some(gpu) => choices.push(gpu),
        None => devices::skip("the_average_is_that_of_the_formula_on_every_device"),
    }
    let data = handful();
    for choice in choices {
        let experiment = experiment(&toml(data.path(), DECAY), &choice, None);
        let device = &experiment.device.device;
        let split = upload(&experiment);
        let untrained = experiment.untrained(&device.clone().autodiff());
        let mut expected = numbers(&untrained.valid());
        let mut steps = Steps::new(&experiment.config, &split, untrained, device);
        for n in 1..=N_STEPS {
            steps.run(1).unwrap();
            let decay = DECAY.min((1.0 + n as f64) / (10.0 + n as f64));
            for (average, weight) in expected.iter_mut().zip(numbers(&steps.inference_model())) {
                *average += (1.0 - decay) * (weight - *average);
            }
        }
        let (raw, got) = (
            numbers(&steps.inference_model()),
            numbers(&steps.averaged_model().unwrap()),
        );
        assert_eq!(got.len(), expected.len());
        let mut moved = 0.0f64;
        for ((got, expected), raw) in got.iter().zip(&expected).zip(&raw) {
            let difference = (got - expected).abs();
            assert!(
                difference < 1e-6 * expected.abs().max(1.0),
                "{choice}: {got} {expected}"
            );
            moved = moved.max((raw - expected).abs());
        }
        assert!(moved > 1e-3, "{choice}: the average is the weights");
    }
}

fn last(run: &RunFolder, state: &TrainState) -> Checkpoint {
    Store::new(&run.root).load(state.step).unwrap()
}

/// Byte for byte: the weights, the optimizer's and the schedule's state, the losses of training.
#[test]
fn it_changes_nothing_about_the_training() {
    let data = handful();
    for device in ["cpu", "ndarray"] {
        let trained =
            [0.0, 0.9].map(|decay| train(&experiment(&toml(data.path(), decay), device, None)));
        let [without, with] = trained.each_ref().map(|(_, run, state)| last(run, state));
        assert!(!without.files.contains_key("average.bpk"));
        for file in ["model.bpk", "optimizer.bpk", "scheduler.bpk"] {
            assert!(without.files[file] == with.files[file], "{device}: {file}");
        }
        assert_eq!(without.files.len() + 1, with.files.len());
        let [without, with] = trained.each_ref().map(|(_, _, state)| &state.history);
        for (without, with) in without.iter().zip(with) {
            assert_eq!(without.train_loss, with.train_loss);
            assert_ne!(without.valid_loss, with.valid_loss);
        }
    }
}

/// A trained run with its average, and the same checkpoint without.
struct Averaged {
    _folders: [TempDir; 2],
    experiment: Experiment,
    run: RunFolder,
    state: TrainState,
    checkpoint: Checkpoint,
    raw: Checkpoint,
}

fn averaged() -> Averaged {
    let data = handful();
    let experiment = experiment(&toml(data.path(), 0.9), "cpu", None);
    let (folder, run, state) = train(&experiment);
    let checkpoint = last(&run, &state);
    let mut raw = checkpoint.clone();
    raw.files.remove("average.bpk").unwrap();
    Averaged {
        _folders: [data, folder],
        experiment,
        run,
        state,
        checkpoint,
        raw,
    }
}

fn weights(experiment: &Experiment, bytes: &[u8]) -> Vec<f64> {
    let untrained = experiment.untrained(&experiment.device.device);
    numbers(&untrained.with_weights(bytes).unwrap())
}

#[test]
fn it_is_what_validates_and_is_evaluated_and_loaded() {
    let Averaged {
        experiment,
        run,
        state,
        checkpoint,
        raw,
        _folders,
    } = averaged();
    let evaluate = |checkpoint| {
        let of = SplitName::Validation;
        experiment.evaluate(checkpoint, of, &|_| Ok(())).unwrap()
    };
    let (outcome, of_raw) = (evaluate(&checkpoint), evaluate(&raw));
    let validated = state.history.last().unwrap().valid_loss.unwrap();
    assert!((outcome.loss - validated).abs() < 1e-6, "{validated}");
    assert!((outcome.loss - of_raw.loss).abs() > 1e-3, "{validated}");
    let record = |of| {
        let split = SplitName::Validation;
        let record = experiment.write_evaluation(&run, &outcome, of, split);
        let text = std::fs::read_to_string(run.evaluation()).unwrap();
        (record.unwrap().averaged, text.contains("averaged"))
    };
    assert_eq!(record(&checkpoint), (true, true));
    assert_eq!(
        record(&raw),
        (false, false),
        "as before there was an average"
    );

    let loaded = LoadedModel::open(&run, Some("last"), &experiment.device).unwrap();
    let average = weights(&experiment, &checkpoint.files["average.bpk"]);
    assert!(numbers(&Trainee::new(loaded.classifier, 0.0, 0.0)) == average);
    assert!(weights(&experiment, &checkpoint.files["model.bpk"]) != average);
}

#[test]
fn it_is_what_is_exported() {
    let Averaged {
        experiment,
        checkpoint,
        raw,
        _folders,
        ..
    } = averaged();
    let about = experiment.model_input();
    let file = |checkpoint: &Checkpoint| {
        let exported = Exported::new(&experiment.config, &about, checkpoint).unwrap();
        exported.to_bytes(Format::Safetensors).unwrap()
    };
    let step = checkpoint.manifest.step;
    let average = &checkpoint.files["average.bpk"];
    let average = Exported::at_step(&experiment.config, &about, average, step).unwrap();
    assert!(file(&checkpoint) == average.to_bytes(Format::Safetensors).unwrap());
    assert!(file(&checkpoint) != file(&raw));
}

/// Writes the newest checkpoint anew.
fn rewrite(run: &RunFolder, of: &Checkpoint, files: &[(&str, &[u8])]) {
    let manifest = &of.manifest;
    let meta = Meta {
        step: manifest.step,
        epoch: manifest.epoch,
        batch: manifest.batch,
        best: manifest.best,
        config_sha256: manifest.config_sha256.clone(),
        data_sha256: manifest.data_sha256.clone(),
    };
    Store::new(&run.root).write(&meta, files).unwrap();
}

#[test]
fn a_checkpoint_that_lost_it_is_found_and_not_gone_on_from() {
    let Averaged {
        experiment,
        run,
        raw,
        _folders,
        ..
    } = averaged();
    assert_eq!(verify::check(&run).n_bad(), 0);
    let files = raw
        .files
        .iter()
        .map(|(name, bytes)| (&name[..], &bytes[..]));
    rewrite(&run, &raw, &files.collect::<Vec<_>>());
    let bad = "it has no average.bpk, and train.ema_decay asks for it";
    let findings = verify::check(&run);
    assert!(findings.all.iter().any(|it| it.what == bad), "{bad}");
    let point = ResumePoint::find(&run).unwrap();
    let (quiet, stop) = (crate::learning::quiet(), StopFlag::default());
    let start = Some((point.checkpoint, point.state));
    let error = experiment.train(&run, start, quiet, false, stop);
    let error = error.unwrap_err().to_string();
    assert!(error.contains("average.bpk is not part of it"), "{error}");
}

/// A checkpoint of a weft that knew no average has neither the file nor the key.
#[test]
fn a_checkpoint_of_before_is_gone_on_from() {
    let (data, folder) = (handful(), tempfile::tempdir().unwrap());
    let experiment = experiment(&toml(data.path(), 0.0), "cpu", None);
    let run = RunFolder::create(folder.path(), "test").unwrap();
    experiment.describe(&run, Vec::new()).unwrap();
    let (quiet, stop) = (crate::learning::quiet(), StopFlag::at_step(4));
    let (_, state) = experiment.train(&run, None, quiet, false, stop).unwrap();
    let before = last(&run, &state);
    let config = String::from_utf8(before.files["config.toml"].clone()).unwrap();
    let older = config.replace("ema_decay = 0.0\n", "");
    assert_ne!(older, config);
    let files = before.files.iter().map(|(name, bytes)| match &name[..] {
        "config.toml" => ("config.toml", older.as_bytes()),
        name => (name, &bytes[..]),
    });
    rewrite(&run, &before, &files.collect::<Vec<_>>());
    let findings = verify::check(&run);
    assert_eq!(findings.n_bad(), 0, "{:?}", findings.all);
    let point = ResumePoint::find(&run).unwrap();
    experiment.check_made(&point.checkpoint).unwrap();
    let (quiet, stop) = (crate::learning::quiet(), StopFlag::default());
    let start = Some((point.checkpoint, point.state));
    let (_, state) = experiment.train(&run, start, quiet, false, stop).unwrap();
    assert_eq!(state.history.len(), 4);
}
