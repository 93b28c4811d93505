//! Exit codes of `taper` and `cargo xtask`.

use std::{error::Error, fmt, io, process::ExitCode};

/// How a program ends. The book's table of exit codes lists the same codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Success.
    Done = 0,
    /// Failure: a missing or damaged file, a loss that is not finite, a server that cannot be reached.
    Failed = 1,
    /// The command, an experiment or a combination of them is wrong; nothing was done.
    Usage = 2,
    /// The results are written, but a run failed, or a band or a minimum ratio was missed.
    Missed = 3,
    /// The disk is full or read-only, or a quota is used up; files that were written before are complete.
    Full = 4,
    /// Stopped by Ctrl-C or SIGTERM, with a checkpoint.
    Interrupted = 130,
}

impl Exit {
    /// All codes, ascending.
    pub const ALL: [Self; 6] =
        [Self::Done, Self::Failed, Self::Usage, Self::Missed, Self::Full, Self::Interrupted];

    /// The number for the system.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The code of an error, from it and its causes: [`Usage`], [`Full`](Self::Full), or else [`Failed`](Self::Failed).
    pub fn of(error: &(dyn Error + 'static)) -> Self {
        let (mut exit, mut next) = (Self::Failed, Some(error));
        while let Some(cause) = next {
            if cause.is::<Usage>() {
                return Self::Usage;
            }
            if cause.downcast_ref::<io::Error>().is_some_and(is_full) {
                exit = Self::Full;
            }
            next = cause.source();
        }
        exit
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}

/// Whether the disk is full or read-only, or a quota is used up.
fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    matches!(error.kind(), FileTooLarge | QuotaExceeded | ReadOnlyFilesystem | StorageFull)
}

/// Marks an error as a usage error: in a flag, an experiment, or a combination of them.
#[derive(Debug)]
pub struct Usage(String);

impl Usage {
    /// An error with a message that says what is wrong and what to do.
    pub fn new(message: impl fmt::Display) -> Self {
        Self(message.to_string())
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for Usage {}

#[cfg(test)]
mod tests {
    use super::*;

    /// An error with a cause.
    #[derive(Debug)]
    struct Behind<E>(E);

    impl<E> fmt::Display for Behind<E> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("behind")
        }
    }

    impl<E: Error + 'static> Error for Behind<E> {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn the_causes_of_an_error_decide_its_code() {
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        let absent = io::Error::from(io::ErrorKind::NotFound);
        assert_eq!(Exit::of(&Behind(Behind(full()))), Exit::Full);
        assert_eq!(Exit::of(&Behind(absent)), Exit::Failed);
        assert_eq!(Exit::of(&Behind(Usage::new("wrong"))), Exit::Usage);
        for kind in [
            io::ErrorKind::FileTooLarge,
            io::ErrorKind::QuotaExceeded,
            io::ErrorKind::ReadOnlyFilesystem,
        ] {
            assert_eq!(Exit::of(&io::Error::from(kind)), Exit::Full, "{kind}");
        }
    }

    #[test]
    fn codes_are_distinct() {
        let codes = Exit::ALL.map(Exit::code);
        assert!(codes.is_sorted_by(|a, b| a < b), "{codes:?}");
    }
}
