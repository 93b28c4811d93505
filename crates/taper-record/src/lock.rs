//! File locks. The operating system releases them when the process ends.

use std::{
    fs::{File, TryLockError},
    io,
    path::{Path, PathBuf},
    thread::sleep,
    time::Duration,
};

/// Number of attempts to take a lock, and the time between two. Several attempts, because [`Lock::is_held`] of another
/// process holds the lock for a moment.
const TRIES: (u32, Duration) = (20, Duration::from_millis(10));

/// Why a lock cannot be taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// The file cannot be created or opened.
    #[error("cannot write {}; is the folder writable?", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The file system has no locks.
    #[error("the file system of {} has no locks ({source}), which several processes need", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
}

/// A file lock of this process. It is held until the value and all copies of its file are dropped.
#[derive(Debug)]
pub struct Lock(File);

impl Lock {
    /// Takes the lock of a file, and creates the file if needed. `None` if another process has the lock.
    ///
    /// # Errors
    /// If the file cannot be created, or the file system has no locks.
    pub fn take(path: &Path) -> Result<Option<Self>, LockError> {
        let mut options = File::options();
        let file = options.create(true).truncate(false).read(true).write(true).open(path);
        let file = file.map_err(|source| LockError::File { path: path.into(), source })?;
        for _ in 0..TRIES.0 {
            match file.try_lock() {
                Ok(()) => return Ok(Some(Self(file))),
                Err(TryLockError::WouldBlock) => sleep(TRIES.1),
                Err(TryLockError::Error(source)) => {
                    return Err(LockError::Unsupported { path: path.into(), source });
                }
            }
        }
        Ok(None)
    }

    /// Whether a process has the lock of a file; `None` if the file does not exist, or the file system has no locks.
    pub fn is_held(path: &Path) -> Option<bool> {
        match File::open(path).ok()?.try_lock_shared() {
            Ok(()) => Some(false),
            Err(TryLockError::WouldBlock) => Some(true),
            Err(TryLockError::Error(_)) => None,
        }
    }

    /// A copy of the open file. A child process that inherits it also holds the lock.
    ///
    /// # Errors
    /// If the process has too many open files.
    pub fn share(&self) -> io::Result<File> {
        self.0.try_clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_held_until_the_last_copy_goes() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("lock");
        assert_eq!(Lock::is_held(&path), None, "there is no file");
        let lock = Lock::take(&path).expect("locks").expect("it is free");
        assert_eq!(Lock::is_held(&path), Some(true));
        assert!(Lock::take(&path).expect("locks").is_none());
        let copy = lock.share().expect("a copy");
        drop(lock);
        assert_eq!(Lock::is_held(&path), Some(true));
        drop(copy);
        assert_eq!(Lock::is_held(&path), Some(false));
        assert!(Lock::take(&path).expect("locks").is_some());
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_not_a_missing_lock() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        // A folder cannot be opened for writing, although it exists.
        let error = Lock::take(folder.path()).expect_err("it is a folder");
        assert!(matches!(error, LockError::File { .. }), "{error}");
        assert!(error.to_string().contains("is the folder writable?"), "{error}");
    }

    #[test]
    fn checking_a_lock_does_not_block_others_from_taking_it() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("lock");
        let looking = File::create(&path).expect("creates");
        looking.try_lock_shared().expect("free");
        let taken = std::thread::scope(|scope| {
            let taken = scope.spawn(|| Lock::take(&path));
            sleep(3 * TRIES.1);
            drop(looking);
            taken.join().expect("ends").expect("locks")
        });
        assert!(taken.is_some());
    }
}
