//! State dicts that PyTorch has saved, by candle's reader of pickles.

use candle_core::{
    Tensor,
    pickle::{self, TensorInfo},
};
use std::{collections::BTreeMap, panic, path::Path};

/// The entries of a state dict: the file's own, or those under `state_dict` or `model`. A `module.` before every name, which
/// `DataParallel` leaves, is taken off.
pub(crate) fn read(path: &Path) -> Result<BTreeMap<String, Tensor>, String> {
    let mut reason = None;
    for key in [None, Some("state_dict"), Some("model")] {
        match quietly(|| pickle::read_pth_tensor_info(path, false, key)) {
            Ok(infos) if !infos.is_empty() => {
                check(path, &infos)?;
                return Ok(unwrapped(quietly(|| pickle::read_all_with_key(path, key))?));
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

/// Candle's reader takes its files for honest; where one is not, its panic is an error like another.
fn quietly<T>(
    read: impl FnOnce() -> candle_core::Result<T> + panic::UnwindSafe,
) -> Result<T, String> {
    match panic::catch_unwind(read) {
        Ok(result) => result.map_err(|e| e.to_string().lines().next().unwrap_or_default().into()),
        Err(_) => Err("it is damaged".into()),
    }
}

/// Before anything is allocated: no tensor may be larger than the file, whose tensors are not compressed. None may begin in
/// the middle of a storage, where candle's reader (0.11) counts elements as bytes.
fn check(path: &Path, infos: &[TensorInfo]) -> Result<(), String> {
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

fn unwrapped(found: Vec<(String, Tensor)>) -> BTreeMap<String, Tensor> {
    let is_wrapped = found.iter().all(|(name, _)| name.starts_with("module."));
    let bare = |name: String| match name.strip_prefix("module.") {
        Some(bare) if is_wrapped => bare.to_string(),
        _ => name,
    };
    found.into_iter().map(|(name, tensor)| (bare(name), tensor)).collect()
}
