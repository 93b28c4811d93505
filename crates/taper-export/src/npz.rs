//! A folder of SciPy's sparse matrices: one `.npz` for each weight, and `rest.safetensors` for everything else.
//!
//! A `.npz` is a zip of NumPy arrays, here `indices`, `indptr`, `format`, `shape` and `data`, as
//! `scipy.sparse.save_npz` writes them; a row is what one output reads.

use crate::{
    ExportError, Network,
    element::read,
    sparse::{Csr, rows_and_columns, shapes},
};
use candle_core::Tensor;
use std::{
    io::{Cursor, Read, Write},
    path::Path,
};
use taper_train::checkpoint::{RawFile, RawTensor};
use zip::{CompressionMethod, DateTime, ZipArchive, ZipWriter, write::SimpleFileOptions};

/// Kind of the folder in the metadata of its `rest.safetensors`.
const KIND: &str = "taper-npz-1";

/// File of what is no weight of a layer.
pub(crate) const REST: &str = "rest.safetensors";

/// Key of the shapes in that metadata.
pub(crate) const SHAPES: &str = "npz";

/// Whether this crate has written the file beside the matrices.
pub(crate) fn is_ours(rest: &RawFile) -> bool {
    rest.metadata.get("kind").is_some_and(|kind| kind == KIND)
}

/// Whether all that is in a folder is what [`write()`] makes, so that nothing else is lost with it.
pub(crate) fn is_ours_alone(folder: &Path) -> bool {
    let Ok(rest) = RawFile::load(&folder.join(REST)) else { return false };
    let shapes = rest.metadata.get(SHAPES).and_then(|text| serde_json::from_str(text).ok());
    let weights: serde_json::Map<String, serde_json::Value> = shapes.unwrap_or_default();
    let is_file_of_ours = |entry: std::io::Result<std::fs::DirEntry>| {
        let Ok(entry) = entry else { return false };
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_weight = name.strip_suffix(".npz").is_some_and(|name| weights.contains_key(name));
        (name == REST || is_weight) && entry.file_type().is_ok_and(|kind| kind.is_file())
    };
    is_ours(&rest)
        && std::fs::read_dir(folder).is_ok_and(|mut entries| entries.all(is_file_of_ours))
}

/// Writes the files into a folder that is there.
pub(crate) fn write(network: &Network, folder: &Path) -> Result<(), ExportError> {
    let mut rest = RawFile { metadata: network.metadata.clone(), ..RawFile::default() };
    rest.metadata.insert("kind".into(), KIND.into());
    rest.metadata.insert(SHAPES.into(), shapes(network));
    for (name, tensor) in &network.tensors {
        if !network.layers.contains_key(name) {
            rest.tensors.insert(name.clone(), RawTensor::of(tensor)?);
            continue;
        }
        let path = folder.join(format!("{name}.npz"));
        let bytes = npz(tensor)?;
        taper_train::write_atomically(&path, |file| file.write_all(&bytes))
            .map_err(ExportError::io("write", &path))?;
    }
    rest.save(&folder.join(REST))?;
    Ok(())
}

fn npz(tensor: &Tensor) -> Result<Vec<u8>, ExportError> {
    let csr = Csr::of(tensor.dims(), &tensor.flatten_all()?.to_vec1::<f32>()?);
    let (rows, columns) = rows_and_columns(tensor.dims());
    // SciPy's own indices are of 32 bits with a sign, unless a matrix needs more.
    let small = |values: &[u64]| -> Result<Vec<u8>, ExportError> {
        let small = values.iter().map(|&v| i32::try_from(v));
        let small = small.collect::<Result<Vec<_>, _>>().map_err(|_| {
            ExportError::Impossible("a matrix of more than 2³¹ entries does not fit .npz".into())
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
    // A fixed time, so that equal content gives equal bytes.
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .last_modified_time(DateTime::default());
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let failed = |e: zip::result::ZipError| ExportError::Impossible(format!("cannot zip: {e}"));
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

/// The weight of these sizes that the bytes of a `.npz` hold, with its zeros.
pub(crate) fn weight(bytes: &[u8], shape: &[usize]) -> Result<Vec<f32>, String> {
    let (rows, columns) = rows_and_columns(shape);
    let mut zip = ZipArchive::new(Cursor::new(bytes)).map_err(|e| format!("it is no .npz: {e}"))?;
    // The most that an array of a weight of these sizes takes, so that a small file cannot fill the memory.
    let limit = 8 * (rows as u64 + 1).max(rows as u64 * columns as u64) + 4096;
    let mut array = |name: &str| -> Result<Npy, String> {
        let entry = zip.by_name(&format!("{name}.npy"));
        let entry = entry.map_err(|e| format!("its array {name} cannot be read: {e}"))?;
        let mut bytes = Vec::new();
        entry
            .take(limit)
            .read_to_end(&mut bytes)
            .map_err(|e| format!("its array {name} is damaged: {e}"))?;
        Npy::read(bytes).map_err(|e| format!("its array {name}: {e}"))
    };
    let format = array("format")?;
    let format = String::from_utf8_lossy(format.data()).trim_end_matches('\0').to_string();
    if format != "csr" {
        return Err(format!("it is a matrix of format `{format}`, not csr"));
    }
    let sizes = array("shape")?.whole()?;
    if sizes != [rows as u64, columns as u64] {
        return Err(format!("it is a matrix of {sizes:?}, where {rows}x{columns} is needed"));
    }
    let csr = Csr {
        shape: shape.to_vec(),
        starts: array("indptr")?.whole()?,
        columns: array("indices")?.whole()?,
        values: array("data")?.floats()?,
    };
    csr.dense()
}

/// An array as NumPy stores it.
struct Npy {
    bytes: Vec<u8>,
    start: usize,
    descr: String,
}

impl Npy {
    fn read(bytes: Vec<u8>) -> Result<Self, String> {
        let no_array = || "it is no NumPy array".to_string();
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
            return Err("it is not in C order".into());
        }
        let descr = descr.ok_or_else(no_array)?.to_string();
        let start = MAGIC.len() + from + len;
        Ok(Self { bytes, start, descr })
    }

    fn data(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    fn whole(&self) -> Result<Vec<u64>, String> {
        let signed =
            |v: i64| u64::try_from(v).map_err(|_| format!("it holds {v}, a negative number"));
        match &self.descr[..] {
            "<i4" => {
                read(self.data(), |b| signed(i32::from_le_bytes(b).into())).into_iter().collect()
            }
            "<i8" => read(self.data(), |b| signed(i64::from_le_bytes(b))).into_iter().collect(),
            other => Err(format!("it is of {other}, not <i4 or <i8")),
        }
    }

    fn floats(&self) -> Result<Vec<f32>, String> {
        match &self.descr[..] {
            "<f4" => Ok(read(self.data(), f32::from_le_bytes)),
            "<f8" => Ok(read(self.data(), |b| f64::from_le_bytes(b) as f32)),
            other => Err(format!("it is of {other}, not <f4 or <f8")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn sample() -> (Vec<f32>, Vec<u8>) {
        let values: Vec<f32> =
            (0..24).map(|i| if i % 5 == 0 { i as f32 - 7.0 } else { 0.0 }).collect();
        let tensor = Tensor::from_vec(values.clone(), (3, 2, 2, 2), &Device::Cpu).unwrap();
        (values, npz(&tensor).unwrap())
    }

    #[test]
    fn a_weight_comes_back_and_bytes_repeat() {
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
}
