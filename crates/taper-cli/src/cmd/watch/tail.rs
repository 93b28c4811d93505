//! Reads the lines that were appended to a file since the last read.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::Path,
};

/// The read position in a file of lines.
#[derive(Debug, Default)]
pub struct Tail {
    /// Number of bytes read: complete lines only.
    at: u64,
    /// The last line read. It identifies the file at the next read.
    last: Vec<u8>,
}

/// The new content of a file.
#[derive(Debug, PartialEq)]
pub struct News {
    /// Whether the file was replaced or shortened; `lines` then holds all its lines.
    pub is_anew: bool,
    /// Complete lines, with their line ends.
    pub lines: String,
}

impl Tail {
    /// Reads the complete lines since the last read; `None` if the file cannot be read. A resumed run truncates its
    /// records to the checkpoint and writes the same bytes again: earlier lines stay valid if the last line read is
    /// still at its place.
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

    /// Whether the last line read is still at its place.
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
