//! Prunable weights of a candle model that is not built of taper layers.

use candle_core::Var;
use taper_core::{LayerInfo, LayerKind};

/// The weights of convolutions (rank 4) and linear layers (rank 2) among named variables: those whose name is
/// `weight` or ends in `.weight`, sorted by name so that the order of a hash map cannot reach a result.
///
/// Embeddings have rank 2 as well: filter them out first.
///
/// ```
/// use candle_core::{DType, Device};
/// use candle_nn::{VarBuilder, VarMap};
///
/// let varmap = VarMap::new();
/// let vb = VarBuilder::from_varmap(&varmap, DType::F32, &Device::Cpu);
/// candle_nn::linear(4, 3, vb.pp("fc"))?;
/// let vars = varmap.data().lock().unwrap().clone();
/// let prunable = taper_prune::prunable_vars(vars);
/// assert_eq!(prunable.len(), 1);
/// assert_eq!(prunable[0].0.name, "fc.weight");
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn prunable_vars(named: impl IntoIterator<Item = (String, Var)>) -> Vec<(LayerInfo, Var)> {
    let mut prunable: Vec<(LayerInfo, Var)> = named
        .into_iter()
        .filter(|(name, _)| name == "weight" || name.ends_with(".weight"))
        .filter_map(|(name, var)| {
            let kind = match var.rank() {
                4 => LayerKind::Conv,
                2 => LayerKind::Linear,
                _ => return None,
            };
            Some((LayerInfo { name, kind, shape: var.dims().to_vec() }, var))
        })
        .collect();
    prunable.sort_by(|a, b| a.0.name.cmp(&b.0.name));
    prunable
}
