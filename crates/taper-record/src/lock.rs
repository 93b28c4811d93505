//! File locks. The operating system releases them when the process ends.

use std::{
    fs::{File, TryLockError},
    io,
    path::Path,
    thread::sleep,
    time::Duration,
};

/// Number of attempts to take a lock, and the time between two. Several attempts, because [`Lock::is_held`] of another
/// process holds the lock for a moment.
const TRIES: (u32, Duration) = (20, Duration::from_millis(10));

/// A file lock of this process. It is held until the value and all copies of its file are dropped.
#[derive(Debug)]
pub struct Lock(File);

impl Lock {
    /// Takes the lock of a file, and creates the file if needed. `None` if another process has the lock.
    ///
    /// # Errors
    /// If the file cannot be created, or the file system has no locks.
    pub fn take(path: &Path) -> io::Result<Option<Self>> {
        let file =
            File::options().create(true).truncate(false).read(true).write(true).open(path)?;
        for _ in 0..TRIES.0 {
            match file.try_lock() {
                Ok(()) => return Ok(Some(Self(file))),
                Err(TryLockError::WouldBlock) => sleep(TRIES.1),
                Err(TryLockError::Error(error)) => return Err(error),
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
