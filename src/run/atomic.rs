//! Durable writes. After a kill or a power cut at any moment, a file holds either what it held
//! before or all of what was written, never a part.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::disk::{self, Writer, parent};

/// What a kill may leave behind begins with this; nothing else in a run folder does.
pub const TEMPORARY_PREFIX: &str = ".tmp-";

/// Puts `bytes` at `path` in one step: temporary file, fsync, rename, fsync of the folder.
pub fn write_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let written = write_beside(path, bytes).and_then(|temporary| {
        // The first error is the one to report; a leftover does no harm.
        disk::rename(&temporary, path).inspect_err(|_| drop(disk::remove(&temporary)))
    });
    written
        .and_then(|()| disk::sync_folder(parent(path)))
        .map_err(|error| named(error, "write", path))
}

/// The same, but never over what is there: that is an error of the kind `AlreadyExists`.
pub fn publish_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let written = write_beside(path, bytes).and_then(|temporary| {
        let published = disk::publish(&temporary, path);
        // Whether it failed or has two names now; a leftover does no harm.
        let _ = disk::remove(&temporary);
        published
    });
    written
        .and_then(|()| disk::sync_folder(parent(path)))
        .map_err(|error| named(error, "write", path))
}

/// Removes a file; it is fine if there is none.
pub fn remove_file(path: &Path) -> io::Result<()> {
    disk::remove(path).map_err(|error| named(error, "remove", path))
}

/// Adds `line` and a newline in one write, and waits for the disk. If a kill tore the line before,
/// that stump is closed first, so that it never swallows this one.
pub fn append_line(path: &Path, line: &str) -> io::Result<()> {
    if line.contains('\n') {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a line cannot contain a newline",
        ));
    }
    if is_link(path) {
        let error = io::Error::new(io::ErrorKind::InvalidInput, "it is a link");
        return Err(named(error, "append to", path));
    }
    append_whole_line(path, line).map_err(|error| named(error, "append to", path))
}

/// Adds bytes to a file that is there, and waits for the disk. A kill may leave a part of them.
pub fn append(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if is_link(path) {
        let error = io::Error::new(io::ErrorKind::InvalidInput, "it is a link");
        return Err(named(error, "append to", path));
    }
    let appended = Writer::at_end(path).and_then(|mut writer| {
        writer.write(bytes)?;
        writer.sync()
    });
    appended.map_err(|error| named(error, "append to", path))
}

/// The bytes of a file of at most `most` bytes. A device or a pipe is not read: it may have no end.
pub(super) fn read_regular(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let metadata = fs::metadata(path)?;
    let refuse = |what: String| Err(io::Error::new(io::ErrorKind::InvalidData, what));
    if !metadata.is_file() {
        return refuse("it is not a regular file".to_owned());
    }
    if metadata.len() > most {
        return refuse(format!("it has {} bytes", metadata.len()));
    }
    fs::read(path)
}

/// Whether a symbolic link stands at `path`. What is written through one lands somewhere else.
pub(super) fn is_link(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink())
}

/// Moves a folder in one step. `to` must not exist.
pub fn rename_dir(from: &Path, to: &Path) -> io::Result<()> {
    disk::rename(from, to)
        .and_then(|()| disk::sync_folder(parent(to)))
        .and_then(|()| {
            if parent(from) == parent(to) {
                Ok(())
            } else {
                disk::sync_folder(parent(from))
            }
        })
        .map_err(|error| named(error, "rename", from))
}

/// Makes a file that did not exist, and waits for the disk.
pub fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = Writer::new(path)?;
    file.write(bytes)?;
    file.sync()
}

fn append_whole_line(path: &Path, line: &str) -> io::Result<()> {
    let is_new = !path.exists();
    let mut writer = Writer::at_end(path)?;
    let stump = if ends_in_newline(&mut writer.file)? {
        ""
    } else {
        "\n"
    };
    writer.write(format!("{stump}{line}\n").as_bytes())?;
    writer.sync()?;
    if is_new {
        disk::sync_folder(parent(path))
    } else {
        Ok(())
    }
}

/// An empty file counts as ending in one.
fn ends_in_newline(file: &mut File) -> io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(true);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

/// Writes a temporary file beside `path`. A process that was killed, or one in another container, may have
/// had the same number: what it left is not touched, and the next name is taken.
fn write_beside(path: &Path, bytes: &[u8]) -> io::Result<PathBuf> {
    loop {
        let temporary = temporary_beside(path)?;
        match write_new(&temporary, bytes) {
            Ok(()) => return Ok(temporary),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                let _ = disk::remove(&temporary);
                return Err(error);
            }
        }
    }
}

/// In the same folder, because a rename cannot cross file systems.
fn temporary_beside(path: &Path) -> io::Result<PathBuf> {
    static COUNT: AtomicU64 = AtomicU64::new(0); // two threads may write the same file
    let name = path.file_name().ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{} names no file", path.display()),
        )
    })?;
    let unique = format!(
        "{}-{}",
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    );
    let name = name.to_string_lossy();
    Ok(parent(path).join(format!("{TEMPORARY_PREFIX}{name}-{unique}")))
}

/// The errors of std do not say which file.
fn named(error: io::Error, action: &str, path: &Path) -> io::Error {
    io::Error::new(
        error.kind(),
        format!("cannot {action} {}: {error}", path.display()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect()
    }

    #[test]
    fn what_a_process_of_the_same_number_left_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        let left = |count| {
            let name = format!("{TEMPORARY_PREFIX}a.json-{}-{count}", std::process::id());
            folder.path().join(name)
        };
        (0..100).for_each(|count| fs::write(left(count), b"left").unwrap());
        write_file(&path, b"mine").unwrap();
        publish_new(&folder.path().join("b.json"), b"mine").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"mine");
        assert!((0..100).all(|count| fs::read(left(count)).unwrap() == b"left"));
        assert_eq!(names(folder.path()).len(), 102);
    }

    #[test]
    fn write_file_replaces_and_leaves_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        write_file(&path, b"a long first version").unwrap();
        write_file(&path, b"short").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"short");
        assert_eq!(names(folder.path()), ["a.json"]);
    }

    #[test]
    fn a_failed_write_names_the_path_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let taken = folder.path().join("taken");
        fs::create_dir(&taken).unwrap();
        let error = write_file(&taken, b"x").unwrap_err();
        assert!(error.to_string().contains("taken"), "{error}");
        assert_eq!(names(folder.path()), ["taken"]);
        assert!(write_file(&folder.path().join("absent/x"), b"x").is_err());
    }

    #[test]
    fn append_line_closes_a_torn_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        append_line(&path, "one").unwrap();
        append_line(&path, "two").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntwo\n");
        fs::write(&path, "one\ntw").unwrap();
        append_line(&path, "three").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntw\nthree\n");
        assert!(append_line(&path, "a\nb").is_err());
    }

    #[test]
    fn publish_new_replaces_nothing_and_leaves_no_part() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        publish_new(&path, b"first").unwrap();
        let error = publish_new(&path, b"second").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"first");
        assert_eq!(names(folder.path()), ["a.png"]);
        let full = disk::watch(|operation| match operation {
            disk::Operation::Write(..) => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(()),
        });
        let error = publish_new(&folder.path().join("b.png"), b"whole").unwrap_err();
        drop(full);
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(names(folder.path()), ["a.png"]);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_is_replaced_or_refused_but_never_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (target, link) = (folder.path().join("target"), folder.path().join("link"));
        fs::write(&target, "one\n").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        let error = append_line(&link, "two").unwrap_err().to_string();
        assert!(error.contains("it is a link"), "{error}");
        write_file(&link, b"other").unwrap();
        assert!(!is_link(&link) && fs::read(&link).unwrap() == b"other");
        assert_eq!(fs::read(&target).unwrap(), b"one\n");
    }

    #[test]
    fn rename_dir_moves_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        fs::create_dir(&from).unwrap();
        fs::write(from.join("x"), "x").unwrap();
        rename_dir(&from, &to).unwrap();
        assert_eq!(fs::read(to.join("x")).unwrap(), b"x");
        let error = rename_dir(&from, &to).unwrap_err();
        assert!(error.to_string().contains("from"), "{error}");
    }
}
