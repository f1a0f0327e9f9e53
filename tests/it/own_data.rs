//! A stranger's own pictures through the binary: every architecture learns to tell colours apart on every
//! device, and a run on a folder of images is resumed, verified, and refused when its images change.

use std::path::Path;
use std::process::Output;

use image::{Rgb, RgbImage};
use tempfile::TempDir;
use weft::random::mix;

use crate::cli::{stdout, weft};
use crate::devices;

/// Noise of any brightness in which one channel is stronger: no grey of it tells the classes apart.
fn picture(class: usize, id: u64) -> RgbImage {
    let draw = |at: u64| mix(&[class as u64, id, at]) % 100;
    let (width, height) = (9 + draw(0) as u32 % 8, 9 + draw(1) as u32 % 8);
    let brightness = 60 + 3 * draw(2) / 2;
    RgbImage::from_fn(width, height, |x, y| {
        let value = |channel: usize| {
            let noise = draw(10 + u64::from(3 * (y * width + x)) + channel as u64) % 30;
            let part = if channel == class { 100 } else { 55 };
            ((brightness + noise) * part / 100) as u8
        };
        Rgb([value(0), value(1), value(2)])
    })
}

fn colors() -> TempDir {
    let folder = TempDir::new().unwrap();
    for (class, name) in ["reddish", "greenish", "bluish"].into_iter().enumerate() {
        let below = folder.path().join("pictures").join(name);
        std::fs::create_dir_all(&below).unwrap();
        for id in 0..60u64 {
            let extension = ["png", "jpg", "webp", "bmp"][id as usize % 4];
            let path = below.join(format!("{id:02}.{extension}"));
            picture(class, id).save(path).unwrap();
        }
    }
    folder
}

fn run(folder: &Path, args: &[&str]) -> Output {
    weft().current_dir(folder).args(args).output().unwrap()
}

fn succeeds(folder: &Path, args: &[&str]) -> (String, String) {
    let output = run(folder, args);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{args:?}: {error}");
    (stdout(&output), error)
}

fn fails(folder: &Path, args: &[&str]) -> String {
    let output = run(folder, args);
    assert!(!output.status.success(), "{args:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn json(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

const MODELS: [(&str, &str); 3] = [
    ("softmax", "kind = \"softmax_regression\""),
    ("mlp", "kind = \"mlp\"\nhidden = [16]"),
    (
        "cnn",
        "kind = \"cnn\"\ndense = [16]\n[[model.blocks]]\nfilters = 4",
    ),
];

fn config(model: &str, epochs: usize) -> String {
    format!(
        "[data]\nsource = \"pictures\"\nsize = [10, 12]\nnormalization = \"standardize\"\n[model]\n{model}\n\
         [optimizer]\nkind = \"adam\"\nlearning_rate = 0.01\n[train]\nepochs = {epochs}\nbatch_size = 32\n\
         [early_stopping]\npatience = 0\n"
    )
}

fn every_model_tells_colors_apart(device: &str) {
    let folder = colors();
    let at = folder.path();
    for (name, model) in MODELS {
        std::fs::write(at.join("mine.toml"), config(model, 12)).unwrap();
        let args = ["train", "mine.toml", "--device", device, "--name", name];
        let (text, _) = succeeds(at, &args);
        assert!(
            text.contains("the images in pictures, 10 x 12 RGB: train 130, validation 32, test 18"),
            "{text}"
        );
        let evaluation = json(&at.join("runs").join(name).join("evaluation.json"));
        let accuracy = evaluation["accuracy"].as_f64().unwrap();
        assert!(accuracy > 0.9, "{device}: {name}: {accuracy}");
    }
}

#[test]
fn every_model_tells_colors_apart_on_flex() {
    every_model_tells_colors_apart("cpu");
}

#[test]
fn every_model_tells_colors_apart_on_ndarray() {
    every_model_tells_colors_apart("ndarray");
}

#[test]
fn every_model_tells_colors_apart_on_wgpu() {
    match devices::gpu_choice() {
        Some(device) => every_model_tells_colors_apart(&device),
        None => devices::skip("every_model_tells_colors_apart_on_wgpu"),
    }
}

#[test]
fn a_run_on_own_pictures_lives_as_any_other_and_holds_to_its_pictures() {
    let folder = colors();
    let at = folder.path();
    std::fs::write(at.join("mine.toml"), config(MODELS[1].1, 2)).unwrap();
    let broken = at.join("pictures/reddish/broken.png");
    std::fs::write(&broken, "no picture").unwrap();
    let train = ["train", "mine.toml", "--device", "cpu", "--name", "mine"];
    let error = fails(at, &train);
    assert!(
        error.contains("1 image cannot be used:\n  reddish/broken.png: is text"),
        "{error}"
    );
    assert!(
        error.contains("data.skip_bad = true") && !at.join("runs").exists(),
        "{error}"
    );

    let (_, warning) = succeeds(at, &[&train[..], &["--set", "data.skip_bad=true"]].concat());
    assert!(
        warning.contains("WARNING: 1 of 181 images cannot be used"),
        "{warning}"
    );
    let data = &json(&at.join("runs/mine/environment.json"))["data"];
    assert_eq!(data["kind"], "image_folder");
    assert_eq!(data["images"]["n_skipped"], 1);
    assert_eq!(data["images"]["skipped"][0]["file"], "reddish/broken.png");
    assert_eq!(data["images"]["channels"], 3);
    let kept = std::fs::read_to_string(at.join("runs/mine/config.toml")).unwrap();
    assert!(
        kept.contains("size = [10, 12]") || kept.contains("size = [\n"),
        "{kept}"
    );

    succeeds(at, &["resume", "runs/mine", "--epochs", "3"]);
    succeeds(at, &["verify", "runs/mine"]);
    let (text, _) = succeeds(at, &["evaluate", "runs/mine"]);
    assert!(text.contains("reddish"), "{text}");
    let set = "data.source=pictures";
    let (text, _) = succeeds(at, &["data", "--set", set, "--set", "data.skip_bad=true"]);
    for part in [
        "\nred  ",
        "\ngreen  ",
        "\nblue  ",
        "64 x 64 pixels, RGB",
        "1 left out",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }

    // One picture becomes another: the run is not mixed with that.
    let path = at.join("pictures/bluish/00.png");
    let first = std::fs::read(&path).unwrap();
    picture(2, 1000).save(&path).unwrap();
    for args in [
        &["resume", "runs/mine", "--epochs", "4"][..],
        &["evaluate", "runs/mine"],
    ] {
        let error = fails(at, args);
        assert!(error.contains("was trained on other images"), "{error}");
    }
    std::fs::write(&path, first).unwrap();
    succeeds(at, &["resume", "runs/mine", "--epochs", "4"]);
    // Nor with the same pictures in another size.
    let text = kept.replace("size = [10, 12]", "size = 9");
    assert_ne!(text, kept);
    std::fs::write(at.join("runs/mine/config.toml"), text).unwrap();
    let error = fails(at, &["resume", "runs/mine", "--epochs", "5"]);
    assert!(error.contains("data.size"), "{error}");
}

#[test]
fn keys_of_own_pictures_are_checked() {
    let folder = TempDir::new().unwrap();
    let error = |set: &str| fails(folder.path(), &["train", "--set", set]);
    for (set, what) in [
        (
            "data.size=0",
            "`data.size` is 0, but sides go from 1 to 1024 pixels",
        ),
        ("data.size=[28, 2000]", "`data.size` is [28, 2000], but"),
        ("data.size=[1, 2, 3]", "data.size"),
        ("data.size=big", "a number of pixels, or [height, width]"),
        ("data.color=blue", "data.color"),
        ("data.test_fraction=0", "`data.test_fraction` is 0, but"),
        ("data.test_fraction=1.0", "`data.test_fraction` is 1, but"),
    ] {
        let error = error(set);
        assert!(
            error.contains(what) && error.contains("hint: "),
            "{set}: {error}"
        );
        assert!(error.contains(&format!("--set {set}")), "{set}: {error}");
    }
}
