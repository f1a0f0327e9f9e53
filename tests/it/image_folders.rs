//! Proves that a folder of class folders becomes the data set its owner means: parts, classes, sizes and
//! colours; that the packed cache is made once and follows the content; that what cannot be used is named.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use image::{GrayImage, Rgb, RgbImage};
use tempfile::TempDir;
use weft::data::download::{NoProgress, Progress};
use weft::data::fashion_mnist::{DataError, Dataset, LabeledImages, Lookup, SourceKind};
use weft::data::image_folder::{Color, ImageSet, Size};
use weft::data::{DataConfig, Splits, load};

/// Writes a picture in the format that its name says.
fn save(path: &Path, picture: &RgbImage) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    picture.save(path).unwrap();
}

fn save_grey(path: &Path, value: u8) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let picture = GrayImage::from_fn(5, 4, |x, y| image::Luma([value ^ (x + y) as u8]));
    picture.save(path).unwrap();
}

/// A picture of one colour but for its corner, which tells it from all others.
fn picture(color: [u8; 3], id: u8) -> RgbImage {
    let mut picture = RgbImage::from_pixel(8, 8, Rgb(color));
    picture.put_pixel(0, 0, Rgb([id, 0, 0]));
    picture
}

const COLORS: [(&str, [u8; 3]); 3] = [
    ("blue", [10, 20, 200]),
    ("green", [10, 200, 20]),
    ("red", [200, 10, 20]),
];

/// `n` pictures of each of three classes, told apart by `id` onward.
fn fill(folder: &Path, n: u8, id: u8) {
    for (name, color) in COLORS {
        for at in id..id + n {
            save(
                &folder.join(name).join(format!("{at:03}.png")),
                &picture(color, at),
            );
        }
    }
}

fn config() -> DataConfig {
    DataConfig::default()
}

fn sized(size: Size) -> DataConfig {
    DataConfig { size, ..config() }
}

fn skipping() -> DataConfig {
    DataConfig {
        skip_bad: true,
        ..config()
    }
}

fn lookup<'a>(folder: &'a Path, root: &Path) -> Lookup<'a> {
    Lookup {
        request: folder.to_str().unwrap(),
        data_dir: None,
        cache_dir: root.join("none"),
        cache_root: root.to_owned(),
        system_dir: root.join("none"),
        mirrors: Vec::new(),
        download: false,
    }
}

fn try_load(folder: &Path, config: &DataConfig) -> Result<Dataset, DataError> {
    let root = TempDir::new().unwrap();
    load(config, 1, &lookup(folder, root.path()), &mut NoProgress)
}

fn loaded(folder: &Path, config: &DataConfig) -> Dataset {
    try_load(folder, config).unwrap()
}

fn error_of(folder: &Path, config: &DataConfig) -> String {
    let result = try_load(folder, config).map(|dataset| dataset.source);
    result.unwrap_err().to_string()
}

fn set(dataset: &Dataset) -> &ImageSet {
    dataset.source.images.as_ref().unwrap()
}

/// The stages of work, to see whether anything was decoded.
#[derive(Default)]
struct Stages(Vec<String>);

impl Progress for Stages {
    fn start(&mut self, _file: &str, _total: Option<u64>, _resumed_from: u64) {}
    fn advance(&mut self, _bytes: u64) {}
    fn finish(&mut self) {}
    fn retry(&mut self, _reason: &str) {}
    fn stage(&mut self, what: &str, _n_images: u64) {
        self.0.push(what.to_owned());
    }
}

/// Loads, and says whether images were converted for it.
fn converted(folder: &Path, config: &DataConfig, root: &Path) -> (Dataset, bool) {
    let mut stages = Stages::default();
    let dataset = load(config, 1, &lookup(folder, root), &mut stages).unwrap();
    assert_eq!(stages.0[0], "reading");
    (dataset, stages.0.contains(&"converting".to_owned()))
}

fn cache_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder.join(".weft-cache")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut caches: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|it| it == "bin"))
        .collect();
    caches.sort();
    caches
}

/// Which picture an image is: its label and the red of its corner.
fn ids(images: &LabeledImages, indices: impl Iterator<Item = usize>) -> BTreeSet<(u8, u8)> {
    let id = |index| (images.labels[index], images.images.image(index)[0]);
    indices.map(id).collect()
}

fn all(images: &LabeledImages) -> BTreeSet<(u8, u8)> {
    ids(images, 0..images.labels.len())
}

#[test]
fn one_set_is_split_three_ways_by_class_and_seed() {
    let folder = TempDir::new().unwrap();
    fill(folder.path(), 40, 0);
    let root = TempDir::new().unwrap();
    let splits = |seed| {
        let lookup = lookup(folder.path(), root.path());
        let dataset = load(&config(), seed, &lookup, &mut NoProgress).unwrap();
        Splits::new(dataset, &config(), seed).unwrap()
    };
    let parts = |splits: &Splits| {
        let of =
            |indices: &[u32]| ids(&splits.dataset.train, indices.iter().map(|&at| at as usize));
        [
            of(&splits.split.train),
            of(&splits.split.validation),
            all(&splits.dataset.test),
        ]
    };
    let first = splits(1);
    assert_eq!(first.dataset.class_names, ["blue", "green", "red"]);
    assert_eq!(first.test_class_counts(), [4, 4, 4]);
    // A fifth of the 36 that are left.
    let validation = first.class_counts(&first.split.validation);
    assert_eq!(validation.iter().sum::<usize>(), 22);
    assert!(
        validation.iter().all(|n| [7, 8].contains(n)),
        "{validation:?}"
    );
    let [train, validation, test] = parts(&first);
    assert_eq!((train.len(), validation.len(), test.len()), (86, 22, 12));
    let union: BTreeSet<_> = [&train, &validation, &test].into_iter().flatten().collect();
    assert_eq!(union.len(), 120, "no picture is in two parts");
    assert_eq!(parts(&first), parts(&splits(1)));
    let second = parts(&splits(2));
    assert_ne!(test, second[2]);
    assert_ne!(validation, second[1]);
    assert_eq!(first.source().kind, SourceKind::ImageFolder);
    assert!(set(&first.dataset).parts.is_empty());
}

#[test]
fn parts_are_what_their_folders_say() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    fill(&at("train"), 20, 0);
    fill(&at("test"), 5, 100);
    let dataset = loaded(folder.path(), &config());
    let of = |id: std::ops::Range<u8>| -> BTreeSet<(u8, u8)> {
        let classes = (0..3u8).flat_map(|class| id.clone().map(move |id| (class, id)));
        classes.collect()
    };
    assert_eq!(all(&dataset.train), of(0..20));
    assert_eq!(all(&dataset.test), of(100..105));
    assert_eq!(dataset.validation, None);
    assert_eq!(set(&dataset).parts, ["train", "test"]);
    // What validates is what its folder has, whatever data.validation_fraction says.
    fill(&at("Valid"), 3, 200);
    let splits = Splits::new(loaded(folder.path(), &config()), &config(), 1).unwrap();
    let indices = |part: &[u32]| {
        let indices = part.iter().map(|&at| at as usize);
        ids(&splits.dataset.train, indices)
    };
    assert_eq!(indices(&splits.split.validation), of(200..203));
    assert_eq!(indices(&splits.split.train), of(0..20));
    // Without test/, a part of train/ tests, and none of validation/.
    fs::remove_dir_all(at("test")).unwrap();
    let splits = Splits::new(loaded(folder.path(), &config()), &config(), 1).unwrap();
    assert_eq!(splits.test_class_counts(), [2, 2, 2]);
    assert_eq!(splits.split.train.len(), 54);
    assert_eq!(splits.split.validation.len(), 9);
    assert!(all(&splits.dataset.test).is_subset(&of(0..20)));
    assert!(
        splits.class_means().is_empty(),
        "only grey images have them"
    );
    // Each image kept its own pixels and its own label when the others left.
    let labels = &splits.dataset.train.labels;
    for (index, &label) in labels.iter().enumerate() {
        let image = splits.dataset.train.images.image(index);
        let last = [63, 127, 191].map(|at| image[at]);
        assert_eq!(last, COLORS[usize::from(label)].1);
    }
    let mut pictures = all(&splits.dataset.train);
    pictures.extend(all(&splits.dataset.test));
    assert_eq!(
        pictures.len(),
        labels.len() + splits.dataset.test.labels.len()
    );
}

#[test]
fn every_format_gives_the_same_pixels_and_folders_within_a_class_count() {
    let folder = TempDir::new().unwrap();
    for (name, color) in COLORS {
        for at in 0..4u8 {
            save_grey(
                &folder.path().join(name).join(format!("{at}.png")),
                color[0] + at,
            );
        }
    }
    let grey = loaded(folder.path(), &config());
    assert_eq!((set(&grey).height, set(&grey).width), (4, 5));
    assert_eq!((set(&grey).channels, set(&grey).n_fitted), (1, 0));
    let folder = TempDir::new().unwrap();
    for (class, (name, color)) in COLORS.into_iter().enumerate() {
        for (at, extension) in ["png", "bmp", "gif", "webp", "PNG"].into_iter().enumerate() {
            let below = folder
                .path()
                .join(name)
                .join("a/b")
                .join(format!("{at}.{extension}"));
            save(&below, &picture(color, class as u8));
        }
    }
    let dataset = loaded(folder.path(), &config());
    assert_eq!((set(&dataset).channels, set(&dataset).n_files), (3, 15));
    let labels = [&dataset.train.labels[..], &dataset.test.labels[..]].concat();
    assert_eq!(labels.len(), 15);
    for images in [&dataset.train, &dataset.test] {
        for (index, &label) in images.labels.iter().enumerate() {
            let mut expected = Vec::new();
            for channel in 0..3 {
                let picture = picture(COLORS[usize::from(label)].1, label);
                expected.extend(picture.pixels().map(|pixel| pixel.0[channel]));
            }
            assert_eq!(images.images.image(index), expected);
        }
    }
}

#[test]
fn sizes_and_colours_are_what_the_config_says() {
    let folder = TempDir::new().unwrap();
    fill(folder.path(), 10, 0);
    let shape = |config: &DataConfig| {
        let dataset = loaded(folder.path(), config);
        let images = &dataset.train.images;
        assert_eq!(images.pixels.len(), images.n_images * images.n_values());
        (images.channels, images.height, images.width)
    };
    assert_eq!(shape(&config()), (3, 8, 8));
    assert_eq!(shape(&sized(Size::Square(5))), (3, 5, 5));
    assert_eq!(shape(&sized(Size::Sides([4, 6]))), (3, 4, 6));
    let colored = |color| DataConfig { color, ..config() };
    assert_eq!(shape(&colored(Color::Grey)), (1, 8, 8));
    // One picture of another size, and "auto" is 64 x 64; its longer side fills the square.
    save(
        &folder.path().join("red/wide.png"),
        &RgbImage::from_pixel(40, 20, Rgb([255; 3])),
    );
    assert_eq!(shape(&config()), (3, 64, 64));
    let dataset = loaded(folder.path(), &config());
    assert_eq!(set(&dataset).n_fitted, 31);
    let images = [&dataset.train, &dataset.test];
    let mut images = images.iter().flat_map(|part| {
        let image = |index| part.images.image(index);
        (0..part.labels.len()).map(image)
    });
    let wide = images.find(|image| image[32 * 64 + 32] == 255).unwrap();
    let rows: Vec<u8> = (0..64).map(|y| wide[y * 64 + 32]).collect();
    let bars = [vec![0; 16], vec![255; 32], vec![0; 16]].concat();
    assert_eq!(rows, bars, "black above and below, not stretched");

    let grey = TempDir::new().unwrap();
    for class in ["a", "b"] {
        // Grey that is saved as RGB, with the tint that JPEG gives, is still grey.
        for at in 0..20u8 {
            let tinted = RgbImage::from_pixel(6, 6, Rgb([at, at + 5, at + 3]));
            save(&grey.path().join(class).join(format!("{at}.png")), &tinted);
        }
    }
    let channels = |config: &DataConfig| loaded(grey.path(), config).train.images.channels;
    assert_eq!(
        (channels(&config()), channels(&colored(Color::Rgb))),
        (1, 3)
    );
}

#[test]
fn images_are_converted_once_and_again_when_a_pixel_changes() {
    let (folder, root) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    fill(folder.path(), 10, 0);
    let go = |config: &DataConfig| converted(folder.path(), config, root.path());
    let (first, was_converted) = go(&config());
    assert!(was_converted);
    let (again, was_converted) = go(&config());
    assert!(!was_converted);
    assert_eq!(again, first);
    assert_eq!(cache_files(folder.path()).len(), 1);
    // Other sizes and colours are kept beside it.
    assert!(go(&sized(Size::Square(4))).1);
    assert!(!go(&sized(Size::Square(4))).1);
    assert!(!go(&config()).1);
    assert_eq!(cache_files(folder.path()).len(), 2);
    // Only content counts, not when a file was written.
    let path = folder.path().join("red/003.png");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes).unwrap();
    assert!(!go(&config()).1);
    let mut changed = picture(COLORS[2].1, 3);
    changed.put_pixel(7, 7, Rgb([1, 2, 3]));
    save(&path, &changed);
    let (other, was_converted) = go(&config());
    assert!(was_converted);
    assert_ne!(other.source.sha256, first.source.sha256);
    let pixels = |dataset: &Dataset| {
        let (train, test) = (&dataset.train.images.pixels, &dataset.test.images.pixels);
        [&train[..], test].concat()
    };
    let pairs = pixels(&first).into_iter().zip(pixels(&other));
    assert_eq!(
        pairs.filter(|(a, b)| a != b).count(),
        3,
        "one pixel, three channels"
    );
    assert_eq!(
        cache_files(folder.path()).len(),
        1,
        "those of the old content are gone"
    );
    fs::rename(folder.path().join("red"), folder.path().join("rot")).unwrap();
    assert!(go(&config()).1);
    assert_eq!(go(&config()).0.class_names, ["blue", "green", "rot"]);
}

#[test]
fn a_damaged_cache_is_made_anew_with_a_warning() {
    let (folder, root) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    fill(folder.path(), 4, 0);
    let (first, _) = converted(folder.path(), &config(), root.path());
    let path = cache_files(folder.path()).remove(0);
    let good = fs::read(&path).unwrap();
    let flips = (0..good.len())
        .step_by(97)
        .chain(good.len() - 70..good.len());
    let flipped = flips.map(|at| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    });
    let cut = [0, 1, 40, good.len() / 2, good.len() - 1].map(|at| good[..at].to_vec());
    let longer = [&[7][..], &good[..]].concat();
    for bytes in flipped.chain(cut).chain([longer]) {
        fs::write(&path, &bytes).unwrap();
        let (again, was_converted) = converted(folder.path(), &config(), root.path());
        let warning = again.source.warning.as_ref().unwrap();
        assert!(
            was_converted && warning.contains("the images were converted anew"),
            "{warning}"
        );
        assert_eq!(
            (again.train, again.test),
            (first.train.clone(), first.test.clone())
        );
        assert!(fs::read(&path).unwrap() == good);
    }
}

#[test]
fn a_folder_that_cannot_be_written_has_its_cache_elsewhere() {
    let (folder, root) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    fill(folder.path(), 4, 0);
    // A file in the way works for root too, whom no permission stops.
    fs::write(folder.path().join(".weft-cache"), "").unwrap();
    let (first, _) = converted(folder.path(), &config(), root.path());
    let cache = set(&first).cache.clone().unwrap();
    assert!(
        cache.starts_with(root.path().join("image-folders").to_str().unwrap()),
        "{cache}"
    );
    assert!(!converted(folder.path(), &config(), root.path()).1);
    // Nowhere at all: it works, and says what that costs.
    let nowhere = root.path().join("file");
    fs::write(&nowhere, "").unwrap();
    let (other, was_converted) = converted(folder.path(), &config(), &nowhere);
    assert!(was_converted && set(&other).cache.is_none());
    let warning = other.source.warning.unwrap();
    assert!(
        warning.contains("cannot be kept, so that the next start takes as long"),
        "{warning}"
    );
    assert_eq!(other.train, first.train);
}

#[test]
fn several_at_once_all_get_the_images_and_leave_one_cache() {
    let (folder, root) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    fill(folder.path(), 10, 0);
    let go = || converted(folder.path(), &config(), root.path()).0.train;
    let results: Vec<LabeledImages> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(go)).collect();
        threads.into_iter().map(|it| it.join().unwrap()).collect()
    });
    assert!(results.iter().all(|train| *train == results[0]));
    assert_eq!(cache_files(folder.path()).len(), 1);
    // What a kill left is removed when it is surely nobody's any more.
    let left = |name: &str, hours: u64| {
        let path = folder.path().join(".weft-cache").join(name);
        let file = fs::File::create(&path).unwrap();
        let hours = std::time::Duration::from_secs(3600 * hours);
        file.set_modified(std::time::SystemTime::now() - hours)
            .unwrap();
        path
    };
    let (old, new) = (left(".tmp-a.bin-1-1", 2), left(".tmp-b.bin-2-1", 0));
    converted(folder.path(), &sized(Size::Square(3)), root.path());
    assert!(!old.exists() && new.exists());
}

#[test]
fn bad_images_are_listed_and_refused_or_skipped_and_counted() {
    let folder = TempDir::new().unwrap();
    fill(folder.path(), 10, 0);
    let at = |name: &str| folder.path().join(name);
    let whole = fs::read(at("red/000.png")).unwrap();
    fs::write(at("red/cut.png"), &whole[..whole.len() - 20]).unwrap();
    fs::write(at("blue/empty.jpg"), "").unwrap();
    fs::write(at("green/note.gif"), "only text").unwrap();
    fs::write(at("green/scan.tif"), "II*\0and more").unwrap();
    fs::write(at("green/readme.txt"), "no image by its name: not bad").unwrap();
    for _ in 0..2 {
        // The second time they come from the cache.
        let error = error_of(folder.path(), &config());
        let (head, body) = error.split_once('\n').unwrap();
        assert!(head.ends_with(": 4 images cannot be used:"), "{head}");
        for line in [
            "blue/empty.jpg: is empty",
            "green/note.gif: is text, not a picture",
            "green/scan.tif: is a TIFF picture",
            "red/cut.png: is cut short",
            "hint: mend or delete them; or set data.skip_bad = true",
        ] {
            assert!(body.contains(line), "{line}\n{error}");
        }
    }
    let dataset = loaded(folder.path(), &skipping());
    let found = set(&dataset);
    assert_eq!(
        (found.n_files, found.n_skipped, found.n_ignored),
        (34, 4, 1)
    );
    assert_eq!(found.skipped[3].file, "red/cut.png");
    assert_eq!(dataset.train.labels.len() + dataset.test.labels.len(), 30);
    let warning = dataset.source.warning.as_ref().unwrap();
    assert!(
        warning.contains("4 of 34 images cannot be used and are left out"),
        "{warning}"
    );
    assert!(
        warning.contains("1 files are no images and are not used: green/readme.txt"),
        "{warning}"
    );
    // None of the bad ones pushed a neighbour out of its place.
    let mut pictures = all(&dataset.train);
    pictures.extend(all(&dataset.test));
    assert_eq!(pictures.len(), 30);
    for name in 0..30 {
        fs::write(at(&format!("red/x{name}.png")), "").unwrap();
    }
    let error = error_of(folder.path(), &config());
    assert!(
        error.contains(": 34 images") && error.contains("\n  and 14 more\n"),
        "{error}"
    );
    assert_eq!(error.lines().count(), 1 + 20 + 1 + 1);
}

#[test]
fn sets_that_no_classifier_can_be_trained_on_are_refused() {
    let refused = |make: &dyn Fn(&Path), expected: &[&str]| {
        let folder = TempDir::new().unwrap();
        make(folder.path());
        let error = error_of(folder.path(), &skipping());
        assert!(error.contains("\nhint: "), "{error}");
        for part in expected {
            assert!(error.contains(part), "{part}: {error}");
        }
    };
    let color = COLORS[0].1;
    refused(
        &|it| {
            fill(it, 5, 0);
            fs::create_dir(it.join("empty")).unwrap();
        },
        &["class empty has no images"],
    );
    refused(
        &|it| {
            fill(it, 5, 0);
            fs::create_dir(it.join("yellow")).unwrap();
            fs::write(it.join("yellow/a.png"), "").unwrap();
        },
        &["none of the 1 images of class yellow can be used"],
    );
    refused(
        &|it| save(&it.join("cat/1.png"), &picture(color, 1)),
        &["only one folder (cat)"],
    );
    refused(
        &|it| save(&it.join("1.png"), &picture(color, 1)),
        &["images lie directly in it"],
    );
    refused(
        &|it| {
            save(&it.join("train/1.png"), &picture(color, 1));
            save(&it.join("test/1.png"), &picture(color, 1));
        },
        &["/train: images lie directly in it"],
    );
    refused(
        &|it| fill(&it.join("test"), 2, 0),
        &["there is test/, but no train/"],
    );
    refused(
        &|it| {
            fill(&it.join("train"), 2, 0);
            fill(&it.join("Training"), 2, 0);
        },
        &["Training and train both hold the train images"],
    );
    refused(
        &|it| {
            fill(&it.join("train"), 2, 0);
            save(&it.join("test/pink/1.png"), &picture(color, 1));
        },
        &["class pink has test images, but no training images"],
    );
    // Training images never stand in for what a part lacks.
    for part in ["test", "validation"] {
        let make = |it: &Path, content: Option<&str>| {
            fill(&it.join("train"), 20, 0);
            for (class, _) in COLORS {
                let class = it.join(part).join(class);
                fs::create_dir_all(&class).unwrap();
                if let Some(content) = content {
                    fs::write(class.join("1.png"), content).unwrap();
                }
            }
        };
        refused(
            &|it| make(it, Some("no picture")),
            &[&format!("none of the 3 {part} images can be used")],
        );
        refused(
            &|it| make(it, None),
            &[&format!("the folder for {part} images has none")],
        );
    }
    refused(
        &|it| {
            fill(it, 2, 0);
            fs::write(it.join("t10k-labels-idx1-ubyte"), "").unwrap();
        },
        &["both IDX files (t10k-labels-idx1-ubyte) and folders of images (blue)"],
    );
    refused(
        &|it| {
            for class in 0..257 {
                save_grey(&it.join(class.to_string()).join("1.png"), 1);
            }
        },
        &["257 classes, but at most 256"],
    );
    refused(
        &|it| fill(it, 1, 0),
        &["no test images can be set aside", "test_fraction"],
    );
}

#[test]
fn leaks_between_the_parts_are_told() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    fill(&at("train"), 10, 0);
    fill(&at("test"), 3, 8);
    save(&at("train/red/blue.png"), &picture(COLORS[0].1, 0));
    // Another file, the same pixels.
    save(&at("test/red/again.bmp"), &picture(COLORS[2].1, 1));
    fs::remove_dir_all(at("test/green")).unwrap();
    fs::create_dir(at("predict")).unwrap();
    let dataset = loaded(folder.path(), &config());
    let found = set(&dataset);
    assert_eq!((found.n_leaked, found.n_in_two_classes), (5, 1));
    let warning = dataset.source.warning.unwrap();
    for part in [
        "5 of 7 test images are also training images, pixel for pixel",
        "1 images are also in the folder of another class",
        "no test images of green",
        "beside train/, not used: predict",
    ] {
        assert!(warning.contains(part), "{part}: {warning}");
    }
}

#[test]
fn idx_files_are_not_fitted_and_a_config_that_asks_for_it_is_told() {
    let root = TempDir::new().unwrap();
    let sample = |config: &DataConfig| {
        let lookup = lookup(Path::new("sample"), root.path());
        let dataset = load(config, 1, &lookup, &mut NoProgress);
        dataset
            .map(|it| it.train.labels.len())
            .map_err(|error| error.to_string())
    };
    assert_eq!(sample(&config()), Ok(5000));
    assert_eq!(sample(&sized(Size::Sides([28, 28]))), Ok(5000));
    let error = sample(&sized(Size::Square(32))).unwrap_err();
    assert!(
        error.starts_with("`data.size` is 32, but") && error.contains("28 x 28"),
        "{error}"
    );
    let rgb = DataConfig {
        color: Color::Rgb,
        ..config()
    };
    let error = sample(&rgb).unwrap_err();
    assert!(error.starts_with("`data.color` is \"rgb\", but"), "{error}");
}

#[cfg(unix)]
mod unix {
    use std::ffi::{CString, OsStr};
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn hostile_names_of_classes_and_files_are_only_names() {
        let folder = TempDir::new().unwrap();
        let long = "n".repeat(250);
        let names: [&[u8]; 8] = [
            b"<script>alert(1)</script>",
            b"\"quoted\" 'twice', \\back",
            b"\x1b[31mred\x07",
            b"two\nlines",
            b"not \xff\xfe utf-8",
            "right\u{202e}to left".as_bytes(),
            "Ünï çödé 猫".as_bytes(),
            long.as_bytes(),
        ];
        for (class, name) in names.iter().enumerate() {
            // A slash cannot be part of a name.
            let name: Vec<u8> = name
                .iter()
                .map(|&it| if it == b'/' { b'|' } else { it })
                .collect();
            let below = folder.path().join(OsStr::from_bytes(&name));
            for at in 0..12u8 {
                save(
                    &below.join(format!("{at}.png")),
                    &picture([class as u8 * 30, 0, 0], at),
                );
            }
        }
        let dataset = loaded(folder.path(), &config());
        let shown = &dataset.class_names;
        assert_eq!(shown.len(), 8);
        let odd = |letter: char| letter.is_control() || letter == '\u{202e}';
        assert!(!shown.iter().any(|name| name.contains(odd)), "{shown:?}");
        assert!(
            shown.contains(&"\\u{1b}[31mred\\u{7}".to_owned()),
            "{shown:?}"
        );
        assert!(
            shown.contains(&"not \u{fffd}\u{fffd} utf-8".to_owned()),
            "{shown:?}"
        );
        let bad = folder
            .path()
            .join(OsStr::from_bytes(b"two\nlines"))
            .join(OsStr::from_bytes(b"\x1b]0;x\xff.png"));
        fs::write(bad, "").unwrap();
        let error = error_of(folder.path(), &config());
        assert!(
            error.contains("two\\u{a}lines/\\u{1b}]0;x\u{fffd}.png: is empty"),
            "{error}"
        );
        assert_eq!(error.lines().count(), 3);
        let two = |name: &[u8]| folder.path().join(OsStr::from_bytes(name)).join("1.png");
        save(&two(b"not \xfc\xfd utf-8"), &picture([0; 3], 0));
        let error = error_of(folder.path(), &skipping());
        assert!(
            error.contains("two class folders are both shown as not"),
            "{error}"
        );
    }

    #[test]
    fn links_are_followed_but_not_in_circles_and_pipes_are_not_opened() {
        let (folder, store) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let at = |name: &str| folder.path().join(name);
        fill(store.path(), 10, 0);
        // As people keep several sets over one store: links to folders, and to files.
        symlink(store.path().join("red"), at("red")).unwrap();
        fs::create_dir(at("blue")).unwrap();
        for id in 0..10 {
            let name = format!("{id:03}.png");
            symlink(
                store.path().join("blue").join(&name),
                at("blue").join(&name),
            )
            .unwrap();
        }
        let dataset = loaded(folder.path(), &config());
        assert_eq!(dataset.class_names, ["blue", "red"]);
        assert_eq!(dataset.train.labels.len() + dataset.test.labels.len(), 20);

        symlink(at("nothing"), at("blue/broken.png")).unwrap();
        let pipe = CString::new(at("blue/pipe.png").as_os_str().as_bytes()).unwrap();
        // SAFETY: a valid C string, which mkfifo only reads.
        assert_eq!(unsafe { libc::mkfifo(pipe.as_ptr(), 0o600) }, 0);
        let error = error_of(folder.path(), &config());
        assert!(
            error.contains("blue/broken.png: cannot be read: No such file"),
            "{error}"
        );
        assert!(
            error.contains("blue/pipe.png: is no regular file"),
            "{error}"
        );

        symlink(folder.path(), at("blue/up")).unwrap();
        let error = error_of(folder.path(), &config());
        assert!(
            error.contains("a link that leads back to a folder above it"),
            "{error}"
        );
    }
}

/// `weft train` in the folder of the data puts its runs there, with pictures in them.
#[test]
fn runs_that_lie_in_the_folder_of_the_data_are_no_class() {
    let folder = TempDir::new().unwrap();
    fill(folder.path(), 10, 0);
    let run = folder.path().join("runs").join("first");
    save(&run.join("plots/curves.png"), &picture([1, 2, 3], 4));
    for file in ["config.toml", "environment.json"] {
        fs::write(run.join(file), "").unwrap();
    }
    let dataset = loaded(folder.path(), &config());
    assert_eq!(dataset.class_names, ["blue", "green", "red"]);
    assert_eq!(set(&dataset).n_files, 30);
}
