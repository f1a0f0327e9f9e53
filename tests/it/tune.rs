//! A search from end to end on every device: its trials, its files, the config that it found, and what is
//! refused.

use std::fs;
use std::path::Path;

use assert_cmd::Command;
use weft::config::Loaded;
use weft::data::idx;
use weft::run::study::StudyFolder;

use crate::devices;

const STUDY: &str = "name = \"tiny\"
[data]
source = \"sample\"
[model]
kind = \"mlp\"
hidden = { layers = 1, units = 16 }
[optimizer]
kind = \"adam\"
[train]
epochs = 6
[search]
max_epochs = 4
factor = 2
[search.space]
optimizer.learning_rate = { min = 1e-4, max = 1e-2, scale = \"log\" }
\"model.hidden.units\" = { min = 8, max = 32, step = 8 }
\"model.hidden.layers\" = { choice = [1, 2] }
activation = { choice = [\"relu\", \"tanh\"], keys = [\"model.activation\"] }
";

fn weft(folder: &Path) -> Command {
    let mut command = Command::cargo_bin("weft").unwrap();
    command
        .current_dir(folder)
        .env("WEFT_OFFLINE", "1")
        .env("WEFT_DATA", "");
    command
}

/// Runs `weft tune` to its end, and returns what it said.
fn tune(folder: &Path, args: &[&str]) -> String {
    let done = weft(folder).arg("tune").args(args).assert().success();
    String::from_utf8(done.get_output().stdout.clone()).unwrap()
}

fn refused(folder: &Path, args: &[&str]) -> String {
    let done = weft(folder).arg("tune").args(args).assert().failure();
    String::from_utf8(done.get_output().stderr.clone()).unwrap()
}

fn place(study: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("tiny.toml"), study).unwrap();
    folder
}

/// study.csv without the seconds, which differ from run to run.
fn outcome(root: &Path) -> Vec<Vec<String>> {
    let mut table = csv::Reader::from_path(root.join("study.csv")).unwrap();
    let seconds = table
        .headers()
        .unwrap()
        .iter()
        .position(|name| name == "seconds");
    table
        .records()
        .map(|row| {
            let row = row.unwrap();
            let cells = row.iter().enumerate();
            cells
                .filter(|(index, _)| Some(*index) != seconds)
                .map(|(_, cell)| cell.to_owned())
                .collect()
        })
        .collect()
}

#[test]
fn a_search_on_every_device() {
    let mut names = vec!["cpu".to_owned(), "ndarray".to_owned()];
    match devices::gpu_choice() {
        Some(gpu) => names.push(gpu),
        None => devices::skip("a_search_on_every_device"),
    }
    for device in names {
        // A software GPU compiles the kernels of each size for long: one size there.
        let sizes = [
            "\"model.hidden.units\" = { min = 8, max = 32, step = 8 }\n",
            "\"model.hidden.layers\" = { choice = [1, 2] }\n",
        ];
        let study = match device.starts_with("gpu") {
            true => sizes
                .iter()
                .fold(STUDY.to_owned(), |study, size| study.replace(size, "")),
            false => STUDY.to_owned(),
        };
        let folder = place(&study);
        let args = ["tiny.toml", "--device", &device];
        let said = tune(folder.path(), &args);
        let root = folder.path().join("runs/tiny");
        let log = StudyFolder::open(&root).unwrap().read().unwrap();
        // Brackets of 4, 3 and 3 trials; 4*1 + 2*1 + 1*2, 3*2 + 1*2, 3*4 epochs.
        assert_eq!(log.trials.len(), 10, "{device}: {said}");
        assert_eq!(log.epochs(), 28, "{device}");
        assert!(
            log.trials.iter().all(|trial| trial.failed.is_none()),
            "{device}"
        );
        let best = log.trials.iter().filter_map(|trial| trial.rungs.last());
        let best = best.map(|rung| rung.value).fold(0.0, f64::max);
        assert!(best > 0.7, "{device}: {best}");
        assert!(
            said.contains(&format!("validation accuracy {best:.4}")),
            "{said}"
        );
        // A trial that was promoted went on where it was: one row for each epoch, no epoch twice.
        for (number, trial) in (1..).zip(&log.trials) {
            let rows =
                fs::read_to_string(root.join(format!("trials/{number:04}/results.csv"))).unwrap();
            let epochs: Vec<&str> = rows
                .lines()
                .skip(1)
                .map(|row| row.split(',').next().unwrap())
                .collect();
            let expected: Vec<String> = (1..=trial.rungs.last().unwrap().epochs)
                .map(|n| n.to_string())
                .collect();
            assert_eq!(epochs, expected, "{device}, trial {number}");
        }
        // Done means done: nothing is trained again.
        let again = tune(folder.path(), &args);
        assert!(
            again.contains("from    10 trials, 14 rungs, 28 epochs"),
            "{again}"
        );
        assert_eq!(StudyFolder::open(&root).unwrap().read().unwrap(), log);
        let page = fs::read_to_string(root.join("report.html")).unwrap();
        assert!(page.contains("Learning curves") && page.contains("optimizer.learning_rate"));
    }
}

#[test]
fn the_best_config_is_one_that_weft_train_takes() {
    let folder = place(STUDY);
    tune(folder.path(), &["tiny.toml", "--device", "cpu", "--quiet"]);
    let root = folder.path().join("runs/tiny");
    let log = StudyFolder::open(&root).unwrap().read().unwrap();
    let best = Loaded::new(Some(&root.join("best.toml")), &[])
        .unwrap()
        .config;
    assert_eq!(best.name, "tiny-best");
    assert_eq!(best.train.epochs, 6);
    let values: Vec<f64> = log
        .trials
        .iter()
        .map(|trial| trial.rungs.last().unwrap().value)
        .collect();
    let winner = (0..values.len())
        .rev()
        .max_by(|a, b| values[*a].total_cmp(&values[*b]))
        .unwrap();
    let rate = log.trials[winner].values["optimizer.learning_rate"]
        .as_float()
        .unwrap();
    assert_eq!(best.optimizer.learning_rate(), rate);
    weft(folder.path())
        .args([
            "train",
            "runs/tiny/best.toml",
            "--set",
            "train.epochs=1",
            "--quiet",
            "--device",
            "cpu",
        ])
        .assert()
        .success();
    // What the search trained is what `weft train` trains: the same first epoch.
    let first_row = |run: &str| -> Vec<String> {
        let rows = fs::read_to_string(folder.path().join(run).join("results.csv")).unwrap();
        let row = rows.lines().nth(1).unwrap();
        row.split(',')
            .enumerate()
            .filter(|(index, _)| *index != 2)
            .map(|(_, cell)| cell.to_owned())
            .collect()
    };
    assert_eq!(
        first_row("runs/tiny-best"),
        first_row(&format!("runs/tiny/trials/{:04}", winner + 1))
    );
}

/// Whoever ends first: Hyperband's rungs are full before they are decided.
#[test]
fn four_workers_find_what_one_finds() {
    let (alone, four) = (place(STUDY), place(STUDY));
    tune(alone.path(), &["tiny.toml", "--device", "cpu", "--quiet"]);
    tune(
        four.path(),
        &["tiny.toml", "--device", "cpu", "--quiet", "--jobs", "4"],
    );
    let rows = outcome(&alone.path().join("runs/tiny"));
    assert_eq!(rows.len(), 10);
    assert_eq!(outcome(&four.path().join("runs/tiny")), rows);
}

#[test]
fn a_trial_that_diverges_is_an_outcome() {
    let study = STUDY.replace(
        "{ min = 1e-4, max = 1e-2, scale = \"log\" }",
        "{ choice = [1e-3, 1e30] }",
    );
    let folder = place(&study);
    let said = tune(folder.path(), &["tiny.toml", "--device", "cpu"]);
    let root = folder.path().join("runs/tiny");
    let log = StudyFolder::open(&root).unwrap().read().unwrap();
    let failed: Vec<_> = log
        .trials
        .iter()
        .filter_map(|trial| trial.failed.as_ref())
        .collect();
    assert!(
        !failed.is_empty() && failed.len() < log.trials.len(),
        "{said}"
    );
    for failure in &failed {
        assert!(failure.why.contains("at step"), "{}", failure.why);
    }
    assert!(said.contains("failed: "), "{said}");
    for trial in log.trials.iter().filter(|trial| trial.failed.is_some()) {
        let rate = trial.values["optimizer.learning_rate"].as_float();
        assert_eq!(rate, Some(1e30));
    }
    let csv = fs::read_to_string(root.join("study.csv")).unwrap();
    assert!(csv.contains("at step"), "{csv}");
}

/// A kernel that is larger than what the pool leaves of the image.
#[test]
fn a_trial_that_cannot_be_trained_is_an_outcome() {
    let study = "name = \"tiny\"
[data]
source = \"sample\"
[model]
kind = \"cnn\"
dense = []
[[model.blocks]]
filters = 2
pool = 7
[[model.blocks]]
filters = 2
padding = \"valid\"
[search]
algorithm = \"random\"
trials = 2
max_epochs = 1
[search.space]
\"model.blocks.1.kernel\" = { choice = [3, 9] }
";
    let folder = place(study);
    tune(folder.path(), &["tiny.toml", "--device", "cpu", "--quiet"]);
    let log = StudyFolder::open(&folder.path().join("runs/tiny"))
        .unwrap()
        .read()
        .unwrap();
    let failed: Vec<bool> = log
        .trials
        .iter()
        .map(|trial| trial.failed.is_some())
        .collect();
    assert_eq!(
        failed.iter().filter(|failed| **failed).count(),
        1,
        "{log:?}"
    );
}

#[test]
fn budgets_end_a_search_that_then_goes_on() {
    let folder = place(STUDY);
    let said = tune(
        folder.path(),
        &["tiny.toml", "--device", "cpu", "--budget", "9epochs"],
    );
    assert!(said.contains("the epochs are spent"), "{said}");
    let root = folder.path().join("runs/tiny");
    let study = StudyFolder::open(&root).unwrap();
    let spent = study.read().unwrap().epochs();
    assert!((7..=9).contains(&spent), "{spent}");
    let said = tune(
        folder.path(),
        &["tiny.toml", "--device", "cpu", "--budget", "0.3s"],
    );
    assert!(said.contains("the time is spent"), "{said}");
    tune(folder.path(), &["runs/tiny", "--device", "cpu", "--quiet"]);
    let whole = place(STUDY);
    tune(whole.path(), &["tiny.toml", "--device", "cpu", "--quiet"]);
    assert_eq!(outcome(&root), outcome(&whole.path().join("runs/tiny")));
}

#[test]
fn the_test_split_is_read_once_and_only_when_asked() {
    let folder = place(STUDY);
    let place = folder.path();
    let root = place.join("runs/tiny");
    tune(place, &["tiny.toml", "--device", "cpu", "--quiet"]);
    for entry in fs::read_dir(root.join("trials")).unwrap() {
        let trial = entry.unwrap().path();
        assert!(
            !trial.join("evaluation.json").exists(),
            "{}",
            trial.display()
        );
    }
    let said = tune(place, &["tiny.toml", "--device", "cpu", "--final"]);
    assert!(said.contains("on train") && said.contains("test"), "{said}");
    let evaluation = fs::read(root.join("final/evaluation.json")).unwrap();
    let page = fs::read_to_string(root.join("report.html")).unwrap();
    assert!(page.contains("final"), "the page tells the test result");
    for again in [&["--final"][..], &["--final=all"]] {
        let error = refused(place, &[&["tiny.toml", "--device", "cpu"], again].concat());
        assert!(error.contains("has read the test split"), "{error}");
    }
    assert_eq!(
        fs::read(root.join("final/evaluation.json")).unwrap(),
        evaluation
    );
}

#[test]
fn the_final_training_can_have_the_validation_images_too() {
    let folder = place(STUDY);
    tune(folder.path(), &["tiny.toml", "--device", "cpu", "--quiet"]);
    let said = tune(
        folder.path(),
        &["runs/tiny", "--device", "cpu", "--final=all"],
    );
    assert!(said.contains("train 5,000, validation 0"), "{said}");
    let root = folder.path().join("runs/tiny");
    let config = Loaded::new(Some(&root.join("final/config.toml")), &[])
        .unwrap()
        .config;
    let log = StudyFolder::open(&root).unwrap().read().unwrap();
    let last = log.last.unwrap();
    assert_eq!(last.trained_on, "train + validation");
    let chosen = log.trials[last.trial - 1].rungs.last().unwrap();
    assert_eq!(config.train.epochs, chosen.best_epoch);
    assert!(root.join("final/evaluation.json").exists());
}

#[test]
fn a_validation_folder_stays_one_in_the_final_training() {
    let search = "[search]\nalgorithm = \"random\"\ntrials = 1";
    let text = STUDY.replace("source = \"sample\"", "source = \"set\"\nsize = 8");
    let folder = place(&text.replace("[search]", search));
    for (part, n) in [("train", 12u8), ("validation", 4), ("test", 4)] {
        for (class, value) in [("dark", 20), ("light", 200)] {
            let below = folder.path().join("set").join(part).join(class);
            fs::create_dir_all(&below).unwrap();
            for id in 0..n {
                let pixel = |x, y| image::Luma([value + (x * 7 + y * 3) as u8 % 40 + id]);
                let picture = image::GrayImage::from_fn(8, 8, pixel);
                picture
                    .save(below.join(format!("{part}-{id}.png")))
                    .unwrap();
            }
        }
    }
    tune(folder.path(), &["tiny.toml", "--device", "cpu", "--quiet"]);
    let error = refused(
        folder.path(),
        &["runs/tiny", "--device", "cpu", "--final=all"],
    );
    assert!(
        error.contains("a validation folder of its own") && error.contains("\nhint: --final "),
        "{error}"
    );
    let said = tune(folder.path(), &["runs/tiny", "--device", "cpu", "--final"]);
    assert!(said.contains("train 24, validation 8"), "{said}");
}

#[test]
fn what_cannot_be_searched_is_refused_before_anything_is_made() {
    for (study, args, what) in [
        (STUDY.to_owned(), &["--budget", "30"][..], "--budget 30"),
        (STUDY.to_owned(), &["--device", "tpu"], "tpu"),
        (STUDY.to_owned(), &["--final"], "not a study"),
        (
            STUDY.replace("[search]", "[serach]"),
            &[],
            "unknown key `serach`",
        ),
        (
            STUDY.replace("layers\" = { choice", "layer\" = { choice"),
            &[],
            "tiny.toml:",
        ),
        (STUDY.replace("min = 8", "min = 64"), &[], "tiny.toml:16"),
    ] {
        let folder = place(&study);
        let error = refused(folder.path(), &[&["tiny.toml"], args].concat());
        assert!(
            error.contains(what) && error.contains("\nhint: "),
            "{error}"
        );
        let trials = folder.path().join("runs/tiny/trials");
        let made = fs::read_dir(trials).map_or(0, Iterator::count);
        assert_eq!(made, 0, "{error}");
    }
    let folder = place(STUDY);
    let error = refused(folder.path(), &["nowhere.toml"]);
    assert!(error.contains("nowhere.toml"), "{error}");
}

#[test]
fn a_study_that_was_changed_is_refused_and_one_that_asks_for_more_goes_on() {
    let random = STUDY.replace(
        "[search]\n",
        "[search]\nalgorithm = \"random\"\ntrials = 2\n",
    );
    let folder = place(&random);
    let file = folder.path().join("tiny.toml");
    tune(folder.path(), &["tiny.toml", "--device", "cpu", "--quiet"]);
    fs::write(&file, random.replace("max = 32", "max = 64")).unwrap();
    let error = refused(folder.path(), &["tiny.toml", "--device", "cpu"]);
    assert!(
        error.contains("search.space.model.hidden.units.max: 32 -> 64"),
        "{error}"
    );
    fs::write(&file, random.replace("trials = 2", "trials = 3")).unwrap();
    tune(folder.path(), &["tiny.toml", "--device", "cpu", "--quiet"]);
    assert_eq!(outcome(&folder.path().join("runs/tiny")).len(), 3);
    fs::write(&file, random.replace("trials = 2", "trials = 1")).unwrap();
    let error = refused(folder.path(), &["tiny.toml", "--device", "cpu"]);
    assert!(error.contains("fewer trials"), "{error}");
}

/// A set of the sample's shape with other content.
fn other_images(folder: &Path) {
    fs::create_dir(folder).unwrap();
    for (name, n_images) in [("train", 200), ("t10k", 20)] {
        let images = idx::Images {
            n_images,
            channels: 1,
            height: 28,
            width: 28,
            pixels: (0..n_images * 784).map(|at| (at % 251) as u8).collect(),
        };
        let labels: Vec<u8> = (0..n_images).map(|image| (image % 10) as u8).collect();
        let file = |kind: &str| folder.join(format!("{name}-{kind}-ubyte"));
        fs::write(file("images-idx3"), idx::write_images(&images)).unwrap();
        fs::write(file("labels-idx1"), idx::write_labels(&labels)).unwrap();
    }
}

/// The study's own file, and the images, are what the log says.
#[test]
fn a_study_is_not_mixed_with_another_one() {
    let folder = place(STUDY);
    tune(
        folder.path(),
        &[
            "tiny.toml",
            "--device",
            "cpu",
            "--quiet",
            "--budget",
            "5epochs",
        ],
    );
    let file = folder.path().join("runs/tiny/study.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("max = 32", "max = 64")).unwrap();
    let error = refused(folder.path(), &["runs/tiny", "--device", "cpu"]);
    assert!(
        error.contains("study.toml: it was changed since the study began"),
        "{error}"
    );
    fs::write(&file, &text).unwrap();
    for verb in ["resume", "report", "evaluate"] {
        let done = weft(folder.path())
            .args([verb, "runs/tiny"])
            .assert()
            .failure();
        let error = String::from_utf8_lossy(&done.get_output().stderr).into_owned();
        assert!(
            error.contains("it is a study\nhint: runs/tiny/trials"),
            "{error}"
        );
    }
    let train = weft(folder.path())
        .args(["train", "tiny.toml"])
        .assert()
        .failure();
    let error = String::from_utf8_lossy(&train.get_output().stderr).into_owned();
    assert!(
        error.contains("`weft tune tiny.toml` searches it"),
        "{error}"
    );
    let error = refused(folder.path(), &["runs/tiny", "--name", "other"]);
    assert!(
        error.contains("--name is for a study that begins"),
        "{error}"
    );
    // Other images, with which the final training would be another one.
    let data = folder.path().join("data");
    other_images(&data);
    for more in [&[][..], &["--final"]] {
        let args = ["runs/tiny", "--device", "cpu", "--set", "data.source=data"];
        let error = refused(folder.path(), &[&args[..], more].concat());
        assert!(error.contains("was begun with other images"), "{error}");
    }
    assert!(!folder.path().join("runs/tiny/final").exists());
    tune(folder.path(), &["runs/tiny", "--device", "cpu", "--quiet"]);
    assert_eq!(outcome(&folder.path().join("runs/tiny")).len(), 10);
}

/// What cannot be trained without a validation split does not use up the one final training.
#[test]
fn a_final_training_that_cannot_begin_is_not_the_final_one() {
    let study = STUDY.replace(
        "[train]",
        "[schedule]\nkind = \"reduce_on_plateau\"\n[train]",
    );
    let folder = place(&study);
    tune(folder.path(), &["tiny.toml", "--device", "cpu", "--quiet"]);
    let error = refused(
        folder.path(),
        &["runs/tiny", "--device", "cpu", "--final=all"],
    );
    assert!(
        error.contains("reduce_on_plateau") && error.contains("\nhint: "),
        "{error}"
    );
    tune(
        folder.path(),
        &["runs/tiny", "--device", "cpu", "--quiet", "--final"],
    );
    let log = StudyFolder::open(&folder.path().join("runs/tiny"))
        .unwrap()
        .read()
        .unwrap();
    assert!(log.last.unwrap().tested.is_some());
    // The result stays read, whatever becomes of its folder.
    fs::remove_dir_all(folder.path().join("runs/tiny/final")).unwrap();
    let error = refused(folder.path(), &["runs/tiny", "--device", "cpu", "--final"]);
    assert!(error.contains("has read the test split"), "{error}");
}

#[test]
fn a_search_without_a_result_is_an_error_at_its_end() {
    let study = STUDY
        .replace(
            "{ min = 1e-4, max = 1e-2, scale = \"log\" }",
            "{ choice = [1e30, 1e31] }",
        )
        .replace("kind = \"mlp\"", "kind = \"mlp\"\nbatch_norm = false");
    let folder = place(&study.replace("[\"relu\", \"tanh\"]", "[\"relu\"]"));
    let error = refused(folder.path(), &["tiny.toml", "--device", "cpu"]);
    assert!(
        error.contains("every trial failed") && error.contains("study.csv"),
        "{error}"
    );
    let error = refused(folder.path(), &["tiny.toml", "--device", "cpu", "--final"]);
    assert!(error.contains("every trial failed"), "{error}");
}
