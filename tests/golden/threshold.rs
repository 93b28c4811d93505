//! Golden test of the threshold operator and its straight-through gradient: the kernel and the candle operations.

use crate::check::Check;
use crate::fill::flat;
use crate::reader::{Fields, Folder, device, real};
use candle_core::{Tensor, Var};
use serde_json::Value;
use std::sync::Arc;
use taper::kernels::{
    mask::Mask,
    threshold::{Exponent, Threshold, scale_pruned_grad},
};
use taper::nn::{Gate, ops};

fn operator(p: f64) -> Threshold {
    match p {
        1.0 => Threshold::Soft,
        f64::INFINITY => Threshold::Hard,
        p => Threshold::Power(Exponent::new(p as f32).expect("an exponent")),
    }
}

/// The weights of a case, and which of them are kept.
struct Case<'a> {
    name: &'a str,
    w: &'a [f32],
    shape: &'a [usize],
    at: f32,
    mask: Arc<Mask>,
}

impl Case<'_> {
    fn gate(&self, threshold: Threshold, theta: f32) -> Gate {
        Gate {
            value: threshold.into(),
            cut: self.at,
            mask: self.mask.clone(),
            live: None,
            sampling: None,
            grad_at_zero: theta,
            grad_at_cut: theta,
        }
    }

    /// Output and gradient of the candle operation, for the upstream gradient `g`.
    fn on_candle(&self, gate: &Gate, g: &[f32], composed: bool) -> (Vec<f32>, Vec<f32>) {
        let tensor =
            |values: &[f32]| Tensor::from_slice(values, self.shape, &device()).expect("a tensor");
        let w = Var::from_tensor(&tensor(self.w)).expect("a variable");
        let out = if composed {
            ops::threshold_ste_composed(&w, gate)
        } else {
            ops::threshold_ste(&w, gate)
        };
        let out = out.expect("an output");
        let grads = (&out * tensor(g)).and_then(|y| y.sum_all()?.backward()).expect("gradients");
        (flat(&out), flat(grads.get(&w).expect("a gradient of the weight")))
    }

    fn check_forward(&self, check: &mut Check, p: f64, how: &str, out: &[f32], want: &[f32]) {
        let Self { name, at, .. } = self;
        if p == 1.0 || p.is_infinite() {
            check.same_values("p = 1, inf", format_args!("{name}, p {p}, {how}"), out, want);
        }
        for (i, (&w, (&got, &want))) in self.w.iter().zip(out.iter().zip(want)).enumerate() {
            let place = format_args!("{name}[{i}], p {p}, {how}, w {w:e}, threshold {at:e}");
            check.equal("whether the output is zero", place, got == 0.0, w.abs() <= *at);
            check.equal("sign", place, got * w < 0.0, false);
            let (w, got, want) = (f64::from(w).abs(), f64::from(got).abs(), f64::from(want).abs());
            if w > 1.01 * f64::from(*at) {
                check.relative("output above 1.01 of the threshold", place, got, want, 1e-5);
            }
            if p.is_finite() {
                check.within(
                    "p-th power of the output",
                    place,
                    got.powf(p),
                    want.powf(p),
                    4e-6 * w.powf(p),
                );
            }
        }
    }
}

/// A value as it is written in tensor names.
fn label(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_string)
}

#[test]
fn golden_threshold_forward_and_gradient() {
    let folder = Folder::of_tests();
    let (json, tensors) = (folder.json("threshold"), folder.tensors("threshold"));
    let mut check = Check::new("threshold");
    for entry in json.list("cases") {
        let name = entry.text("case");
        let (w, g) = (tensors.f32(&format!("{name}.w")), tensors.f32(&format!("{name}.g")));
        let at = entry.real("threshold") as f32;
        check.equal(
            "the threshold as f32",
            format_args!("{name}"),
            f64::from(at),
            entry.real("threshold"),
        );
        let shape = tensors.shape(&format!("{name}.w"));
        let case = Case { name, w, shape, at, mask: Arc::new(Mask::above(w, at)) };
        let n_pruned = w.len() as u64 - case.mask.n_kept();
        check.equal(
            "pruned weights",
            format_args!("{name}"),
            n_pruned,
            entry.count("count_abs_le_threshold"),
        );

        for p in json.list("p") {
            let want = tensors.f32(&format!("{name}.out.p{}", label(p)));
            let p = real(p);
            let gate = case.gate(operator(p), 1.0);
            let mut out = vec![f32::NAN; w.len()];
            operator(p).forward(w, &case.mask, at, &mut out);
            case.check_forward(&mut check, p, "kernel", &out, want);
            for (how, composed) in [("candle", false), ("composed", true)] {
                let (out, _) = case.on_candle(&gate, g, composed);
                case.check_forward(&mut check, p, how, &out, want);
            }
        }
        for theta in json.list("thetas") {
            let want = tensors.f32(&format!("{name}.grad.theta{}", label(theta)));
            let theta = real(theta) as f32;
            let mut grad = g.to_vec();
            scale_pruned_grad(w, &case.mask, at, theta, theta, &mut grad);
            for (i, (got, want)) in grad.iter().zip(want).enumerate() {
                let place = format_args!("{name}[{i}], theta {theta}, kernel");
                check.equal("bits of the gradient", place, got.to_bits(), want.to_bits());
            }
            for (how, composed) in [("candle", false), ("composed", true)] {
                let (_, grad) = case.on_candle(&case.gate(Threshold::FEATHER, theta), g, composed);
                check.same_values(
                    "gradient",
                    format_args!("{name}, theta {theta}, {how}"),
                    &grad,
                    want,
                );
            }
        }
    }
    check.finish();
}
