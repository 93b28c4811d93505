//! Reading what a file of lines has got since the last look.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::Path,
};

/// How far a file of lines has been read.
#[derive(Debug, Default)]
pub struct Tail {
    /// Bytes of the lines that were read.
    at: u64,
    /// The last of these lines, by which the file is known again.
    last: Vec<u8>,
}

/// What has come to a file.
#[derive(Debug, PartialEq)]
pub struct News {
    /// Whether it is another file than before, so that all its lines are here.
    pub is_anew: bool,
    /// Whole lines, each with its end.
    pub lines: String,
}

impl Tail {
    /// Reads the whole lines since the last look. A run that goes on cuts its records back to the checkpoint and writes the
    /// same bytes again; what was read stays, unless the last line is another. `None` if the file cannot be read.
    pub fn read(&mut self, path: &Path) -> Option<News> {
        let mut file = File::open(path).ok()?;
        let is_anew = !self.is_known(&mut file)?;
        if is_anew {
            *self = Self::default();
        }
        file.seek(SeekFrom::Start(self.at)).ok()?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).ok()?;
        bytes.truncate(bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1));
        if let Some((_, before)) = bytes.split_last() {
            let begin = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
            self.last = bytes[begin..].to_vec();
            self.at += bytes.len() as u64;
        }
        Some(News { is_anew, lines: String::from_utf8_lossy(&bytes).into_owned() })
    }

    /// Whether the last line that was read is still where it was.
    fn is_known(&self, file: &mut File) -> Option<bool> {
        let begin = self.at - self.last.len() as u64;
        file.seek(SeekFrom::Start(begin)).ok()?;
        let mut there = Vec::new();
        file.take(self.last.len() as u64).read_to_end(&mut there).ok()?;
        Some(there == self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_new_lines_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("steps");
        let mut tail = Tail::default();
        let mut read = |content: &str| {
            std::fs::write(&path, content).unwrap();
            let News { is_anew, lines } = tail.read(&path).unwrap();
            (is_anew, lines)
        };
        assert_eq!(read(""), (false, String::new()));
        assert_eq!(read("one\ntwo\nthr"), (false, "one\ntwo\n".into()));
        assert_eq!(read("one\ntwo\nthr"), (false, String::new()));
        assert_eq!(read("one\ntwo\nthree\n"), (false, "three\n".into()));
        assert_eq!(read("one\ntwo\nthree\nfour\n"), (false, "four\n".into()), "cut back meanwhile");
        assert_eq!(read("one\ntwo\n"), (true, "one\ntwo\n".into()), "cut back");
        assert_eq!(read("one\nTWO\nthree\n"), (true, "one\nTWO\nthree\n".into()), "another run");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(tail.read(&path), None);
    }
}
