//! What can be wrong with a folder of images, as a person reads it.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;

use super::scan::MOST_CLASSES;
use crate::text::printable;

/// Files that a message lists; the others are counted.
pub(super) const MOST_LISTED: usize = 20;

/// An image that cannot be used, and why.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct BadImage {
    /// Below the data folder, with control characters escaped.
    pub file: String,
    /// Such as "is cut short: it ends amid its pixels".
    pub reason: String,
}

/// Every message stands alone: what, where and, on a line of its own, what to do.
#[derive(Debug, thiserror::Error)]
pub enum ImageFolderError {
    #[error("{}: cannot be read: {reason}\nhint: check its permissions", .path.display())]
    Read { path: PathBuf, reason: io::Error },
    #[error(
        "{}: {} cannot be used:{}\nhint: mend or delete them; or set data.skip_bad = true to train \
         without them",
        .folder.display(), images(*.n_bad), list(.bad, *.n_bad)
    )]
    Bad {
        folder: PathBuf,
        n_bad: usize,
        /// The first ones.
        bad: Vec<BadImage>,
    },
    #[error(
        "{}: it holds both IDX files ({idx}) and folders of images ({class})\n\
         hint: move one of them to a folder of its own", .folder.display()
    )]
    Both {
        folder: PathBuf,
        idx: String,
        class: String,
    },
    #[error(
        "{}: images lie directly in it, where no folder says their class\n\
         hint: make a folder for each class, such as {}, or name the folder above", .folder.display(), .folder.join("cat").display()
    )]
    NoClassFolders { folder: PathBuf },
    #[error(
        "{}: there is {found}/, but no train/\nhint: put the training images into {}, each class in a folder of its own",
        .folder.display(), .folder.join("train").display()
    )]
    NoTrain {
        folder: PathBuf,
        found: &'static str,
    },
    #[error("{}: {first} and {second} both hold the {part} images\nhint: keep one of them", .folder.display())]
    Twice {
        folder: PathBuf,
        part: &'static str,
        first: String,
        second: String,
    },
    #[error(
        "{}: {} of images {}, and a classifier tells at least two classes apart\n\
         hint: each class has a folder of its own below it", .folder.display(),
        match .names.len() { 0 => "no folder".to_owned(), _ => format!("only one folder ({})", .names[0]) },
        match .names.len() { 0 => "was found", _ => "is there" }
    )]
    TooFewClasses { folder: PathBuf, names: Vec<String> },
    #[error("{}: {n_classes} classes, but at most {MOST_CLASSES} can be told apart\nhint: join some of them", .folder.display())]
    TooManyClasses { folder: PathBuf, n_classes: usize },
    #[error("{}: two class folders are both shown as {name}\nhint: rename one of them", .folder.display())]
    SameName { folder: PathBuf, name: String },
    #[error(
        "{}: class {name} has {part} images, but no training images\n\
         hint: the folders of each part have the same names", .folder.display()
    )]
    UnknownClass {
        folder: PathBuf,
        name: String,
        part: &'static str,
    },
    #[error("{}: class {name} has no images\nhint: put some into its folder, or delete that", .folder.display())]
    EmptyClass { folder: PathBuf, name: String },
    #[error("{}: none of the {n_bad} images of class {name} can be used\nhint: mend them, or delete that folder", .folder.display())]
    AllBad {
        folder: PathBuf,
        name: String,
        n_bad: usize,
    },
    #[error(
        "{}: {}\nhint: put images there, or delete that folder: without a folder for {part} images, some of the \
         training images are set aside",
        .folder.display(),
        match .n_bad {
            0 => format!("the folder for {part} images has none"),
            n => format!("none of the {n} {part} images can be used"),
        }
    )]
    EmptyPart {
        folder: PathBuf,
        part: &'static str,
        n_bad: usize,
    },
    #[error("{}: a link that leads back to a folder above it\nhint: remove it", .path.display())]
    Cycle { path: PathBuf },
    #[error("{}: folders lie more than {most} deep\nhint: a class folder may have folders within, but not as many", .path.display())]
    Deep { path: PathBuf, most: usize },
    #[error("{}: it changed while it was read\nhint: start again when nothing writes there any more", .path.display())]
    Changed { path: PathBuf },
    #[error(
        "{}: {n_images} images of {height} x {width} pixels and {channels} take {} MiB, which cannot be had\n\
         hint: set data.size to a smaller number", .folder.display(), .bytes >> 20
    )]
    TooLarge {
        folder: PathBuf,
        n_images: usize,
        height: usize,
        width: usize,
        channels: &'static str,
        bytes: u64,
    },
    #[error(
        "{}: no test images can be set aside: {reason}\nhint: add images, change data.test_fraction, or put \
         test images into {}",
        .folder.display(), .folder.join("test").display()
    )]
    Test { folder: PathBuf, reason: String },
}

fn images(n: usize) -> String {
    match n {
        1 => "1 image".to_owned(),
        n => format!("{n} images"),
    }
}

/// Some of `n_bad` images, a line each.
pub(super) fn list(bad: &[BadImage], n_bad: usize) -> String {
    let mut text = String::new();
    for BadImage { file, reason } in bad.iter().take(MOST_LISTED) {
        let _ = write!(text, "\n  {file}: {reason}");
    }
    let more = n_bad - bad.len().min(MOST_LISTED);
    if more > 0 {
        let _ = write!(text, "\n  and {more} more");
    }
    text
}

/// A name for people: what would steer a terminal or turn the text around is escaped.
pub(super) fn shown(name: &OsStr) -> String {
    printable(&name.to_string_lossy())
}
