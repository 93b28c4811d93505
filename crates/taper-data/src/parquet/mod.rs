//! CIFAR from parquet files with the columns of the hub: `img` (a struct with a PNG in `bytes`) and `label`, or
//! `fine_label` and `coarse_label`.

mod pages;

use crate::image::decode_into;
use crate::{Cifar, DataError, ImageShape, Result, Split};
use bytes::Bytes;
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, DataType};
use parquet::file::properties::ReaderProperties;
use parquet::file::reader::{FileReader, RowGroupReader, SerializedFileReader};
use parquet::file::serialized_reader::ReadOptionsBuilder;
use parquet::schema::types::SchemaDescriptor;
use rayon::prelude::*;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// Records that are read at a time. Buffers grow with the records that exist, not with the number that the file claims.
const BATCH: usize = 1024;

/// This number of images (192 MiB of pixels) is accepted from a file of any size, because a dictionary stores equal
/// images only once. CIFAR has 60,000 images.
const ALWAYS_TAKEN: u64 = 1 << 16;

/// Reads one parquet file. Returns its data set (CIFAR-10 or CIFAR-100), and its images in row order, with their labels
/// and, for CIFAR-100, their coarse labels. PNGs are decoded on all cores.
///
/// # Errors
/// - [`DataError::Io`] if the file cannot be read.
/// - [`DataError::File`] if it is not parquet, truncated, corrupt, or without the columns.
/// - [`DataError::Row`] for a missing value, an image that is not RGB of 32 × 32 pixels, or a label out of range.
pub fn read_parquet(path: &Path) -> Result<(Cifar, Split)> {
    read_rows(path, usize::MAX)
}

/// As [`read_parquet`], but at most `limit` rows.
pub(crate) fn read_rows(path: &Path, limit: usize) -> Result<(Cifar, Split)> {
    let bytes = Bytes::from(std::fs::read(path).map_err(|e| DataError::io(path, e))?);
    // The parquet crate may panic on corrupt input. A panic is reported as a corrupt file.
    let read = catch_unwind(AssertUnwindSafe(|| read(&bytes, limit))).unwrap_or_else(|_| {
        Err(Trouble::File("the file is corrupt and cannot be read; download it again".into()))
    });
    match read {
        Ok((cifar, images, labels, coarse)) => {
            Split::new(ImageShape::CIFAR, images, labels, coarse).map(|split| (cifar, split))
        }
        Err(Trouble::File(problem)) => Err(DataError::file(path, problem)),
        Err(Trouble::Row(row, problem)) => Err(DataError::row(path, row, problem)),
    }
}

enum Trouble {
    File(String),
    Row(usize, String),
}

impl From<parquet::errors::ParquetError> for Trouble {
    fn from(error: parquet::errors::ParquetError) -> Self {
        Self::File(format!("cannot be read as parquet ({error}); download it again"))
    }
}

type Parts = (Cifar, Vec<u8>, Vec<u32>, Option<Vec<u32>>);

fn read(bytes: &Bytes, limit: usize) -> Result<Parts, Trouble> {
    // There are three formats named LZ4. This excludes the one that does not limit the decompressed size of a page.
    let properties = ReaderProperties::builder().set_backward_compatible_lz4(false).build();
    let options = ReadOptionsBuilder::new().with_reader_properties(properties).build();
    let reader = SerializedFileReader::new_with_options(bytes.clone(), options)?;
    let meta = reader.metadata();
    let schema = meta.file_metadata().schema_descr();
    let Some(image) = column(schema, "img.bytes") else {
        return Err(Trouble::File(
            "there is no column `img.bytes`; only the CIFAR files of the hub can be read".into(),
        ));
    };
    let (cifar, label) = match (column(schema, "fine_label"), column(schema, "label")) {
        (Some(fine), _) => (Cifar::Hundred, fine),
        (None, Some(label)) => (Cifar::Ten, label),
        (None, None) => {
            return Err(Trouble::File(
                "there is neither a column `fine_label` nor `label`; only the CIFAR files of the hub can be read".into(),
            ));
        }
    };
    let above = if cifar == Cifar::Hundred { column(schema, "coarse_label") } else { None };

    let claimed: u64 = meta
        .row_groups()
        .iter()
        .map(|g| u64::try_from(g.num_rows()).unwrap_or(u64::MAX / 2))
        .fold(0, u64::saturating_add);
    // A stored image has at least 32 bytes.
    let most = (bytes.len() as u64 / 32).max(ALWAYS_TAKEN);
    if claimed > most {
        return Err(Trouble::File(format!(
            "the file claims {claimed} images in {} bytes, but at most {most} are read; download it again, or split it",
            bytes.len()
        )));
    }

    let (mut images, mut labels, mut coarse) = (Vec::new(), Vec::new(), Vec::new());
    for g in 0..meta.num_row_groups() {
        let first = labels.len();
        let n = (meta.row_group(g).num_rows() as usize).min(limit - first);
        if n == 0 {
            continue;
        }
        let group = Group { bytes, reader: &*reader.get_row_group(g)?, first, n };
        let fine = group.integers(label)?;
        let over = above.map(|index| group.integers(index)).transpose()?;
        for (i, &label) in fine.iter().enumerate() {
            let coarse = over.as_ref().map(|o| o[i]);
            cifar.check(label, coarse).map_err(|problem| Trouble::Row(first + i, problem))?;
        }
        group.byte_arrays(image, |row, pngs| decode(pngs, row, &mut images))?;
        labels.extend(fine.into_iter().map(|l| l as u32));
        coarse.extend(over.into_iter().flatten().map(|l| l as u32));
    }
    if labels.is_empty() && limit > 0 {
        return Err(Trouble::File("there are no rows; download it again".into()));
    }
    Ok((cifar, images, labels, above.map(|_| coarse)))
}

fn column(schema: &SchemaDescriptor, name: &str) -> Option<usize> {
    (0..schema.num_columns()).find(|&i| schema.column(i).path().string() == name)
}

/// Decodes the PNGs of a row group on all cores and appends their pixels.
fn decode(pngs: &[ByteArray], first: usize, images: &mut Vec<u8>) -> Result<(), Trouble> {
    let len = ImageShape::CIFAR.len();
    let start = images.len();
    images.resize(start + pngs.len() * len, 0);
    // Of several invalid images, the first is reported, independent of the threads.
    let worst = images[start..]
        .par_chunks_exact_mut(len)
        .zip(pngs)
        .enumerate()
        .filter_map(|(i, (target, png))| {
            decode_into(png.data(), ImageShape::CIFAR, target)
                .err()
                .map(|problem| (first + i, problem))
        })
        .min_by_key(|(row, _)| *row);
    worst.map_or(Ok(()), |(row, problem)| Err(Trouble::Row(row, problem)))
}

/// One row group. `n` of its rows are read; `first` is the number of its first row in the file.
struct Group<'a> {
    bytes: &'a Bytes,
    reader: &'a dyn RowGroupReader,
    first: usize,
    n: usize,
}

impl Group<'_> {
    fn open(&self, index: usize) -> Result<ColumnReader, Trouble> {
        let meta = self.reader.metadata();
        if meta.column(index).column_descr().max_rep_level() > 0 {
            return Err(Trouble::File(format!(
                "column `{}` is a list, but must have one value per row",
                self.name(index)
            )));
        }
        pages::check(self.bytes, meta.column(index), meta.num_rows() as usize)
            .map_err(Trouble::File)?;
        Ok(self.reader.get_column_reader(index)?)
    }

    fn name(&self, index: usize) -> String {
        self.reader.metadata().column(index).column_path().string()
    }

    fn integers(&self, index: usize) -> Result<Vec<i64>, Trouble> {
        let mut values = Vec::new();
        match self.open(index)? {
            ColumnReader::Int64ColumnReader(reader) => {
                self.batches(index, reader, |_, batch| {
                    values.extend_from_slice(batch);
                    Ok(())
                })?
            }
            ColumnReader::Int32ColumnReader(reader) => {
                self.batches(index, reader, |_, batch| {
                    values.extend(batch.iter().copied().map(i64::from));
                    Ok(())
                })?
            }
            _ => {
                return Err(Trouble::File(format!(
                    "column `{}` does not contain whole numbers",
                    self.name(index)
                )));
            }
        }
        Ok(values)
    }

    /// Calls `take` for each batch, with the number of its first row in the file and its values. The decompressed pages
    /// are not all in memory at the same time.
    fn byte_arrays(
        &self,
        index: usize,
        take: impl FnMut(usize, &[ByteArray]) -> Result<(), Trouble>,
    ) -> Result<(), Trouble> {
        match self.open(index)? {
            ColumnReader::ByteArrayColumnReader(reader) => self.batches(index, reader, take),
            _ => {
                Err(Trouble::File(format!("column `{}` does not contain bytes", self.name(index))))
            }
        }
    }

    fn batches<T: DataType>(
        &self,
        index: usize,
        mut reader: ColumnReaderImpl<T>,
        mut take: impl FnMut(usize, &[T::T]) -> Result<(), Trouble>,
    ) -> Result<(), Trouble> {
        let present = self.reader.metadata().column(index).column_descr().max_def_level();
        let (mut values, mut levels) = (Vec::new(), Vec::new());
        let mut done = 0;
        while done < self.n {
            values.clear();
            levels.clear();
            let want = BATCH.min(self.n - done);
            let (n, _, _) = reader.read_records(want, Some(&mut levels), None, &mut values)?;
            if let Some(i) = levels.iter().position(|&level| level != present) {
                return Err(Trouble::Row(
                    self.first + done + i,
                    format!("column `{}` has no value", self.name(index)),
                ));
            }
            if n == 0 || values.len() != n {
                break;
            }
            take(self.first + done, &values)?;
            done += n;
        }
        if done != self.n {
            return Err(Trouble::File(format!(
                "column `{}` has fewer than {} values for as many rows; the file is corrupt",
                self.name(index),
                self.n
            )));
        }
        Ok(())
    }
}
