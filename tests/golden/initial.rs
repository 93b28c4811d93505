//! Golden test of scores and masks at initialisation: GraSP and SynFlow, compared with PyTorch's autograd.

use crate::check::Check;
use crate::reader::{Fields, Folder, device, real};
use candle_core::{Result, Tensor};
use serde_json::Value;
use taper::{
    core::{Sparsity, Step},
    data::{Augment, ImageShape, Loader, LoaderConfig, Normalisation, Split},
    kernels::{mask::Mask, threshold::Threshold},
    nn::{
        Activation, BatchNorm, Conv2d, ConvConfig, Init, Linear, Model, Params, Pass, Scope,
        global_average, ops::with_values, relu,
    },
    prune::{
        GradientOracle, Measured, Pruner, Remainder, Sample,
        criterion::{Criterion, Grasp, SynFlow},
        renewal::Hold,
    },
    schedule::{Curve, Ramp},
    train::ModelOracle,
};

/// Relative to the largest expected score or gradient.
const TOLERANCE: f64 = 1e-5;

/// Layers of the two networks; batch norm and ReLU follow each convolution.
struct Net {
    convolutions: Vec<(Conv2d, BatchNorm)>,
    linear: Vec<Linear>,
    params: Params,
}

impl Net {
    fn of(case: &Value) -> Result<Self> {
        let scope = Scope::new(0, &device());
        let given = case.field("parameters");
        let shape = |name: &str| -> Option<Vec<usize>> {
            let shape = given.get(format!("{name}.weight"))?.list("shape");
            Some(shape.iter().map(|n| n.as_u64().expect("a size") as usize).collect())
        };
        let (mut convolutions, mut linear) = (Vec::new(), Vec::new());
        for i in 1.. {
            let Some(of) = shape(&format!("conv{i}")) else { break };
            let config = ConvConfig::same(3).stride(i);
            let conv = scope.pp(format!("conv{i}"));
            let conv = Conv2d::new(&conv, of[1], of[0], config, Init::FanOut)?;
            convolutions.push((conv, BatchNorm::new(&scope.pp(format!("bn{i}")), of[0])?));
        }
        for name in ["fc", "fc1", "fc2"] {
            if let Some(of) = shape(name) {
                linear.push(Linear::new(&scope.pp(name), of[1], of[0], Init::FanOut)?);
            }
        }
        let params = scope.finish();
        for entry in params.entries() {
            if let Some(value) = given.get(&entry.name) {
                let values: Vec<f32> =
                    value.list("values").iter().map(|v| real(v) as f32).collect();
                entry.var.set(&Tensor::from_vec(values, entry.var.dims(), &device())?)?;
            }
        }
        assert_eq!(given.as_object().map(|given| given.len()), Some(params.trained().count()));
        Ok(Self { convolutions, linear, params })
    }
}

impl Model for Net {
    fn forward(&self, images: &Tensor, pass: &Pass) -> Result<Tensor> {
        let mut x = match self.convolutions.is_empty() {
            true => Activation::from(images.flatten_from(1)?),
            false => Activation::from(images),
        };
        for (conv, norm) in &self.convolutions {
            x = relu(norm.forward(conv.forward(&x, pass)?, pass)?)?;
        }
        if !self.convolutions.is_empty() {
            x = global_average(x)?;
        }
        for (i, linear) in self.linear.iter().enumerate() {
            x = linear.forward(if i > 0 { relu(x)? } else { x }, pass)?;
        }
        x.tensor()
    }

    fn params(&self) -> &Params {
        &self.params
    }
}

/// The images of a case, in the order of the file: pixels 0 to 8 are scaled to -1 to 1.
fn images(json: &Value, case: &Value) -> Loader {
    let bytes = |key: &str| case.list(key).iter().map(|v| v.as_u64().expect("a count"));
    let side = json.count("side") as usize;
    let shape = ImageShape { channels: 1, height: side, width: side };
    let pixels = bytes("pixels").map(|v| v as u8).collect();
    let labels = bytes("labels").map(|v| v as u32).collect();
    let split = Split::new(shape, pixels, labels, None).expect("images");
    let normalisation = Normalisation::new(vec![4.0], vec![4.0], 1.0).expect("constants");
    let config = LoaderConfig {
        shuffle: false,
        ..LoaderConfig::train(json.count("batch") as usize, Augment::None, normalisation, 0)
    };
    Loader::new(split, config).expect("a loader")
}

fn flat(tensors: &[Tensor]) -> Vec<f64> {
    let values = tensors.iter().flat_map(|t| {
        let flat = t.flatten_all().expect("values").to_dtype(candle_core::DType::F64);
        flat.expect("numbers").to_vec1::<f64>().expect("numbers")
    });
    values.collect()
}

/// The score that a criterion gives each weight before anything is pruned.
fn scores(net: &Net, criterion: &dyn Criterion, oracle: &mut dyn GradientOracle) -> Vec<f64> {
    let weights: Vec<Vec<f32>> = net
        .params
        .prunable()
        .map(|(_, var)| with_values(&[var.as_tensor()], |w| w[0].to_vec()).expect("weights"))
        .collect();
    let (infos, masks): (Vec<_>, Vec<Mask>) =
        (net.params.layers(), weights.iter().map(|w| Mask::full(w.len())).collect());
    let layers: Vec<Measured> = infos
        .iter()
        .zip(&weights)
        .zip(&masks)
        .map(|((info, weights), mask)| Measured { info, weights, mask })
        .collect();
    let measure = criterion.measure().expect("a criterion that measures");
    let scores = measure.score_all(oracle, &layers).expect("scores");
    scores.into_iter().flatten().map(f64::from).collect()
}

/// Indices of the kept weights, counted over all layers, after the first step has begun.
fn kept(
    net: &Net,
    criterion: impl Criterion + 'static,
    sparsity: f64,
    oracle: &mut dyn GradientOracle,
) -> Vec<u64> {
    let target = Sparsity::new(sparsity).expect("a sparsity");
    let once = Ramp::new(Curve::OneShot, Step(0), Step(0), target);
    let mut pruner = Pruner::builder(net.params.prunable(), once, 10)
        .threshold(Threshold::Hard)
        .criterion(criterion)
        .renewal(Hold)
        .remainder(Remainder::resting())
        .build()
        .expect("a pruner");
    pruner.prepare(Step::ZERO, oracle).expect("measured");
    pruner.begin_step(Step::ZERO).expect("a step");
    let (mut places, mut before) = (Vec::new(), 0);
    for (info, words) in net.params.layers().iter().zip(pruner.state().masks) {
        let n = info.n_weights();
        let mask = Mask::from_words(words, n as usize).expect("a mask");
        places.extend(mask.kept().map(|index| before + index as u64));
        before += n;
    }
    places
}

#[test]
fn golden_initial() {
    let mut check = Check::new("initial");
    let folder = Folder::of_tests();
    if Folder::is_chosen() && !folder.path("initial.json").is_file() {
        eprintln!("skipped: the folder of TAPER_GOLDEN has no scores at initialisation");
        return;
    }
    let json = folder.json("initial");
    let sample = Sample {
        per_class: json.count("per_class") as usize,
        temperature: json.real("temperature"),
    };
    let grasp = Grasp { per_class: sample.per_class, temperature: sample.temperature };
    let syn_flow = SynFlow { rounds: json.count("rounds") as u32 };
    for case in json.list("cases") {
        let (name, images) = (case.text("name"), images(&json, case));
        let net = Net::of(case).expect("a network");
        let entries = || {
            let tensors: Vec<Tensor> =
                net.params.entries().iter().map(|e| e.var.as_tensor().clone()).collect();
            flat(&tensors)
        };
        let (before, device) = (entries(), device());
        let mut oracle = ModelOracle::new(&net, &images, &device);

        let mut compare = |what: &'static str, found: &[f64], wanted: &[Value]| {
            check.equal(what, format_args!("{name}: length"), found.len(), wanted.len());
            let largest = wanted.iter().map(|v| real(v).abs()).fold(0.0, f64::max);
            for (i, (found, wanted)) in found.iter().zip(wanted).enumerate() {
                let place = format_args!("{name}, {what}[{i}]");
                check.within(what, place, *found, real(wanted), TOLERANCE * largest);
            }
        };
        let (of_grasp, of_flow) = (case.field("grasp"), case.field("synflow"));
        let gradient = oracle.gradient(&sample).expect("a gradient");
        compare("gradient", &flat(&gradient), of_grasp.list("gradient"));
        compare("grasp", &scores(&net, &grasp, &mut oracle), of_grasp.list("scores"));
        compare("synflow", &scores(&net, &syn_flow, &mut oracle), of_flow.list("scores"));
        for mask in of_grasp.list("masks") {
            let found = kept(&net, grasp, mask.real("sparsity"), &mut oracle);
            check.equal("mask", format_args!("{name}, grasp"), found, mask.counts("kept"));
        }
        for mask in of_flow.list("masks") {
            let found = kept(&net, syn_flow, mask.real("sparsity"), &mut oracle);
            check.equal("mask", format_args!("{name}, synflow"), found, mask.counts("kept"));
        }
        assert!(before == entries(), "{name}: measuring changed a parameter or buffer");
    }
    check.finish();
}
