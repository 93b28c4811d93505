//! Writes and reads every format.

use crate::{ElementType, Format, Network, Options, check_onnx, check_safetensors, export, open};
use candle_core::{DType, Device, Tensor};
use std::collections::BTreeMap;
use taper_nn::{Model, Pass};
use taper_train::checkpoint::RawTensor;

type Shapes = BTreeMap<String, Vec<usize>>;

fn shapes(model: &dyn Model) -> Shapes {
    let entries = model.params().entries().iter();
    entries.map(|e| (e.name.clone(), e.var.dims().to_vec())).collect()
}

/// A network with a tenth of its weights, and running statistics that are not the initial ones.
fn sparse(architecture: &str) -> (Box<dyn Model>, Network) {
    let found = taper_zoo::Architecture::find(architecture).unwrap();
    let model = found.build(7, 1, &Device::Cpu).unwrap();
    for (i, entry) in model.params().entries().iter().enumerate() {
        let n = entry.var.elem_count();
        let values: Vec<f32> = match &entry.name {
            _ if entry.kind.is_some_and(taper_nn::ParamKind::is_prunable) => {
                let values = entry.var.flatten_all().unwrap().to_vec1::<f32>().unwrap();
                let kept = values.into_iter().enumerate();
                kept.map(|(j, v)| if (i + j) % 10 == 0 { v } else { 0.0 }).collect()
            }
            name if name.ends_with("num_batches_tracked") => {
                let counted = Tensor::full(7 + i as i64, entry.var.shape(), &Device::Cpu);
                entry.var.set(&counted.unwrap()).unwrap();
                continue;
            }
            name => {
                let centre =
                    if name.ends_with("mean") || name.ends_with("bias") { 0.0 } else { 1.0 };
                (0..n).map(|j| centre + 0.1 * ((i + 3 * j) % 7) as f32).collect()
            }
        };
        let value = Tensor::from_vec(values, entry.var.shape(), &Device::Cpu).unwrap();
        entry.var.set(&value).unwrap();
    }
    let metadata = [("architecture".to_string(), architecture.to_string())];
    let network = Network::of(&*model, found.image, metadata.into()).unwrap();
    (model, network)
}

fn bits(tensors: &BTreeMap<String, Tensor>) -> BTreeMap<String, Vec<u32>> {
    let values =
        |t: &Tensor| t.flatten_all().unwrap().to_dtype(DType::F32).unwrap().to_vec1::<f32>();
    let bits = |t: &Tensor| values(t).unwrap().iter().map(|v| v.to_bits()).collect();
    tensors.iter().map(|(name, t)| (name.clone(), bits(t))).collect()
}

/// The network that a format can restore. ONNX does not store counters of batches.
fn as_stored(network: &Network, format: Format) -> Network {
    let mut stored = network.clone();
    if format == Format::Onnx {
        stored.counters.values_mut().for_each(|raw| raw.data.fill(0));
    }
    stored
}

/// The bits of all tensors, with counters as floats.
fn bits_of(network: &Network) -> BTreeMap<String, Vec<u32>> {
    let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect();
    let counted = |raw: &RawTensor| {
        let (counts, rest) = raw.data.as_chunks();
        assert!(rest.is_empty());
        counts.iter().map(|&count| (i64::from_le_bytes(count) as f32).to_bits()).collect()
    };
    let tensors = network.tensors().iter().map(|(name, t)| (name.clone(), bits(t.values())));
    let counters = network.counters.iter().map(|(name, raw)| (name.clone(), counted(raw)));
    tensors.chain(counters).collect()
}

#[test]
fn every_format_restores_every_network_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    for architecture in ["digits-cnn", "resnet20", "mobilenet-v1", "densenet40-24", "resnet18"] {
        let (model, network) = sparse(architecture);
        let shapes = shapes(&*model);
        for format in Format::ALL {
            for special in [false, true] {
                let path =
                    folder.path().join(format!("{architecture}-{special}{}", format.suffix()));
                let options = Options {
                    compact: special,
                    sparse_initializers: special,
                    ..Options::default()
                };
                let written = export(&network, format, &path, &options).unwrap();
                let dense = format == Format::Dense || (format == Format::Onnx && !special);
                assert_eq!(written.bytes < written.dense_bytes, !dense, "{format} {written:?}");
                let opened = open(&path).unwrap();
                assert_eq!(opened.metadata("architecture"), Some(architecture));
                let tensors = opened.tensors(&shapes).unwrap();
                assert!(
                    bits(&tensors) == bits_of(&as_stored(&network, format)),
                    "{architecture} as {format}"
                );
            }
        }
    }
}

#[test]
fn an_onnx_file_is_read_back_as_a_graph_of_the_same_function() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("network.onnx");
    let (_, network) = sparse("resnet20");
    let n = network.graph.input_dims().iter().product::<usize>();
    let image: Vec<f32> = (0..n).map(|i| (i % 11) as f32 / 5.0 - 1.0).collect();
    let want = taper_graph::interpret(&network.graph, &image).unwrap();
    for sparse_initializers in [false, true] {
        let options = Options { sparse_initializers, overwrite: true, ..Options::default() };
        export(&network, Format::Onnx, &path, &options).unwrap();
        let graph = taper_onnx::open(&path).unwrap();
        assert_eq!(graph.metadata["architecture"], "resnet20");
        assert_eq!(taper_graph::interpret(&graph, &image).unwrap(), want);
    }
}

#[test]
fn a_shrunk_network_is_the_same_function_in_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("small.onnx");
    let options = Options { overwrite: true, ..Options::default() };
    let mut n_smaller = 0;
    for seed in 0..150 {
        let graph = taper_graph::random::graph(seed);
        let images = taper_graph::random::images(&graph, 2, seed);
        let want = taper_graph::interpret(&graph, &images).unwrap();
        let network = Network::from(graph);
        let small = network.shrunk().unwrap();
        match export(&small, Format::Onnx, &path, &options) {
            Err(error) if error.to_string().contains("with dilation") => continue,
            written => drop(written.unwrap()),
        }
        n_smaller += u32::from(small.bytes() < network.bytes());
        let back = taper_onnx::open(&path).unwrap();
        let found = taper_graph::interpret(&back, &images).unwrap();
        let most = want.iter().fold(1e-3f32, |most, x| most.max(x.abs()));
        for (found, want) in found.iter().zip(&want) {
            let is_equal = (found - want).abs() <= 1e-5 * most || found.is_nan() && want.is_nan();
            assert!(is_equal || found == want, "{seed}: {found} instead of {want}");
        }
    }
    assert!(n_smaller > 30, "{n_smaller}");
}

#[test]
fn a_file_is_read_into_its_network_folded_or_not() {
    let folder = tempfile::tempdir().unwrap();
    for architecture in ["digits-cnn", "densenet40-24"] {
        let (_, plain) = sparse(architecture);
        let found = taper_zoo::Architecture::find(architecture).unwrap();
        let fresh = found.build(7, 2, &Device::Cpu).unwrap();
        let fresh = Network::of(&*fresh, found.image, BTreeMap::new()).unwrap();
        for (network, kind) in [(plain.folded().unwrap(), "folded"), (plain, "plain")] {
            for format in Format::ALL {
                let path = folder.path().join(format!("{architecture}-{kind}{}", format.suffix()));
                export(&network, format, &path, &Options::default()).unwrap();
                let read = open(&path).unwrap().network(&fresh).unwrap();
                assert!(read.graph() == network.graph(), "{architecture} {kind} as {format}");
                let expected = as_stored(&network, format).counters;
                assert!(read.counters == expected, "{architecture} {kind} as {format}");
            }
        }
    }
    // The message lists the missing tensors of the plain network, not those of the folded one.
    let (_, other) = sparse("resnet20");
    let path = folder.path().join(format!("digits-cnn-plain{}", Format::Csr.suffix()));
    let error = open(&path).unwrap().network(&other).unwrap_err().to_string();
    assert!(error.contains("layer1.0.bn1.bias") && error.contains("missing"), "{error}");
}

#[test]
fn sixteen_bit_values_are_the_nearest_and_overflow_of_f16_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let (model, mut network) = sparse("digits-cnn");
    let shapes = shapes(&*model);
    for (element, dtype) in [(ElementType::F16, DType::F16), (ElementType::Bf16, DType::BF16)] {
        let rounded = |values: &[f32]| {
            let exact = Tensor::new(values, &Device::Cpu).unwrap();
            exact.to_dtype(dtype).unwrap().to_dtype(DType::F32).unwrap().to_vec1::<f32>().unwrap()
        };
        let mut expected = network.clone();
        for tensor in expected.graph.tensors.values_mut() {
            let values = rounded(tensor.values());
            *tensor = taper_graph::Tensor::new(tensor.dims(), values).unwrap();
        }
        for format in [Format::Dense, Format::Bitmask, Format::Csr, Format::Onnx] {
            let path = folder.path().join(format!("{element}{}", format.suffix()));
            let options = Options { element, ..Options::default() };
            export(&network, format, &path, &options).unwrap();
            let tensors = open(&path).unwrap().tensors(&shapes).unwrap();
            let expected = as_stored(&expected, format);
            assert!(bits(&tensors) == bits_of(&expected), "{element} as {format}");
        }
    }
    let options = Options { element: ElementType::F16, ..Options::default() };
    let npz = export(&network, Format::Npz, &folder.path().join("x"), &options).unwrap_err();
    assert!(npz.to_string().contains("f16"), "{npz}");
    let large = taper_graph::Tensor::new(&[7], [1e6; 7]).unwrap();
    network.graph.add_tensor("linear.bias", large);
    let error = export(&network, Format::Dense, &folder.path().join("x"), &options).unwrap_err();
    assert!(error.to_string().contains("linear.bias holds 1000000"), "{error}");
}

#[test]
fn folding_keeps_zeros_and_the_function() {
    for (architecture, n_left) in
        [("digits-cnn", 0), ("resnet20", 0), ("mobilenet-v1", 0), ("densenet40-24", 21)]
    {
        let (model, network) = sparse(architecture);
        let folded = network.folded().unwrap();
        let norms = folded.tensors().keys().filter(|name| name.ends_with("running_var"));
        assert_eq!(norms.count(), n_left, "{architecture}");
        let counters = folded.counters.keys().filter(|name| name.ends_with("batches_tracked"));
        assert_eq!(counters.count(), n_left, "{architecture}");
        for name in network.layers().into_keys() {
            let zeros = |n: &Network| {
                n.tensors()[name].values().iter().map(|&v| v == 0.0).collect::<Vec<_>>()
            };
            assert_eq!(zeros(&network), zeros(&folded), "{architecture}: {name}");
        }
        // The model is unchanged.
        let image = network.image().try_into().unwrap();
        let before = Network::of(&*model, image, BTreeMap::new()).unwrap();
        assert!(bits_of(&before) == bits_of(&network), "{architecture}");
    }
    // The first convolution of the digits network, folded by hand.
    let (model, network) = sparse("digits-cnn");
    let folded = network.folded().unwrap();
    assert_eq!(network.layers()["linear.weight"], "linear");
    let values = |n: &Network, name: &str| -> Vec<f64> {
        n.tensors()[name].values().iter().copied().map(f64::from).collect()
    };
    let part = |name: &str| values(&network, name);
    let (gamma, beta) = (part("bn1.weight"), part("bn1.bias"));
    let (mean, var) = (part("bn1.running_mean"), part("bn1.running_var"));
    let (weight, folded_weight) = (part("conv1.weight"), values(&folded, "conv1.weight"));
    let folded_bias = values(&folded, "conv1.bias");
    let taps = weight.len() / gamma.len();
    for c in 0..gamma.len() {
        let scale = gamma[c] / (var[c] + 1e-5).sqrt();
        let shift = beta[c] - mean[c] * scale;
        assert!((folded_bias[c] - shift).abs() < 1e-6, "channel {c}");
        for at in c * taps..(c + 1) * taps {
            assert!((folded_weight[at] - weight[at] * scale).abs() < 1e-6, "weight {at}");
        }
    }
    let image = Tensor::ones((1, 1, 8, 8), DType::F32, &Device::Cpu).unwrap();
    assert_eq!(model.forward(&image, &Pass::eval()).unwrap().dims(), [1, 7]);
}

#[test]
fn tensors_that_do_not_fit_are_rejected_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let (model, network) = sparse("digits-cnn");
    let mut shapes = shapes(&*model);
    for format in Format::ALL {
        let path = folder.path().join(format!("network{}", format.suffix()));
        export(&network, format, &path, &Options::default()).unwrap();
        let again = export(&network, format, &path, &Options::default()).unwrap_err().to_string();
        assert!(again.contains("exists already"), "{again}");
        let options = Options { overwrite: true, ..Options::default() };
        export(&network, format, &path, &options).unwrap();

        shapes.insert("conv9.weight".into(), vec![1]);
        let missing = open(&path).unwrap().tensors(&shapes).unwrap_err().to_string();
        assert!(missing.contains("conv9.weight is missing"), "{format}: {missing}");
        shapes.remove("conv9.weight");
        let size = shapes.insert("conv2.weight".into(), vec![32, 16, 3, 2]).unwrap();
        let shape = open(&path).unwrap().tensors(&shapes).unwrap_err().to_string();
        assert!(shape.contains("conv2"), "{format}: {shape}");
        // The same number of elements, and a larger network than the file's.
        for other in [vec![32, 48, 3, 1], vec![32, 17, 3, 3]] {
            shapes.insert("conv2.weight".into(), other);
            let shape = open(&path).unwrap().tensors(&shapes).err();
            assert!(shape.is_some(), "{format}");
        }
        shapes.remove("conv2.weight");
        let foreign = open(&path).unwrap().tensors(&shapes).unwrap_err().to_string();
        assert!(foreign.contains("conv2.weight is not in"), "{format}: {foreign}");
        shapes.insert("conv2.weight".into(), size);
    }
    let precious = folder.path().join("precious");
    std::fs::create_dir(&precious).unwrap();
    let options = Options { overwrite: true, ..Options::default() };
    let refused = export(&network, Format::Npz, &precious, &options).unwrap_err().to_string();
    assert!(refused.contains("is not overwritten"), "{refused}");
    // A folder of an exported network with another file in it.
    let ours = folder.path().join(format!("network{}", Format::Npz.suffix()));
    for theirs in ["notes.txt", "my-data.npz"] {
        std::fs::write(ours.join(theirs), "mine").unwrap();
        let refused = export(&network, Format::Npz, &ours, &options).unwrap_err().to_string();
        assert!(refused.contains("is not overwritten"), "{refused}");
        std::fs::remove_file(ours.join(theirs)).unwrap();
    }
    export(&network, Format::Npz, &ours, &options).unwrap();
    assert!(open(&precious).unwrap_err().to_string().contains("rest.safetensors"));
    assert!(open(&folder.path().join("nowhere.pt")).is_err());
    std::fs::write(folder.path().join("noise.pt"), [7u8; 99]).unwrap();
    let noise = open(&folder.path().join("noise.pt")).unwrap_err().to_string();
    assert!(noise.contains("not a readable state dict"), "{noise}");
}

#[test]
fn damage_is_an_error_or_readable_never_a_panic() {
    let folder = tempfile::tempdir().unwrap();
    let (model, network) = sparse("digits-cnn");
    let shapes = shapes(&*model);
    for format in [Format::Bitmask, Format::Csr, Format::Onnx] {
        let path = folder.path().join(format.suffix());
        let options = Options { sparse_initializers: true, ..Options::default() };
        export(&network, format, &path, &options).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let check = |bytes: &[u8]| match format {
            Format::Onnx => check_onnx(bytes, &shapes),
            _ => check_safetensors(bytes, &shapes),
        };
        assert_eq!(check(&bytes), Ok(()), "{format}");
        for len in (0..bytes.len()).step_by(97) {
            assert!(check(&bytes[..len]).is_err(), "{format} cut to {len} bytes");
        }
        let mut n_refused = 0;
        for at in (0..bytes.len()).step_by(23) {
            for flip in [1u8, 0x80, 0xff] {
                let mut corrupt = bytes.clone();
                corrupt[at] ^= flip;
                n_refused += usize::from(check(&corrupt).is_err());
            }
        }
        assert!(n_refused > 100, "{format}: {n_refused}");
    }
}
