//! Updates of several tensors in place from one gradient.

use super::cpu;
use candle_core::{CpuStorage, InplaceOp1, InplaceOp2, Layout, Result, Tensor};
use std::cell::RefCell;

/// Calls `f` with the values of `grad`, and with the values of all `tensors` for writing. All must be contiguous, in
/// f32 on the CPU.
///
/// An in-place operation of candle changes only one tensor, so the operations are nested.
///
/// # Errors
/// If a tensor is not of that kind, or `grad` shares the memory of the first tensor.
pub(super) fn change<const N: usize>(
    name: &'static str,
    tensors: [&Tensor; N],
    grad: &Tensor,
    f: impl FnOnce(&[f32], [&mut [f32]; N]),
) -> Result<()> {
    let Some((first, others)) = tensors.split_first() else { return Ok(()) };
    let f = RefCell::new(Some(|grad: &[f32], all: Vec<&mut [f32]>| {
        if let Ok(all) = all.try_into() {
            f(grad, all)
        }
    }));
    first.inplace_op2(&grad.contiguous()?, &First { name, others, f })
}

/// Borrows the gradient and the first tensor.
struct First<'a, F> {
    name: &'static str,
    others: &'a [&'a Tensor],
    f: RefCell<Option<F>>,
}

impl<F: FnOnce(&[f32], Vec<&mut [f32]>)> InplaceOp2 for First<'_, F> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(
        &self,
        first: &mut CpuStorage,
        layout: &Layout,
        grad: &CpuStorage,
        grad_layout: &Layout,
    ) -> Result<()> {
        let grad = cpu::slice(self.name, grad, grad_layout)?;
        let taken = vec![cpu::slice_mut(self.name, first, layout)?];
        match self.f.take() {
            Some(f) => nest(self.name, self.others, taken, |all| f(grad, all)),
            None => Ok(()),
        }
    }
}

/// Borrows one more tensor.
struct Next<'a, F> {
    name: &'static str,
    others: &'a [&'a Tensor],
    taken: RefCell<Vec<&'a mut [f32]>>,
    f: RefCell<Option<F>>,
}

impl<F: FnOnce(Vec<&mut [f32]>)> InplaceOp1 for Next<'_, F> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(&self, next: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let mut taken: Vec<&mut [f32]> = self.taken.take();
        taken.push(cpu::slice_mut(self.name, next, layout)?);
        match self.f.take() {
            Some(f) => nest(self.name, self.others, taken, f),
            None => Ok(()),
        }
    }
}

fn nest<F: FnOnce(Vec<&mut [f32]>)>(
    name: &'static str,
    tensors: &[&Tensor],
    taken: Vec<&mut [f32]>,
    f: F,
) -> Result<()> {
    match tensors.split_first() {
        None => {
            f(taken);
            Ok(())
        }
        Some((next, others)) => {
            let (taken, f) = (RefCell::new(taken), RefCell::new(Some(f)));
            next.inplace_op1(&Next { name, others, taken, f })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn all_tensors_change_at_once_in_their_order() -> Result<()> {
        let of = |value: f32| Tensor::new(&[value, 2.0 * value], &Device::Cpu);
        let (a, b, c, grad) = (of(1.0)?, of(10.0)?, of(100.0)?, of(1000.0)?);
        change("test", [&a, &b, &c], &grad, |grad, [a, b, c]| {
            for i in 0..2 {
                (a[i], b[i], c[i]) = (b[i] + grad[i], c[i], a[i]);
            }
        })?;
        assert_eq!(a.to_vec1::<f32>()?, [1010.0, 2020.0]);
        assert_eq!(b.to_vec1::<f32>()?, [100.0, 200.0]);
        assert_eq!(c.to_vec1::<f32>()?, [1.0, 2.0]);
        // A tensor cannot be its own gradient: memory is never read and written at the same time.
        assert!(change("test", [&a], &a, |_, _| panic!("aliased")).is_err());
        Ok(())
    }
}
