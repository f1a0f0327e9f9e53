//! Which files a folder of images has, of which class and which part, in an order that is the same on
//! every system; and what they contain, as SHA-256.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::error::{ImageFolderError, shown};
use crate::data::download::Progress;
use crate::data::image_file::MOST_FILE_BYTES;

/// A label is a byte.
pub(super) const MOST_CLASSES: usize = 256;
const MOST_DEPTH: usize = 32;
/// Extensions of what weft reads, and of pictures that it does not: those are told, not passed over.
const EXTENSIONS: [&str; 30] = [
    "png", "jpg", "jpeg", "jpe", "jfif", "webp", "bmp", "dib", "gif", "apng", "tif", "tiff",
    "heic", "heif", "avif", "svg", "ico", "ppm", "pgm", "pbm", "pnm", "jp2", "jxl", "tga", "psd",
    "exr", "dng", "cr2", "nef", "arw",
];
/// What archivers and file managers leave behind.
const LITTER: [&str; 4] = ["__MACOSX", "@eaDir", "Thumbs.db", "desktop.ini"];

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
    /// Whether folders set parts aside; else it is one set.
    pub(super) has_parts: bool,
    /// In the bytewise order of the folders' names.
    pub(super) class_names: Vec<String>,
    /// By part, class and name.
    pub(super) files: Vec<ImageFile>,
    /// Files that are no images by their names, for people.
    pub(super) ignored: Vec<String>,
    /// Folders beside train/ that are no part, for people.
    pub(super) other_folders: Vec<String>,
}

/// A file or a folder, links followed.
struct Entry {
    name: OsString,
    path: PathBuf,
    metadata: io::Result<fs::Metadata>,
}

impl Entry {
    fn is_dir(&self) -> bool {
        self.metadata.as_ref().is_ok_and(fs::Metadata::is_dir)
    }
}

/// What is in a folder, in bytewise order, without what is hidden.
fn entries(folder: &Path) -> Result<Vec<Entry>, ImageFolderError> {
    let failed = |reason| ImageFolderError::Read {
        path: folder.to_owned(),
        reason,
    };
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let (name, path) = (entry.file_name(), entry.path());
        let hidden = name.as_encoded_bytes().starts_with(b".");
        if !hidden && !LITTER.iter().any(|litter| name == *litter) {
            let metadata = fs::metadata(&path);
            all.push(Entry {
                name,
                path,
                metadata,
            });
        }
    }
    all.sort_by(|a, b| bytes(&a.name).cmp(bytes(&b.name)));
    Ok(all)
}

fn bytes(name: &OsStr) -> &[u8] {
    name.as_encoded_bytes()
}

fn is_image_name(path: &Path) -> bool {
    let extension = path.extension().and_then(OsStr::to_str);
    extension.is_some_and(|extension| {
        EXTENSIONS
            .iter()
            .any(|known| extension.eq_ignore_ascii_case(known))
    })
}

/// Whether a file whose name says nothing begins as an image does.
fn is_image_content(path: &Path) -> bool {
    let mut start = [0; 12];
    let read = File::open(path).and_then(|mut file| file.read(&mut start));
    let start = &start[..read.unwrap_or_default()];
    let webp = start.starts_with(b"RIFF") && start.ends_with(b"WEBP");
    webp || [&b"\x89PNG\r\n\x1a\n"[..], b"\xff\xd8\xff", b"GIF8"]
        .iter()
        .any(|magic| start.starts_with(magic))
}

/// A class folder with images, or an image that lies directly in `folder`: whether it is meant as a
/// folder of images. `None` where neither is there.
pub(in crate::data) fn sign_of_images(folder: &Path) -> Result<Option<String>, ImageFolderError> {
    let all = entries(folder)?;
    for entry in &all {
        let found = match entry.is_dir() {
            true => has_image(&entry.path, 3),
            false => is_image_name(&entry.path),
        };
        if found {
            return Ok(Some(shown(&entry.name)));
        }
    }
    Ok(None)
}

/// Looks a few folders deep; what cannot be read has none.
fn has_image(folder: &Path, depth: usize) -> bool {
    let all = entries(folder).unwrap_or_default();
    let holds = |entry: &Entry| match entry.is_dir() {
        true => depth > 0 && has_image(&entry.path, depth - 1),
        false => is_image_name(&entry.path) || is_image_content(&entry.path),
    };
    all.iter().any(holds)
}

/// Finds all images of a folder. Nothing is opened but files whose names say nothing.
pub(super) fn scan(folder: &Path) -> Result<Scan, ImageFolderError> {
    let all = entries(folder)?;
    let mut scan = Scan {
        has_parts: false,
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
    scan.has_parts = true;
    let used: Vec<&OsStr> = check_parts(folder, &parts)?;
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

fn joined(prefix: &[u8], name: &OsStr) -> Vec<u8> {
    let mut all = prefix.to_vec();
    if !all.is_empty() {
        all.push(b'/');
    }
    all.extend(bytes(name));
    all
}

/// Adds the images of a class, however deep they lie. `above` are the folders above, links resolved.
fn walk(
    scan: &mut Scan,
    of: (Part, u8),
    folder: &Path,
    name: &[u8],
    above: &mut Vec<PathBuf>,
) -> Result<(), ImageFolderError> {
    let path = || folder.to_owned();
    let resolved = fs::canonicalize(folder).map_err(|reason| ImageFolderError::Read {
        path: path(),
        reason,
    })?;
    if above.contains(&resolved) {
        return Err(ImageFolderError::Cycle { path: path() });
    }
    if above.len() > MOST_DEPTH {
        let most = MOST_DEPTH;
        return Err(ImageFolderError::Deep { path: path(), most });
    }
    above.push(resolved);
    for entry in entries(folder)? {
        let name = joined(name, &entry.name);
        if entry.is_dir() {
            walk(scan, of, &entry.path, &name, above)?;
            continue;
        }
        let regular = entry.metadata.as_ref().is_ok_and(fs::Metadata::is_file);
        if !is_image_name(&entry.path) && !(regular && is_image_content(&entry.path)) {
            scan.ignored
                .push(shown(OsStr::new(&*String::from_utf8_lossy(&name))));
            continue;
        }
        let sha256 = match entry.metadata {
            Err(reason) => Err(format!("cannot be read: {reason}")),
            Ok(it) if !it.is_file() => Err("is no regular file".to_owned()),
            Ok(it) if it.len() > MOST_FILE_BYTES => Err(format!(
                "has {} bytes, and at most {MOST_FILE_BYTES} are read",
                it.len()
            )),
            Ok(_) => Ok([0; 32]),
        };
        scan.files.push(ImageFile {
            part: of.0,
            label: of.1,
            path: entry.path,
            name,
            sha256,
        });
    }
    above.pop();
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

pub(super) fn hex(sha256: &[u8]) -> String {
    sha256.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn sha256_of(path: &Path) -> io::Result<[u8; 32]> {
    let mut file = File::open(path)?.take(MOST_FILE_BYTES + 1);
    let mut sha256 = Sha256::new();
    let mut buffer = [0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(sha256.finalize().into()),
            n => sha256.update(&buffer[..n]),
        }
    }
}
