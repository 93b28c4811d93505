//! Detects the kind of a file from its content, and from its name only if the content is unknown.

use crate::ExportError;
use std::{fs::File, io::Read, path::Path};

/// Kinds of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Safetensors,
    Onnx,
    Torch,
}

/// File name extensions of PyTorch.
const TORCH: [&str; 7] = ["pt", "pth", "th", "bin", "ckpt", "pkl", "tar"];

/// Whether a file is an ONNX file.
///
/// # Errors
/// If the file cannot be read, or its format is unknown.
pub fn is_onnx(path: &Path) -> Result<bool, ExportError> {
    let metadata = std::fs::metadata(path).map_err(ExportError::io("read", path))?;
    // A folder can be an exported network of `.npz` files.
    if !metadata.is_file() {
        return Ok(false);
    }
    let mut begin = Vec::new();
    File::open(path)
        .and_then(|file| file.take(BEGIN).read_to_end(&mut begin))
        .map_err(ExportError::io("read", path))?;
    let kind = kind(&begin, metadata.len(), path).map_err(ExportError::malformed(path))?;
    Ok(kind == Kind::Onnx)
}

/// Number of leading bytes that identify a file.
const BEGIN: u64 = 512;

/// The kind of a file of `len` bytes, from its first bytes.
///
/// # Errors
/// Names what the file is instead, and what to do.
pub(crate) fn kind(bytes: &[u8], len: u64, path: &Path) -> Result<Kind, String> {
    if is_safetensors(bytes, len) {
        return Ok(Kind::Safetensors);
    }
    match bytes {
        [b'P', b'K', 3, 4, ..] | [0x80, 2..=5, ..] => return Ok(Kind::Torch),
        [0x1f, 0x8b, ..] => return Err(compressed("gzip")),
        [b'B', b'Z', b'h', ..] => return Err(compressed("bzip2")),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => return Err(compressed("xz")),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => return Err(compressed("zstd")),
        [] => return Err("it is empty; copy it again".into()),
        // A model begins with its version.
        [0x08, ..] => return Ok(Kind::Onnx),
        _ => {}
    }
    if bytes.starts_with(b"version https://git-lfs") {
        return Err("it is a Git LFS pointer; fetch the file itself with `git lfs pull`".into());
    }
    // ONNX as text begins with `<` too.
    let start = bytes.trim_ascii_start();
    let begins = |tag: &str| {
        start.get(..tag.len()).is_some_and(|start| start.eq_ignore_ascii_case(tag.as_bytes()))
    };
    if ["<!doctype", "<html", "<head", "<?xml"].into_iter().any(begins) {
        return Err("it is a web page; download the file itself".into());
    }
    if bytes.get(257..262) == Some(b"ustar") {
        return Err(
            "it is a tar archive; unpack it, or save model.state_dict() with a newer PyTorch"
                .into(),
        );
    }
    let end = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_lowercase();
    match &end[..] {
        "onnx" => Ok(Kind::Onnx),
        end if TORCH.contains(&end) => Ok(Kind::Torch),
        // A truncated file still has its header.
        "safetensors" => Ok(Kind::Safetensors),
        _ if bytes.get(8) == Some(&b'{') => Ok(Kind::Safetensors),
        _ => {
            Err("its format is not supported; save safetensors, ONNX or a PyTorch state dict"
                .into())
        }
    }
}

/// Whether the file begins with the length of a header that fits into it, and the header.
fn is_safetensors(bytes: &[u8], len: u64) -> bool {
    let Some((header, rest)) = bytes.split_first_chunk::<8>() else { return false };
    rest.first() == Some(&b'{') && u64::from_le_bytes(*header) <= len.saturating_sub(8)
}

fn compressed(by: &str) -> String {
    format!("it is compressed with {by}; decompress it first")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_decides_and_then_the_name() {
        let of = |bytes: &[u8], name: &str| kind(bytes, bytes.len() as u64, Path::new(name));
        for name in ["a", "a.onnx", "a.safetensors", "a.pth.tar"] {
            assert_eq!(of(b"\x02\0\0\0\0\0\0\0{}", name), Ok(Kind::Safetensors));
            assert_eq!(of(b"PK\x03\x04...", name), Ok(Kind::Torch));
            assert_eq!(of(b"\x80\x02\x8a", name), Ok(Kind::Torch));
            assert_eq!(of(b"\x08\x08\x12\x05", name), Ok(Kind::Onnx));
            for (bytes, part) in [
                (&b"\x1f\x8b\x08"[..], "gzip"),
                (b"BZh91AY", "bzip2"),
                (b"\xfd7zXZ\0\0", "xz"),
                (b"\x28\xb5\x2f\xfd\x04", "zstd"),
                (b"", "empty"),
                (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
                (b"\n<!DOCTYPE html>", "web page"),
                (b"<HTML>", "web page"),
                (&[&[b'x'; 257][..], b"ustar"].concat(), "tar archive"),
            ] {
                assert!(of(bytes, name).unwrap_err().contains(part), "{part}");
            }
        }
        for (name, kind) in [
            ("a.ONNX", Kind::Onnx),
            ("a.pth.tar", Kind::Torch),
            ("a.CKPT", Kind::Torch),
            ("a.safetensors", Kind::Safetensors),
        ] {
            assert_eq!(of(&[7; 99], name), Ok(kind), "{name}");
        }
        assert_eq!(of(b"\xff\0\0\0\0\0\0\0{\"a\"", "a"), Ok(Kind::Safetensors));
        // A header may be longer than the bytes that are checked.
        let begin = b"\xff\xff\0\0\0\0\0\0{";
        assert_eq!(kind(begin, 1 << 20, Path::new("a.onnx")), Ok(Kind::Safetensors));
        assert_eq!(kind(begin, 1 << 10, Path::new("a.onnx")), Ok(Kind::Onnx));
        for name in ["a", "a.h5", "a.gguf"] {
            assert!(
                of(&[7; 99], name).unwrap_err().contains("its format is not supported"),
                "{name}"
            );
            assert!(of(b"<ir_version: 8>", name).unwrap_err().contains("format is not"), "{name}");
        }
    }
}
