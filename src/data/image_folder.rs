//! A folder of images as a data set: each class has a folder, in train/, test/ and validation/ or in one
//! set that is divided. Fitted to one size once, and kept beside the images.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use self::cache::{Found, Key};
use self::convert::{Packed, convert};
use self::error::{MOST_LISTED, list};
use self::scan::{Part, Scan, hex, scan};
use super::download::{Progress, sha256_hex};
use super::fashion_mnist::{Dataset, FileSha256, LabeledImages, Source, SourceKind};
use super::idx::Images;
use super::split::{SplitError, stratified};
use crate::random::mix;

pub use self::error::{BadImage, ImageFolderError};
pub use self::options::{Color, Size};
pub(super) use self::scan::sign_of_images;

mod cache;
mod convert;
mod error;
mod options;
mod scan;

/// Keeps the draws of the test split apart from those of the validation split.
const TEST_TAG: u64 = u64::from_be_bytes(*b"wf.test ");
/// Bad images that a record lists.
const MOST_RECORDED: usize = 1000;

/// How a folder is read.
#[derive(Clone, Debug)]
pub struct Options<'a> {
    /// The folder.
    pub folder: &'a Path,
    /// Height and width of what a model takes.
    pub size: Size,
    /// Its channels.
    pub color: Color,
    /// Part of the images that is set aside for the test, in (0, 1), where no folder does that.
    pub test_fraction: f64,
    /// Seed of that choice.
    pub seed: u64,
    /// Whether to go on without the images that cannot be used.
    pub skip_bad: bool,
    /// Holds the converted images of folders that cannot be written.
    pub cache_root: &'a Path,
}

/// What was made of a folder of images, as it is kept in `environment.json`.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct ImageSet {
    /// Rows of an image.
    pub height: usize,
    /// Columns of an image.
    pub width: usize,
    /// 1 (grey) or 3 (RGB).
    pub channels: usize,
    /// The parts that folders set aside: of train, validation and test. Empty is one set.
    pub parts: Vec<String>,
    /// Image files that were found.
    pub n_files: usize,
    /// Images that had another size.
    pub n_fitted: usize,
    /// Images that were left out since they cannot be used.
    pub n_skipped: usize,
    /// The first thousand of those.
    pub skipped: Vec<BadImage>,
    /// Files that are no images.
    pub n_ignored: usize,
    /// Test images that are also training images, pixel for pixel.
    pub n_leaked: usize,
    /// Images that another class has too, pixel for pixel.
    pub n_in_two_classes: usize,
    /// Where the converted images are kept.
    pub cache: Option<String>,
}

/// `"grey"` or `"RGB"`.
pub fn color_name(channels: usize) -> &'static str {
    match channels {
        1 => "grey",
        _ => "RGB",
    }
}

/// Loads a folder of images.
pub fn load(options: &Options, progress: &mut dyn Progress) -> Result<Dataset, ImageFolderError> {
    let mut scan = scan(options.folder)?;
    let listing = scan.digest(progress);
    let mut warnings = Vec::new();
    let (packed, cache) = packed(&scan, &listing, options, progress, &mut warnings)?;
    let bad = bad_images(&scan, &packed);
    if !bad.is_empty() && !options.skip_bad {
        return Err(ImageFolderError::Bad {
            folder: options.folder.to_owned(),
            n_bad: bad.len(),
            bad: bad.into_iter().take(MOST_LISTED).collect(),
        });
    }
    check_classes(&scan, &packed, options.folder)?;
    let mut set = ImageSet {
        height: packed.height,
        width: packed.width,
        channels: packed.channels,
        parts: parts(&scan),
        n_files: scan.files.len(),
        n_fitted: packed.n_fitted,
        n_skipped: bad.len(),
        skipped: bad,
        n_ignored: scan.ignored.len(),
        n_leaked: 0,
        n_in_two_classes: 0,
        cache: cache.map(|path| path.display().to_string()),
    };
    let sha256 = vec![
        FileSha256 {
            file: format!("{} image files", set.n_files),
            sha256: hex(&listing),
        },
        FileSha256 {
            file: "their pixels".to_owned(),
            sha256: sha256_hex(&packed.pixels),
        },
    ];
    let Divided {
        train,
        test,
        validation,
    } = divide(&scan, packed, options)?;
    (set.n_leaked, set.n_in_two_classes) = count_twins(&train, &test);
    warnings.extend(warn_of(&set, &scan, &test));
    set.skipped.truncate(MOST_RECORDED);
    Ok(Dataset {
        train,
        test,
        validation,
        class_names: scan.class_names,
        source: Source {
            kind: SourceKind::ImageFolder,
            location: options.folder.display().to_string(),
            sha256,
            warning: (!warnings.is_empty()).then(|| warnings.join("\n")),
            images: Some(set),
        },
    })
}

/// From the cache, or converted and kept there.
fn packed(
    scan: &Scan,
    listing: &[u8; 32],
    options: &Options,
    progress: &mut dyn Progress,
    warnings: &mut Vec<String>,
) -> Result<(Packed, Option<PathBuf>), ImageFolderError> {
    let key = Key::new(listing, scan.files.len(), options.size, options.color);
    match cache::find(options.folder, options.cache_root, &key) {
        Found::Whole(packed, path) => return Ok((packed, Some(path))),
        Found::Damaged(path, reason) => warnings.push(format!(
            "{}: {reason}; the images were converted anew",
            path.display()
        )),
        Found::Nothing => {}
    }
    let mut packed = convert(scan, options, progress)?;
    let kept = cache::keep(options.folder, options.cache_root, &key, &mut packed);
    let cache = match kept {
        Ok(path) => Some(path),
        Err(error) => {
            warnings.push(format!(
                "the converted images cannot be kept, so that the next start takes as long: {error}"
            ));
            None
        }
    };
    Ok((packed, cache))
}

fn bad_images(scan: &Scan, packed: &Packed) -> Vec<BadImage> {
    let bad = packed.bad.iter().map(|(index, reason)| BadImage {
        file: scan.files[*index].shown(),
        reason: reason.clone(),
    });
    bad.collect()
}

fn parts(scan: &Scan) -> Vec<String> {
    let mut parts: Vec<Part> = scan.files.iter().map(|file| file.part).collect();
    parts.dedup();
    let names = parts.iter().map(|part| part.as_str().to_owned());
    names.filter(|_| scan.has_parts).collect()
}

/// Part and label of each image that is packed.
fn usable(scan: &Scan, packed: &Packed) -> Vec<(Part, u8)> {
    let mut bad = packed.bad.iter().map(|&(index, _)| index).peekable();
    let files = scan.files.iter().enumerate();
    let usable = files.filter(|(index, _)| bad.next_if_eq(index).is_none());
    usable.map(|(_, file)| (file.part, file.label)).collect()
}

fn check_classes(scan: &Scan, packed: &Packed, folder: &Path) -> Result<(), ImageFolderError> {
    let count = |images: &mut dyn Iterator<Item = (Part, u8)>| {
        let mut counts = vec![0usize; scan.class_names.len()];
        for (part, label) in images {
            counts[usize::from(label)] += usize::from(part == Part::Train);
        }
        counts
    };
    let all = count(&mut scan.files.iter().map(|file| (file.part, file.label)));
    let usable = count(&mut usable(scan, packed).into_iter());
    for (label, name) in scan.class_names.iter().enumerate() {
        let (folder, name) = (folder.to_owned(), name.clone());
        match (all[label], usable[label]) {
            (0, _) => return Err(ImageFolderError::EmptyClass { folder, name }),
            (n_bad, 0) => {
                return Err(ImageFolderError::AllBad {
                    folder,
                    name,
                    n_bad,
                });
            }
            _ => {}
        }
    }
    Ok(())
}

struct Divided {
    train: LabeledImages,
    test: LabeledImages,
    validation: Option<Vec<u32>>,
}

/// As the folders say; where there is no test/, a part of the training images is set aside.
fn divide(scan: &Scan, packed: Packed, options: &Options) -> Result<Divided, ImageFolderError> {
    let usable = usable(scan, &packed);
    let of_part = |wanted: Part| -> Vec<u32> {
        let parts = usable.iter().enumerate();
        let of_part = parts.filter(|(_, (part, _))| *part == wanted);
        of_part.map(|(index, _)| index as u32).collect()
    };
    let mut train = of_part(Part::Train);
    let mut test = of_part(Part::Test);
    if test.is_empty() {
        let labels: Vec<u8> = train.iter().map(|&at| usable[at as usize].1).collect();
        let key = mix(&[options.seed, TEST_TAG]);
        let n_classes = scan.class_names.len();
        let split = stratified(&labels, n_classes, options.test_fraction, key);
        let split = split.map_err(|reason| ImageFolderError::Test {
            folder: options.folder.to_owned(),
            reason: named(reason, &scan.class_names),
        })?;
        let picked = |indices: &[u32]| indices.iter().map(|&at| train[at as usize]).collect();
        (train, test) = (picked(&split.train), picked(&split.validation));
    }
    let validation = of_part(Part::Validation);
    let first = train.len() as u32;
    let given =
        (!validation.is_empty()).then(|| (first..first + validation.len() as u32).collect());
    train.extend(validation);
    Ok(Divided {
        train: pick(&packed, &usable, &train),
        test: pick(&packed, &usable, &test),
        validation: given,
    })
}

/// A class by its name instead of its number.
fn named(error: SplitError, class_names: &[String]) -> String {
    match error {
        SplitError::NoTrainingImage {
            class, n_images, ..
        } => format!(
            "class {} has only {n_images} image{}",
            class_names[class],
            if n_images == 1 { "" } else { "s" }
        ),
        SplitError::NoValidationImage { n_images, fraction } => {
            format!("{fraction:?} of {n_images} images is no image at all")
        }
        other => other.to_string(),
    }
}

fn pick(packed: &Packed, usable: &[(Part, u8)], indices: &[u32]) -> LabeledImages {
    let n_values = packed.n_values();
    let mut pixels = Vec::with_capacity(indices.len() * n_values);
    for &index in indices {
        pixels.extend_from_slice(&packed.pixels[index as usize * n_values..][..n_values]);
    }
    LabeledImages {
        images: Images {
            n_images: indices.len(),
            channels: packed.channels,
            height: packed.height,
            width: packed.width,
            pixels,
        },
        labels: indices
            .iter()
            .map(|&index| usable[index as usize].1)
            .collect(),
    }
}

/// How many test images are also training images, and how many images another class has too.
fn count_twins(train: &LabeledImages, test: &LabeledImages) -> (usize, usize) {
    let mut seen: HashMap<&[u8], u8> = HashMap::new();
    let mut n_in_two_classes = 0;
    for (index, &label) in train.labels.iter().enumerate() {
        let first = *seen.entry(train.images.image(index)).or_insert(label);
        n_in_two_classes += usize::from(first != label);
    }
    let mut n_leaked = 0;
    for (index, &label) in test.labels.iter().enumerate() {
        if let Some(&of_train) = seen.get(test.images.image(index)) {
            n_leaked += 1;
            n_in_two_classes += usize::from(of_train != label);
        }
    }
    (n_leaked, n_in_two_classes)
}

/// What a person should know before believing the result.
fn warn_of(set: &ImageSet, scan: &Scan, test: &LabeledImages) -> Vec<String> {
    let mut warnings = Vec::new();
    if set.n_skipped > 0 {
        warnings.push(format!(
            "{} of {} images cannot be used and are left out:{}",
            set.n_skipped,
            set.n_files,
            list(&set.skipped, set.n_skipped)
        ));
    }
    if set.n_leaked > 0 {
        warnings.push(format!(
            "{} of {} test images are also training images, pixel for pixel: the test result is too good",
            set.n_leaked,
            test.labels.len()
        ));
    }
    if set.n_in_two_classes > 0 {
        warnings.push(format!(
            "{} images are also in the folder of another class, pixel for pixel",
            set.n_in_two_classes
        ));
    }
    let without = scan.class_names.iter().enumerate();
    let without = without.filter(|&(label, _)| !test.labels.contains(&(label as u8)));
    let without: Vec<&str> = without.map(|(_, name)| name.as_str()).collect();
    if !without.is_empty() {
        warnings.push(format!("no test images of {}", some(&without)));
    }
    if !scan.other_folders.is_empty() {
        let others: Vec<&str> = scan.other_folders.iter().map(String::as_str).collect();
        warnings.push(format!("beside train/, not used: {}", some(&others)));
    }
    if !scan.ignored.is_empty() {
        let ignored: Vec<&str> = scan.ignored.iter().map(String::as_str).collect();
        warnings.push(format!(
            "{} files are no images and are not used: {}",
            ignored.len(),
            some(&ignored)
        ));
    }
    warnings
}

/// The first few names.
fn some(names: &[&str]) -> String {
    let few = names[..names.len().min(5)].join(", ");
    match names.len() {
        0..=5 => few,
        n => format!("{few} and {} more", n - 5),
    }
}
