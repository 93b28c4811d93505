//! The threshold operator with its straight-through estimator (STE).

use super::{
    cpu, tensor_like,
    types::{self, wide},
    with_values,
};
use crate::{Gate, Value};
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use taper_kernels::{mask::Mask, threshold::Threshold};

const NAME: &str = "threshold-ste";

/// The pruned weight `T(w; cut)`. Its gradient is passed to `weight` unchanged for kept weights, and scaled for pruned
/// weights.
///
/// # Errors
/// If the gate's mask and `weight` have different numbers of weights, or `weight` has no float type.
pub fn threshold_ste(weight: &Tensor, gate: &Gate) -> Result<Tensor> {
    check(weight, gate)?;
    if cpu::has_kernels(weight) {
        weight.contiguous()?.apply_op1(ThresholdSte { gate: gate.clone() })
    } else {
        threshold_ste_composed(weight, gate)
    }
}

/// The pruned weight without a gradient. [`threshold_grad`] turns the gradient of this tensor into the gradient of the
/// dense weight. Weights that are not f32 on the CPU use candle's own operations: f64 computes in f64, narrower types
/// in f32.
///
/// # Errors
/// As [`threshold_ste`].
pub fn threshold(weight: &Tensor, gate: &Gate) -> Result<Tensor> {
    check(weight, gate)?;
    if !cpu::has_kernels(weight) {
        return pruned(&weight.detach(), gate);
    }
    let pruned = with_values(&[weight], |w| gate.apply(w[0]))?;
    tensor_like(pruned, weight)
}

/// The gradient of the dense weight, from the gradient of the pruned weight.
///
/// # Errors
/// As [`threshold_ste`], or if `grad` has another shape than `weight`.
pub fn threshold_grad(weight: &Tensor, gate: &Gate, grad: &Tensor) -> Result<Tensor> {
    check(weight, gate)?;
    if !cpu::has_kernels(weight) {
        return (wide(grad)? * factor(&weight.detach(), gate)?)?.to_dtype(grad.dtype());
    }
    let mut scaled = with_values(&[grad], |g| g[0].to_vec())?;
    if scaled.len() != weight.elem_count() {
        let (found, wanted) = (grad.dims(), weight.dims());
        candle_core::bail!(
            "{NAME}: a gradient of shape {found:?} does not fit a weight of shape {wanted:?}"
        )
    }
    with_values(&[weight], |w| gate.scale_grad(w[0], &mut scaled))?;
    tensor_like(scaled, grad)
}

fn check(weight: &Tensor, gate: &Gate) -> Result<()> {
    types::shared(NAME, &[("weight", weight.dtype())])?;
    let (found, wanted) = (gate.mask.len(), weight.elem_count());
    if found != wanted {
        candle_core::bail!(
            "{NAME}: a mask of {found} weights does not fit a weight of shape {:?}",
            weight.dims()
        )
    }
    if let Some(live) = &gate.live
        && live.len() != wanted
    {
        let found = live.len();
        candle_core::bail!(
            "{NAME}: a live set of {found} weights does not fit a weight of shape {:?}",
            weight.dims()
        )
    }
    if let Value::Given(values) = &gate.value
        && values.len() != wanted
    {
        let found = values.len();
        candle_core::bail!(
            "{NAME}: {found} values do not fit a weight of shape {:?}",
            weight.dims()
        )
    }
    Ok(())
}

/// The same with candle's own operations, on any device: `detach(T(w)) + (s⊙w − detach(s⊙w))`. The value is `T(w)`, the
/// gradient is `s⊙g`.
///
/// # Errors
/// If candle has no kernel for an operation on this device.
pub fn threshold_ste_composed(weight: &Tensor, gate: &Gate) -> Result<Tensor> {
    let dense = weight.detach();
    let scaled = (wide(weight)? * factor(&dense, gate)?)?.to_dtype(weight.dtype())?;
    pruned(&dense, gate)? + (&scaled - scaled.detach())?
}

/// `T(w)` with candle's own operations.
fn pruned(w: &Tensor, gate: &Gate) -> Result<Tensor> {
    let kept = flags(&gate.mask, w)?;
    let threshold = match &gate.value {
        Value::Threshold(threshold) => *threshold,
        Value::Given(values) => {
            let values = Tensor::from_slice(values, w.dims(), w.device())?.to_dtype(w.dtype())?;
            return kept.where_cond(&values, &w.zeros_like()?);
        }
    };
    let shrunk = match threshold {
        _ if gate.cut == 0.0 => w.clone(),
        Threshold::Hard => w.clone(),
        Threshold::Soft => {
            let w = wide(w)?;
            ((w.abs()? - f64::from(gate.cut))?.relu()? * w.sign()?)?
        }
        Threshold::Power(p) => {
            let (w, p) = (wide(w)?, f64::from(p.get()));
            let cut = Tensor::full(gate.cut, w.dims(), w.device())?.to_dtype(w.dtype())?;
            // The maximum keeps the base of the power from being negative for pruned weights.
            let ratio = (&cut / w.abs()?.maximum(&cut)?)?;
            (ratio.powf(p)?.affine(-1.0, 1.0)?.relu()?.powf(1.0 / p)? * &w)?
        }
    };
    kept.where_cond(&shrunk.to_dtype(w.dtype())?, &w.zeros_like()?)
}

/// The factor on the gradient of each weight, with candle's own operations, in the [`wide`] type.
fn factor(w: &Tensor, gate: &Gate) -> Result<Tensor> {
    let (at_zero, at_cut) = (f64::from(gate.grad_at_zero), f64::from(gate.grad_at_cut));
    let magnitude = wide(w)?.abs()?;
    let share = match gate.cut > 0.0 {
        // A division, because the reciprocal of a subnormal threshold overflows.
        true => {
            let cut = Tensor::full(gate.cut, w.dims(), w.device())?.to_dtype(magnitude.dtype())?;
            (&magnitude / &cut)?.clamp(0.0, 1.0)?
        }
        false => magnitude.gt(0.0)?.to_dtype(magnitude.dtype())?,
    };
    let of_pruned = share.affine(at_cut - at_zero, at_zero)?;
    let factor = flags(&gate.mask, w)?.where_cond(&of_pruned.ones_like()?, &of_pruned)?;
    match &gate.live {
        Some(live) => flags(live, w)?.where_cond(&factor, &factor.zeros_like()?),
        None => Ok(factor),
    }
}

/// 1 where a mask keeps a weight, 0 elsewhere, with the shape and device of `weight`.
///
/// # Errors
/// If the mask and `weight` have different numbers of weights, or the device cannot hold the result.
pub fn flags(mask: &Mask, weight: &Tensor) -> Result<Tensor> {
    let flags: Vec<u8> = (0..mask.len()).map(|i| u8::from(mask.is_kept(i))).collect();
    Tensor::from_vec(flags, weight.dims(), weight.device())
}

struct ThresholdSte {
    gate: Gate,
}

impl CustomOp1 for ThresholdSte {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let weights = cpu::slice(NAME, storage, layout)?;
        let pruned = self.gate.apply(weights);
        Ok((CpuStorage::F32(pruned), layout.shape().clone()))
    }

    fn bwd(&self, weight: &Tensor, _out: &Tensor, grad_out: &Tensor) -> Result<Option<Tensor>> {
        threshold_grad(weight, &self.gate, grad_out).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device, Var};
    use std::sync::Arc;

    #[test]
    fn the_operation_agrees_with_its_composed_reference() -> Result<()> {
        let values: Vec<f32> = (0..130).map(|i| ((i * 37 % 101) as f32 - 50.0) / 40.0).collect();
        let upstream: Vec<f32> = (0..130).map(|i| (i as f32 * 0.3).cos()).collect();
        let upstream = Tensor::from_vec(upstream, (10, 13), &Device::Cpu)?;
        for threshold in [Threshold::Soft, Threshold::FEATHER, Threshold::Hard] {
            for (cut, grad_at_zero, grad_at_cut, is_all_live) in
                [(0.0, 1.0, 1.0, true), (0.5, 0.5, 0.5, false), (0.7, 0.0, 1.0, true)]
            {
                let live = Arc::new(Mask::above(&values, 0.6 * cut));
                let gate = Gate {
                    value: threshold.into(),
                    cut,
                    mask: Arc::new(Mask::above(&values, cut)),
                    live: (!is_all_live).then_some(live),
                    sampling: None,
                    grad_at_zero,
                    grad_at_cut,
                };
                let run =
                    |op: fn(&Tensor, &Gate) -> Result<Tensor>| -> Result<(Vec<f32>, Vec<f32>)> {
                        let w = Var::from_tensor(&Tensor::from_vec(
                            values.clone(),
                            (10, 13),
                            &Device::Cpu,
                        )?)?;
                        let out = op(&w, &gate)?;
                        let grads = (&out * &upstream)?.sum_all()?.backward()?;
                        let grad = grads.get(&w).expect("a gradient").flatten_all()?.to_vec1()?;
                        Ok((out.flatten_all()?.to_vec1()?, grad))
                    };
                let (out, grad) = run(threshold_ste)?;
                let (out_ref, grad_ref) = run(threshold_ste_composed)?;
                for i in 0..130 {
                    assert!((out[i] - out_ref[i]).abs() < 1e-5, "{threshold:?} {cut} out[{i}]");
                    assert!((grad[i] - grad_ref[i]).abs() < 1e-6, "{threshold:?} {cut} grad[{i}]");
                }
            }
        }
        Ok(())
    }

    /// A gate that keeps the weights above a magnitude threshold.
    fn gate(threshold: Threshold, values: &[f32], cut: f32) -> Gate {
        Gate {
            value: threshold.into(),
            cut,
            mask: Arc::new(Mask::above(values, cut)),
            live: None,
            sampling: None,
            grad_at_zero: 0.25,
            grad_at_cut: 0.75,
        }
    }

    #[test]
    fn other_types_compute_in_their_own_precision() -> Result<()> {
        let values = [0.25f64, -0.5, 1.0 + 1e-12, -3.0];
        let weight = Tensor::new(&values, &Device::Cpu)?;
        let upstream = Tensor::full(1.0 + 1e-12, 4, &Device::Cpu)?;
        for (threshold, want) in [
            (Threshold::Hard, [0.0, 0.0, values[2], -3.0]),
            (Threshold::Soft, [0.0, 0.0, values[2] - 0.5, -2.5]),
            (
                Threshold::FEATHER,
                [0.0, 0.0, (values[2].powi(3) - 0.125).cbrt(), -(27f64 - 0.125).cbrt()],
            ),
        ] {
            let gate = gate(threshold, &values.map(|v| v as f32), 0.5);
            let pruned = super::threshold(&weight, &gate)?.to_vec1::<f64>()?;
            for (got, want) in pruned.iter().zip(want) {
                assert!(
                    (got - want).abs() <= 8.0 * f64::EPSILON,
                    "{threshold:?}: {got} for {want}"
                );
            }
            let grad = threshold_grad(&weight, &gate, &upstream)?.to_vec1::<f64>()?;
            let one = 1.0 + 1e-12;
            assert_eq!(grad, [0.5 * one, 0.75 * one, one, one]);
        }
        for dtype in [DType::BF16, DType::F16] {
            // 1 and 1.0078125 are neighbouring numbers in bf16: a kept weight is never rounded to 0.
            let weight = Tensor::new(&[1.0f32, 1.0078125, -2.0], &Device::Cpu)?.to_dtype(dtype)?;
            for threshold in [Threshold::Soft, Threshold::FEATHER] {
                let gate = gate(threshold, &[1.0, 1.0078125, 2.0], 1.0);
                let pruned = super::threshold(&weight, &gate)?;
                assert_eq!(pruned.dtype(), dtype);
                let pruned = pruned.to_dtype(DType::F32)?.to_vec1::<f32>()?;
                let want = [1, 2].map(|i| threshold.apply([1.0, 1.0078125, -2.0][i], 1.0));
                assert_eq!(pruned[0], 0.0);
                for (got, want) in pruned[1..].iter().zip(want) {
                    assert!((got / want - 1.0).abs() < 0.004, "{threshold:?}: {got} for {want}");
                }
            }
        }
        Ok(())
    }

    #[test]
    fn factors_are_right_for_a_subnormal_threshold() -> Result<()> {
        let least = f32::from_bits(1);
        let values = [0.0, 2.0 * least, 4.0 * least, 1.0];
        let weight = Tensor::new(&values, &Device::Cpu)?;
        let gate = gate(Threshold::FEATHER, &values, 4.0 * least);
        let factors = factor(&weight, &gate)?.to_vec1::<f32>()?;
        assert_eq!(factors, [0.25, 0.5, 0.75, 1.0]);
        let grad = threshold_grad(&weight, &gate, &weight.ones_like()?)?;
        assert_eq!(grad.to_vec1::<f32>()?, factors);
        assert_eq!(pruned(&weight, &gate)?.to_vec1::<f32>()?, [0.0, 0.0, 0.0, 1.0]);
        // With a threshold of 0, pruned weights other than 0 are above it.
        let gate = Gate { cut: 0.0, mask: Arc::new(Mask::empty(4)), ..gate };
        let factors = factor(&weight, &gate)?.to_vec1::<f32>()?;
        assert_eq!(factors, [0.25, 0.75, 0.75, 0.75]);
        let grad = threshold_grad(&weight, &gate, &weight.ones_like()?)?;
        assert_eq!(grad.to_vec1::<f32>()?, factors);
        Ok(())
    }

    #[test]
    fn weights_in_f64_stay_in_f64() -> Result<()> {
        let value = 1.0 + 1e-12;
        let w = Var::from_tensor(&Tensor::new(&[value, 0.25f64, -value], &Device::Cpu)?)?;
        for (threshold, cut) in
            [(Threshold::Hard, 0.5), (Threshold::Soft, 0.5), (Threshold::FEATHER, 0.0)]
        {
            let gate = Gate {
                value: threshold.into(),
                cut,
                mask: Arc::new(Mask::above(&[1.0, 0.25, -1.0], 0.5)),
                live: None,
                sampling: None,
                grad_at_zero: 0.0,
                grad_at_cut: 1.0,
            };
            let kept = if threshold == Threshold::Soft { value - 0.5 } else { value };
            let out = threshold_ste(&w, &gate)?;
            assert_eq!(out.to_vec1::<f64>()?, [kept, 0.0, -kept], "{threshold:?}");
            // With a threshold of 0, pruned weights other than 0 are above it.
            let share = if cut > 0.0 { 0.5 } else { 1.0 };
            let grads = (out * value)?.sum_all()?.backward()?;
            let grad = grads.get(&w).expect("a gradient").to_vec1::<f64>()?;
            assert_eq!(grad, [value, share * value, value], "{threshold:?}");
        }
        Ok(())
    }

    #[test]
    fn a_mask_of_another_layer_is_an_error() -> Result<()> {
        let gate = Gate {
            value: Threshold::Hard.into(),
            cut: 0.0,
            mask: Arc::new(Mask::full(3)),
            live: None,
            sampling: None,
            grad_at_zero: 1.0,
            grad_at_cut: 1.0,
        };
        let weight = Tensor::zeros((2, 2), DType::F32, &Device::Cpu)?;
        assert!(
            threshold_ste(&weight, &gate).unwrap_err().to_string().contains("mask of 3 weights")
        );
        let gate = Gate { mask: Arc::new(Mask::full(4)), ..gate };
        let live = Gate { live: Some(Arc::new(Mask::full(3))), ..gate.clone() };
        let error = threshold_grad(&weight, &live, &weight).unwrap_err();
        assert!(error.to_string().contains("live set of 3 weights"), "{error}");
        let error = threshold_grad(&weight, &gate, &weight.narrow(0, 0, 1)?).unwrap_err();
        assert!(error.to_string().contains("a gradient of shape [1, 2]"), "{error}");
        Ok(())
    }
}
