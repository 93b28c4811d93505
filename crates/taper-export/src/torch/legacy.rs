//! The format of PyTorch before version 1.6: a sequence of pickles, then the storages. The pickles are a magic number,
//! the version, the machine, the object, and the keys of the storages. Each storage follows its number of elements.

use super::{
    entry::{Entry, unreadable},
    pickle::{Pickle, Value},
    rebuild::Storage,
    state_dict::state_dict,
    view::View,
};
use std::{
    collections::{BTreeMap, HashMap},
    ops::Range,
};

/// The magic number, 0x1950a86a20f9469cfc6c, the lowest byte first.
const MAGIC: &[u8] = &[0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];

/// The version.
const VERSION: i64 = 1001;

/// The tensors of a file.
///
/// # Errors
/// If it is damaged, or a pickle of another kind.
pub(super) fn entries(bytes: &[u8]) -> Result<BTreeMap<String, Entry>, String> {
    let next = |bytes| Pickle::read(bytes).map_err(unreadable);
    let (magic, rest) = next(bytes)?;
    if magic.root != Value::Long(MAGIC) {
        return Err(
            "it is a pickle, but not from torch.save; save model.state_dict() with torch.save"
                .into(),
        );
    }
    let (version, rest) = next(rest)?;
    if version.root != Value::Int(VERSION) {
        return Err(unreadable(format_args!("its version is not {VERSION}")));
    }
    let (machine, rest) = next(rest)?;
    let facts = machine.items(machine.root).unwrap_or_default();
    if facts.contains(&(Value::Text(b"little_endian"), Value::Bool(false))) {
        return Err(
            "it was saved on a big-endian machine; save it again on a little-endian one".into()
        );
    }
    let (object, rest) = next(rest)?;
    let tensors = state_dict(&object)?;
    let storages = storages(&object, rest, bytes.len())?;
    let entry = |view: View<&[u8]>| {
        let View { dtype, storage, offset, shape, stride } = view;
        let storage = storages.get(storage).cloned().ok_or("its storage is missing")?;
        Ok(View { dtype, storage, offset, shape, stride })
    };
    Ok(tensors.into_iter().map(|(name, tensor)| (name, tensor.and_then(entry))).collect())
}

/// Byte range of each storage in a file of `len` bytes, which ends with `rest`.
fn storages<'a>(
    object: &Pickle<'a>,
    rest: &'a [u8],
    len: usize,
) -> Result<HashMap<&'a [u8], Range<usize>>, String> {
    let nodes = (0..object.nodes().len()).map(Value::Node);
    let widths: HashMap<&[u8], Option<usize>> = nodes
        .filter_map(|node| Storage::of(object, node))
        .map(|storage| (storage.key, storage.width()))
        .collect();
    let (keys, mut rest) = Pickle::read(rest).map_err(unreadable)?;
    let mut storages = HashMap::new();
    for &key in keys.values(keys.root).unwrap_or_default() {
        let Value::Text(key) = key else { return Err(unreadable("a storage has no name")) };
        let width = widths.get(key).copied().flatten();
        let width = width.ok_or_else(|| unreadable("the type of a storage is unknown"))?;
        let cut = || unreadable("it is cut off");
        let (n, behind) = rest.split_first_chunk().ok_or_else(cut)?;
        let n = usize::try_from(u64::from_le_bytes(*n)).ok().and_then(|n| n.checked_mul(width));
        let (data, behind) = n.and_then(|n| behind.split_at_checked(n)).ok_or_else(cut)?;
        let start = len - behind.len() - data.len();
        storages.insert(key, start..start + data.len());
        rest = behind;
    }
    Ok(storages)
}
