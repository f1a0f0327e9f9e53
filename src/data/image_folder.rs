//! A folder of images as a data set: each class has a folder, in train/, test/ and validation/ or in one
//! set that is divided. Fitted to one size once, and kept beside the images.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use self::cache::{Found, Key};
use self::convert::{Packed, convert};
use self::divide::{Divided, check_classes, check_parts, count_twins, divide};
use self::error::{MOST_LISTED, list};
use self::files::hex;
use self::scan::{Scan, scan};
use super::download::Progress;
use super::fashion_mnist::{Dataset, FileSha256, LabeledImages, Source, SourceKind};

pub use self::error::{BadImage, ImageFolderError};
pub(super) use self::files::sign_of_images;
pub use self::options::{Color, Size};

mod cache;
mod convert;
mod divide;
mod error;
mod files;
mod options;
mod scan;

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
    check_parts(&scan, &packed, options.folder)?;
    let mut set = ImageSet {
        height: packed.height,
        width: packed.width,
        channels: packed.channels,
        parts: scan.parts.iter().map(|it| it.as_str().to_owned()).collect(),
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
            sha256: packed.sha256.clone(),
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
    let (mut packed, may_keep) = convert(scan, options, progress)?;
    if !may_keep {
        return Ok((packed, None)); // the next start reads those files anew
    }
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
