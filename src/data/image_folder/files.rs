//! The files of a folder, in an order that is the same on every system, links followed.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::error::{ImageFolderError, shown};
use super::scan::{ImageFile, Part, Scan};
use crate::data::image_file::MOST_FILE_BYTES;

const MOST_DEPTH: usize = 32;
/// Extensions of what weft reads, and of pictures that it does not: those are told, not passed over.
const EXTENSIONS: [&str; 30] = [
    "png", "jpg", "jpeg", "jpe", "jfif", "webp", "bmp", "dib", "gif", "apng", "tif", "tiff",
    "heic", "heif", "avif", "svg", "ico", "ppm", "pgm", "pbm", "pnm", "jp2", "jxl", "tga", "psd",
    "exr", "dng", "cr2", "nef", "arw",
];
/// What archivers and file managers leave behind.
const LITTER: [&str; 4] = ["__MACOSX", "@eaDir", "Thumbs.db", "desktop.ini"];

/// A file or a folder, links followed.
pub(super) struct Entry {
    pub(super) name: OsString,
    pub(super) path: PathBuf,
    metadata: io::Result<fs::Metadata>,
}

impl Entry {
    pub(super) fn is_dir(&self) -> bool {
        self.metadata.as_ref().is_ok_and(fs::Metadata::is_dir)
    }
}

/// What is in a folder, in bytewise order, without what is hidden.
pub(super) fn entries(folder: &Path) -> Result<Vec<Entry>, ImageFolderError> {
    let failed = |reason| ImageFolderError::Read {
        path: folder.to_owned(),
        reason,
    };
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let (name, path) = (entry.file_name(), entry.path());
        let hidden = name.as_encoded_bytes().starts_with(b".");
        let passed_over = hidden || LITTER.iter().any(|litter| name == *litter);
        if !passed_over && !holds_runs(&path) {
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

/// Whether a folder is a run of weft, or one of such runs: their plots are no images to learn from, and
/// `weft train` in the folder of the data puts them there.
fn holds_runs(folder: &Path) -> bool {
    let is_run = |folder: &Path| {
        folder.join("config.toml").is_file() && folder.join("environment.json").is_file()
    };
    let below = fs::read_dir(folder).into_iter().flatten().flatten();
    is_run(folder)
        || below
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .any(|entry| is_run(&entry.path()))
}

pub(super) fn bytes(name: &OsStr) -> &[u8] {
    name.as_encoded_bytes()
}

pub(super) fn is_image_name(path: &Path) -> bool {
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
pub(super) fn has_image(folder: &Path, depth: usize) -> bool {
    let all = entries(folder).unwrap_or_default();
    let holds = |entry: &Entry| match entry.is_dir() {
        true => depth > 0 && has_image(&entry.path, depth - 1),
        false => is_image_name(&entry.path) || is_image_content(&entry.path),
    };
    all.iter().any(holds)
}

pub(super) fn joined(prefix: &[u8], name: &OsStr) -> Vec<u8> {
    let mut all = prefix.to_vec();
    if !all.is_empty() {
        all.push(b'/');
    }
    all.extend(bytes(name));
    all
}

/// Adds the images of a class, however deep they lie. `above` are the folders above, links resolved.
pub(super) fn walk(
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
        let is_image = is_image_name(&entry.path) || regular && is_image_content(&entry.path);
        if !is_image {
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

pub(super) fn hex(sha256: &[u8]) -> String {
    sha256.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn sha256_of(path: &Path) -> io::Result<[u8; 32]> {
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
