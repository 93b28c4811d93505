//! The archive of PyTorch since version 1.6: a zip with `NAME/data.pkl`, and `NAME/data/KEY` for each storage. Nothing
//! in it is compressed, so a storage is a byte range of the file.

use super::{
    entry::{Entry, unreadable},
    pickle::Pickle,
    state_dict::state_dict,
    view::View,
};
use std::{
    collections::{BTreeMap, HashMap},
    io::{self, Cursor},
    ops::Range,
};
use zip::{CompressionMethod, ZipArchive, read::ZipReadOptions};

/// The tensors of an archive.
///
/// # Errors
/// If it is damaged, or another kind of archive.
pub(super) fn entries(bytes: &[u8]) -> Result<BTreeMap<String, Entry>, String> {
    let mut archive = Archive::open(bytes)?;
    let pickle = archive.part("data.pkl")?;
    let (pickle, _) = Pickle::read(&bytes[pickle]).map_err(unreadable)?;
    let mut storages: HashMap<&[u8], Result<Range<usize>, String>> = HashMap::new();
    let mut entries = BTreeMap::new();
    for (name, tensor) in state_dict(&pickle)? {
        let entry = tensor.and_then(|view| {
            let storage = storages.entry(view.storage).or_insert_with(|| {
                archive.part(&format!("data/{}", String::from_utf8_lossy(view.storage)))
            });
            let View { dtype, offset, shape, stride, .. } = view;
            Ok(View { dtype, storage: storage.clone()?, offset, shape, stride })
        });
        entries.insert(name, entry);
    }
    Ok(entries)
}

struct Archive<'a> {
    zip: ZipArchive<Cursor<&'a [u8]>>,
    /// Prefix of all names in the archive.
    folder: String,
}

impl<'a> Archive<'a> {
    fn open(bytes: &'a [u8]) -> Result<Self, String> {
        let zip = ZipArchive::new(Cursor::new(bytes)).map_err(unreadable)?;
        let ends = |end: &str| {
            zip.file_names().flatten().find_map(|n| n.strip_suffix(end).map(String::from))
        };
        let Some(folder) = ends("data.pkl") else {
            return Err(match ends(".npy") {
                Some(_) => "it is a single matrix of SciPy or NumPy; name the folder of the exported network".into(),
                None => unreadable("it is a zip archive without data.pkl"),
            });
        };
        let has = |part: &str| zip.index_for_name(&format!("{folder}{part}")).is_some();
        if has("constants.pkl") {
            return Err(
                "it is a TorchScript program; save model.state_dict() with torch.save".into()
            );
        }
        let mut archive = Self { zip, folder };
        if archive.zip.index_for_name(&format!("{}byteorder", archive.folder)).is_some() {
            let order = archive.part("byteorder")?;
            if bytes[order].starts_with(b"big") {
                return Err(
                    "it was saved on a big-endian machine; save it again on a little-endian one"
                        .into(),
                );
            }
        }
        Ok(archive)
    }

    /// Byte range of a part in the file.
    fn part(&mut self, name: &str) -> Result<Range<usize>, String> {
        let name = format!("{}{name}", self.folder);
        let index = self
            .zip
            .index_for_name(&name)
            .ok_or_else(|| unreadable(format_args!("{name} is missing")))?;
        let failed = |e: &dyn std::fmt::Display| unreadable(format_args!("{name}: {e}"));
        let raw = self.zip.by_index_raw(index).map_err(|e| failed(&e))?;
        if raw.compression() != CompressionMethod::Stored || raw.encrypted() {
            return Err(failed(&"it is compressed or encrypted, which PyTorch does not do"));
        }
        let (start, size, sum) = (raw.data_start(), raw.size(), raw.crc32());
        drop(raw);
        // PyTorch can omit checksums, and writes 0 then.
        let options = ZipReadOptions::new().ignore_crc32(sum == 0);
        let mut content = self.zip.by_index_with_options(index, options).map_err(|e| failed(&e))?;
        let n = io::copy(&mut content, &mut io::sink()).map_err(|e| failed(&e))?;
        let range = start.and_then(|start| {
            let start = usize::try_from(start).ok()?;
            Some(start..start.checked_add(usize::try_from(size).ok()?)?)
        });
        range.filter(|_| n == size).ok_or_else(|| failed(&"it is cut off"))
    }
}
