//! The threshold operator with its straight-through gradient.

use super::blocked::profile::{self, Work};
use super::{cpu, tensor_like, with_values};
use crate::Gate;
use candle_core::{CpuStorage, CustomOp1, DType, Layout, Result, Shape, Tensor};
use taper_kernels::{mask::Mask, threshold::Threshold};

const NAME: &str = "threshold-ste";

/// The pruned weight `T(w; cut)`; its gradient goes to `weight` whole where a weight is kept, and scaled where it
/// is pruned.
///
/// # Errors
/// If the gate's mask does not have as many weights as `weight`.
pub fn threshold_ste(weight: &Tensor, gate: &Gate) -> Result<Tensor> {
    check(weight, gate)?;
    if cpu::has_kernels(weight) {
        weight.contiguous()?.apply_op1(ThresholdSte { gate: gate.clone() })
    } else {
        threshold_ste_composed(weight, gate)
    }
}

/// The pruned weight without a gradient, for whoever hands the gradient to the dense weight himself.
///
/// # Errors
/// As [`threshold_ste`].
pub(in crate::ops) fn threshold(weight: &Tensor, gate: &Gate) -> Result<Tensor> {
    check(weight, gate)?;
    let pruned = with_values(&[weight], |w| profile::time(Work::Threshold, || gate.apply(w[0])))?;
    tensor_like(pruned, weight)
}

fn check(weight: &Tensor, gate: &Gate) -> Result<()> {
    let (found, wanted) = (gate.mask.len(), weight.elem_count());
    if found != wanted {
        candle_core::bail!("{NAME}: a mask of {found} weights for a weight of {:?}", weight.dims())
    }
    Ok(())
}

/// The same from candle's own operations, on any device:
/// `detach(T(w)) + (s⊙w − detach(s⊙w))`, whose value is `T(w)` and whose gradient is `s⊙g`.
///
/// # Errors
/// If candle has no kernel for an operation on this device.
pub fn threshold_ste_composed(weight: &Tensor, gate: &Gate) -> Result<Tensor> {
    let (device, dims) = (weight.device(), weight.dims());
    let flags = |mask: &Mask| {
        let flags: Vec<f32> = (0..mask.len()).map(|i| f32::from(mask.is_kept(i))).collect();
        Tensor::from_vec(flags, dims, device)?.to_dtype(weight.dtype())
    };
    let kept = flags(&gate.mask)?;
    let w = weight.detach();
    let magnitude = w.abs()?;
    let cut = f64::from(gate.cut);
    let shrunk = match gate.threshold {
        _ if gate.cut == 0.0 => magnitude.clone(),
        Threshold::Hard => magnitude.clone(),
        Threshold::Soft => (&magnitude - cut)?.relu()?,
        Threshold::Power(p) => {
            let p = f64::from(p.get());
            // Pruned weights must not reach the power as negative numbers.
            let ratio = magnitude
                .maximum(&magnitude.ones_like()?.affine(cut, 0.0)?)?
                .recip()?
                .affine(cut, 0.0)?;
            (ratio.powf(p)?.affine(-1.0, 1.0)?.relu()?.powf(1.0 / p)? * &magnitude)?
        }
    };
    let pruned_value = (shrunk * w.sign()?)?.mul(&kept)?;
    let share = match gate.cut > 0.0 {
        true => (&magnitude / cut)?.clamp(0.0, 1.0)?,
        false => magnitude.zeros_like()?,
    };
    let (at_zero, at_cut) = (f64::from(gate.grad_at_zero), f64::from(gate.grad_at_cut));
    let pruned_factor = share.affine(at_cut - at_zero, at_zero)?;
    let mut factor = (&kept + ((kept.ones_like()? - &kept)? * pruned_factor)?)?.detach();
    if let Some(live) = &gate.live {
        factor = (factor * flags(live)?)?;
    }
    let scaled = (weight * factor)?;
    pruned_value.to_dtype(DType::F32)?.to_dtype(weight.dtype())?.detach()
        + (&scaled - scaled.detach())?
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
        let pruned = profile::time(Work::Threshold, || self.gate.apply(weights));
        Ok((CpuStorage::F32(pruned), layout.shape().clone()))
    }

    fn bwd(&self, weight: &Tensor, _out: &Tensor, grad_out: &Tensor) -> Result<Option<Tensor>> {
        let mut grad = grad_out.flatten_all()?.to_vec1::<f32>()?;
        profile::time(Work::Threshold, || {
            with_values(&[weight], |v| self.gate.scale_grad(v[0], &mut grad))
        })?;
        Ok(Some(Tensor::from_vec(grad, weight.dims(), weight.device())?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};
    use std::sync::Arc;

    #[test]
    fn the_operation_agrees_with_its_composed_twin() -> Result<()> {
        let values: Vec<f32> = (0..130).map(|i| ((i * 37 % 101) as f32 - 50.0) / 40.0).collect();
        let upstream: Vec<f32> = (0..130).map(|i| (i as f32 * 0.3).cos()).collect();
        let upstream = Tensor::from_vec(upstream, (10, 13), &Device::Cpu)?;
        for threshold in [Threshold::Soft, Threshold::FEATHER, Threshold::Hard] {
            for (cut, grad_at_zero, grad_at_cut, is_all_live) in
                [(0.0, 1.0, 1.0, true), (0.5, 0.5, 0.5, false), (0.7, 0.0, 1.0, true)]
            {
                let live = Arc::new(Mask::above(&values, 0.6 * cut));
                let gate = Gate {
                    threshold,
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
                let (out_twin, grad_twin) = run(threshold_ste_composed)?;
                for i in 0..130 {
                    assert!((out[i] - out_twin[i]).abs() < 1e-5, "{threshold:?} {cut} out[{i}]");
                    assert!((grad[i] - grad_twin[i]).abs() < 1e-6, "{threshold:?} {cut} grad[{i}]");
                }
            }
        }
        Ok(())
    }

    #[test]
    fn a_mask_of_another_layer_is_refused() -> Result<()> {
        let gate = Gate {
            threshold: Threshold::Hard,
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
        Ok(())
    }
}
