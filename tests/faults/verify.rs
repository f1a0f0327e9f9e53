//! Proves that `weft verify` finds what is wrong and nothing else, and that its exact replay is a
//! comparison that can fail.

use std::fs;
use std::path::Path;
use std::process::Output;

use crate::common::{assert_orderly, copy_folder, weft};
use crate::tiny::{Tiny, succeed};

fn verify(run: &Path, more: &[&str]) -> Output {
    weft().arg("verify").arg(run).args(more).output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn an_evaluation_of_an_earlier_weft_is_noted_and_written_anew() {
    let tiny = Tiny::new();
    let place = tiny.place();
    succeed(&mut tiny.train(place.path(), &[]));
    let run = place.path().join("tiny");
    let old = r#"{"split": "test", "n_images": 20, "accuracy": 0.5}"#;
    fs::write(run.join("evaluation.json"), old).unwrap();
    let output = verify(&run, &[]);
    assert!(output.status.success(), "{}", text(&output));
    assert!(
        text(&output).contains("`weft evaluate` writes it anew"),
        "{}",
        text(&output)
    );
    succeed(weft().arg("evaluate").arg(&run));
    assert!(!text(&verify(&run, &[])).contains("anew"));
}

/// While another process writes a run, its evaluation is shown and not written.
#[test]
fn an_evaluation_of_a_run_in_training_writes_nothing() {
    let tiny = Tiny::new();
    let place = tiny.place();
    succeed(&mut tiny.train(place.path(), &[]));
    let run = weft::run::RunFolder::open(&place.path().join("tiny")).unwrap();
    let lock = run.lock().unwrap();
    let output = weft().arg("evaluate").arg(&run.root).output().unwrap();
    assert!(output.status.success());
    assert!(text(&output).contains("accuracy"), "{}", text(&output));
    let warning = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(warning.contains("nothing is written"), "{warning}");
    assert!(!run.evaluation().exists() && !run.predictions().exists());
    drop(lock);
}

/// A kill between predictions.csv and evaluation.json: the page and the pictures are not made of both.
#[test]
fn predictions_of_another_evaluation_are_refused() {
    let tiny = Tiny::new();
    let place = tiny.place();
    succeed(&mut tiny.train(place.path(), &[]));
    let run = place.path().join("tiny");
    succeed(weft().arg("evaluate").arg(&run));
    let path = run.join("predictions.csv");
    let predictions = fs::read_to_string(&path).unwrap();
    let row = predictions.lines().nth(1).unwrap();
    let other = if &row[4..5] == "0" { "1" } else { "0" };
    let changed = format!("{}{other}{}", &row[..4], &row[5..]);
    fs::write(&path, predictions.replacen(row, &changed, 1)).unwrap();
    let output = weft().arg("report").arg(&run).output().unwrap();
    assert_orderly(&String::from_utf8_lossy(&output.stderr));
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("predictions.csv does not belong to"));
}

type Damage<'a> = Box<dyn Fn(&Path) + 'a>;

#[test]
fn each_kind_of_damage_is_found() {
    let tiny = Tiny::new();
    let place = tiny.place();
    succeed(&mut tiny.train(place.path(), &[]));
    let whole = place.path().join("tiny");
    succeed(weft().arg("evaluate").arg(&whole));
    let output = verify(&whole, &[]);
    assert!(output.status.success(), "{output:?}");
    assert!(text(&output).contains("is whole: "), "{}", text(&output));

    let newest = weft::run::checkpoints::Store::new(&whole)
        .latest_whole()
        .unwrap()
        .0;
    let step = format!("checkpoints/step-{}", newest.manifest.step);
    let in_step = |file: &str| format!("{step}/{file}");
    let damages: Vec<(&str, Damage<'_>)> = vec![
        (
            "model.bpk has SHA-256",
            Box::new(|run| flip(&run.join(in_step("model.bpk")))),
        ),
        (
            "manifest.json",
            Box::new(|run| flip(&run.join(in_step("manifest.json")))),
        ),
        (
            "optimizer.bpk is missing",
            Box::new(|run| fs::remove_file(run.join(in_step("optimizer.bpk"))).unwrap()),
        ),
        (
            "FAILED  results.csv: it differs",
            Box::new(|run| {
                let path = run.join("results.csv");
                let text = fs::read_to_string(&path).unwrap();
                fs::write(&path, text.replacen(",0.", ",1.", 1)).unwrap();
            }),
        ),
        (
            "FAILED  predictions.csv: it does not give the confusion",
            Box::new(|run| {
                let path = run.join("predictions.csv");
                let text = fs::read_to_string(&path).unwrap();
                let row = text.lines().nth(1).unwrap();
                // The predicted class is the third cell.
                let (before, after) = (&row[..4], &row[5..]);
                let other = if &row[4..5] == "0" { "1" } else { "0" };
                fs::write(
                    &path,
                    text.replacen(row, &format!("{before}{other}{after}"), 1),
                )
                .unwrap();
            }),
        ),
        (
            "FAILED  predictions.csv: it does not give the loss of",
            Box::new(|run| {
                let path = run.join("evaluation.json");
                let text = fs::read_to_string(&path).unwrap();
                let (before, after) = text.split_once("\"loss\": ").unwrap();
                fs::write(&path, format!("{before}\"loss\": 9{after}")).unwrap();
            }),
        ),
        (
            "FAILED  predictions.csv: it does not give the macro_mean of",
            Box::new(|run| {
                let path = run.join("evaluation.json");
                let text = fs::read_to_string(&path).unwrap();
                let (before, after) = text.split_once("\"macro_mean\": {").unwrap();
                let after = after.replacen(": ", ": 9", 1);
                fs::write(&path, format!("{before}\"macro_mean\": {{{after}")).unwrap();
            }),
        ),
        (
            "FAILED  checkpoints/best",
            Box::new(|run| fs::write(run.join("checkpoints/best"), "step-1\n").unwrap()),
        ),
        (
            "FAILED  checkpoints/best",
            Box::new(|run| {
                let store = weft::run::checkpoints::Store::new(run);
                let best = store
                    .pointed(weft::run::checkpoints::Pointer::Best)
                    .unwrap();
                fs::remove_dir_all(store.step_folder(best)).unwrap();
            }),
        ),
        (
            "FAILED  config.toml: changed in what fixes the weights: seed: 3 -> 4",
            Box::new(|run| {
                let path = run.join("config.toml");
                let text = fs::read_to_string(&path).unwrap();
                fs::write(&path, text.replace("seed = 3", "seed = 4")).unwrap();
            }),
        ),
        (
            "FAILED  environment.json",
            Box::new(|run| fs::write(run.join("environment.json"), "{").unwrap()),
        ),
        (
            "FAILED  checkpoints: there is none",
            Box::new(|run| fs::remove_dir_all(run.join("checkpoints")).unwrap()),
        ),
    ];
    for (expected, damage) in damages {
        let copy = place.path().join("copy");
        copy_folder(&whole, &copy);
        damage(&copy);
        let output = verify(&copy, &[]);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(
            output.status.code(),
            Some(1),
            "{expected}: {}",
            text(&output)
        );
        assert_orderly(&error);
        assert!(
            text(&output).contains(expected),
            "{expected}: {}",
            text(&output)
        );
        assert!(error.contains(" checks failed\nhint: "), "{error}");
        fs::remove_dir_all(&copy).unwrap();
    }
}

fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn an_exact_replay_follows_what_was_changed_on_the_way() {
    let tiny = Tiny::new();
    let place = tiny.place();
    let run = place.path().join("tiny");
    // A whole life: stopped, resumed on another backend, extended, stopped within an epoch.
    succeed(&mut tiny.train(place.path(), &["--stop-at-step", "5"]));
    succeed(&mut tiny.resume(
        place.path(),
        &["--device", "ndarray", "--stop-at-step", "11"],
    ));
    succeed(&mut tiny.resume(place.path(), &[]));
    succeed(&mut tiny.resume(place.path(), &["--epochs", "5", "--stop-at-step", "30"]));
    let output = verify(&run, &["--exact"]);
    let said = text(&output);
    assert!(output.status.success(), "{said}{output:?}");
    assert!(said.contains("changed train.epochs: 3 -> 5"), "{said}");
    for part in [
        "replay  steps 0 to 5 with --device cpu",
        "replay  steps 5 to 11 with --device ndarray",
        "replay  steps 11 to 24 with --device cpu, killed after step 17 and resumed",
        "replay  steps 24 to 30 with --device cpu",
        "same    checkpoints/step-30/optimizer.bpk",
        "same    results.csv but for its seconds",
        "is the same, byte for byte",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn an_exact_replay_can_fail() {
    let tiny = Tiny::new();
    let place = tiny.place();
    succeed(&mut tiny.train(place.path(), &[]));
    let run = place.path().join("tiny");
    // The run is sound, and was trained on other images than the ones that are there now.
    let images = fs::read_dir(tiny.config().parent().unwrap()).unwrap();
    let images = images.map(|entry| entry.unwrap().path());
    for path in images.filter(|path| path.ends_with("train-images-idx3-ubyte")) {
        let mut bytes = fs::read(&path).unwrap();
        bytes[100] ^= 0x80;
        fs::write(&path, bytes).unwrap();
    }
    let output = verify(&run, &["--exact"]);
    let said = text(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("is whole") && said.contains("DIFFERS checkpoints/step-24/model.bpk"),
        "{said}"
    );
}

/// A rollback goes over the same steps twice: a replay must stop on the right way.
#[test]
fn an_exact_replay_finds_its_place_after_a_rollback() {
    let tiny = Tiny::new();
    let place = tiny.place();
    let run = place.path().join("tiny");
    let arguments = [
        &crate::divergence::HOT[..],
        &crate::divergence::ROLLBACK,
        &["--stop-at-step", "4", "--stop-after-rollbacks", "2"],
    ];
    succeed(&mut tiny.train(place.path(), &arguments.concat()));
    let output = verify(&run, &["--exact"]);
    let said = text(&output);
    assert!(output.status.success(), "{said}{output:?}");
    assert!(
        said.contains("replay  steps 0 to 4 with --device cpu, with 2 rollbacks on the way"),
        "{said}"
    );
    // And through a resume in between.
    succeed(&mut tiny.resume(place.path(), &["--device", "ndarray"]));
    let output = verify(&run, &["--exact"]);
    assert!(output.status.success(), "{}{output:?}", text(&output));
}

#[cfg(unix)]
#[test]
fn a_check_changes_nothing() {
    let tiny = Tiny::new();
    let place = tiny.place();
    succeed(&mut tiny.train(place.path(), &[]));
    let run = place.path().join("tiny");
    fs::remove_file(run.join("lock")).unwrap();
    let before = crate::common::listing(&run);
    assert!(verify(&run, &[]).status.success());
    assert!(crate::common::listing(&run) == before);
}
