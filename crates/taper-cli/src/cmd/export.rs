//! The command `taper export`: writes a network in the format of another tool.

use crate::{
    args::Export,
    error::usage,
    existing::{exists, refuse_input},
    network, term,
};
use serde_json::json;
use std::path::{Path, PathBuf};
use taper::export::{ExportError, Format, Network, Options, Written};

/// Writes a network for other tools.
pub fn run(args: &Export) -> anyhow::Result<()> {
    if args.compact && args.format != Format::Bitmask {
        return Err(usage("--compact applies only to --format bitmask; leave it out"));
    }
    if args.sparse_initializer && args.format != Format::Onnx {
        return Err(usage("--sparse-initializer applies only to --format onnx; leave it out"));
    }
    let network = network::load(&args.checkpoint, &args.left_open)?;
    let dense = network.bytes();
    let exported = if args.fold_bn { network.folded()? } else { network };
    let out = args.out.clone().unwrap_or_else(|| beside(&args.checkpoint, args.format.suffix()));
    let options = Options {
        element: args.dtype,
        compact: args.compact,
        sparse_initializers: args.sparse_initializer,
        overwrite: args.force,
    };
    let written = write(exported, args.format, &args.checkpoint, &out, &options)?;
    let share = written.bytes as f64 / dense as f64;
    if args.json {
        let seen = json!({
            "file": out.display().to_string(),
            "format": args.format.name(),
            "bytes": written.bytes,
            "bytes_dense": dense,
            "share": share,
        });
        return term::print(seen);
    }
    term::print(format_args!(
        "{}: {}, {} bytes, {share:.3} times the {dense} bytes of all tensors in f32",
        out.display(),
        args.format,
        written.bytes
    ))
}

/// Writes a network, read from the file `from`, to `out`, without the folder of its training images.
///
/// # Errors
/// If `out` is the file `from`, or exists and may not be replaced.
pub(super) fn write(
    mut network: Network,
    format: Format,
    from: &Path,
    out: &Path,
    options: &Options,
) -> anyhow::Result<Written> {
    refuse_input(from, out)?;
    network::remove_folder(&mut network);
    taper::export::export(&network, format, out, options).map_err(|error| match error {
        ExportError::Exists(path) => exists("--out", &path),
        ExportError::Impossible(reason) => usage(reason),
        other => other.into(),
    })
}

/// The path of `file` with another suffix: `runs/x/pruned.onnx` for `runs/x/pruned.safetensors` and the suffix `.onnx`.
pub(super) fn beside(file: &Path, suffix: &str) -> PathBuf {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    file.with_file_name(format!("{stem}{suffix}"))
}
