//! One weight as a SciPy sparse matrix.
//!
//! A `.npz` is a zip of NumPy arrays, here `indices`, `indptr`, `format`, `shape` and `data`, as
//! `scipy.sparse.save_npz` writes them. A row holds the weights of one output.

use crate::{
    ExportError,
    numbers::{self, Numbers},
    sparse::{Csr, rows_and_columns},
};
use safetensors::Dtype;
use std::io::{Cursor, Read, Write};
use taper_graph::Tensor;
use zip::{CompressionMethod, DateTime, ZipArchive, ZipWriter, write::SimpleFileOptions};

/// The bytes of a file with this weight.
pub(super) fn npz(tensor: &Tensor) -> Result<Vec<u8>, ExportError> {
    let csr = Csr::of(tensor.dims(), tensor.values());
    let (rows, columns) = rows_and_columns(tensor.dims());
    // SciPy uses signed 32-bit indices, unless a matrix needs more.
    let small = |values: &[u64]| -> Result<Vec<u8>, ExportError> {
        let small = values.iter().map(|&v| i32::try_from(v));
        let small = small.collect::<Result<Vec<_>, _>>().map_err(|_| {
            ExportError::Impossible(
                "a matrix of more than 2³¹ − 1 entries does not fit .npz; choose another format"
                    .into(),
            )
        })?;
        Ok(small.into_iter().flat_map(i32::to_le_bytes).collect())
    };
    let sizes = [rows as i64, columns as i64];
    let arrays = [
        ("indices", npy("<i4", &[csr.columns.len()], &small(&csr.columns)?)),
        ("indptr", npy("<i4", &[csr.starts.len()], &small(&csr.starts)?)),
        ("format", npy("|S3", &[], b"csr")),
        ("shape", npy("<i8", &[2], &sizes.map(i64::to_le_bytes).concat())),
        ("data", {
            let bytes: Vec<u8> = csr.values.iter().flat_map(|v| v.to_le_bytes()).collect();
            npy("<f4", &[csr.values.len()], &bytes)
        }),
    ];
    // A fixed time makes the bytes of equal content equal.
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .last_modified_time(DateTime::default());
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let failed = |e: zip::result::ZipError| {
        ExportError::Impossible(format!("cannot write the zip archive: {e}"))
    };
    for (name, bytes) in arrays {
        zip.start_file(format!("{name}.npy"), options).map_err(failed)?;
        zip.write_all(&bytes).map_err(|e| failed(e.into()))?;
    }
    Ok(zip.finish().map_err(failed)?.into_inner())
}

/// An array in NumPy's format, version 1.0.
fn npy(descr: &str, shape: &[usize], data: &[u8]) -> Vec<u8> {
    let sizes: String = shape.iter().map(|size| format!("{size},")).collect();
    let mut header =
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({sizes}), }}");
    let prefix = MAGIC.len() + 4;
    let len = (prefix + header.len() + 1).next_multiple_of(64) - prefix;
    header.push_str(&" ".repeat(len - 1 - header.len()));
    header.push('\n');
    let mut bytes = MAGIC.to_vec();
    bytes.extend([1, 0]);
    bytes.extend((len as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}

const MAGIC: &[u8] = b"\x93NUMPY";

/// Reads a weight of this shape, with its zeros, from the bytes of a `.npz`.
pub(crate) fn weight(bytes: &[u8], shape: &[usize]) -> Result<Vec<f32>, String> {
    let (rows, columns) = rows_and_columns(shape);
    let mut zip =
        ZipArchive::new(Cursor::new(bytes)).map_err(|e| format!("it is not a .npz file: {e}"))?;
    // A small file must not fill the memory: an array may have one number for each weight, or the length of the file.
    let numbers = (rows as u64 + 1).max(rows as u64 * columns as u64);
    let limit = (8 * numbers + 4096).max(bytes.len() as u64);
    let mut array = |name: &str| -> Result<Npy, String> {
        let entry = zip.by_name(&format!("{name}.npy"));
        let entry = entry.map_err(|e| format!("its array {name} cannot be read: {e}"))?;
        let mut bytes = Vec::new();
        entry
            .take(limit + 1)
            .read_to_end(&mut bytes)
            .map_err(|e| format!("its array {name} cannot be read: {e}"))?;
        if bytes.len() as u64 > limit {
            return Err(format!(
                "its array {name} has more numbers than {rows}x{columns}; call sum_duplicates() before saving"
            ));
        }
        Npy::read(bytes).map_err(|e| format!("its array {name}: {e}"))
    };
    // NumPy stores one or four bytes for each character.
    let mut format = array("format")?.data().to_vec();
    format.retain(|&byte| byte != 0);
    if format != b"csr" {
        let format = String::from_utf8_lossy(&format).into_owned();
        return Err(format!(
            "it is a matrix of format `{format}`; convert it with tocsr() before saving"
        ));
    }
    let mut indices = |name: &str| {
        let numbers = array(name)?.numbers().and_then(Numbers::indices);
        numbers.map_err(|e| format!("its array {name}: {e}"))
    };
    let sizes = indices("shape")?;
    if sizes != [rows as u64, columns as u64] {
        return Err(format!(
            "it is a matrix of shape {sizes:?}, but [{rows}, {columns}] is needed"
        ));
    }
    let (starts, columns) = (indices("indptr")?, indices("indices")?);
    let values = array("data")?.numbers().and_then(Numbers::floats);
    let values = values.map_err(|e| format!("its array data: {e}"))?;
    Csr { shape: shape.to_vec(), starts, columns, values }.dense()
}

/// An array in NumPy's format.
struct Npy {
    bytes: Vec<u8>,
    start: usize,
    descr: String,
}

impl Npy {
    fn read(bytes: Vec<u8>) -> Result<Self, String> {
        let no_array = || "it is not a NumPy array".to_string();
        let rest = bytes.strip_prefix(MAGIC).ok_or_else(no_array)?;
        let (len, from) = match rest {
            [1, 0, a, b, ..] => (usize::from(u16::from_le_bytes([*a, *b])), 4),
            [2 | 3, 0, a, b, c, d, ..] => (u32::from_le_bytes([*a, *b, *c, *d]) as usize, 6),
            _ => return Err(no_array()),
        };
        let header = rest.get(from..from + len).ok_or_else(no_array)?;
        let header = std::str::from_utf8(header).map_err(|_| no_array())?;
        // The header is a Python dictionary of three entries.
        let value =
            |key: &str| header.split_once(&format!("'{key}':")).map(|(_, rest)| rest.trim_start());
        let descr = value("descr").and_then(|rest| rest.strip_prefix('\'')?.split('\'').next());
        if !value("fortran_order").is_some_and(|rest| rest.starts_with("False")) {
            return Err(
                "it is not in C order; convert it with numpy.ascontiguousarray before saving"
                    .into(),
            );
        }
        let descr = descr.ok_or_else(no_array)?.to_string();
        let start = MAGIC.len() + from + len;
        Ok(Self { bytes, start, descr })
    }

    fn data(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    fn numbers(&self) -> Result<Numbers, String> {
        let dtype = match self.descr.trim_start_matches(['<', '|', '=']) {
            "f2" => Dtype::F16,
            "f4" => Dtype::F32,
            "f8" => Dtype::F64,
            "i1" => Dtype::I8,
            "i2" => Dtype::I16,
            "i4" => Dtype::I32,
            "i8" => Dtype::I64,
            "u1" => Dtype::U8,
            "u2" => Dtype::U16,
            "u4" => Dtype::U32,
            "u8" => Dtype::U64,
            other => return Err(format!("it is of type {other}; save it as <f4 or <i4")),
        };
        numbers::decode(dtype, self.data())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    fn sample() -> (Vec<f32>, Vec<u8>) {
        let values: Vec<f32> =
            (0..24).map(|i| if i % 5 == 0 { i as f32 - 7.0 } else { 0.0 }).collect();
        let tensor = Tensor::new(&[3, 2, 2, 2], values.clone()).unwrap();
        (values, npz(&tensor).unwrap())
    }

    #[test]
    fn a_weight_is_restored_and_its_bytes_are_reproducible() {
        let (values, bytes) = sample();
        assert_eq!(weight(&bytes, &[3, 2, 2, 2]).unwrap(), values);
        assert_eq!(sample().1, bytes);
        assert!(weight(&bytes, &[3, 9]).unwrap_err().contains("[3, 8]"));
    }

    #[test]
    fn damage_is_an_error_or_readable_never_a_panic() {
        let (_, bytes) = sample();
        for len in 0..bytes.len() {
            assert!(weight(&bytes[..len], &[3, 8]).is_err(), "cut to {len} bytes");
        }
        for at in 0..bytes.len() {
            for flip in [1u8, 0x80, 0xff] {
                let mut corrupt = bytes.clone();
                corrupt[at] ^= flip;
                let _ = weight(&corrupt, &[3, 8]);
            }
        }
    }

    /// A file with these row pointers, columns and values, of these NumPy types.
    fn file(
        descr: [&str; 2],
        starts: &[u8],
        columns: &[u8],
        values: &[u8],
        format: Npy,
    ) -> Vec<u8> {
        let whole = descr[0];
        let n = |bytes: &[u8]| bytes.len() / usize::from(whole.as_bytes()[2] - b'0');
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, bytes) in [
            ("indptr", npy(whole, &[n(starts)], starts)),
            ("indices", npy(whole, &[n(columns)], columns)),
            ("data", npy(descr[1], &[0], values)),
            ("shape", npy("<i4", &[2], &[2i32, 3].map(i32::to_le_bytes).concat())),
            ("format", format.bytes),
        ] {
            zip.start_file(format!("{name}.npy"), SimpleFileOptions::default()).unwrap();
            zip.write_all(&bytes).unwrap();
        }
        zip.finish().unwrap().into_inner()
    }

    fn csr() -> Npy {
        Npy::read(npy("|S3", &[], b"csr")).unwrap()
    }

    #[test]
    fn indices_of_any_order_and_width_are_read_and_duplicates_summed() {
        let f4: Vec<u8> = [1.5f32, 1.0, 0.5, 4.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        let f8: Vec<u8> = [1.5f64, 1.0, 0.5, 4.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        let (starts, columns) = ([0u8, 3, 4], [2u8, 0, 2, 1]);
        let want = [1.0, 0.0, 2.0, 0.0, 4.0, 0.0];
        for width in [1usize, 2, 4, 8] {
            let widen = |bytes: &[u8]| -> Vec<u8> {
                bytes.iter().flat_map(|&b| [vec![b], vec![0; width - 1]].concat()).collect()
            };
            for sign in ["<i", "<u"] {
                let descr = format!("{sign}{width}");
                let (starts, columns) = (widen(&starts), widen(&columns));
                for (values, of) in [(&f4, "<f4"), (&f8, "<f8")] {
                    let bytes = file([&descr, of], &starts, &columns, values, csr());
                    assert_eq!(weight(&bytes, &[2, 3]).unwrap(), want, "{descr} {of}");
                }
            }
        }
        // NumPy text with four bytes for each character, and half floats.
        let wide = Npy::read(npy("<U3", &[], b"c\0\0\0s\0\0\0r\0\0\0")).unwrap();
        let f2: Vec<u8> =
            [0x3e00u16, 0x3c00, 0x3800, 0x4400].iter().flat_map(|v| v.to_le_bytes()).collect();
        let bytes = file(["<u1", "<f2"], &starts, &columns, &f2, wide);
        assert_eq!(weight(&bytes, &[2, 3]).unwrap(), want);
    }

    #[test]
    fn unsupported_matrices_are_rejected() {
        let bad = |descr: [&str; 2], format: &[u8]| {
            let format = Npy::read(npy("|S3", &[], format)).unwrap();
            let bytes = file(descr, &[0, 0, 1], &[1], &[0; 8], format);
            weight(&bytes, &[2, 3]).unwrap_err()
        };
        assert!(bad(["<u1", "<f8"], b"coo").contains("format `coo`; convert it with tocsr()"));
        assert!(bad(["<u1", ">f4"], b"csr").contains("data: it is of type >f4"));
        assert!(bad(["<u1", "<i4"], b"csr").contains("data: its numbers are I32, not floats"));
        assert!(bad(["<f1", "<f4"], b"csr").contains("indptr"));
        // A small file of many zeros.
        let many = file(["<i8", "<f4"], &[0; 80_000], &[], &[], csr());
        assert!(
            many.len() < 8_000 && weight(&many, &[2, 3]).unwrap_err().contains("sum_duplicates")
        );
    }
}
