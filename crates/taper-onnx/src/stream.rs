//! A file as a buffer for decoding while reading. The whole file and its decoded messages are never in memory together.

use prost::bytes::Buf;
use std::{
    fs::File,
    io::{self, Read},
};

/// Bytes of one read.
const BUFFER: usize = 1 << 16;

/// The rest of a file of known length.
pub(crate) struct Stream<R> {
    file: R,
    /// Bytes that have been read, and consumed up to `at`. All are consumed only at the end of the file.
    buffer: Vec<u8>,
    at: usize,
    /// Bytes that are not consumed, including those in the buffer.
    left: usize,
    failed: Option<io::Error>,
}

impl Stream<File> {
    /// A file from its start; `None` if its length is unknown, as for a pipe.
    ///
    /// # Errors
    /// If its length cannot be read.
    pub(crate) fn of(file: &File) -> io::Result<Option<Stream<&File>>> {
        let metadata = file.metadata()?;
        let len = usize::try_from(metadata.len()).ok().filter(|_| metadata.is_file());
        Ok(len.map(|len| Stream::new(file, len)))
    }
}

impl<R: Read> Stream<R> {
    fn new(file: R, len: usize) -> Self {
        let mut stream = Self { file, buffer: Vec::new(), at: 0, left: len, failed: None };
        stream.fill();
        stream
    }

    /// Reads the next bytes. After a failure they are zeros, as a buffer must keep its length.
    fn fill(&mut self) {
        self.at = 0;
        self.buffer.resize(self.left.min(BUFFER), 0);
        if self.failed.is_none() {
            self.failed = self.file.read_exact(&mut self.buffer).err();
        }
        if self.failed.is_some() {
            self.buffer.fill(0);
        }
    }

    /// The failure, if the file could not be read to its end.
    pub(crate) fn failed(&self) -> Option<&io::Error> {
        self.failed.as_ref()
    }
}

impl<R: Read> Buf for Stream<R> {
    fn remaining(&self) -> usize {
        self.left
    }

    fn chunk(&self) -> &[u8] {
        &self.buffer[self.at..]
    }

    fn advance(&mut self, mut n: usize) {
        assert!(n <= self.left, "{n} bytes of {}", self.left);
        while n > 0 {
            let step = n.min(self.chunk().len());
            self.at += step;
            self.left -= step;
            n -= step;
            if self.at == self.buffer.len() {
                self.fill();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_in_order_whatever_is_skipped() {
        let bytes: Vec<u8> = (0..3 * BUFFER + 5).map(|i| (i * i % 251) as u8).collect();
        for skipped in [0, 1, BUFFER - 1, BUFFER, 2 * BUFFER + 1, bytes.len()] {
            let mut stream = Stream::new(&bytes[..], bytes.len());
            stream.advance(skipped);
            assert_eq!(stream.remaining(), bytes.len() - skipped);
            let rest = stream.copy_to_bytes(stream.remaining());
            assert!(rest == bytes[skipped..], "{skipped}");
            assert!(!stream.has_remaining() && stream.chunk().is_empty());
            assert!(stream.failed().is_none());
        }
    }

    #[test]
    fn a_file_that_is_shorter_than_its_length_is_an_error_and_keeps_its_length() {
        let bytes = [7; BUFFER + 1];
        let mut stream = Stream::new(&bytes[..], 2 * BUFFER);
        let read = stream.copy_to_bytes(2 * BUFFER);
        assert_eq!(read[..BUFFER], bytes[..BUFFER]);
        assert!(read[BUFFER..].iter().all(|&byte| byte == 0));
        assert_eq!(stream.failed().map(io::Error::kind), Some(io::ErrorKind::UnexpectedEof));
    }
}
