//! Reading the values of tensors, without a copy where possible.

use super::cpu;
use candle_core::{DType, Device, Result, Storage, Tensor};

/// Calls `f` with the values of each tensor in row-major order. Values of contiguous f32 tensors on the CPU are
/// borrowed, all others are copied.
///
/// # Errors
/// If a value cannot be read from its device.
pub fn with_values<R>(tensors: &[&Tensor], f: impl FnOnce(&[&[f32]]) -> R) -> Result<R> {
    // `copies` and `guards` outlive the slices that borrow from them.
    let mut copies: Vec<Option<Vec<f32>>> = Vec::with_capacity(tensors.len());
    let mut guards = Vec::with_capacity(tensors.len());
    for tensor in tensors {
        let is_borrowed = cpu::has_kernels(tensor) && tensor.is_contiguous();
        guards.push(is_borrowed.then(|| tensor.storage_and_layout()));
        copies.push(match is_borrowed {
            true => None,
            false => Some(tensor.flatten_all()?.to_dtype(DType::F32)?.to_vec1()?),
        });
    }
    let slices: Vec<&[f32]> = copies
        .iter()
        .zip(&guards)
        .map(|(copy, guard)| match (copy, guard) {
            (Some(values), _) => Ok(&values[..]),
            (None, Some((storage, layout))) => match &**storage {
                Storage::Cpu(storage) => cpu::slice("with-values", storage, layout),
                _ => candle_core::bail!("with-values: expected a tensor on the CPU"),
            },
            (None, None) => unreachable!("a tensor is either borrowed or copied"),
        })
        .collect::<Result<_>>()?;
    Ok(f(&slices))
}

/// A tensor of these values, in row-major order, with the shape, device and type of `other`.
///
/// # Errors
/// If the number of values differs from that of `other`, or candle cannot convert or copy them.
pub fn tensor_like(values: Vec<f32>, other: &Tensor) -> Result<Tensor> {
    Tensor::from_vec(values, other.dims(), &Device::Cpu)?
        .to_device(other.device())?
        .to_dtype(other.dtype())
}

/// Whether every value is finite.
///
/// # Errors
/// If a value cannot be read from its device.
pub fn is_finite(tensor: &Tensor) -> Result<bool> {
    if tensor.dtype() == DType::F64 {
        return Ok(tensor.flatten_all()?.to_vec1::<f64>()?.iter().all(|v| v.is_finite()));
    }
    with_values(&[tensor], |v| v[0].iter().all(|v| v.is_finite()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn large_numbers_in_f64_are_finite() -> Result<()> {
        let of = |value: f64| is_finite(&Tensor::new(&[1.0, value], &Device::Cpu)?);
        assert!(of(1e300)? && !of(f64::INFINITY)? && !of(f64::NAN)?);
        Ok(())
    }

    #[test]
    fn views_are_read_in_their_own_order() -> Result<()> {
        let whole = Tensor::new(&[[1.0f32, 2.0], [3.0, 4.0]], &Device::Cpu)?;
        let (transposed, row) = (whole.t()?, whole.narrow(0, 1, 1)?);
        let double = whole.to_dtype(DType::F64)?;
        let seen = with_values(&[&whole, &transposed, &row, &double], |v| {
            v.iter().map(|v| v.to_vec()).collect::<Vec<_>>()
        })?;
        assert_eq!(seen[0], [1.0, 2.0, 3.0, 4.0]);
        assert_eq!(seen[1], [1.0, 3.0, 2.0, 4.0]);
        assert_eq!(seen[2], [3.0, 4.0]);
        assert_eq!(seen[3], seen[0]);
        Ok(())
    }
}
