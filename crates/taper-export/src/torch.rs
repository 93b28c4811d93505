//! State dicts that PyTorch has saved, by candle's reader of pickles.

use crate::pickle;
use candle_core::{
    Tensor,
    pickle::{PthTensors, TensorInfo},
};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufReader, Read},
    panic::{self, AssertUnwindSafe},
    path::Path,
};
use zip::ZipArchive;

/// The entries of a state dict: the file's own, or those under `state_dict` or `model`. A `module.` before every name, which
/// `DataParallel` leaves, is taken off.
pub(crate) struct StateDict {
    tensors: PthTensors,
    /// The file's name of each entry.
    names: BTreeMap<String, String>,
}

impl std::fmt::Debug for StateDict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("StateDict").field(&self.names).finish()
    }
}

impl StateDict {
    /// Reads what the file says of its tensors.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        check_pickles(path)?;
        let mut reason = None;
        for key in [None, Some("state_dict"), Some("model")] {
            match quietly(|| PthTensors::new(path, key)) {
                Ok(tensors) if !tensors.tensor_infos().is_empty() => {
                    check(path, tensors.tensor_infos().values())?;
                    let names = bare_names(tensors.tensor_infos().keys());
                    return Ok(Self { tensors, names });
                }
                Ok(_) => {}
                Err(why) => {
                    reason.get_or_insert(why);
                }
            }
        }
        Err(match reason {
            Some(why) => format!(
                "it is no state dict that can be read ({why}); save model.state_dict() with torch.save"
            ),
            None => "there are no tensors in it; save model.state_dict() with torch.save".into(),
        })
    }

    /// Names of the entries.
    pub(crate) fn names(&self) -> impl Iterator<Item = &String> {
        self.names.keys()
    }

    /// Sizes of an entry.
    pub(crate) fn dims(&self, name: &str) -> Option<&[usize]> {
        Some(self.tensors.tensor_infos().get(self.names.get(name)?)?.layout.dims())
    }

    /// Reads an entry.
    pub(crate) fn tensor(&self, name: &str) -> Result<Option<Tensor>, String> {
        let Some(stored) = self.names.get(name) else { return Ok(None) };
        quietly(|| self.tensors.get(stored)).map_err(|e| format!("tensor {name}: {e}"))
    }
}

/// Candle's reader takes its files for honest; where one is not, its panic is an error like another.
fn quietly<T>(read: impl FnOnce() -> candle_core::Result<T>) -> Result<T, String> {
    // What it reads from is not written to, so nothing can be left half done.
    match panic::catch_unwind(AssertUnwindSafe(read)) {
        Ok(result) => result.map_err(|e| e.to_string().lines().next().unwrap_or_default().into()),
        Err(_) => Err("it is damaged".into()),
    }
}

/// Looks at what the reader is going to run. Pickles that are packed to less than they are long are not PyTorch's.
fn check_pickles(path: &Path) -> Result<(), String> {
    const ADVICE: &str = "save model.state_dict() with torch.save";
    let no_dict = |why: String| format!("it is no state dict that can be read ({why}); {ADVICE}");
    let file = File::open(path).map_err(|e| e.to_string())?;
    let len = file.metadata().map_err(|e| e.to_string())?.len();
    let mut zip = ZipArchive::new(BufReader::new(file)).map_err(|e| no_dict(e.to_string()))?;
    for i in 0..zip.len() {
        let entry = zip.by_index(i).map_err(|e| no_dict(e.to_string()))?;
        let name = entry.name().map_err(|e| no_dict(e.to_string()))?;
        if !name.ends_with("data.pkl") {
            continue;
        }
        let mut bytes = Vec::new();
        entry.take(len + 1).read_to_end(&mut bytes).map_err(|e| no_dict(e.to_string()))?;
        if bytes.len() as u64 > len {
            return Err(no_dict("its pickle is longer than the file".into()));
        }
        pickle::check(&bytes).map_err(no_dict)?;
    }
    Ok(())
}

/// Before anything is allocated: no tensor may be larger than the file, whose tensors are not compressed. None may begin in
/// the middle of a storage, where candle's reader (0.11) counts elements as bytes.
fn check<'a>(path: &Path, infos: impl Iterator<Item = &'a TensorInfo>) -> Result<(), String> {
    let file = std::fs::metadata(path).map_err(|e| e.to_string())?.len();
    for info in infos {
        let dims = info.layout.dims().iter();
        let bytes =
            dims.fold(info.dtype.size_in_bytes() as u64, |n, &d| n.saturating_mul(d as u64));
        if bytes > file {
            return Err(format!(
                "tensor {} takes {bytes} bytes, and the file has {file}",
                info.name
            ));
        }
        if info.layout.start_offset() > 0 {
            return Err(format!(
                "tensor {} is a part of another's memory; save clones, as in {{k: v.clone() for k, v in state.items()}}",
                info.name
            ));
        }
    }
    Ok(())
}

fn bare_names<'a>(found: impl Iterator<Item = &'a String> + Clone) -> BTreeMap<String, String> {
    let is_wrapped = found.clone().all(|name| name.starts_with("module."));
    let bare = |name: &String| match name.strip_prefix("module.") {
        Some(bare) if is_wrapped => bare.to_string(),
        _ => name.clone(),
    };
    found.map(|name| (bare(name), name.clone())).collect()
}
