//! Golden test of SGD and AdamW: compared with PyTorch, step by step on given gradients.

use crate::check::Check;
use crate::reader::{Fields, Folder, device, real};
use candle_core::{Tensor, Var};
use serde_json::Value;
use taper::nn::{Init, ParamKind, Params, Scope};
use taper::train::{AdamW, Optimizer, Sgd};

/// Relative to 1 + |value|. PyTorch in f32 deviates by up to 1.2e-7 from PyTorch in f64.
const TOLERANCE: f64 = 4e-7;

fn numbers(values: &[Value]) -> Vec<f32> {
    values.iter().map(|value| real(value) as f32).collect()
}

/// The optimizer of a case. Settings that are missing have PyTorch's defaults.
fn optimizer(case: &Value) -> Box<dyn Optimizer> {
    let setting = |key: &str| case.get(key).map(real);
    let decay = case.real("weight_decay");
    if let Some(momentum) = setting("momentum") {
        let nesterov = case.get("nesterov").is_some_and(|_| case.flag("nesterov"));
        let sgd = Sgd::new(momentum, decay).nesterov(nesterov);
        return Box::new(sgd.dampening(setting("dampening").unwrap_or(0.0)));
    }
    let mut adamw = AdamW::new(decay);
    if case.get("betas").is_some() {
        let [beta1, beta2] = case.list("betas") else { panic!("two betas") };
        adamw = adamw.betas(real(beta1), real(beta2));
    }
    Box::new(match setting("eps") {
        Some(eps) => adamw.eps(eps),
        None => adamw,
    })
}

/// A weight, which decays, and a bias, which does not.
struct Two {
    weight: Var,
    bias: Var,
    params: Params,
}

impl Two {
    fn of(json: &Value) -> candle_core::Result<Self> {
        let scope = Scope::new(0, &device());
        let zero = Init::Constant(0.0);
        let (weight, bias) = (numbers(json.list("weight")), numbers(json.list("bias")));
        let two = Self {
            weight: scope.param("weight", (1, weight.len()), ParamKind::LinearWeight, zero)?,
            bias: scope.param("bias", bias.len(), ParamKind::Bias, zero)?,
            params: scope.finish(),
        };
        two.weight.set(&Tensor::from_vec(weight, two.weight.dims(), &device())?)?;
        two.bias.set(&Tensor::from_vec(bias, two.bias.dims(), &device())?)?;
        Ok(two)
    }

    /// One step with twice the given gradients and a clipping factor of 0.5.
    fn step(
        &self,
        optimizer: &mut dyn Optimizer,
        given: &Value,
        lr: f64,
    ) -> candle_core::Result<()> {
        let mut loss = Tensor::zeros((), candle_core::DType::F32, &device())?;
        for (var, key) in [(&self.weight, "weight"), (&self.bias, "bias")] {
            let slopes = Tensor::from_vec(numbers(given.list(key)), var.dims(), &device())?;
            loss = (loss + (var.as_tensor() * slopes)?.sum_all()?)?;
        }
        optimizer.step(&self.params, &(loss * 2.0)?.backward()?, 0.5, lr)
    }
}

#[test]
fn golden_optimizers() {
    let mut check = Check::new("optimizers");
    let folder = Folder::of_tests();
    if Folder::is_chosen() && !folder.path("optimizers.json").is_file() {
        eprintln!("skipped: the folder of TAPER_GOLDEN has no optimizers");
        return;
    }
    let json = folder.json("optimizers");
    for case in json.list("cases") {
        let (name, mut optimizer) = (case.text("name"), optimizer(case));
        let two = Two::of(&json).expect("parameters");
        let steps = json.list("rates").iter().zip(json.list("gradients"));
        check.equal("steps", format_args!("{name}"), steps.len(), case.list("after").len());
        for (step, ((lr, given), want)) in steps.zip(case.list("after")).enumerate() {
            two.step(&mut *optimizer, given, real(lr)).expect("a step");
            // Saving and restoring the state between steps must change nothing.
            let state = optimizer.state(&two.params).expect("a state");
            optimizer.restore(&two.params, &state).expect("the state is of this optimizer");
            let both: [(_, &'static str); 2] = [(&two.weight, "weight"), (&two.bias, "bias")];
            for (var, key) in both {
                let got = var.flatten_all().and_then(|v| v.to_vec1::<f32>()).expect("values");
                for (i, (got, want)) in got.iter().zip(want.list(key)).enumerate() {
                    let want = real(want);
                    let tolerance = TOLERANCE * (1.0 + want.abs());
                    let place = format_args!("{name}, step {step}, {key}[{i}]");
                    check.within(key, place, f64::from(*got), want, tolerance);
                }
            }
        }
    }
    check.finish();
}
