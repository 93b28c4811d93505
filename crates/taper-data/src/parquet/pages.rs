//! Checks the pages of a column chunk before the parquet crate acts on them.
//!
//! A page header states the decompressed size of the page and its number of values. The decoder allocates memory for
//! these numbers. This check limits them, so a small file cannot allocate gigabytes. Most codecs then write into a
//! buffer of the stated size. The codecs of gzip and Brotli write everything, so their output is counted here first.
//! Headers are structs in Thrift's compact protocol.

use brotli_decompressor::Decompressor;
use flate2::read::MultiGzDecoder;
use parquet::basic::Compression;
use parquet::file::metadata::ColumnChunkMetaData;
use std::io::Read;

/// Pages of up to this decompressed size are always accepted. Writers aim at 1 MiB.
const SMALL_PAGE: i64 = 64 << 20;

/// The accepted decompressed size of a column chunk per row, in addition to [`SMALL_PAGE`]. An image has 3 KiB.
const BYTES_PER_ROW: i64 = 16 << 10;

/// The accepted decompressed size per byte of the file. The densest element of snappy expands 3 bytes to 64.
const RATIO: i64 = 32;

/// Maximum nesting depth of structs. Valid headers are less deep.
const MAX_DEPTH: u32 = 8;

/// The relevant fields of a page header. `-1` means absent.
#[derive(Debug)]
struct Header {
    kind: i64,
    uncompressed: i64,
    compressed: i64,
    n_values: i64,
    encoding: i64,
    /// Bytes of levels before the values. Version 2 of data pages does not compress them.
    levels: i64,
    /// 0 if a data page of version 2 states that its values are not compressed.
    is_compressed: i64,
}

/// Checks every page of `column` in `file`. The pages must have `n_rows` values in total.
pub(super) fn check(
    file: &[u8],
    column: &ColumnChunkMetaData,
    n_rows: usize,
) -> Result<(), String> {
    // The parquet crate panics on negative offsets and sizes of a column, so they are checked here first.
    let start = column.dictionary_page_offset().unwrap_or_else(|| column.data_page_offset());
    let mut rest = usize::try_from(start)
        .ok()
        .zip(usize::try_from(column.compressed_size()).ok())
        .and_then(|(start, len)| file.get(start..start.checked_add(len)?))
        .ok_or("a column is outside the file; the file is truncated or corrupt")?;
    let compression = column.compression();
    let mut budget = i64::try_from(n_rows)
        .unwrap_or(i64::MAX)
        .saturating_mul(BYTES_PER_ROW)
        .saturating_add(column.compressed_size().saturating_mul(RATIO))
        .saturating_add(SMALL_PAGE);
    let mut n = 0i64;
    while !rest.is_empty() {
        let header = Header::read(&mut rest).ok_or("a page header is corrupt")?;
        let size = usize::try_from(header.compressed).ok().filter(|&size| size <= rest.len());
        let size =
            size.ok_or("a page is longer than its column; the file is truncated or corrupt")?;
        let (body, after) = rest.split_at(size);
        rest = after;
        n = n.checked_add(header.check(compression)?).ok_or("a page header is corrupt")?;
        budget -= header.uncompressed;
        if budget < 0 {
            return Err(format!(
                "a column of {} bytes for {n_rows} rows decompresses to far more; the file is corrupt",
                column.compressed_size()
            ));
        }
        header.check_body(compression, body)?;
    }
    if usize::try_from(n) != Ok(n_rows) {
        return Err(format!("a column has {n} values for {n_rows} rows; the file is corrupt"));
    }
    Ok(())
}

impl Header {
    /// The number of rows in the page (0 for a dictionary), if the header is plausible.
    fn check(&self, compression: Compression) -> Result<i64, String> {
        let most = match compression {
            Compression::UNCOMPRESSED => self.compressed,
            Compression::LZO => {
                return Err(
                    "pages are compressed with LZO, which is not supported; rewrite the file with zstd"
                        .into(),
                );
            }
            _ => self.compressed.saturating_mul(RATIO).max(SMALL_PAGE),
        };
        if self.uncompressed < 0 || self.uncompressed > most {
            return Err(format!(
                "a page claims {} bytes decompressed from {}; the file is corrupt",
                self.uncompressed, self.compressed
            ));
        }
        match self.kind {
            // The reader skips index pages.
            1 => Ok(0),
            // A dictionary: each value takes at least 4 bytes (a length, or a number).
            2 if self.n_values < 0 || self.n_values > self.uncompressed / 4 => {
                Err(format!("a dictionary claims {} values; the file is corrupt", self.n_values))
            }
            2 => Ok(0),
            0 | 3 => match self.encoding {
                // Plain, and the two names of dictionary encoding.
                0 | 2 | 8 if self.n_values >= 0 => Ok(self.n_values),
                0 | 2 | 8 => Err("a page header is corrupt".into()),
                e => Err(format!(
                    "values have encoding {e}; only plain and dictionary are supported, rewrite the file"
                )),
            },
            other => Err(format!("a page has unknown type {other}; the file is corrupt")),
        }
    }

    /// Checks the decompressed size of a page, if its codec does not limit the size.
    fn check_body(&self, compression: Compression, body: &[u8]) -> Result<(), String> {
        let parts = usize::try_from(self.levels)
            .ok()
            .and_then(|n| body.get(n..))
            .zip(u64::try_from(self.uncompressed.saturating_sub(self.levels)).ok());
        let (values, size) = parts.ok_or("a page header is corrupt")?;
        let decoder: Box<dyn Read + '_> = match compression {
            // A page without values has no stream at all.
            _ if self.kind == 3 && (self.is_compressed == 0 || size == 0) => return Ok(()),
            Compression::GZIP(_) => Box::new(MultiGzDecoder::new(values)),
            Compression::BROTLI(_) => Box::new(Decompressor::new(values, 1 << 16)),
            _ => return Ok(()),
        };
        match std::io::copy(&mut decoder.take(size.saturating_add(1)), &mut std::io::sink()) {
            Ok(n) if n == size => Ok(()),
            Ok(n) if n > size => {
                Err(format!("a page claims {size} bytes but has more; the file is corrupt"))
            }
            _ => Err("a page cannot be decompressed; the file is corrupt".into()),
        }
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        let mut header = Self {
            kind: -1,
            uncompressed: -1,
            compressed: -1,
            n_values: -1,
            encoding: -1,
            levels: 0,
            is_compressed: 1,
        };
        read_struct(bytes, 0, 0, &mut |parent, field, value| match (parent, field) {
            (0, 1) => header.kind = value,
            (0, 2) => header.uncompressed = value,
            (0, 3) => header.compressed = value,
            // Data page, dictionary page, data page of version 2.
            (5 | 7 | 8, 1) => header.n_values = value,
            (5, 2) | (8, 4) => header.encoding = value,
            (8, 5 | 6) => header.levels = header.levels.saturating_add(value),
            (8, 7) => header.is_compressed = value,
            _ => {}
        })?;
        Some(header)
    }
}

/// Reads a struct, and calls `report(field id of the struct, field id, value)` for each integer and Boolean in it.
fn read_struct(
    bytes: &mut &[u8],
    parent: i64,
    depth: u32,
    report: &mut dyn FnMut(i64, i64, i64),
) -> Option<()> {
    let mut id = 0i64;
    loop {
        let head = byte(bytes)?;
        if head == 0 {
            return Some(());
        }
        id = match head >> 4 {
            0 => integer(bytes)?,
            delta => id.checked_add(delta.into())?,
        };
        match head & 15 {
            // The value of a Boolean is in its type.
            kind @ (1 | 2) => report(parent, id, i64::from(kind == 1)),
            4..=6 => report(parent, id, integer(bytes)?),
            // Only structs directly below the header are relevant; deeper ones get an id that never matches.
            12 if depth < MAX_DEPTH => {
                read_struct(bytes, if depth == 0 { id } else { -1 }, depth + 1, report)?
            }
            kind => skip(bytes, kind, depth + 1)?,
        }
    }
}

fn skip(bytes: &mut &[u8], kind: u8, depth: u32) -> Option<()> {
    if depth > MAX_DEPTH {
        return None;
    }
    match kind {
        1..=3 => byte(bytes).map(drop),
        4..=6 => varint(bytes).map(drop),
        7 => take(bytes, 8),
        8 => {
            let n = varint(bytes)?;
            take(bytes, usize::try_from(n).ok()?)
        }
        9 | 10 => {
            let head = byte(bytes)?;
            let n = if head >> 4 == 15 { varint(bytes)? } else { u64::from(head >> 4) };
            (0..n).try_for_each(|_| skip(bytes, head & 15, depth + 1))
        }
        12 => read_struct(bytes, -1, depth + 1, &mut |_, _, _| {}),
        _ => None,
    }
}

fn byte(bytes: &mut &[u8]) -> Option<u8> {
    let (&first, rest) = bytes.split_first()?;
    *bytes = rest;
    Some(first)
}

fn take(bytes: &mut &[u8], n: usize) -> Option<()> {
    *bytes = bytes.get(n..)?;
    Some(())
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let b = byte(bytes)?;
        value |= u64::from(b & 127) << shift;
        if b < 128 {
            return Some(value);
        }
    }
    None
}

/// A zigzag varint.
fn integer(bytes: &mut &[u8]) -> Option<i64> {
    let v = varint(bytes)?;
    Some((v >> 1) as i64 ^ -((v & 1) as i64))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page header: type 0, 100 bytes from `compressed`, 5 values, plain, RLE levels.
    fn page(compressed: u8) -> Vec<u8> {
        vec![
            0x15,
            0,
            0x15,
            200,
            1,
            0x15,
            compressed * 2,
            0x2c,
            0x15,
            10,
            0x15,
            0,
            0x15,
            6,
            0x15,
            6,
            0,
            0,
        ]
    }

    #[test]
    fn headers_are_parsed() {
        let bytes = page(50);
        let mut rest = &bytes[..];
        let header = Header::read(&mut rest).unwrap();
        assert!(rest.is_empty());
        assert_eq!((header.uncompressed, header.compressed, header.n_values), (100, 50, 5));
        assert_eq!(header.check(Compression::SNAPPY), Ok(5));
        assert!(header.check(Compression::UNCOMPRESSED).unwrap_err().contains("100 bytes"));
        for n in 0..bytes.len() {
            assert!(Header::read(&mut &bytes[..n]).is_none(), "cut to {n}");
        }
    }

    #[test]
    fn levels_and_the_flag_of_version_two_are_parsed() {
        // Type 3, 100 bytes from 50; 5 values, no nulls, 5 rows, plain, 2 and 1 bytes of levels, not compressed.
        let head = [0x15, 6, 0x15, 200, 1, 0x15, 100];
        let bytes = |flag| {
            let inner = [0x5c, 0x15, 10, 0x15, 0, 0x15, 10, 0x15, 0, 0x15, 4, 0x15, 2];
            [&head[..], &inner, flag, &[0, 0]].concat()
        };
        for (flag, is_compressed) in [(&[0x12u8][..], 0), (&[0x11], 1), (&[], 1)] {
            let bytes = bytes(flag);
            let mut rest = &bytes[..];
            let header = Header::read(&mut rest).unwrap();
            assert!(rest.is_empty());
            assert_eq!((header.kind, header.n_values, header.levels), (3, 5, 3));
            assert_eq!(header.is_compressed, is_compressed);
        }
    }

    #[test]
    fn implausible_headers_are_errors() {
        let header = |kind, uncompressed, n_values, encoding| {
            let (levels, is_compressed) = (0, 1);
            Header {
                kind,
                uncompressed,
                compressed: 100,
                n_values,
                encoding,
                levels,
                is_compressed,
            }
            .check(Compression::SNAPPY)
        };
        assert!(header(0, 1 << 31, 5, 0).unwrap_err().contains("decompressed"));
        assert!(header(2, 400, 101, 0).unwrap_err().contains("dictionary"));
        assert_eq!(header(2, 400, 100, 0), Ok(0));
        assert!(header(0, 400, 5, 5).unwrap_err().contains("encoding 5"));
        assert!(header(9, 400, 5, 0).unwrap_err().contains("type 9"));
        assert!(header(0, 400, -5, 0).is_err());
    }

    #[test]
    fn a_gzip_page_must_have_the_stated_size() {
        use std::io::Write;
        let gzip = |n: usize| {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Default::default());
            encoder.write_all(&vec![7; n]).unwrap();
            encoder.finish().unwrap()
        };
        // Version 2 of data pages: two bytes of levels, then the values.
        let body = [vec![9, 9], gzip(1000)].concat();
        let page = |uncompressed, levels, is_compressed| Header {
            kind: 3,
            uncompressed,
            compressed: body.len() as i64,
            n_values: 5,
            encoding: 0,
            levels,
            is_compressed,
        };
        let gz = Compression::GZIP(Default::default());
        assert_eq!(page(1002, 2, 1).check_body(gz, &body), Ok(()));
        let more = page(1001, 2, 1).check_body(gz, &body).unwrap_err();
        assert!(more.contains("claims 999 bytes but has more"), "{more}");
        assert!(page(1003, 2, 1).check_body(gz, &body).unwrap_err().contains("decompressed"));
        assert!(page(1002, 3, 1).check_body(gz, &body).unwrap_err().contains("decompressed"));
        assert!(page(1002, 5000, 1).check_body(gz, &body).is_err());
        assert!(page(1002, -1, 1).check_body(gz, &body).is_err());
        assert_eq!(page(7, 2, 0).check_body(gz, &body), Ok(()));
        let brotli = Compression::BROTLI(Default::default());
        assert!(page(1002, 2, 1).check_body(brotli, &body).is_err());
        // Snappy writes into a buffer of the stated size, so it needs no check.
        assert_eq!(page(7, 2, 1).check_body(Compression::SNAPPY, &body), Ok(()));
    }

    #[test]
    fn too_deep_nesting_is_an_error() {
        assert!(Header::read(&mut &[0x1c; 10_000][..]).is_none());
        assert!(Header::read(&mut &[0x19; 10_000][..]).is_none());
        assert!(Header::read(&mut &[0x19, 0xf9, 0xff, 0xff, 0xff, 0xff, 0x7f][..]).is_none());
    }
}
