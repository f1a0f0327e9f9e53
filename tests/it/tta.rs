//! Test-time augmentation: the result is the mean of views that were made by hand, pixel by pixel, and
//! evaluated one by one, on every device and for images of every shape; and every record, page and line
//! that has a number of it says so.

use std::path::Path;

use tempfile::TempDir;
use weft::data::idx::Images;
use weft::data::{DataConfig, Splits};
use weft::evaluate::tta::{Tta, View};
use weft::experiment::{Experiment, LoadedModel, SplitName};
use weft::model::InputShape;
use weft::predict::Predictor;
use weft::predict::files::Input;
use weft::run::RunFolder;
use weft::run::checkpoints::{Checkpoint, Store};
use weft::run::records::{self, Evaluation};

use crate::cli::{stdout, weft};
use crate::devices;
use crate::learning::{colour_splits, experiment, train};
use crate::predict::copy_folder;

/// Colour images of 12 x 10 pixels. With statistics of their own, so that black is not 0.
const COLOUR: &str = "[data]\nsource = \"sample\"\nvalidation_fraction = 0.0\nnormalization = \"standardize\"\n\
     [model]\nkind = \"cnn\"\ndense = [16]\n[[model.blocks]]\nfilters = 8\nbatch_norm = true\n[train]\n\
     epochs = 2\nbatch_size = 8\nevaluation_batch_size = 4\n[early_stopping]\npatience = 0\n";

const SHAPE: InputShape = InputShape {
    channels: 3,
    height: 12,
    width: 10,
    n_classes: 3,
};

/// The images of a view, byte by byte.
fn by_hand(images: &Images, view: View) -> Images {
    let (height, width) = (images.height as i64, images.width as i64);
    let mut pixels = Vec::new();
    for plane in images.pixels.chunks(images.height * images.width) {
        for y in 0..height {
            for x in 0..width {
                let x = if view.mirrored { width - 1 - x } else { x };
                let (y, x) = (y - i64::from(view.shift), x - i64::from(view.shift));
                let inside = (0..height).contains(&y) && (0..width).contains(&x);
                pixels.push(if inside {
                    plane[(y * width + x) as usize]
                } else {
                    0
                });
            }
        }
    }
    Images {
        pixels,
        ..images.clone()
    }
}

/// The splits with the test images of a view.
fn splits_of(view: View) -> Splits {
    let mut dataset = colour_splits().dataset;
    dataset.test.images = by_hand(&dataset.test.images, view);
    let config = DataConfig {
        validation_fraction: 0.0,
        ..DataConfig::default()
    };
    Splits::new(dataset, &config, 1).unwrap()
}

fn colour(device: &str, view: View) -> Experiment {
    experiment(COLOUR, device, None).with_splits(splits_of(view), SHAPE)
}

fn is_mean_of_views_by_hand(device: &str) {
    let plain = colour(device, Tta::None.views()[0]);
    let (_folder, run, state) = train(&plain);
    let checkpoint = Store::new(&run.root).load(state.step).unwrap();
    let evaluated = |experiment: &Experiment, tta| {
        let done = |_| Ok(());
        experiment
            .evaluate_views(&checkpoint, SplitName::Test, tta, &done)
            .unwrap()
    };
    let alone = evaluated(&plain, Tta::None);
    assert_eq!((alone.plain, alone.logits.len()), (None, 6 * 3));
    for tta in [Tta::Flip, Tta::FlipShift] {
        let by_hand = tta.views().iter().map(|&view| {
            let logits = evaluated(&colour(device, view), Tta::None).logits;
            (view.weight, logits)
        });
        let mut expected = vec![0.0f64; alone.logits.len()];
        let mut far = 0.0f32;
        for (weight, logits) in by_hand {
            for ((mean, logit), alone) in expected.iter_mut().zip(&logits).zip(&alone.logits) {
                *mean += f64::from(weight) * f64::from(*logit);
                far = far.max((logit - alone).abs());
            }
        }
        let outcome = evaluated(&plain, tta);
        for (got, expected) in outcome.logits.iter().zip(&expected) {
            let difference = (f64::from(*got) - expected).abs();
            assert!(difference < 1e-5, "{device}: {tta:?}: {got} {expected}");
        }
        assert!(far > 1e-2, "{device}: the views of {tta:?} are one");
        let without = outcome.plain.unwrap();
        assert_eq!(without.loss, alone.loss, "{device}");
        assert_eq!(without.accuracy, alone.accuracy(), "{device}");
        assert_ne!(outcome.loss, alone.loss, "{device}");
    }
}

#[test]
fn it_is_the_mean_of_views_by_hand_on_flex() {
    is_mean_of_views_by_hand("cpu");
}

#[test]
fn it_is_the_mean_of_views_by_hand_on_ndarray() {
    is_mean_of_views_by_hand("ndarray");
}

#[test]
fn it_is_the_mean_of_views_by_hand_on_wgpu() {
    match devices::gpu_choice() {
        Some(device) => is_mean_of_views_by_hand(&device),
        None => devices::skip("it_is_the_mean_of_views_by_hand_on_wgpu"),
    }
}

/// A shift of one pixel leaves nothing of an image of one row.
#[test]
fn an_image_of_one_row_has_all_views() {
    let mut dataset = colour_splits().dataset;
    for part in [&mut dataset.train.images, &mut dataset.test.images] {
        (part.height, part.width) = (1, 120);
    }
    let data = DataConfig {
        validation_fraction: 0.0,
        ..DataConfig::default()
    };
    let toml = "[data]\nsource = \"sample\"\nvalidation_fraction = 0.0\n[model]\nkind = \
                \"softmax_regression\"\n[train]\nepochs = 1\n[early_stopping]\npatience = 0\n";
    let shape = InputShape {
        height: 1,
        width: 120,
        ..SHAPE
    };
    let splits = Splits::new(dataset, &data, 1).unwrap();
    let experiment = experiment(toml, "cpu", None).with_splits(splits, shape);
    let (_folder, run, state) = train(&experiment);
    let checkpoint = Store::new(&run.root).load(state.step).unwrap();
    let test = SplitName::Test;
    let outcome = experiment.evaluate_views(&checkpoint, test, Tta::FlipShift, &|_| Ok(()));
    assert_eq!(outcome.unwrap().n_images, 6);
}

/// A run on the sample, trained with `tta`, through the binary.
fn trained(tta: &str) -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let mut command = weft();
    command.current_dir(folder.path()).args([
        "train",
        "--device",
        "cpu",
        "--name",
        "x",
        "--tensorboard",
    ]);
    for key in [
        "data.source=sample",
        "model.kind=softmax_regression",
        "train.epochs=1",
    ] {
        command.args(["--set", key]);
    }
    let output = command
        .args(["--set", &format!("evaluation.tta={tta}")])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    (folder, stdout(&output))
}

fn run(at: &Path, args: &[&str]) -> String {
    let output = weft().current_dir(at).args(args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {output:?}");
    stdout(&output)
}

fn evaluation(at: &Path) -> Evaluation {
    records::read_evaluation(&at.join("runs/x/evaluation.json")).unwrap()
}

#[test]
fn every_number_of_it_says_so_and_what_it_is_without() {
    let (folder, said) = trained("flip");
    let at = folder.path();
    let record = evaluation(at);
    let tta = record.tta.unwrap();
    assert_eq!((tta.mode, tta.n_views), (Tta::Flip, 2));
    assert_ne!(tta.plain_loss, record.loss);
    assert_eq!(record.accuracy, record.confusion.accuracy());
    let (with, without) = (record.accuracy, tta.plain_accuracy);
    let line = format!("accuracy {with:.4} ({without:.4} without)");
    assert!(said.contains("\ntest, mean of 2 views: flip: loss ") && said.contains(&line));
    // The table above it has the image alone in every column.
    let row = said.lines().find(|line| line.starts_with("accuracy"));
    let last = row.unwrap().split_whitespace().last().unwrap();
    assert_eq!(last, format!("{without:.4}"));

    let noted = format!("accuracy  {with:.4} (mean of 2 views: flip; {without:.4} without)");
    let evaluated = run(at, &["evaluate", "runs/x"]);
    assert!(evaluated.contains(&noted), "{evaluated}");
    let of_two = "(mean of 2 views: flip";
    for number in ["loss  ", "top-2 ", "calibration "] {
        let line = evaluated.lines().find(|line| line.starts_with(number));
        assert!(line.unwrap().contains("mean of 2 views: flip"), "{number}");
    }
    assert!(run(at, &["verify", "runs/x"]).contains(of_two));
    let page = std::fs::read_to_string(at.join("runs/x/report.html")).unwrap();
    // Four cards, the matrix, mistakes, classes, calibration, the environment.
    assert!(page.matches("mean of 2 views: flip").count() >= 9);
    copy_folder(&at.join("runs/x"), &at.join("runs/y"));
    run(at, &["report", "runs/x", "runs/y", "-o", "both.html"]);
    let both = std::fs::read_to_string(at.join("both.html")).unwrap();
    let table = both.split("id=\"overlay").next().unwrap();
    // Loss and accuracy of both.
    assert_eq!(table.matches("(mean of 2 views: flip; ").count(), 4);
    for plot in ["confusion_matrix", "calibration", "misclassified"] {
        let svg = std::fs::read_to_string(at.join(format!("runs/x/plots/{plot}.svg"))).unwrap();
        let caption = svg.replace("</tspan>", "").replace('\n', " ");
        assert!(caption.contains("mean of 2 views"), "{plot}");
    }
    assert!(run(at, &["export", "runs/x"]).contains("without the mean of 2 views: flip"));
}

/// Also what an earlier weft wrote, and what changes when a run is asked in another way.
#[test]
fn without_it_records_are_as_before() {
    let (folder, said) = trained("none");
    let at = folder.path();
    let json = || std::fs::read_to_string(at.join("runs/x/evaluation.json")).unwrap();
    assert!(!json().contains("tta") && !said.contains("views"));
    let plain = evaluation(at);
    run(at, &["evaluate", "runs/x", "--tta", "flip_shift"]);
    let shifted = evaluation(at);
    let tta = shifted.tta.unwrap();
    assert_eq!((tta.mode, tta.n_views), (Tta::FlipShift, 6));
    assert_eq!(
        (tta.plain_loss, tta.plain_accuracy),
        (plain.loss, plain.accuracy)
    );
    assert!(json().contains("\"mode\": \"flip_shift\""));
    run(at, &["evaluate", "runs/x"]);
    assert!(!json().contains("tta"));
    // It may change in a run that is done, and is then what the run is asked with.
    run(at, &["resume", "runs/x", "--set", "evaluation.tta=flip"]);
    run(at, &["evaluate", "runs/x"]);
    assert_eq!(evaluation(at).mode(), Tta::Flip);
    let error = weft()
        .current_dir(at)
        .args(["train", "--set", "evaluation.tta=flop"])
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&error.stderr).into_owned();
    assert!(
        error.contains("`evaluation.tta`") && error.contains("flip"),
        "{error}"
    );
}

#[test]
fn pictures_are_predicted_with_the_same_views() {
    let (folder, _) = trained("flip");
    let at = folder.path();
    let toml = std::fs::read_to_string(at.join("runs/x/config.toml")).unwrap();
    let experiment = experiment(&toml, "cpu", None);
    let run_folder = RunFolder::open(&at.join("runs/x")).unwrap();
    let model = LoadedModel::open(&run_folder, None, &experiment.device).unwrap();
    let checkpoint: &Checkpoint = &model.checkpoint;
    let test = &experiment.splits.dataset.test.images;
    let files: Vec<Input> = (0..12)
        .map(|n| {
            let image = image::GrayImage::from_raw(28, 28, test.image(n).to_vec()).unwrap();
            let path = at.join(format!("{n:02}.png"));
            image.save(&path).unwrap();
            Input::File(path)
        })
        .collect();
    for tta in [Tta::Flip, Tta::FlipShift] {
        let done = |_| Ok(());
        let expected = experiment
            .evaluate_views(checkpoint, SplitName::Test, tta, &done)
            .unwrap();
        let device = &experiment.device.device;
        let as_they_are = (Some(false), Some(false));
        let predictor = Predictor::new(&model, device, as_they_are, false).with_views(tta);
        let mut logits = Vec::new();
        predictor
            .run(&files, |_, result| {
                logits.extend(result.unwrap().logits);
                Ok(true)
            })
            .unwrap();
        assert_eq!(logits, expected.logits[..120], "{tta:?}");
    }
    // The config's mode, and another one.
    let json = run(at, &["predict", "runs/x", "00.png", "--json"]);
    assert!(json.contains("\"tta\":\"flip\""), "{json}");
    let json = run(
        at,
        &["predict", "runs/x", "00.png", "--json", "--tta", "none"],
    );
    assert!(!json.contains("tta"), "{json}");
    for top in ["1", "3"] {
        let text = run(at, &["predict", "runs/x", "00.png", "--top", top]);
        assert!(text.contains("mean of 2 views: flip"), "{text}");
    }
}
