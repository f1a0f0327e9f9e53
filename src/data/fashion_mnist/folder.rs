//! A folder of MNIST's four files, read and checked.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{CLASS_NAMES, DataError, FILES, KEYWORDS};
use crate::data::download::sha256_hex;
use crate::data::idx::{self, Images};
use crate::data::image_folder::{ImageSet, color_name};
use crate::text::printable;

pub(super) const CLASSES_FILE: &str = "classes.txt";
/// The first of MNIST's files that a folder has.
pub(super) fn idx_file(folder: &Path) -> Option<String> {
    let path = FILES.iter().find_map(|(name, _)| find_file(folder, name))?;
    Some(path.file_name()?.to_string_lossy().into_owned())
}

pub(super) const MAX_CLASSES: usize = 256;
/// 4 KiB a name: what is longer lists no names.
const MOST_NAMES_BYTES: u64 = 1 << 20;

#[derive(Clone, Debug, PartialEq)]
pub struct LabeledImages {
    pub images: Images,
    /// One per image, each below the number of class names.
    pub labels: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    pub train: LabeledImages,
    pub test: LabeledImages,
    /// Which of the training images validate, where the set itself says so.
    pub validation: Option<Vec<u32>>,
    pub class_names: Vec<String>,
    pub source: Source,
}

/// Where the data came from, as it is kept in `environment.json`.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Source {
    pub kind: SourceKind,
    /// For people: a folder, or "embedded sample".
    pub location: String,
    pub sha256: Vec<FileSha256>,
    /// Set when the data is not what was hoped for; may have several lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
    /// Of a folder of images: what was made of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<ImageSet>,
}

impl Source {
    /// For people: "Fashion-MNIST from /some/folder".
    pub fn title(&self) -> String {
        match self.kind {
            SourceKind::FashionMnist => format!("Fashion-MNIST from {}", self.location),
            SourceKind::Sample => "embedded sample of Fashion-MNIST".to_owned(),
            SourceKind::Directory => format!("the set in {}", self.location),
            SourceKind::ImageFolder => match &self.images {
                None => format!("the images in {}", self.location),
                Some(set) => format!(
                    "the images in {}, {} x {} {}",
                    self.location,
                    set.height,
                    set.width,
                    color_name(set.channels)
                ),
            },
        }
    }

    /// The value of `data.source` that finds the same data again, from any working directory.
    pub fn to_config(&self) -> std::io::Result<String> {
        if self.kind == SourceKind::Sample {
            return Ok("sample".to_owned());
        }
        let path = std::path::absolute(&self.location)?;
        Ok(path.to_string_lossy().into_owned())
    }
}

#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum SourceKind {
    /// All four checksums are Fashion-MNIST's, wherever the files lay.
    FashionMnist,
    Sample,
    /// Any other data set in MNIST's format.
    Directory,
    /// Image files, with a folder for each class.
    ImageFolder,
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct FileSha256 {
    pub file: String,
    /// Of the decompressed content, in lower-case hex.
    pub sha256: String,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Wanted {
    FashionMnist,
    AnyDataset,
}

/// One of the four files, decompressed.
pub(super) struct RawFile {
    path: PathBuf,
    content: Vec<u8>,
    sha256: String,
}

pub(super) fn load_folder(folder: &Path, wanted: Wanted) -> Result<Dataset, DataError> {
    let files = read_files(folder)?;
    let stranger = files
        .iter()
        .zip(FILES)
        .find(|(file, (_, sha256))| file.sha256 != *sha256);
    if let (Some((file, (_, expected))), Wanted::FashionMnist) = (stranger, wanted) {
        return Err(DataError::Checksum {
            path: file.path.clone(),
            expected,
            found: file.sha256.clone(),
        });
    }
    let names = match wanted {
        Wanted::AnyDataset => read_class_names(&folder.join(CLASSES_FILE))?,
        Wanted::FashionMnist => None,
    };
    let (kind, own_names) = match stranger {
        None => (
            SourceKind::FashionMnist,
            Some(CLASS_NAMES.map(str::to_owned).to_vec()),
        ),
        Some(_) => (SourceKind::Directory, None),
    };
    assemble(
        files,
        names.or(own_names),
        kind,
        folder.display().to_string(),
    )
}

fn read_files(folder: &Path) -> Result<[RawFile; 4], DataError> {
    if !folder.is_dir() {
        let (path, hint) = (folder.to_owned(), folder_hint(folder));
        return Err(DataError::NoFolder { path, hint });
    }
    let paths = FILES.map(|(name, _)| find_file(folder, name));
    if let [Some(a), Some(b), Some(c), Some(d)] = paths {
        return Ok([read_file(a)?, read_file(b)?, read_file(c)?, read_file(d)?]);
    }
    let missing = FILES.iter().zip(&paths).filter(|(_, path)| path.is_none());
    let files = missing.map(|((name, _), _)| (*name).to_owned()).collect();
    Err(DataError::Missing {
        folder: folder.to_owned(),
        files,
    })
}

fn folder_hint(folder: &Path) -> String {
    let typed = folder.to_string_lossy();
    let nearest = KEYWORDS
        .into_iter()
        .min_by_key(|keyword| edit_distance(&typed, keyword));
    match nearest.filter(|keyword| edit_distance(&typed, keyword) <= keyword.len() / 3) {
        Some(keyword) => format!("did you mean \"{keyword}\"?"),
        None => format!("data.source is a folder or one of {}", KEYWORDS.join(", ")),
    }
}

/// Levenshtein's: how many letters to insert, delete or replace.
fn edit_distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, letter_a) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, letter_b) in b.chars().enumerate() {
            let replaced = diagonal + usize::from(!letter_a.eq_ignore_ascii_case(&letter_b));
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[row.len() - 1]
}

pub(super) fn find_file(folder: &Path, name: &str) -> Option<PathBuf> {
    [folder.join(name), folder.join(format!("{name}.gz"))]
        .into_iter()
        .find(|path| path.is_file())
}

fn read_file(path: PathBuf) -> Result<RawFile, DataError> {
    let mut bytes = Vec::new();
    let limit = idx::MAX_CONTENT_BYTES as u64 + 1024; // never fill memory with a file that is no IDX
    if let Err(reason) = File::open(&path).and_then(|file| file.take(limit).read_to_end(&mut bytes))
    {
        return Err(DataError::Read { path, reason });
    }
    raw_file(path, &bytes)
}

pub(super) fn raw_file(path: PathBuf, bytes: &[u8]) -> Result<RawFile, DataError> {
    match idx::decompress(bytes) {
        Ok(content) => Ok(RawFile {
            sha256: sha256_hex(&content),
            path,
            content,
        }),
        Err(reason) => Err(DataError::Damaged { path, reason }),
    }
}

/// As names of class folders are, what would steer a terminal is escaped.
fn read_class_names(path: &Path) -> Result<Option<Vec<String>>, DataError> {
    let mut text = String::new();
    let read =
        File::open(path).and_then(|file| file.take(MOST_NAMES_BYTES + 1).read_to_string(&mut text));
    match read {
        Ok(n_bytes) if n_bytes as u64 > MOST_NAMES_BYTES => {
            let what = format!(
                "it has more than {} KiB, and lists class names",
                MOST_NAMES_BYTES >> 10
            );
            return Err(DataError::Read {
                path: path.to_owned(),
                reason: io::Error::new(io::ErrorKind::InvalidData, what),
            });
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(reason) => {
            return Err(DataError::Read {
                path: path.to_owned(),
                reason,
            });
        }
    }
    let lines = text.trim_start_matches('\u{feff}').lines().map(str::trim);
    let names: Vec<String> = lines
        .filter(|line| !line.is_empty())
        .map(printable)
        .collect();
    match names.len() {
        1..=MAX_CLASSES => Ok(Some(names)),
        found => Err(DataError::ClassCount {
            path: path.to_owned(),
            found,
        }),
    }
}

/// Parses the files and checks all that they promise each other. Without names, classes are
/// numbered.
pub(super) fn assemble(
    files: [RawFile; 4],
    names: Option<Vec<String>>,
    kind: SourceKind,
    location: String,
) -> Result<Dataset, DataError> {
    let sha256 = digests(&files);
    let [train_images, train_labels, test_images, test_labels] = &files;
    let train = labeled(train_images, train_labels)?;
    let test = labeled(test_images, test_labels)?;
    let shapes = [&train, &test].map(|split| (split.images.height, split.images.width));
    if shapes[0] != shapes[1] {
        return Err(DataError::Shapes {
            path: test_images.path.clone(),
            train: shapes[0],
            test: shapes[1],
        });
    }
    let class_names = names.unwrap_or_else(|| {
        let largest = train.labels.iter().chain(&test.labels).max();
        (0..=largest.copied().unwrap_or(0))
            .map(|label| label.to_string())
            .collect()
    });
    check_labels(&train.labels, &train_labels.path, class_names.len())?;
    check_labels(&test.labels, &test_labels.path, class_names.len())?;
    let source = Source {
        kind,
        location,
        sha256,
        warning: None,
        images: None,
    };
    Ok(Dataset {
        train,
        test,
        validation: None,
        class_names,
        source,
    })
}

fn digests(files: &[RawFile; 4]) -> Vec<FileSha256> {
    let digest = |((name, _), file): (&(&str, _), &RawFile)| FileSha256 {
        file: (*name).to_owned(),
        sha256: file.sha256.clone(),
    };
    FILES.iter().zip(files).map(digest).collect()
}

fn labeled(images_file: &RawFile, labels_file: &RawFile) -> Result<LabeledImages, DataError> {
    let damaged = |file: &RawFile, reason| DataError::Damaged {
        path: file.path.clone(),
        reason,
    };
    let images =
        idx::read_images(&images_file.content).map_err(|reason| damaged(images_file, reason))?;
    let labels =
        idx::read_labels(&labels_file.content).map_err(|reason| damaged(labels_file, reason))?;
    let (n_images, n_labels) = (images.n_images, labels.len());
    if n_images != n_labels {
        return Err(DataError::Counts {
            path: labels_file.path.clone(),
            n_images,
            n_labels,
        });
    }
    Ok(LabeledImages { images, labels })
}

fn check_labels(labels: &[u8], path: &Path, n_classes: usize) -> Result<(), DataError> {
    match labels
        .iter()
        .position(|&label| usize::from(label) >= n_classes)
    {
        None => Ok(()),
        Some(image_index) => {
            let label = usize::from(labels[image_index]);
            Err(DataError::Label {
                path: path.to_owned(),
                image_index,
                label,
                n_classes,
            })
        }
    }
}
