//! Locks on files, which the system gives back however a process ends.

use std::{
    fs::{File, TryLockError},
    io,
    path::Path,
    thread::sleep,
    time::Duration,
};

/// Tries to take a lock, and the time between two: whoever only looks holds it for a moment.
const TRIES: (u32, Duration) = (20, Duration::from_millis(10));

/// A lock that this process has, for as long as the value or a copy of its file lives.
#[derive(Debug)]
pub struct Lock(File);

impl Lock {
    /// Takes the lock of a file, which is made if it is not there; `None` if another process has it.
    ///
    /// # Errors
    /// If the file cannot be made, or the file system has no locks.
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

    /// Whether a process has the lock of a file; `None` where the file or the system cannot say.
    pub fn is_held(path: &Path) -> Option<bool> {
        match File::open(path).ok()?.try_lock_shared() {
            Ok(()) => Some(false),
            Err(TryLockError::WouldBlock) => Some(true),
            Err(TryLockError::Error(_)) => None,
        }
    }

    /// The file, open, to be handed to a child that then has the lock as well.
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
        assert!(Lock::take(&path).expect("looks").is_none());
        let copy = lock.share().expect("a copy");
        drop(lock);
        assert_eq!(Lock::is_held(&path), Some(true));
        drop(copy);
        assert_eq!(Lock::is_held(&path), Some(false));
        assert!(Lock::take(&path).expect("locks").is_some());
    }

    #[test]
    fn a_look_does_not_keep_others_out() {
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
