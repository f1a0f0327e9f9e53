//! From what a person names to the pictures there: files, folders with all that is in them, stdin.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::data::image_file::{self, ImageError};

/// A picture to predict, or what was named as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A file. It may be missing.
    File(PathBuf),
    /// Standard input.
    Stdin,
    /// A folder that cannot be searched, and why.
    Unreadable(PathBuf, String),
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// In the order in which they are predicted.
    pub inputs: Vec<Input>,
    /// Files in folders that are no pictures.
    pub n_left_out: usize,
}

impl Input {
    /// As a person would name it; not yet fit for a terminal (see [`crate::text::printable`]).
    pub fn name(&self) -> String {
        match self {
            Self::File(path) | Self::Unreadable(path, _) => path.to_string_lossy().into_owned(),
            Self::Stdin => "-".to_owned(),
        }
    }

    /// Reads it. A named pipe or a device has no known end, and is refused.
    pub fn read(&self) -> Result<Vec<u8>, ImageError> {
        match self {
            Self::File(path) => image_file::read(path),
            Self::Stdin => image_file::read_from(io::stdin().lock(), image_file::MOST_FILE_BYTES),
            Self::Unreadable(_, why) => Err(ImageError::Read(io::Error::other(why.clone()))),
        }
    }

    /// Bytes that it will take to hold, where the system says so.
    pub fn file_bytes(&self) -> u64 {
        match self {
            Self::File(path) => fs::metadata(path).map_or(0, |metadata| metadata.len()),
            Self::Stdin => image_file::MOST_FILE_BYTES,
            Self::Unreadable(..) => 0,
        }
    }
}

/// The pictures that `names` mean. A folder gives those in it and below it, sorted by name; hidden entries
/// and links to folders are passed over. What a person names as a file is always taken.
pub fn find(names: &[PathBuf]) -> Found {
    let mut found = Found::default();
    for name in names {
        if name == Path::new("-") {
            found.inputs.push(Input::Stdin);
        } else if name.is_dir() {
            search(name, &mut found);
        } else {
            found.inputs.push(Input::File(name.clone()));
        }
    }
    found
}

fn search(folder: &Path, found: &mut Found) {
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let mut entries = match entries {
        Ok(entries) => entries,
        Err(error) => {
            let unreadable = Input::Unreadable(folder.to_owned(), error.to_string());
            return found.inputs.push(unreadable);
        }
    };
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let is_hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        if is_hidden {
            continue;
        }
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => search(&path, found),
            _ if path.is_dir() => {} // a link: it may lead back here
            _ if is_picture(&path) => found.inputs.push(Input::File(path)),
            _ => found.n_left_out += 1,
        }
    }
}

/// Whether a file in a folder is meant as a picture: by its first bytes, or by its name, so that one that
/// was damaged is told and not passed over.
fn is_picture(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
    let by_name = ["png", "jpg", "jpeg", "webp", "bmp", "gif"]
        .iter()
        .any(|known| extension == *known);
    by_name || {
        let mut start = Vec::new();
        let is_file = path.is_file(); // opening a pipe would wait for a writer
        let read = || File::open(path)?.take(32).read_to_end(&mut start);
        is_file && { read }().is_ok() && image_file::is_known(&start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_searched_in_order_and_what_is_no_picture_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("b/deep")).unwrap();
        fs::create_dir(at(".hidden")).unwrap();
        let gif = b"GIF89a\x01\0\x01\0\0\0\0";
        for (name, bytes) in [
            ("c.png", &b""[..]),
            ("a.txt", b"text"),
            ("b/deep/picture", gif),
            ("b/x.JPG", b"broken"),
            (".hidden/y.png", gif),
            (".z.png", gif),
        ] {
            fs::write(at(name), bytes).unwrap();
        }
        #[cfg(unix)]
        std::os::unix::fs::symlink(folder.path(), at("loop")).unwrap();
        let names = [
            folder.path().to_owned(),
            at("a.txt"),
            at("gone.png"),
            "-".into(),
        ];
        let found = find(&names);
        let file = |name: &str| Input::File(at(name));
        let expected = [
            file("b/deep/picture"),
            file("b/x.JPG"),
            file("c.png"),
            file("a.txt"),
            file("gone.png"),
            Input::Stdin,
        ];
        assert_eq!(found.inputs, expected);
        assert_eq!(found.n_left_out, 1);
    }
}
