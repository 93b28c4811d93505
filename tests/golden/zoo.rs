//! Golden tests of the networks of the zoo: names, counts, logits, gradients and running statistics.

mod case;

use crate::check::{Check, sum};
use crate::fill::{fill, values};
use crate::reader::{Fields, Folder, device};
use candle_core::DType;
use case::Case;
use serde_json::Value;
use taper::nn::Model;
use taper::train::analyse;
use taper::zoo::Architecture;

/// The architecture with this name in the reference values; they have underscores where the zoo has hyphens.
fn architecture(model: &str) -> Option<Architecture> {
    Architecture::find(model).or_else(|_| Architecture::find(&model.replace('_', "-"))).ok()
}

/// A network with the generated weights.
fn build(architecture: &Architecture, json: &Value) -> Box<dyn Model> {
    let classes = json.count("num_classes") as usize;
    let model = architecture.build(classes, 0, &device()).expect("a network");
    fill(model.params(), json.field("fill").count("seed"));
    model
}

/// Runs `test` on every network of the folder.
fn each(test: impl Fn(&str, &Folder, &Architecture, &Value)) {
    let folder = Folder::of_tests();
    let mut n_tested = 0;
    for stem in folder.stems("zoo_") {
        let json = folder.json(&stem);
        match architecture(json.text("model")) {
            Some(architecture) => {
                test(&stem, &folder, &architecture, &json);
                n_tested += 1;
            }
            None => panic!("the zoo does not have {}", json.text("model")),
        }
    }
    assert!(n_tested > 0, "the folder has no network");
}

#[test]
fn golden_networks_have_the_names_shapes_and_counts() {
    each(|model, _, architecture, json| {
        let mut check = Check::new("network structure");
        let network = build(architecture, json);
        let params = network.params();

        let got: Vec<(String, Vec<u64>, &str)> = params
            .entries()
            .iter()
            .map(|e| {
                (
                    e.name.clone(),
                    e.var.dims().iter().map(|&d| d as u64).collect(),
                    dtype(e.var.dtype()),
                )
            })
            .collect();
        let want = json
            .list("state_dict")
            .iter()
            .map(|e| (e.text("name").into(), e.counts("shape"), e.text("dtype")));
        check.equal("state dict", format_args!("{model}"), got, want.collect::<Vec<_>>());

        let layers = params.layers();
        let got: Vec<(&str, u64)> =
            layers.iter().map(|l| (l.name.as_str(), l.n_weights())).collect();
        let want = json.list("prunable").iter().map(|p| (p.text("param"), p.count("numel")));
        check.equal("prunable weights", format_args!("{model}"), got, want.collect());
        for (key, is_decayed) in [("weight_decay_params", true), ("no_weight_decay_params", false)]
        {
            let group = params.trained().filter(|(_, kind)| kind.is_decayed() == is_decayed);
            let group: Vec<&str> = group.map(|(entry, _)| entry.name.as_str()).collect();
            check.equal(
                if is_decayed { "decayed" } else { "not decayed" },
                format_args!("{model}"),
                group,
                json.texts(key),
            );
        }

        let analysis = analyse(&*network, architecture.image).expect("an analysis");
        let got: Vec<(&str, u64)> = analysis
            .layers
            .iter()
            .map(|l| (l.info.name.strip_suffix(".weight").unwrap_or(&l.info.name), l.macs_dense))
            .collect();
        let want = json.list("macs_per_layer").iter().map(|l| (l.text("layer"), l.count("macs")));
        check.equal("multiply-accumulates", format_args!("{model}"), got, want.collect());

        let n_prunable = layers.iter().map(|l| l.n_weights()).sum::<u64>();
        let undecayed = params.trained().filter(|(_, kind)| !kind.is_decayed());
        let counts = json.field("counts");
        for (key, got) in [
            ("total_params", params.n_params()),
            ("prunable_params", n_prunable),
            ("prunable_layers", layers.len() as u64),
            ("state_dict_entries", params.entries().len() as u64),
            ("no_weight_decay_params", undecayed.map(|(e, _)| e.var.elem_count() as u64).sum()),
            ("total_macs_32x32", analysis.total(|l| l.macs_dense)),
        ] {
            check.equal("count", format_args!("{model}, {key}"), got, counts.count(key));
        }
        check.finish();
    });
}

fn dtype(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "float32",
        DType::I64 => "int64",
        _ => "another type",
    }
}

/// Compares every network in the folder, also those that the zoo does not have.
#[test]
fn golden_fill_is_bit_identical() {
    let folder = Folder::of_tests();
    let mut check = Check::new("fill");
    for stem in folder.stems("zoo_") {
        let json = folder.json(&stem);
        let (seed, checks) =
            (json.field("fill").count("seed"), json.field("fill").object("checks"));
        let floats = json.list("state_dict").iter().filter(|e| e.text("dtype") == "float32");
        check.equal(
            "checked tensors",
            format_args!("{stem}"),
            checks.len(),
            floats.clone().count(),
        );
        for entry in floats {
            let name = entry.text("name");
            let shape: Vec<usize> = entry.counts("shape").iter().map(|&d| d as usize).collect();
            let (got, want) = (values(seed, name, &shape), &checks[name]);
            for (i, bits) in want.texts("first_bits_hex").into_iter().enumerate() {
                let hex = format!("{:08x}", got[i].to_bits());
                check.equal("bits", format_args!("{stem}, {name}[{i}]"), hex.as_str(), bits);
            }
            for (i, first) in want.list("first").iter().enumerate() {
                check.equal(
                    "value",
                    format_args!("{stem}, {name}[{i}]"),
                    Some(f64::from(got[i])),
                    first.as_f64(),
                );
            }
            let wide = || got.iter().map(|&v| f64::from(v));
            let (total, size) = (sum(wide()), sum(wide().map(f64::abs)));
            check.within(
                "sum",
                format_args!("{stem}, {name}"),
                total,
                want.real("sum_f64"),
                1e-13 * size,
            );
            let (squares, wanted) = (sum(wide().map(|v| v * v)), want.real("sum_sq_f64"));
            check.relative(
                "sum of squares",
                format_args!("{stem}, {name}"),
                squares,
                wanted,
                1e-13,
            );
        }
    }
    check.finish();
}

#[test]
fn golden_networks_compute_logits_gradients_and_statistics() {
    each(|model, folder, architecture, json| {
        let mut check = Check::new("network");
        let tensors = folder.tensors(model);
        let mut n_cases = 0;
        for (case, values) in json.as_object().expect("an object") {
            if values.get("grad_l2").is_some() {
                let network = build(architecture, json);
                Case { place: format!("{model} {case}"), case, json: values, tensors: &tensors }
                    .compare(&mut check, &*network);
                n_cases += 1;
            }
        }
        check.equal("whether there are cases", format_args!("{model}"), n_cases > 0, true);
        check.finish();
    });
}
