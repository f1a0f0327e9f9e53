//! The pictures of a run: every one is a whole PNG and a whole SVG, names every class in full however it
//! is called, comes out the same each time, and is left out with a reason where its data is missing.
//! What the picture of augmentation shows is what a training step gets.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use burn::data::dataloader::DataLoader;
use tempfile::TempDir;
use weft::data::fashion_mnist::{Dataset, LabeledImages, Source, SourceKind};
use weft::data::idx::Images;
use weft::data::loader::{Cursor, HostSplit, Order, ResidentLoader, ResidentSplit};
use weft::data::{DataConfig, Splits};
use weft::device;
use weft::evaluate::confusion::Confusion;
use weft::evaluate::predictions::{CALIBRATION_BINS, Predictions};
use weft::report::plots::{Augmented, AugmentedImage, Options, Plots, write_all};
use weft::report::{Evaluated, RunRecords};
use weft::run::RunFolder;
use weft::run::records::{self, Environment, EpochRow, Evaluation};
use xml::reader::{EventReader, XmlEvent};

use crate::cli::{stdout, weft};
use crate::learning::experiment;

const ALL: [&str; 7] = [
    "augmented",
    "calibration",
    "class_counts",
    "confusion_matrix",
    "curves",
    "misclassified",
    "samples",
];

/// Images of random pixels, `n_each` of each class.
fn images(n_classes: usize, n_each: usize, channels: usize) -> LabeledImages {
    let (height, width) = (9, 7);
    let labels: Vec<u8> = (0..n_classes * n_each)
        .map(|image| (image % n_classes) as u8)
        .collect();
    let n = labels.len() * channels * height * width;
    LabeledImages {
        images: Images {
            n_images: labels.len(),
            channels,
            height,
            width,
            pixels: (0..n).map(|at| (at * 7919 % 251) as u8).collect(),
        },
        labels,
    }
}

fn splits(names: &[String], channels: usize) -> Splits {
    let dataset = Dataset {
        train: images(names.len(), 6, channels),
        test: images(names.len(), 4, channels),
        validation: None,
        class_names: names.to_vec(),
        source: Source {
            kind: SourceKind::Sample,
            location: String::new(),
            sha256: Vec::new(),
            warning: None,
            images: None,
        },
    };
    let config = DataConfig {
        validation_fraction: 0.5,
        ..DataConfig::default()
    };
    Splits::new(dataset, &config, 1).unwrap()
}

/// Every third image is taken for the next class.
fn predictions(splits: &Splits) -> Predictions {
    let n = splits.dataset.class_names.len();
    let labels = splits.dataset.test.labels.clone();
    let logits = labels.iter().enumerate().flat_map(|(image, &label)| {
        let wrong = usize::from(image % 3 == 0);
        let predicted = (usize::from(label) + wrong) % n;
        (0..n).map(move |class| {
            if class == predicted {
                1.0 + image as f32 * 0.01
            } else {
                0.0
            }
        })
    });
    let logits: Vec<f32> = logits.collect();
    Predictions::from_logits(n, labels, &logits)
}

fn evaluation(predictions: &Predictions, names: &[String]) -> Evaluation {
    let pairs = (0..predictions.n_images())
        .map(|image| (predictions.label(image), predictions.predicted(image)));
    let confusion = Confusion::from_pairs(names.len(), pairs);
    Evaluation {
        schema: records::EVALUATION_SCHEMA,
        split: "test".to_owned(),
        checkpoint_step: 30,
        checkpoint_epoch: 3,
        within_epoch: false,
        averaged: false,
        tta: None,
        n_images: confusion.n_images(),
        loss: predictions.negative_log_likelihood(),
        negative_log_likelihood: predictions.negative_log_likelihood(),
        accuracy: confusion.accuracy(),
        top_2_accuracy: predictions.top_k_accuracy(2),
        class_names: names.to_vec(),
        classes: (0..names.len())
            .map(|class| confusion.class_scores(class))
            .collect(),
        macro_mean: confusion.macro_mean(),
        weighted_mean: confusion.weighted_mean(),
        confusion,
        calibration: predictions.calibration(CALIBRATION_BINS),
        images_per_second: 1.0,
        device: String::new(),
        time: String::new(),
    }
}

fn row(epoch: u64) -> EpochRow {
    EpochRow {
        epoch,
        step: epoch * 10,
        seconds: 1.0,
        learning_rate: 1e-3,
        train_loss: 1.0 / epoch as f64,
        train_accuracy: 1.0 - 0.3 / epoch as f64,
        valid_loss: Some(1.2 / epoch as f64),
        valid_accuracy: Some(1.0 - 0.4 / epoch as f64),
        best: epoch == 2,
    }
}

/// A run of three epochs, with all that there is to draw.
struct Case {
    _folder: TempDir,
    records: RunRecords,
    splits: Splits,
    augmented: Augmented,
}

impl Case {
    fn new(names: &[String], channels: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let run = RunFolder::create(
            folder.path(),
            "a <run> & co".replace(['<', '>'], "_").as_str(),
        );
        let splits = splits(names, channels);
        let predictions = predictions(&splits);
        let train = &splits.dataset.train;
        let image = |index: usize| AugmentedImage {
            label: usize::from(train.labels[index]),
            stored: train.images.image(index).to_vec(),
            drawn: vec![train.images.image(index).to_vec(); 2],
        };
        let augmented = Augmented {
            height: train.images.height,
            width: train.images.width,
            what: "flipped".to_owned(),
            images: (0..names.len().min(4)).map(image).collect(),
        };
        let records = RunRecords {
            run: run.unwrap(),
            config_toml: String::new(),
            environment: environment(),
            rows: (1..=3).map(row).collect(),
            evaluated: Some(Evaluated {
                evaluation: evaluation(&predictions, names),
                predictions,
            }),
        };
        Self {
            _folder: folder,
            records,
            splits,
            augmented,
        }
    }

    fn draw(&self) -> Plots {
        self.draw_with(Options::default())
    }

    fn draw_with(&self, options: Options) -> Plots {
        let (splits, augmented) = (Some(&self.splits), Some(&self.augmented));
        write_all(&self.records, splits, augmented, 1, options).unwrap()
    }

    fn read(&self, file: &str) -> Vec<u8> {
        fs::read(self.records.run.plots().join(file)).unwrap()
    }

    fn svg(&self, name: &str) -> Svg {
        let text = String::from_utf8(self.read(&format!("{name}.svg"))).unwrap();
        Svg::parse(&text)
    }
}

fn environment() -> Environment {
    Environment {
        weft: String::new(),
        burn: String::new(),
        device: String::new(),
        adapter: None,
        os: String::new(),
        arch: String::new(),
        cpu_threads: 1,
        data: serde_json::Value::Null,
        git_commit: None,
        command_line: Vec::new(),
        started: String::new(),
    }
}

/// What an XML parser says of an SVG file.
struct Svg {
    width: u32,
    height: u32,
    title: String,
    description: String,
    /// All text elements after one another, without white space.
    text: String,
    /// Right and lower end of every text's anchor, for what would lie outside.
    anchors: Vec<(f64, f64)>,
    n_images: usize,
    style: String,
}

impl Svg {
    fn parse(text: &str) -> Self {
        let mut svg = Self {
            width: 0,
            height: 0,
            title: String::new(),
            description: String::new(),
            text: String::new(),
            anchors: Vec::new(),
            n_images: 0,
            style: String::new(),
        };
        let mut path: Vec<String> = Vec::new();
        for event in EventReader::from_str(text) {
            match event.unwrap() {
                XmlEvent::StartElement {
                    name, attributes, ..
                } => {
                    let of = |wanted: &str| {
                        let found = attributes.iter().find(|it| it.name.local_name == wanted);
                        found.map(|it| it.value.clone()).unwrap_or_default()
                    };
                    match name.local_name.as_str() {
                        "svg" => {
                            assert_eq!(of("role"), "img");
                            (svg.width, svg.height) =
                                (of("width").parse().unwrap(), of("height").parse().unwrap());
                        }
                        "text" => {
                            assert_eq!(of("font-family"), "sans-serif");
                            svg.anchors
                                .push((of("x").parse().unwrap(), of("y").parse().unwrap()));
                        }
                        "image" => {
                            assert!(of("href").starts_with("data:image/png;base64,"));
                            svg.n_images += 1;
                        }
                        "script" => panic!("a script"),
                        _ => {}
                    }
                    path.push(name.local_name);
                }
                XmlEvent::Characters(text) => match path.last().map(String::as_str) {
                    Some("title") => svg.title += &text,
                    Some("desc") => svg.description += &text,
                    Some("style") => svg.style += &text,
                    Some("text") => svg.text += &without_spaces(&text),
                    _ => {}
                },
                XmlEvent::EndElement { .. } => drop(path.pop()),
                _ => {}
            }
        }
        for &(x, y) in &svg.anchors {
            let inside = (0.0..=4.0 * f64::from(svg.width)).contains(&x)
                && (0.0..=4.0 * f64::from(svg.height)).contains(&y);
            assert!(inside, "a text at {x}, {y}");
        }
        svg
    }
}

fn without_spaces(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace()).collect()
}

fn names(n: usize) -> Vec<String> {
    (0..n).map(|class| format!("class {class}")).collect()
}

fn hostile() -> Vec<String> {
    let long = "a very long name of a class ".repeat(8);
    let names = [
        &"x".repeat(200),
        long.trim(),
        "<script>alert(\"1\")</script> & 'co'",
        "包包",
        "👩\u{200d}🚀 astronaut",
        "שלום עולם",
        "\u{202e}evil",
        "Ωmega Жук naïve",
        "]]> <!-- -->",
    ];
    names.map(str::to_owned).to_vec()
}

#[test]
fn every_picture_is_whole_and_names_every_class_in_full() {
    for (names, channels) in [
        (names(2), 1),
        (names(10), 3),
        (names(256), 1),
        (hostile(), 1),
    ] {
        let case = Case::new(&names, channels);
        let plots = case.draw();
        assert_eq!(plots.left_out, []);
        assert_eq!(plots.files.len(), 2 * ALL.len());
        for picture in ALL {
            let svg = case.svg(picture);
            assert!(svg.title.contains("a _run_ & co"), "{}", svg.title);
            assert!(!svg.description.is_empty());
            assert!(svg.style.contains("prefers-color-scheme:dark"));
            check_png(&case.read(&format!("{picture}.png")), &svg, picture);
        }
        for picture in ["confusion_matrix", "class_counts", "samples"] {
            let text = case.svg(picture).text;
            for name in &names {
                let axes = if picture == "confusion_matrix" { 2 } else { 1 };
                let found = text.matches(&without_spaces(name)).count();
                assert!(found >= axes, "{picture} names {name:?} {found} times");
            }
        }
        let description = case.svg("confusion_matrix").description;
        assert!(names.iter().all(|name| description.contains(name.as_str())));
    }
}

/// As large as the SVG says (twice, where that is not too large), framed, and with something on it.
fn check_png(bytes: &[u8], svg: &Svg, picture: &str) {
    let image = image::load_from_memory(bytes).unwrap().to_rgb8();
    let size = (image.width(), image.height());
    assert!(
        size == (2 * svg.width, 2 * svg.height) || size == (svg.width, svg.height),
        "{picture}: {size:?}, and {} x {}",
        svg.width,
        svg.height
    );
    let mut colours = BTreeSet::new();
    let mut n_marked = 0;
    let some = image.pixels().step_by(7);
    let n = some.len();
    for pixel in some {
        colours.insert(pixel.0);
        n_marked += usize::from(pixel.0 != [255; 3]);
    }
    assert!(colours.len() > 20, "{picture}: {} colours", colours.len());
    assert!(n_marked * 200 > n, "{picture}: {n_marked} of {n} pixels");
    assert_eq!(image.get_pixel(0, 0).0, [0xcf, 0xd4, 0xda]);
    assert_eq!(
        image.get_pixel(size.0 - 1, size.1 - 1).0,
        [0xcf, 0xd4, 0xda]
    );
}

#[test]
fn the_same_records_give_the_same_bytes() {
    let case = Case::new(&hostile(), 3);
    let all = || -> Vec<Vec<u8>> {
        let files = case.draw().files;
        files.iter().map(|path| fs::read(path).unwrap()).collect()
    };
    assert_eq!(all(), all());
}

#[test]
fn what_cannot_be_drawn_is_left_out_with_a_reason_and_an_old_file_of_it_goes() {
    let mut case = Case::new(&names(3), 1);
    assert_eq!(case.draw().left_out, []);
    case.records.evaluated = None;
    case.records.rows.clear();
    let plots = write_all(&case.records, None, None, 1, Options::default()).unwrap();
    assert_eq!(plots.files, Vec::<std::path::PathBuf>::new());
    let left_out: BTreeSet<&str> = plots.left_out.iter().map(|(name, _)| *name).collect();
    assert_eq!(left_out, BTreeSet::from(ALL));
    assert!(
        plots.left_out.iter().all(|(_, why)| why.len() > 10),
        "{plots:?}"
    );
    assert_eq!(fs::read_dir(case.records.run.plots()).unwrap().count(), 0);
}

#[test]
fn no_mistake_few_mistakes_and_other_images() {
    let case = |wrong: usize| {
        let mut case = Case::new(&names(3), 1);
        let labels = case.splits.dataset.test.labels.clone();
        let logits = labels.iter().enumerate().flat_map(|(image, &label)| {
            let predicted = (usize::from(label) + usize::from(image < wrong)) % 3;
            (0..3).map(move |class| f32::from(u8::from(class == predicted)))
        });
        let logits: Vec<f32> = logits.collect();
        let predictions = Predictions::from_logits(3, labels, &logits);
        case.records.evaluated = Some(Evaluated {
            evaluation: evaluation(&predictions, &names(3)),
            predictions,
        });
        case
    };
    let plots = case(0).draw();
    assert_eq!(plots.left_out.len(), 1, "{:?}", plots.left_out);
    assert!(plots.left_out[0].1.contains("no image of the test split"));
    let few = case(5);
    few.draw();
    assert_eq!(few.svg("misclassified").n_images, 5);
    // exp(1) / (exp(1) + 2)
    let text = few.svg("misclassified").text;
    assert!(text.contains("class158%(class0)"), "{text}");
    let mut other = case(5);
    other.splits.dataset.test.labels.rotate_left(1);
    let plots = other.draw();
    assert_eq!(
        plots.left_out,
        [(
            "misclassified",
            "predictions.csv is of other images".to_owned()
        )]
    );
}

#[test]
fn counts_are_shown_on_request() {
    let case = Case::new(&names(2), 1);
    case.draw();
    // Two classes of four test images: 0 has three right, 1 has two.
    assert!(case.svg("confusion_matrix").text.contains("75.0"));
    case.draw_with(Options { counts: true });
    let text = case.svg("confusion_matrix").text;
    assert!(!text.contains("75.0") && text.contains('3'), "{text}");
}

#[test]
fn curves_of_any_run_are_drawn() {
    let mut case = Case::new(&names(2), 1);
    let without = |mut row: EpochRow| {
        (row.valid_loss, row.valid_accuracy) = (None, None);
        row
    };
    let huge = |row: EpochRow| EpochRow {
        train_loss: 1e300 / row.epoch.pow(9) as f64,
        valid_loss: Some(f64::INFINITY),
        ..row
    };
    let runs: [Vec<EpochRow>; 5] = [
        vec![row(1)],
        (1..=500).map(row).collect(),
        (1..=12).map(|epoch| without(row(epoch))).collect(),
        (1..=5).map(|epoch| huge(row(epoch))).collect(),
        (7..=9).map(row).collect(),
    ];
    for (index, rows) in runs.into_iter().enumerate() {
        case.records.rows = rows;
        let plots = case.draw();
        assert_eq!(plots.left_out, [], "{index}");
        let svg = case.svg("curves");
        check_png(&case.read("curves.png"), &svg, "curves");
        let has = |what: &str| svg.text.contains(what);
        assert_eq!(has("validation"), index != 2, "{index}");
        assert_eq!(has("logarithmic"), index == 1 || index == 3, "{index}");
        assert_eq!(has("bestepoch2"), (1..4).contains(&index), "{index}");
        assert!(!has("smoothing"));
    }
    case.records.config_toml = "[train]\nlabel_smoothing = 0.1\n".to_owned();
    case.draw();
    let text = case.svg("curves").text;
    assert!(text.contains("thelosswithlabelsmoothing0.1"), "{text}");
}

#[test]
fn the_augmented_images_are_those_of_training() {
    let toml = "seed = 3\n[data]\nsource = \"sample\"\n[augmentation]\nflip = 0.5\nshift = 3\nerase = 0.5\n\
                erase_min = 3\nerase_max = 9\n[model]\nkind = \"softmax_regression\"\n";
    let experiment = experiment(toml, "cpu", None);
    let augmented = experiment.augmented().unwrap().unwrap();
    assert_eq!(augmented.images.len(), 10);
    let splits = &experiment.splits;
    let train = &splits.dataset.train;
    // All batches of an epoch, as training takes them.
    let table = splits.table(experiment.config.data.normalization);
    let host = HostSplit {
        images: &train.images,
        labels: &train.labels,
        image_indices: &splits.split.train,
        table: &table,
    };
    let cursor = Cursor::default();
    let order = Order::Shuffled {
        seed: 3,
        augmentation: experiment.config.augmentation.for_kernel(),
        cursor: cursor.clone(),
    };
    let split = ResidentSplit::upload(&host, &device::host());
    let loader = ResidentLoader::new(split, 500, order);
    let mut changed = 0;
    for epoch in [1, 4] {
        cursor.set(epoch, 0);
        let mut seen: BTreeSet<Vec<u8>> = BTreeSet::new();
        for batch in loader.iter() {
            let data = batch.unwrap().images.into_data();
            let values: Vec<u8> = data
                .iter::<f32>()
                .map(|v| (v * 255.0).round() as u8)
                .collect();
            seen.extend(values.chunks_exact(784).map(<[u8]>::to_vec));
        }
        for (class, image) in augmented.images.iter().enumerate() {
            assert_eq!(image.label, class);
            let drawn = &image.drawn[epoch as usize - 1];
            assert!(seen.contains(drawn), "class {class}, epoch {epoch}");
            changed += usize::from(*drawn != image.stored);
        }
    }
    assert!(changed >= 15, "{changed} of 20 are changed");
}

#[test]
fn without_augmentation_there_is_no_picture_of_it() {
    let toml = "[data]\nsource = \"sample\"\n[model]\nkind = \"softmax_regression\"\n";
    assert_eq!(experiment(toml, "cpu", None).augmented().unwrap(), None);
}

/// Names of the files in a folder.
fn files(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[test]
fn a_training_and_an_evaluation_leave_the_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| {
        let output = weft()
            .current_dir(folder.path())
            .args(args)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        stdout(&output)
    };
    let train = [
        "train",
        "--device",
        "cpu",
        "--set",
        "data.source=sample",
        "--set",
        "train.epochs=1",
    ];
    let small = [
        "--set",
        "model.kind=softmax_regression",
        "--set",
        "augmentation.shift=1",
    ];
    let text = run(&[&train[..], &small, &["--set", "report.plots=false"]].concat());
    assert!(!text.contains("plots"), "{text}");
    let plots = folder.path().join("runs/quickstart/plots");
    assert!(!plots.exists());

    let text = run(&["evaluate", "runs/quickstart", "--device", "cpu", "--counts"]);
    for line in [
        "top-2 accuracy",
        "calibration error",
        "images/s",
        "plots   runs/quickstart/plots",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    let expected = ALL
        .iter()
        .flat_map(|name| [format!("{name}.png"), format!("{name}.svg")]);
    let expected: BTreeSet<String> = expected.collect();
    assert_eq!(files(&plots), expected);

    let text = run(&[&train[..], &small, &["--no-test"]].concat());
    assert!(text.contains("plots   runs/quickstart-2/plots"), "{text}");
    assert!(
        text.contains("without confusion_matrix: the run is not evaluated"),
        "{text}"
    );
    let here = files(&folder.path().join("runs/quickstart-2/plots"));
    assert!(
        here.contains("curves.png") && !here.contains("calibration.png"),
        "{here:?}"
    );
    assert!(run(&["verify", "runs/quickstart-2"]).contains("is whole"));
}
