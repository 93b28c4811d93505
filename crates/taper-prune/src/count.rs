//! Number of non-zero weights after pruning.

use candle_core::{DType, Tensor, Var};
use taper_core::LayerId;
use taper_kernels::{mask::Mask, threshold::Threshold};
use taper_nn::{
    Gate, Gates, Value,
    ops::{threshold, with_values},
};

/// Number of weights of each layer that are not 0 after applying the gates. The mask may keep more: weights that are 0
/// themselves, and in a held mask, weights that have fallen to the threshold since.
pub(crate) fn kept_by<'a>(
    weights: impl Iterator<Item = &'a Var>,
    gates: &Gates,
) -> candle_core::Result<Vec<u64>> {
    weights.enumerate().map(|(i, var)| n_kept(var, gates.get(LayerId(i)))).collect()
}

/// Number of values that are not 0, in the data type of the weight, after applying the gate if there is one.
pub(crate) fn n_kept(weight: &Tensor, gate: Option<&Gate>) -> candle_core::Result<u64> {
    if weight.dtype() != DType::F32 {
        let pruned = gate.map(|gate| threshold(weight, gate)).transpose()?;
        let flags = pruned.as_ref().unwrap_or(weight).ne(0.0)?.flatten_all()?.to_vec1::<u8>()?;
        return Ok(flags.iter().map(|&flag| u64::from(flag)).sum());
    }
    // In f32, a shrinking operator returns 0 for magnitudes that are not above its threshold, and only for these. Its
    // values need not be computed.
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
