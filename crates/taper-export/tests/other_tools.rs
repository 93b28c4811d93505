//! Reads files of PyTorch, SciPy and ONNX. `testdata/import/make.py` writes them.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};
use taper_export::{check_onnx, check_torch, open};

type Shapes = BTreeMap<String, Vec<usize>>;

const NETWORK: [(&str, &[usize]); 8] = [
    ("conv.weight", &[3, 2, 2, 2]),
    ("bn.weight", &[3]),
    ("bn.bias", &[3]),
    ("bn.running_mean", &[3]),
    ("bn.running_var", &[3]),
    ("bn.num_batches_tracked", &[]),
    ("linear.weight", &[2, 3]),
    ("linear.bias", &[2]),
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/import")
}

fn shapes() -> Shapes {
    NETWORK.iter().map(|(name, shape)| ((*name).to_string(), shape.to_vec())).collect()
}

/// What every file holds.
fn expected() -> BTreeMap<String, Vec<f32>> {
    let tensor = |(t, (name, shape)): (usize, &(&str, &[usize]))| {
        let n = shape.iter().product::<usize>();
        let value = |i: usize| ((7 * t + 5 * i) % 11) as f32 / 8.0 - 0.625;
        let values = match name.ends_with("tracked") {
            true => vec![7.0],
            false => (0..n).map(value).collect(),
        };
        ((*name).to_string(), values)
    };
    NETWORK.iter().enumerate().map(tensor).collect()
}

fn read(path: &Path) -> Result<BTreeMap<String, Vec<f32>>, String> {
    let values = |t: &candle_core::Tensor| {
        t.flatten_all()
            .and_then(|t| t.to_dtype(candle_core::DType::F32)?.to_vec1())
            .expect("numbers")
    };
    let tensors =
        open(path).and_then(|opened| opened.tensors(&shapes())).map_err(|e| e.to_string())?;
    Ok(tensors.iter().map(|(name, tensor)| (name.clone(), values(tensor))).collect())
}

#[test]
fn every_form_of_a_state_dict_is_read() {
    let forms = [
        "plain.pt",
        "protocol3.pt",
        "protocol4.pt",
        "protocol5.pt",
        "legacy.pth",
        "parameters.pt",
        "imagenet.pth.tar",
        "legacy.th",
        "rng_state.pt",
        "net.pth",
        "ddp_compiled.pt",
        "compiled_ddp.pt",
        "lightning.ckpt",
        "numpy_beside.pkl",
        "twice",
        "channels_last.pt",
        "transposed.pt",
        "views.pt",
        "legacy_views.pt",
        "double.pt",
        "half.pt",
        "bfloat16.pt",
        "no_checksums.pt",
        "pruned.pt",
        "pruned.safetensors",
    ];
    for name in forms {
        assert_eq!(read(&folder().join("torch").join(name)), Ok(expected()), "{name}");
    }
    let expanded = read(&folder().join("torch/expanded.pt")).expect("a file");
    assert_eq!(expanded["bn.bias"], [0.25; 3]);
    assert_eq!(expanded["conv.weight"], expected()["conv.weight"]);
}

#[test]
fn messages_name_the_content_of_unsupported_files_and_what_to_save() {
    for (name, parts) in [
        ("whole.pt", &["object of class ", "Net, not a state dict", "model.state_dict()"][..]),
        ("list.pt", &["holds a list or tuple", "model.state_dict()"]),
        ("several.pt", &["several state dicts, under student, teacher"]),
        ("script.pt", &["TorchScript", "model.state_dict()"]),
        (
            "parametrized.pt",
            &[
                "conv.parametrizations.weight.original is not in the network",
                "conv.weight is missing",
                "remove_parametrizations",
            ],
        ),
        ("sparse.pt", &["tensor linear.weight: it is a sparse tensor; convert it with to_dense()"]),
        ("codes.pt", &["tensor linear.weight: its numbers are I8, not floats", "scale"]),
        ("float8.pt", &["tensor linear.weight: its numbers are F8_E4M3; save them as F32"]),
        ("quantized.pt", &["tensor linear.weight: it is a quantized tensor", "dequantize()"]),
        ("numpy.pt", &["tensor linear.weight: it is a NumPy array", "torch.from_numpy"]),
        ("complex.pt", &["tensor linear.weight: its type is ComplexFloatStorage"]),
        ("extra_bool.pt", &["tensor mask is not in the network"]),
    ] {
        let error = read(&folder().join("torch").join(name)).expect_err(name);
        for part in parts {
            assert!(error.contains(part), "{name}: `{part}` is not in {error}");
        }
    }
}

#[test]
fn the_content_decides_the_format_whatever_the_name() {
    let other = tempfile::tempdir().expect("a folder");
    for from in
        ["torch/plain.pt", "torch/legacy.pth", "torch/pruned.safetensors", "onnx/double.onnx"]
    {
        for to in ["a", "a.safetensors", "a.onnx", "a.bin", "a.tar"] {
            let to = other.path().join(to);
            std::fs::copy(folder().join(from), &to).expect("a copy");
            assert_eq!(read(&to), Ok(expected()), "{from} as {}", to.display());
        }
    }
    let matrix = read(&folder().join("rows.npz.d/conv.weight.npz")).expect_err("a matrix");
    assert!(matrix.contains("name the folder"), "{matrix}");
}

#[test]
fn rows_in_any_order_with_duplicate_entries_are_read() {
    for name in ["rows.npz.d", "rows.safetensors"] {
        assert_eq!(read(&folder().join(name)), Ok(expected()), "{name}");
    }
}

#[test]
fn every_form_of_an_initializer_is_read() {
    for name in ["half_int32.onnx", "double.onnx", "coordinates.onnx", "external.onnx"] {
        assert_eq!(read(&folder().join("onnx").join(name)), Ok(expected()), "{name}");
    }
    let codes = read(&folder().join("onnx/codes.onnx")).expect_err("codes");
    assert!(codes.contains("linear.weight: its numbers are I8, not floats"), "{codes}");
    // Without the other file.
    let elsewhere = tempfile::tempdir().expect("a folder");
    let alone = elsewhere.path().join("external.onnx");
    std::fs::copy(folder().join("onnx/external.onnx"), &alone).expect("a copy");
    let error = read(&alone).expect_err("a part");
    assert!(error.contains("`external.data`") && error.contains("put it next to"), "{error}");
}

/// Python writes long lists and dictionaries in batches of 1000, and each batch extends the same value.
#[test]
fn long_lists_are_not_counted_as_nesting() {
    let batch = [&b"("[..], &b"G\x3f\xf0\0\0\0\0\0\0".repeat(1000), b"e"].concat();
    let list = [&b"]"[..], &batch.repeat(70)].concat();
    let head = b"\x80\x02}(X\x06\0\0\0lossesq\0";
    let tail = b"X\x0a\0\0\0state_dict}X\x01\0\0\0actorch._utils\n_rebuild_tensor_v2\n\
        ((X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\0\x30X\x03\0\0\0cpuK\x01tQK\0K\x01\x85K\x01\x85\x89NtRsu.";
    let pickle = [&head[..], &list, tail].concat();
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let stored =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, content) in [("x/data.pkl", &pickle[..]), ("x/data/0", &1.5f32.to_le_bytes())] {
        zip.start_file(name, stored).expect("an entry");
        std::io::Write::write_all(&mut zip, content).expect("its content");
    }
    let bytes = zip.finish().expect("a zip").into_inner();
    assert_eq!(check_torch(&bytes, &[("a".to_string(), vec![1])].into()), Ok(()));
}

#[test]
fn damage_is_an_error_or_readable_never_a_panic() {
    let shapes = shapes();
    for name in [
        "torch/plain.pt",
        "torch/legacy.pth",
        "torch/protocol5.pt",
        "torch/pruned.pt",
        "torch/no_checksums.pt",
        "onnx/half_int32.onnx",
        "onnx/coordinates.onnx",
    ] {
        let bytes = std::fs::read(folder().join(name)).expect("a file");
        let check = |bytes: &[u8]| match name.starts_with("onnx") {
            true => check_onnx(bytes, &shapes),
            false => check_torch(bytes, &shapes),
        };
        assert_eq!(check(&bytes), Ok(()), "{name}");
        for len in 0..bytes.len() {
            // The parts of an ONNX file after its graph are optional.
            let is_read = check(&bytes[..len]).is_ok();
            assert!(!is_read || name.starts_with("onnx"), "{name} cut to {len} bytes");
        }
        let mut n_refused = 0;
        for at in 0..bytes.len() {
            for flip in [1u8, 0x80, 0xff] {
                let mut corrupt = bytes.clone();
                corrupt[at] ^= flip;
                n_refused += usize::from(check(&corrupt).is_err());
            }
        }
        assert!(n_refused > bytes.len() / 10, "{name}: {n_refused}");
    }
}

#[test]
fn checksums_are_compared_if_present() {
    let other = tempfile::tempdir().expect("a folder");
    let bits = expected()["conv.weight"].iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    let flipped = |name: &str| {
        let mut bytes = std::fs::read(folder().join("torch").join(name)).expect("a file");
        let at = bytes.windows(bits.len()).position(|part| part == bits).expect("the weight");
        bytes[at + 2] ^= 1;
        let path = other.path().join(name);
        std::fs::write(&path, bytes).expect("a file");
        read(&path)
    };
    let error = flipped("plain.pt").expect_err("a damaged file");
    assert!(error.contains("conv.weight") && error.contains("checksum"), "{error}");
    let read = flipped("no_checksums.pt").expect("a file");
    assert_ne!(read["conv.weight"], expected()["conv.weight"]);
}

#[test]
fn the_length_of_a_tensor_or_why_it_has_none() {
    let opened = |name: &str| open(&folder().join(name)).expect("a file");
    for name in ["torch/plain.pt", "torch/lightning.ckpt", "onnx/double.onnx", "rows.npz.d"] {
        assert_eq!(opened(name).len_of("linear.bias").expect("a length"), 2, "{name}");
    }
    assert_eq!(opened("torch/pruned.pt").len_of("conv.weight").expect("a length"), 24);
    for (name, tensor, part) in [
        ("torch/plain.pt", "linear.biases", "linear.biases is missing"),
        ("torch/numpy.pt", "linear.weight", "a NumPy array"),
        ("rows.npz.d", "linear.weight", "linear.weight is packed"),
    ] {
        let error = opened(name).len_of(tensor).expect_err(name).to_string();
        assert!(error.contains(part), "{name}: {error}");
    }
}
