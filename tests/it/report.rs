//! `weft report`: the page is made at the end of a training, while it trains and when asked for; it says
//! what the records say, whatever they hold, and stays small.

use std::path::Path;
use std::process::Output;

use weft::data::fashion_mnist::{Dataset, FileSha256, LabeledImages, Source, SourceKind};
use weft::data::{DataConfig, Splits, idx::Images};
use weft::evaluate::confusion::Confusion;
use weft::evaluate::predictions::Predictions;
use weft::report::html::{self, Subject};
use weft::report::{Evaluated, RunRecords};
use weft::run::RunFolder;

use crate::cli::{stdout, weft};

fn run(at: &Path, args: &[&str]) -> Output {
    weft().current_dir(at).args(args).output().unwrap()
}

fn succeed(at: &Path, args: &[&str]) -> String {
    let output = run(at, args);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {errors}");
    stdout(&output) + &errors
}

fn fail(at: &Path, args: &[&str]) -> String {
    let output = run(at, args);
    assert!(!output.status.success(), "{args:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// `weft train` of a small model on the sample.
fn train(at: &Path, name: &str, more: &[&str]) -> String {
    let mut args = vec!["train", "--device", "cpu", "--name", name];
    for key in [
        "data.source=sample",
        "model.kind=softmax_regression",
        "train.epochs=2",
    ] {
        args.extend(["--set", key]);
    }
    args.extend(more);
    succeed(at, &args)
}

fn read(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(path).unwrap()
}

/// What a page holds beside the script's own text.
fn of_json(page: &str) -> serde_json::Value {
    let (_, rest) = page.split_once("id=\"data\">").unwrap();
    serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap()
}

#[test]
fn it_is_made_at_the_end_of_a_training_and_after_an_evaluation() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let said = train(at, "a", &[]);
    assert!(
        said.contains("\nreport  runs/a/report.html\n\nnext   weft evaluate"),
        "{said}"
    );
    let path = at.join("runs/a/report.html");
    let page = read(&path);
    let evaluation: serde_json::Value =
        serde_json::from_str(&read(at.join("runs/a/evaluation.json"))).unwrap();
    let accuracy = evaluation["accuracy"].as_f64().unwrap();
    let shown = format!("{:.2}\u{a0}%", 100.0 * accuracy);
    assert!(page.contains(&shown), "{shown}");
    assert!(page.contains("finished: 2 of 2 epochs"));
    assert!(
        !page.contains("2022 report"),
        "the sample's test images are not the report's"
    );
    assert_eq!(
        of_json(&page)["runs"][0]["curves"]["epoch"],
        serde_json::json!([1, 2])
    );

    // The same records, the same bytes; and nothing that verify minds.
    succeed(at, &["report", "runs/a"]);
    assert!(read(&path) == page, "a page is a function of the records");
    let verified = succeed(at, &["verify", "runs/a"]);
    assert!(verified.contains("runs/a is whole"), "{verified}");

    std::fs::remove_file(&path).unwrap();
    let said = succeed(at, &["evaluate", "runs/a"]);
    assert!(said.contains("\nreport  runs/a/report.html"), "{said}");
    assert!(path.exists());

    let off = [
        "--set",
        "report.at_end=false",
        "--set",
        "report.plots=false",
    ];
    let said = train(at, "b", &off);
    assert!(!said.contains("\nreport") && !at.join("runs/b/report.html").exists());
    assert!(!said.contains("\nplots") && !at.join("runs/b/plots").exists());
    succeed(at, &["report", "runs/b"]);
    assert!(at.join("runs/b/report.html").exists());
}

#[test]
fn without_a_test_result_it_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    train(at, "a", &["--no-test"]);
    let page = read(at.join("runs/a/report.html"));
    assert!(page.contains("There is no test result") && page.contains("weft evaluate runs/a"));
    assert!(!page.contains("id=\"r1-matrix\""));
    assert_eq!(of_json(&page)["runs"][0]["matrix"], serde_json::Value::Null);
}

/// While a run trains its page is made of the records, and the test split is none of them.
#[test]
fn a_run_in_training_has_a_page_without_the_test_split() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    train(
        at,
        "a",
        &[
            "--set",
            "report.every_minutes=1e-9",
            "--set",
            "train.epochs=9",
            "--stop-at-step",
            "70",
        ],
    );
    // Written at the end of epoch 2 of 9 (32 steps each); the process then went on, and stopped.
    let page = read(at.join("runs/a/report.html"));
    assert!(page.contains("in training: epoch 3 of 9"));
    assert!(page.contains("<body data-live>"));
    assert!(
        page.contains("train 4,000, validation 1,000</dd>"),
        "no test counts"
    );
    assert!(!page.contains("id=\"r1-matrix\"") && page.contains("when the training has ended"));
    assert_eq!(
        of_json(&page)["runs"][0]["curves"]["epoch"],
        serde_json::json!([1, 2])
    );

    succeed(at, &["report", "runs/a"]);
    let page = read(at.join("runs/a/report.html"));
    assert!(page.contains("not finished: stopped in epoch 3 of 9"));
    assert!(page.contains("weft resume runs/a"));

    // Its section fixes no weight: a resume may change it.
    let said = succeed(
        at,
        &[
            "resume",
            "runs/a",
            "--epochs",
            "3",
            "--set",
            "report.every_minutes=0",
        ],
    );
    assert!(said.contains("changed report.every_minutes"), "{said}");
    let page = read(at.join("runs/a/report.html"));
    assert!(page.contains("finished: 3 of 3 epochs") && page.contains("went on at step 70"));
    assert!(page.contains("id=\"r1-matrix\"") && !page.contains("<body data-live>"));
}

#[test]
fn several_runs_stand_beside_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    train(at, "a", &["-q"]);
    train(
        at,
        "b",
        &["-q", "--set", "seed=2", "--set", "train.batch_size=64"],
    );
    let said = succeed(at, &["report", "runs/a", "runs/b", "runs/../runs/a"]);
    assert!(said.starts_with("report  report.html ("), "{said}");
    let page = read(at.join("report.html"));
    assert!(
        page.contains("2 runs beside each other"),
        "the same run is not shown twice"
    );
    assert!(page.contains("The validation splits differ"));
    let (_, differences) = page.split_once("id=\"differences\"").unwrap();
    let (differences, _) = differences.split_once("</section>").unwrap();
    for key in ["<code>seed</code>", "<code>train.batch_size</code>"] {
        assert!(differences.contains(key), "{differences}");
    }
    assert_eq!(differences.matches("<tr>").count(), 3, "{differences}");

    // A file of somebody else stays.
    std::fs::write(at.join("mine.html"), "<p>mine").unwrap();
    let error = fail(at, &["report", "runs/a", "--output", "mine.html"]);
    assert!(
        error.contains("mine.html is not a page that weft wrote") && error.contains("\nhint: "),
        "{error}"
    );
    assert_eq!(read(at.join("mine.html")), "<p>mine");
    succeed(at, &["report", "runs/a", "-o", "mine.html", "--force"]);
    assert!(read(at.join("mine.html")).contains("weft report"));
}

/// Twenty pictures of two shades.
fn shades(folder: &Path) {
    for (class, shade) in [("bright", 200), ("dark", 50)] {
        std::fs::create_dir_all(folder.join(class)).unwrap();
        for id in 0..10 {
            let picture = image::GrayImage::from_pixel(6, 6, image::Luma([shade + id]));
            picture
                .save(folder.join(class).join(format!("{id}.png")))
                .unwrap();
        }
    }
}

#[test]
fn runs_on_a_folder_of_images_were_tested_on_the_same_only_if_they_were() {
    const TESTS: &str = "The test images differ";
    const VALIDATIONS: &str = "The validation splits differ";
    const SAME: &str = "The test images are the same.";
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let trained = |source: &str, name: &str, key: &str| {
        let source = format!("data.source={source}");
        let keys = ["-q", "--set", &source, "--set", key];
        train(
            at,
            &format!("{source}-{name}").replace("data.source=", ""),
            &keys,
        );
    };
    let said = |source: &str, first: &str, second: &str| {
        let runs = [first, second].map(|name| format!("runs/{source}-{name}"));
        succeed(at, &["report", &runs[0], &runs[1]]);
        let page = read(at.join("report.html"));
        [TESTS, VALIDATIONS, SAME].map(|text| page.contains(text))
    };
    shades(&at.join("one"));
    shades(&at.join("apart/train"));
    shades(&at.join("apart/test"));
    for source in ["one", "apart"] {
        trained(source, "first", "train.epochs=1");
        trained(source, "again", "train.batch_size=4");
        trained(source, "seed", "seed=2");
        trained(source, "fraction", "data.test_fraction=0.2");
        trained(source, "validation", "data.validation_fraction=0.3");
    }
    assert_eq!(said("one", "first", "again"), [false, false, false]);
    assert_eq!(said("one", "first", "seed"), [true, true, false]);
    assert_eq!(said("one", "first", "fraction"), [true, true, false]);
    assert_eq!(said("one", "first", "validation"), [false, true, true]);
    assert_eq!(said("apart", "first", "seed"), [false, true, true]);
    assert_eq!(said("apart", "first", "fraction"), [false, false, false]);
    assert_eq!(said("apart", "first", "validation"), [false, true, true]);
    // Where the folder says which images validate, no seed does.
    shades(&at.join("apart/validation"));
    trained("apart", "given", "train.epochs=1");
    trained("apart", "given-seed", "seed=2");
    assert_eq!(said("apart", "given", "given-seed"), [false, false, false]);
}

#[test]
fn damaged_records_are_named_and_the_old_page_stays() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    train(at, "a", &["-q"]);
    let page = read(at.join("runs/a/report.html"));
    for file in [
        "results.csv",
        "predictions.csv",
        "evaluation.json",
        "environment.json",
    ] {
        let path = at.join("runs/a").join(file);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, [&whole[..whole.len() / 2], b"\n\xff,\n"].concat()).unwrap();
        let error = fail(at, &["report", "runs/a"]);
        assert!(
            error.starts_with("error: ") && error.contains(file),
            "{error}"
        );
        assert!(read(at.join("runs/a/report.html")) == page, "{file}");
        std::fs::write(&path, whole).unwrap();
    }
    // A checkpoint that cannot be read is a warning in the page: the rest of it stands.
    let last = read(at.join("runs/a/checkpoints/last"));
    let state = at
        .join("runs/a/checkpoints")
        .join(last.trim())
        .join("state.json");
    std::fs::write(state, "{}").unwrap();
    succeed(at, &["report", "runs/a"]);
    let page = read(at.join("runs/a/report.html"));
    assert!(page.contains("aria-label=\"Warnings\"") && page.contains("state.json has 2 bytes"));
}

/// A failing report is a warning: the training it belongs to is done and saved.
#[test]
fn a_page_that_cannot_be_written_ends_no_training() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    train(at, "a", &["-q", "--stop-at-step", "5"]);
    std::fs::create_dir(at.join("runs/a/report.html")).unwrap();
    let said = succeed(
        at,
        &["resume", "runs/a", "--set", "report.every_minutes=1e-9"],
    );
    assert_eq!(
        said.matches("the report was not written: ").count(),
        3,
        "{said}"
    );
    assert!(said.contains("`weft report runs/a` makes it"), "{said}");
    assert!(at.join("runs/a/evaluation.json").exists() && said.contains("next   weft evaluate"));
}

#[test]
fn data_that_is_gone_or_another_leaves_the_images_out() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let data = crate::learning::handful();
    let source = format!("data.source={}", data.path().display());
    let keys = [
        "-q",
        "--set",
        &source,
        "--set",
        "data.validation_fraction=0",
        "--set",
        "early_stopping.patience=0",
    ];
    train(at, "a", &keys);
    let with_images = read(at.join("runs/a/report.html"));
    let images = |page: &str| {
        of_json(page)["runs"][0]["gallery"]["images"]
            .as_array()
            .unwrap()
            .len()
    };
    assert!(images(&with_images) > 0);

    let moved = at.join("moved");
    std::fs::create_dir(&moved).unwrap();
    for entry in std::fs::read_dir(data.path()).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), moved.join(entry.file_name())).unwrap();
        std::fs::remove_file(entry.path()).unwrap();
    }
    let said = succeed(at, &["report", "runs/a"]);
    assert!(
        said.contains("warning: ") && said.contains("--data DIR"),
        "{said}"
    );
    let page = read(at.join("runs/a/report.html"));
    assert!(images(&page) == 0 && page.contains("The images are left out"));
    assert!(page.contains("id=\"r1-matrix\""), "all numbers are there");
    assert!(
        page.contains("fully connected"),
        "input.json has the model's shapes"
    );

    succeed(at, &["report", "runs/a", "--data", "moved"]);
    assert!(images(&read(at.join("runs/a/report.html"))) > 0);

    // One byte of an image is another.
    let path = moved.join("t10k-images-idx3-ubyte");
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let said = succeed(at, &["report", "runs/a", "--data", "moved"]);
    assert!(said.contains("does not hold the data"), "{said}");
    assert_eq!(images(&read(at.join("runs/a/report.html"))), 0);
}

/// Splits of noise, and records of a run that was tested on them: `n_classes` with these names.
fn noisy(of: &RunFolder, channels: usize, side: usize, names: &[String]) -> (RunRecords, Splits) {
    let n_classes = names.len();
    let n_images = 3_000;
    let mut state = 7u64;
    let mut draw = move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) as u32
    };
    let labels: Vec<u8> = (0..n_images)
        .map(|image| (image % n_classes) as u8)
        .collect();
    let mut images = |n_images: usize| LabeledImages {
        images: Images {
            n_images,
            channels,
            height: side,
            width: side,
            pixels: (0..n_images * channels * side * side)
                .map(|_| draw() as u8)
                .collect(),
        },
        labels: labels[..n_images].to_vec(),
    };
    let source = Source {
        kind: SourceKind::Directory,
        location: "noise".to_owned(),
        sha256: vec![FileSha256 {
            file: "noise".to_owned(),
            sha256: "00".repeat(32),
        }],
        warning: None,
        images: None,
    };
    let dataset = Dataset {
        train: images(2 * n_classes),
        test: images(n_images),
        validation: None,
        class_names: names.to_vec(),
        source,
    };
    let config = DataConfig {
        validation_fraction: 0.0,
        ..DataConfig::default()
    };
    let splits = Splits::new(dataset, &config, 1).unwrap();
    let logits: Vec<f32> = (0..n_images * n_classes)
        .map(|_| draw() as f32 / 1e9)
        .collect();
    let predictions = Predictions::from_logits(n_classes, labels, &logits);

    let mut records = RunRecords::read(of).unwrap();
    records.environment.data = serde_json::to_value(splits.source()).unwrap();
    let Evaluated { mut evaluation, .. } = records.evaluated.take().unwrap();
    let pairs = (0..n_images).map(|image| (predictions.label(image), predictions.predicted(image)));
    evaluation.confusion = Confusion::from_pairs(n_classes, pairs);
    evaluation.classes = (0..n_classes)
        .map(|class| evaluation.confusion.class_scores(class))
        .collect();
    evaluation.class_names = names.to_vec();
    evaluation.n_images = n_images as u64;
    evaluation.calibration = predictions.calibration(15);
    records.evaluated = Some(Evaluated {
        evaluation,
        predictions,
    });
    (records, splits)
}

#[test]
fn the_page_stays_small_whatever_the_images_and_classes_are() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    train(at, "a", &["-q"]);
    let of = RunFolder::open(&at.join("runs/a")).unwrap();
    let names = |n: usize| -> Vec<String> {
        (0..n)
            .map(|class| format!("class {class} </script> & <b>{}", "long ".repeat(8)))
            .collect()
    };
    for (channels, side, n_classes) in [(1, 8, 10), (3, 96, 10), (3, 40, 256), (1, 28, 120)] {
        let (records, splits) = noisy(&of, channels, side, &names(n_classes));
        let subject = || Subject::new(records.clone(), Some(&splits)).unwrap();
        let page = html::page(&[subject()]).unwrap();
        let case = format!(
            "{channels} x {side} x {side}, {n_classes} classes: {} bytes",
            page.len()
        );
        assert!(page.len() <= html::MOST_BYTES, "{case}");
        let json = of_json(&page);
        let gallery = &json["runs"][0]["gallery"];
        let n_shown = gallery["images"].as_array().unwrap().len();
        assert!(n_shown >= 100, "{case}: {n_shown} images");
        assert_eq!(gallery["sheets"]["reduced"], side > 64, "{case}");
        assert!(
            json["runs"][0]["matrix"]["classes"]
                .as_array()
                .unwrap()
                .len()
                <= 40,
            "{case}"
        );
        // Two scripts end, and the data: no name ends one more.
        assert_eq!(page.matches("</script>").count(), 2, "{case}");
        assert!(!page.contains("<b>long"), "{case}");
        // Ten such runs share the room; of a hundred some are in the table only.
        let many: Vec<Subject> = (0..10).map(|_| subject()).collect();
        let page = html::page(&many).unwrap();
        assert!(
            page.len() <= html::MOST_BYTES,
            "{case}: ten take {}",
            page.len()
        );
    }
}
