//! The operations that change the disk. Everything under a run folder is written through here, so
//! that a test can watch each operation, and make it fail or end the process there.

use std::cell::RefCell;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// One operation that is about to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation<'a> {
    /// Makes a folder.
    CreateFolder(&'a Path),
    /// Makes a file that is not there, or opens one for writing.
    Open(&'a Path),
    /// Writes so many bytes at the end, or anew.
    Write(&'a Path, usize),
    /// Cuts a file to length zero.
    Empty(&'a Path),
    /// Waits until a file's content is on the disk.
    Sync(&'a Path),
    /// Waits until a folder's entries are on the disk.
    SyncFolder(&'a Path),
    /// Renames a file or a folder.
    Rename(&'a Path, &'a Path),
    /// Removes a file, a link or a folder with all that is in it.
    Remove(&'a Path),
}

type Watcher = Box<dyn FnMut(&Operation) -> io::Result<()>>;

thread_local! {
    static WATCHER: RefCell<Option<Watcher>> = const { RefCell::new(None) };
}

/// Shows every operation of this thread to `watcher` before it happens; an error from it is what the
/// operation then ends with (a write has written half by then). For tests of faults.
pub fn watch(watcher: impl FnMut(&Operation) -> io::Result<()> + 'static) -> Watch {
    WATCHER.set(Some(Box::new(watcher)));
    Watch(())
}

/// Ends the watch when it is dropped.
#[must_use = "the watch ends as soon as this is dropped"]
pub struct Watch(());

impl Drop for Watch {
    fn drop(&mut self) {
        WATCHER.set(None);
    }
}

fn announce(operation: Operation) -> io::Result<()> {
    WATCHER.with_borrow_mut(|watcher| match watcher {
        Some(watcher) => watcher(&operation),
        None => Ok(()),
    })
}

/// A file that is being written.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) file: File,
    path: PathBuf,
}

impl Writer {
    /// A file that must not be there yet.
    pub(super) fn new(path: &Path) -> io::Result<Self> {
        Self::open(path, OpenOptions::new().write(true).create_new(true))
    }

    /// A file that may be there; what is written goes to its end.
    pub(super) fn at_end(path: &Path) -> io::Result<Self> {
        let options = &mut OpenOptions::new();
        Self::open(path, options.read(true).append(true).create(true))
    }

    /// A file that may be there, with its content as it is.
    pub(super) fn as_it_is(path: &Path) -> io::Result<Self> {
        let options = &mut OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        Self::open(path, options)
    }

    fn open(path: &Path, options: &mut OpenOptions) -> io::Result<Self> {
        announce(Operation::Open(path))?;
        Ok(Self {
            file: options.open(path)?,
            path: path.to_owned(),
        })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Err(error) = announce(Operation::Write(&self.path, bytes.len())) {
            // A disk that is full or fails has often taken a part.
            self.file.write_all(&bytes[..bytes.len() / 2])?;
            return Err(error);
        }
        self.file.write_all(bytes)
    }

    pub(super) fn empty(&mut self) -> io::Result<()> {
        announce(Operation::Empty(&self.path))?;
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0)).map(drop)
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        announce(Operation::Sync(&self.path))?;
        self.file.sync_all()
    }
}

pub(super) fn create_folder(path: &Path) -> io::Result<()> {
    announce(Operation::CreateFolder(path))?;
    fs::create_dir(path)
}

/// Makes a folder and those above it that are missing, each durable before the next.
pub fn create_folders(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = parent(path);
    create_folders(parent)?;
    match create_folder(path) {
        // Somebody else was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(error),
        Ok(()) => sync_folder(parent),
    }
}

/// The parent of a bare name is the folder we stand in.
pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// What was made, renamed or removed in a folder is durable once the folder is. Windows has no fsync
/// of a folder; NTFS journals such changes.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    announce(Operation::SyncFolder(folder))?;
    if cfg!(windows) {
        Ok(())
    } else {
        File::open(folder)?.sync_all()
    }
}

pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    announce(Operation::Rename(from, to))?;
    fs::rename(from, to)
}

/// Gives a file a name that must be free. `from` may be left as its second name.
pub(super) fn publish(from: &Path, to: &Path) -> io::Result<()> {
    announce(Operation::Rename(from, to))?;
    match fs::hard_link(from, to) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            // Not every file system has hard links (FAT has none).
            if fs::symlink_metadata(to).is_ok() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            fs::rename(from, to)
        }
        linked => linked,
    }
}

/// Removes a file, a link (not what it points to) or a folder. It is fine if there is none.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    let metadata = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        metadata => metadata?,
    };
    announce(Operation::Remove(path))?;
    if metadata.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    }
}

/// What a person does about an error of the disk.
#[must_use]
pub fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull => "make room on the disk",
        io::ErrorKind::QuotaExceeded => "make room in your quota",
        io::ErrorKind::ReadOnlyFilesystem => "make the file system writable",
        io::ErrorKind::PermissionDenied => "make the folder writable",
        io::ErrorKind::NotFound => "check that it exists",
        _ => "check the disk",
    }
}

/// Bytes that may still be written where `path` lies. None where the system does not tell.
#[must_use]
pub fn free_bytes(path: &Path) -> Option<u64> {
    fs4::available_space(path).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watched_operation_can_fail_and_a_write_leaves_half() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let watch = watch(|operation| match operation {
            Operation::Write(..) => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(()),
        });
        let mut writer = Writer::new(&path).unwrap();
        let error = writer.write(b"abcd").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(fs::read(&path).unwrap(), b"ab");
        drop(watch);
        writer.write(b"cd").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"abcd");
    }

    #[test]
    fn free_bytes_are_known() {
        let folder = tempfile::tempdir().unwrap();
        assert!(free_bytes(folder.path()).unwrap() > 0);
        assert_eq!(free_bytes(&folder.path().join("absent")), None);
    }
}
