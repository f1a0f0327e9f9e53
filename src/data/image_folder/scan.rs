//! Which images a folder has, of which class and which part; and what they contain, as SHA-256.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::error::{ImageFolderError, shown};
use super::files::{Entry, bytes, entries, has_image, hex, is_image_name, joined, sha256_of, walk};
use crate::data::download::Progress;

/// A label is a byte.
pub(super) const MOST_CLASSES: usize = 256;

/// A part of a set that its folders set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    Train,
    Validation,
    Test,
}

impl Part {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }

    /// What the folders of the parts are called, in any case.
    fn of(name: &OsStr) -> Option<Self> {
        match name.to_str()?.to_ascii_lowercase().as_str() {
            "train" | "training" => Some(Self::Train),
            "val" | "valid" | "validation" => Some(Self::Validation),
            "test" | "testing" => Some(Self::Test),
            _ => None,
        }
    }
}

/// A file that is an image by its name.
#[derive(Clone, Debug)]
pub(super) struct ImageFile {
    pub(super) part: Part,
    pub(super) label: u8,
    pub(super) path: PathBuf,
    /// Below the data folder, with `/` between, as bytes.
    pub(super) name: Vec<u8>,
    /// SHA-256 of its content, or why it cannot be read.
    pub(super) sha256: Result<[u8; 32], String>,
}

impl ImageFile {
    /// For people.
    pub(super) fn shown(&self) -> String {
        shown(OsStr::new(&*String::from_utf8_lossy(&self.name)))
    }
}

/// What a folder holds.
#[derive(Debug)]
pub(super) struct Scan {
    /// The parts that have a folder, with images or without. Empty is one set.
    pub(super) parts: Vec<Part>,
    /// In the bytewise order of the folders' names.
    pub(super) class_names: Vec<String>,
    /// By part, class and name.
    pub(super) files: Vec<ImageFile>,
    /// Files that are no images by their names, for people.
    pub(super) ignored: Vec<String>,
    /// Folders beside train/ that are no part, for people.
    pub(super) other_folders: Vec<String>,
}

/// Finds all images of a folder. Nothing is opened but files whose names say nothing.
pub(super) fn scan(folder: &Path) -> Result<Scan, ImageFolderError> {
    let all = entries(folder)?;
    let mut scan = Scan {
        parts: Vec::new(),
        class_names: Vec::new(),
        files: Vec::new(),
        ignored: Vec::new(),
        other_folders: Vec::new(),
    };
    let has_folders = |entry: &&Entry| {
        entry.is_dir()
            && entries(&entry.path).is_ok_and(|below| below.iter().any(|entry| entry.is_dir()))
    };
    let of_part = |part| {
        let named = all
            .iter()
            .filter(move |entry| Part::of(&entry.name) == Some(part));
        named.filter(has_folders).collect::<Vec<&Entry>>()
    };
    let parts = [Part::Train, Part::Validation, Part::Test].map(|part| (part, of_part(part)));
    if parts.iter().all(|(_, folders)| folders.is_empty()) {
        check_classes(folder, &all)?;
        scan.class_names = class_names(folder, &all)?;
        add_part(&mut scan, folder, Part::Train, &all, &[])?;
        return Ok(scan);
    }
    let used: Vec<&OsStr> = check_parts(folder, &parts)?;
    let there = parts.iter().filter(|(_, folders)| !folders.is_empty());
    scan.parts = there.map(|&(part, _)| part).collect();
    let others = all
        .iter()
        .filter(|it| it.is_dir() && !used.contains(&&*it.name));
    scan.other_folders = others.map(|entry| shown(&entry.name)).collect();
    for (part, folders) in &parts {
        for part_folder in folders {
            let classes = entries(&part_folder.path)?;
            if *part == Part::Train {
                scan.class_names = class_names(&part_folder.path, &classes)?;
            }
            let prefix = bytes(&part_folder.name);
            add_part(&mut scan, folder, *part, &classes, prefix)?;
        }
    }
    Ok(scan)
}

/// Refuses images that no folder gives a class: those directly in the folder, or in train/ and test/.
fn check_classes(folder: &Path, all: &[Entry]) -> Result<(), ImageFolderError> {
    let no_classes = |folder: &Path| {
        let folder = folder.to_owned();
        Err(ImageFolderError::NoClassFolders { folder })
    };
    if all
        .iter()
        .any(|entry| !entry.is_dir() && is_image_name(&entry.path))
    {
        return no_classes(folder);
    }
    let mut folders = all.iter().filter(|entry| entry.is_dir());
    match folders
        .clone()
        .find(|entry| Part::of(&entry.name) == Some(Part::Train))
    {
        Some(train) if folders.all(|entry| Part::of(&entry.name).is_some()) => {
            no_classes(&train.path)
        }
        _ => Ok(()),
    }
}

/// The names of the folders of parts, if there is train/ and no part twice.
fn check_parts<'a>(
    folder: &Path,
    parts: &[(Part, Vec<&'a Entry>); 3],
) -> Result<Vec<&'a OsStr>, ImageFolderError> {
    let mut used = Vec::new();
    for (part, folders) in parts {
        if let [first, second, ..] = folders[..] {
            return Err(ImageFolderError::Twice {
                folder: folder.to_owned(),
                part: part.as_str(),
                first: shown(&first.name),
                second: shown(&second.name),
            });
        }
        used.extend(folders.iter().map(|entry| &*entry.name));
    }
    let there = parts.iter().find(|(_, folders)| !folders.is_empty());
    match (&parts[0].1[..], there) {
        ([], Some((part, _))) => Err(ImageFolderError::NoTrain {
            folder: folder.to_owned(),
            found: part.as_str(),
        }),
        _ => Ok(used),
    }
}

fn class_names(folder: &Path, all: &[Entry]) -> Result<Vec<String>, ImageFolderError> {
    let folders = all.iter().filter(|entry| entry.is_dir());
    let names: Vec<String> = folders.map(|entry| shown(&entry.name)).collect();
    let folder = folder.to_owned();
    if names.len() < 2 {
        return Err(ImageFolderError::TooFewClasses { folder, names });
    }
    if names.len() > MOST_CLASSES {
        let n_classes = names.len();
        return Err(ImageFolderError::TooManyClasses { folder, n_classes });
    }
    let twice = (1..names.len()).find(|&at| names[..at].contains(&names[at]));
    if let Some(at) = twice {
        let name = names[at].clone();
        return Err(ImageFolderError::SameName { folder, name });
    }
    Ok(names)
}

/// Adds the images of the class folders among `classes`.
fn add_part(
    scan: &mut Scan,
    folder: &Path,
    part: Part,
    classes: &[Entry],
    prefix: &[u8],
) -> Result<(), ImageFolderError> {
    for class in classes {
        let name = joined(prefix, &class.name);
        if !class.is_dir() {
            scan.ignored
                .push(shown(OsStr::new(&*String::from_utf8_lossy(&name))));
            continue;
        }
        let class_name = shown(&class.name);
        let label = scan
            .class_names
            .iter()
            .position(|known| *known == class_name);
        let Some(label) = label else {
            // A folder without images is nobody's mistake worth an error.
            if !has_image(&class.path, 3) {
                continue;
            }
            return Err(ImageFolderError::UnknownClass {
                folder: folder.to_owned(),
                name: class_name,
                part: part.as_str(),
            });
        };
        let mut above = Vec::new();
        let found = scan.files.len();
        walk(scan, (part, label as u8), &class.path, &name, &mut above)?;
        scan.files[found..].sort_by(|a, b| a.name.cmp(&b.name));
    }
    Ok(())
}

impl Scan {
    /// Reads every file once, and returns the SHA-256 over all of them: that of what
    /// `find * -type f | LC_ALL=C sort | xargs -d '\n' sha256sum` prints for the images.
    pub(super) fn digest(&mut self, progress: &mut dyn Progress) -> [u8; 32] {
        progress.stage("reading", self.files.len() as u64);
        for chunk in self.files.chunks_mut(512) {
            chunk.par_iter_mut().for_each(|file| {
                if file.sha256.is_ok() {
                    file.sha256 =
                        sha256_of(&file.path).map_err(|reason| format!("cannot be read: {reason}"));
                }
            });
            progress.advance(chunk.len() as u64);
        }
        progress.finish();
        let mut by_name: Vec<&ImageFile> = self.files.iter().collect();
        by_name.sort_by(|a, b| a.name.cmp(&b.name));
        let mut all = Sha256::new();
        for file in by_name {
            match &file.sha256 {
                Ok(sha256) => all.update(hex(sha256)),
                Err(_) => all.update("unreadable"),
            }
            all.update("  ");
            all.update(&file.name);
            all.update("\n");
        }
        all.finalize().into()
    }
}
