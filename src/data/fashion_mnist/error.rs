//! What can be wrong with data, as a person reads it.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use super::folder::{CLASSES_FILE, MAX_CLASSES};
use super::{FILES, HOW_TO_GET_IT};
use crate::data::idx::IdxError;
use crate::data::image_folder::ImageFolderError;

const HOW_TO_REPAIR: &str =
    "hint: replace the file with a whole copy (weft fetches anew what is deleted from its cache)";

/// Every message stands alone: what, where and, on a line of its own, what to do.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    #[error("{}: no such data folder\nhint: {hint}", .path.display())]
    NoFolder { path: PathBuf, hint: String },
    #[error(
        "{}: missing {}\nhint: a data folder holds {}, each plain or .gz; or a folder of images for each class",
        .folder.display(), .files.join(", "), FILES.map(|(name, _)| name).join(", ")
    )]
    Missing { folder: PathBuf, files: Vec<String> },
    #[error("{}: {reason}\n{}", .path.display(), of_reading(.path))]
    Read { path: PathBuf, reason: io::Error },
    #[error("{}: {reason}\n{HOW_TO_REPAIR}", .path.display())]
    Damaged { path: PathBuf, reason: IdxError },
    #[error(
        "{}: not Fashion-MNIST's file: expected SHA-256 {expected}, found {found}\n\
         {HOW_TO_REPAIR}; for another data set, set data.source to its folder", .path.display()
    )]
    Checksum {
        path: PathBuf,
        expected: &'static str,
        found: String,
    },
    #[error("{}: {n_labels} labels for {n_images} images\nhint: the two files of a split go together", .path.display())]
    Counts {
        path: PathBuf,
        n_images: usize,
        n_labels: usize,
    },
    #[error(
        "{}: label {label} of image {image_index}, but there are {n_classes} class names\n\
         hint: {CLASSES_FILE} needs one line per class, at least {}", .path.display(), label + 1
    )]
    Label {
        path: PathBuf,
        image_index: usize,
        label: usize,
        n_classes: usize,
    },
    #[error("{}: expected 1 to {MAX_CLASSES} class names, found {found}\nhint: one name a line", .path.display())]
    ClassCount { path: PathBuf, found: usize },
    #[error("{}: test images of {}x{} pixels, but training images of {}x{}\n\
         hint: the images of both splits have one size", .path.display(), .test.0, .test.1, .train.0, .train.1)]
    Shapes {
        path: PathBuf,
        train: (usize, usize),
        test: (usize, usize),
    },
    #[error(transparent)]
    Images(#[from] ImageFolderError),
    #[error(
        "`data.{key}` is {value}, but {what} has images of {height} x {width} pixels, grey, and only image \
         files are fitted\nhint: leave data.{key} = \"auto\""
    )]
    NotFitted {
        key: &'static str,
        value: String,
        what: String,
        height: usize,
        width: usize,
    },
    #[error("Fashion-MNIST was not found; looked in{}\n{HOW_TO_GET_IT}", list(.tried))]
    NotFound { tried: Vec<Tried> },
}

fn of_reading(path: &Path) -> String {
    match path.file_name().is_some_and(|name| name == CLASSES_FILE) {
        true => format!("hint: {CLASSES_FILE} is a text file in UTF-8, one name a line"),
        false => "hint: check its permissions".to_owned(),
    }
}

/// A place that was looked in, and why it gave nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    pub place: String,
    pub reason: String,
}

pub(super) fn list(tried: &[Tried]) -> String {
    tried
        .iter()
        .fold(String::new(), |mut text, Tried { place, reason }| {
            let _ = write!(text, "\n  {place}: {reason}");
            text
        })
}
