//! Proves where data is looked for and in which order, that each form of folder loads, and that what
//! is missing or damaged is named rather than skipped.

use std::fs;
use std::io::Write;
use std::path::Path;

use flate2::{Compression, write::GzEncoder};
use tempfile::TempDir;
use weft::data::download::NoProgress;
use weft::data::fashion_mnist::{
    CLASS_NAMES, DataError, Dataset, FILES, LabeledImages, Lookup, Source, SourceKind, load,
};
use weft::data::idx::{Images, write_images, write_labels};

const DEBIAN: &str = "/usr/share/datasets/fashion-mnist";

/// Six training and three test images of 2x3 pixels, labelled 0, 1, 2, 0, 1, 2.
fn tiny_files() -> [Vec<u8>; 4] {
    let images = |n_images| {
        write_images(&Images {
            n_images,
            channels: 1,
            height: 2,
            width: 3,
            pixels: vec![9; n_images * 6],
        })
    };
    [
        images(6),
        write_labels(&[0, 1, 2, 0, 1, 2]),
        images(3),
        write_labels(&[0, 1, 2]),
    ]
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn write_folder(folder: &Path, files: &[Vec<u8>; 4]) {
    fs::create_dir_all(folder).unwrap();
    for ((name, _), bytes) in FILES.iter().zip(files) {
        fs::write(folder.join(name), bytes).unwrap();
    }
}

fn tiny_folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    write_folder(folder.path(), &tiny_files());
    folder
}

/// Looks only in `root/cache` and `root/system`, without a network.
fn lookup<'a>(request: &'a str, root: &Path) -> Lookup<'a> {
    Lookup {
        request,
        data_dir: None,
        cache_dir: root.join("cache"),
        cache_root: root.to_owned(),
        system_dir: root.join("system"),
        mirrors: Vec::new(),
        download: false,
    }
}

fn load_folder(folder: &Path) -> Result<Dataset, DataError> {
    load(
        &lookup(folder.to_str().unwrap(), Path::new("/nonexistent")),
        &mut NoProgress,
    )
}

fn error_of(result: Result<Dataset, DataError>) -> String {
    result
        .map(|dataset| dataset.source)
        .unwrap_err()
        .to_string()
}

fn count_per_class(split: &LabeledImages) -> [usize; 10] {
    let mut counts = [0; 10];
    split
        .labels
        .iter()
        .for_each(|&label| counts[usize::from(label)] += 1);
    counts
}

fn debian_is_there() -> bool {
    let there = Path::new(DEBIAN).is_dir();
    if !there {
        let why = "is not there (apt install dataset-fashion-mnist)";
        crate::devices::say(&format!("SKIPPED: {DEBIAN} {why}"));
    }
    there
}

#[test]
fn plain_and_gzipped_files_load_alike_and_classes_are_numbered() {
    let folder = tiny_folder();
    let plain = load_folder(folder.path()).unwrap();
    for ((name, _), bytes) in FILES.iter().zip(tiny_files()) {
        fs::remove_file(folder.path().join(name)).unwrap();
        fs::write(folder.path().join(format!("{name}.gz")), gzip(&bytes)).unwrap();
    }
    assert_eq!(load_folder(folder.path()).unwrap(), plain);
    assert_eq!(plain.class_names, ["0", "1", "2"]);
    assert_eq!(plain.train.labels, [0, 1, 2, 0, 1, 2]);
    assert_eq!(
        (
            plain.test.images.n_images,
            plain.test.images.height,
            plain.test.images.width
        ),
        (3, 2, 3)
    );
    assert_eq!(plain.source.kind, SourceKind::Directory);
    assert_eq!(plain.source.sha256[1].file, FILES[1].0);
    assert_eq!(plain.source.sha256[1].sha256.len(), 64);
}

/// A run's pictures are named as its data names them by now.
#[test]
fn class_names_that_were_put_right_reach_a_run() {
    let folder = tiny_folder();
    let names = folder.path().join("classes.txt");
    fs::write(&names, "dog\ncat\nbird\n").unwrap();
    let weft = |args: &[&str]| {
        let output = crate::cli::weft()
            .current_dir(folder.path())
            .args(args)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    let keys = [
        "data.source=\".\"",
        "data.validation_fraction=0.0",
        "early_stopping.patience=0",
        "model.kind=softmax_regression",
        "train.epochs=1",
        "report.plots=false",
    ];
    let set = keys.iter().flat_map(|key| ["--set", key]);
    weft(
        &["train", "--device", "cpu", "--name", "x"]
            .into_iter()
            .chain(set)
            .collect::<Vec<_>>(),
    );
    fs::write(&names, "cat\ndog\nbird\n").unwrap();
    weft(&["evaluate", "runs/x"]);
    let input = ::weft::run::input::ModelInput::read(&folder.path().join("runs/x/input.json"));
    assert_eq!(input.unwrap().class_names, ["cat", "dog", "bird"]);
}

#[test]
fn class_names_come_from_classes_txt() {
    let folder = tiny_folder();
    fs::write(
        folder.path().join("classes.txt"),
        "\u{feff} cat \r\n\ndog\nbird\nfish\n",
    )
    .unwrap();
    assert_eq!(
        load_folder(folder.path()).unwrap().class_names,
        ["cat", "dog", "bird", "fish"]
    );
    // They reach the terminal: nothing in them steers it.
    fs::write(
        folder.path().join("classes.txt"),
        "\u{1b}]0;mine\u{7}\u{9b}2J\nright \u{202e}to left\nÜnï 猫 שלום 👩\u{200d}🔬\nback\\slash\n",
    )
    .unwrap();
    assert_eq!(
        load_folder(folder.path()).unwrap().class_names,
        [
            "\\u{1b}]0;mine\\u{7}\\u{9b}2J",
            "right \\u{202e}to left",
            "Ünï 猫 שלום 👩\u{200d}🔬",
            "back\\slash"
        ]
    );
    fs::write(folder.path().join("classes.txt"), "cat\ndog\n").unwrap();
    let error = error_of(load_folder(folder.path()));
    assert!(
        error.contains("label 2 of image 2, but there are 2 class names"),
        "{error}"
    );
    assert!(
        error.contains("hint: classes.txt needs one line per class, at least 3"),
        "{error}"
    );
    fs::write(folder.path().join("classes.txt"), b"M\xe4ntel\n").unwrap();
    let error = error_of(load_folder(folder.path()));
    assert!(
        error.contains("classes.txt: ")
            && error.contains("\nhint: classes.txt is a text file in UTF-8"),
        "{error}"
    );
    fs::write(folder.path().join("classes.txt"), "\n \n").unwrap();
    assert!(
        error_of(load_folder(folder.path())).contains("expected 1 to 256 class names, found 0")
    );
    fs::write(folder.path().join("classes.txt"), "x\n".repeat(257)).unwrap();
    assert!(error_of(load_folder(folder.path())).contains("found 257"));
}

#[test]
fn missing_files_are_named() {
    let folder = tiny_folder();
    fs::remove_file(folder.path().join(FILES[1].0)).unwrap();
    fs::remove_file(folder.path().join(FILES[2].0)).unwrap();
    let error = error_of(load_folder(folder.path()));
    let expected = format!(
        "{}: missing {}, {}\n",
        folder.path().display(),
        FILES[1].0,
        FILES[2].0
    );
    assert!(error.starts_with(&expected), "{error}");
}

#[test]
fn files_that_do_not_fit_each_other_are_named() {
    let folder = tiny_folder();
    let write =
        |index: usize, bytes: &[u8]| fs::write(folder.path().join(FILES[index].0), bytes).unwrap();
    write(1, &write_labels(&[0, 1]));
    let error = error_of(load_folder(folder.path()));
    assert!(
        error.contains("train-labels-idx1-ubyte: 2 labels for 6 images"),
        "{error}"
    );
    write(1, &tiny_files()[1]);
    write(
        2,
        &write_images(&Images {
            n_images: 3,
            channels: 1,
            height: 3,
            width: 2,
            pixels: vec![0; 18],
        }),
    );
    let error = error_of(load_folder(folder.path()));
    assert!(
        error.contains("test images of 3x2 pixels, but training images of 2x3"),
        "{error}"
    );
}

#[test]
fn damaged_files_are_named() {
    let files = tiny_files();
    let empty = write_labels(&[]);
    for (bytes, reason) in [
        (&files[1][..8], "cut short: expected 14 bytes, found 8"),
        (&b"PK\x03\x04"[..], "not an IDX file"),
        (
            &files[0][..],
            "expected an IDX file of 1 (labels) dimensions, found 3",
        ),
        (&empty[..], "empty"),
        (&[0x1f, 0x8b, 8, 0][..], "damaged gzip"),
    ] {
        let folder = tiny_folder();
        let path = folder.path().join(FILES[1].0);
        fs::write(&path, bytes).unwrap();
        let error = error_of(load_folder(folder.path()));
        assert!(
            error.starts_with(&format!("{}: {reason}", path.display())),
            "{error}"
        );
    }
}

#[test]
fn a_request_that_names_nothing_gets_a_suggestion() {
    let load = |request| {
        error_of(load(
            &lookup(request, Path::new("/nonexistent")),
            &mut NoProgress,
        ))
    };
    assert_eq!(
        load("fashion_mnist"),
        "fashion_mnist: no such data folder\nhint: did you mean \"fashion-mnist\"?"
    );
    assert!(load("Sampel").ends_with("did you mean \"sample\"?"));
    assert!(
        load("/no/such/place")
            .ends_with("data.source is a folder or one of auto, fashion-mnist, sample")
    );
}

#[test]
fn the_sample_has_500_and_100_images_of_each_class() {
    let sample = load(
        &lookup("sample", Path::new("/nonexistent")),
        &mut NoProgress,
    )
    .unwrap();
    assert_eq!(
        (sample.train.images.n_images, sample.test.images.n_images),
        (5000, 1000)
    );
    assert_eq!(
        (sample.train.images.height, sample.train.images.width),
        (28, 28)
    );
    assert_eq!(count_per_class(&sample.train), [500; 10]);
    assert_eq!(count_per_class(&sample.test), [100; 10]);
    assert_eq!(sample.class_names, CLASS_NAMES);
    assert_eq!(
        (sample.source.kind, sample.source.warning),
        (SourceKind::Sample, None)
    );
}

#[test]
fn auto_ends_with_the_sample_and_says_where_it_looked() {
    let root = TempDir::new().unwrap();
    fs::create_dir(root.path().join("cache")).unwrap();
    let dataset = load(&lookup("auto", root.path()), &mut NoProgress).unwrap();
    assert_eq!(dataset.source.kind, SourceKind::Sample);
    let warning = dataset.source.warning.unwrap();
    for part in [
        "embedded sample",
        "cache: missing train-images",
        "system: no such folder",
        "download: switched off",
        "--data DIR",
    ] {
        assert!(warning.contains(part), "{part:?} is not in {warning}");
    }
}

#[test]
fn the_full_set_or_an_error_that_names_every_place() {
    let root = TempDir::new().unwrap();
    let mut offline = lookup("fashion-mnist", root.path());
    offline.download = true;
    offline.mirrors = vec!["http://127.0.0.1:1/nobody".to_owned()];
    let error = error_of(load(&offline, &mut NoProgress));
    for part in [
        root.path().join("cache").to_str().unwrap(),
        root.path().join("system").to_str().unwrap(),
        "http://127.0.0.1:1/nobody: no connection",
        "apt install dataset-fashion-mnist",
        "--data DIR",
        "WEFT_DATA",
    ] {
        assert!(error.contains(part), "{part:?} is not in {error}");
    }
}

#[test]
fn wrong_files_in_the_cache_or_the_system_folder_are_an_error_and_not_passed_over() {
    for place in ["cache", "system"] {
        let root = TempDir::new().unwrap();
        write_folder(&root.path().join(place), &tiny_files());
        for request in ["auto", "fashion-mnist"] {
            let error = error_of(load(&lookup(request, root.path()), &mut NoProgress));
            let path = root.path().join(place).join(FILES[0].0);
            assert!(
                error.starts_with(&format!("{}: not Fashion-MNIST's file", path.display())),
                "{error}"
            );
            assert!(error.contains(FILES[0].1), "{error}");
        }
    }
}

#[test]
fn a_data_folder_given_is_the_only_place_looked_in() {
    let (root, folder) = (TempDir::new().unwrap(), tiny_folder());
    let with = |request, data_dir| {
        load(
            &Lookup {
                data_dir: Some(data_dir),
                ..lookup(request, root.path())
            },
            &mut NoProgress,
        )
    };
    assert_eq!(
        with("auto", folder.path()).unwrap().class_names,
        ["0", "1", "2"]
    );
    assert!(error_of(with("fashion-mnist", folder.path())).contains("not Fashion-MNIST's file"));
    assert!(error_of(with("auto", root.path())).contains("missing train-images-idx3-ubyte"));
    assert!(
        error_of(with("auto", Path::new("/no/such/place")))
            .contains("/no/such/place: no such data folder")
    );
    let warning = with("sample", folder.path())
        .unwrap()
        .source
        .warning
        .unwrap();
    assert!(
        warning.contains("is not used, since data.source is \"sample\""),
        "{warning}"
    );
}

#[test]
fn the_source_is_written_and_read_as_json() {
    let source = load_folder(tiny_folder().path()).unwrap().source;
    let json = serde_json::to_string(&source).unwrap();
    assert!(
        json.starts_with("{\"kind\":\"directory\",\"location\":"),
        "{json}"
    );
    assert_eq!(serde_json::from_str::<Source>(&json).unwrap(), source);
}

#[test]
fn debians_files_are_fashion_mnist_and_the_sample_comes_from_them() {
    if !debian_is_there() {
        return;
    }
    let root = TempDir::new().unwrap();
    let full = load(
        &Lookup {
            system_dir: DEBIAN.into(),
            ..lookup("auto", root.path())
        },
        &mut NoProgress,
    )
    .unwrap();
    assert_eq!(
        (full.source.kind, full.source.location.as_str()),
        (SourceKind::FashionMnist, DEBIAN)
    );
    assert_eq!(full.source.warning, None);
    assert_eq!(count_per_class(&full.train), [6000; 10]);
    assert_eq!(count_per_class(&full.test), [1000; 10]);
    assert_eq!(full.class_names, CLASS_NAMES);
    let sample = load(&lookup("sample", root.path()), &mut NoProgress).unwrap();
    let first = full
        .train
        .labels
        .iter()
        .position(|&label| label == 9)
        .unwrap();
    let first_in_sample = sample
        .train
        .labels
        .iter()
        .position(|&label| label == 9)
        .unwrap();
    let image = |split: &LabeledImages, index: usize| {
        split.images.pixels[index * 784..(index + 1) * 784].to_vec()
    };
    assert_eq!(
        image(&full.train, first),
        image(&sample.train, first_in_sample)
    );
}

#[test]
fn the_cache_comes_before_the_system_folder() {
    if !debian_is_there() {
        return;
    }
    let root = TempDir::new().unwrap();
    let found = |cache: &Path| {
        let lookup = Lookup {
            cache_dir: cache.to_owned(),
            system_dir: DEBIAN.into(),
            ..lookup("fashion-mnist", root.path())
        };
        load(&lookup, &mut NoProgress).map(|dataset| dataset.source.location)
    };
    // A cache with one file is one whose download broke off, and no damage.
    let partial = root.path().join("partial");
    fs::create_dir(&partial).unwrap();
    fs::write(partial.join(FILES[0].0), b"").unwrap();
    assert_eq!(found(&partial).unwrap(), DEBIAN);
    let whole = root.path().join("whole");
    fs::create_dir(&whole).unwrap();
    for (name, _) in FILES {
        let file = format!("{name}.gz");
        fs::copy(Path::new(DEBIAN).join(&file), whole.join(&file)).unwrap();
    }
    assert_eq!(found(&whole).unwrap(), whole.to_str().unwrap());
}
