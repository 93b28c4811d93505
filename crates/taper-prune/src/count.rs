//! How many weights are not 0 once pruned.

use candle_core::{DType, Tensor, Var};
use taper_core::LayerId;
use taper_kernels::{mask::Mask, threshold::Threshold};
use taper_nn::{
    Gate, Gates, Value,
    ops::{threshold, with_values},
};

/// The weights of each layer that gates do not leave at 0. A mask may keep more: weights that are 0 themselves, and where it is
/// held, weights that have fallen to the cut since.
pub(crate) fn kept_by<'a>(
    weights: impl Iterator<Item = &'a Var>,
    gates: &Gates,
) -> candle_core::Result<Vec<u64>> {
    weights.enumerate().map(|(i, var)| n_kept(var, gates.get(LayerId(i)))).collect()
}

/// How many values are not 0, in the type that they have: of a weight, or of what its gate leaves of it.
pub(crate) fn n_kept(weight: &Tensor, gate: Option<&Gate>) -> candle_core::Result<u64> {
    if weight.dtype() != DType::F32 {
        let pruned = gate.map(|gate| threshold(weight, gate)).transpose()?;
        let flags = pruned.as_ref().unwrap_or(weight).ne(0.0)?.flatten_all()?.to_vec1::<u8>()?;
        return Ok(flags.iter().map(|&flag| u64::from(flag)).sum());
    }
    // In f32 an operator that shrinks leaves 0 of what is not above its cut, and of nothing else; no need to compute it.
    let floor = match gate.map(|gate| (&gate.value, gate)) {
        Some((Value::Given(values), gate)) => {
            return Ok(gate.mask.kept().filter(|&index| values[index] != 0.0).count() as u64);
        }
        Some((Value::Threshold(threshold), gate)) if *threshold != Threshold::Hard => gate.cut,
        _ => 0.0,
    };
    with_values(&[weight], |w| {
        let above = Mask::above(w[0], floor);
        gate.map_or(above.n_kept(), |gate| above.intersection(&gate.mask).n_kept())
    })
}
