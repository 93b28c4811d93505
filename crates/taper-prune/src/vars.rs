//! Prunable weights of a candle model that does not use taper layers.

use crate::weight::is_prunable;
use candle_core::Var;
use std::collections::BTreeMap;
use taper_core::{LayerInfo, LayerKind};

/// The weights of convolutions, linear and recurrent layers among named variables. They are sorted by name: results
/// then do not depend on the order of a hash map.
///
/// | name | rank | layer |
/// | --- | --- | --- |
/// | `weight` | 2 | linear |
/// | `weight` | 3 to 5 | convolution, or transposed convolution, depending on its `bias` (see below) |
/// | `weight_ih_l*`, `weight_hh_l*` | 2 | linear: the matrices of an LSTM or GRU |
///
/// A variable under two names (tied weights) is returned once, under the name that comes first. (`VarMap::all_vars`
/// contains it twice, so an optimizer of that list updates it twice per step.) Variables that are left out are logged
/// by `tracing` with the reason: a matrix as a warning, a vector (a bias, a batch-norm weight) at debug level.
///
/// Embeddings are also matrices with the name `weight`: filter them out first.
///
/// The bias of a convolution has one value for each output channel. If its length differs from the first axis of the
/// weight, the convolution is transposed, with its output channels along the second axis. If both axes have the same
/// length, or there is no bias, the two cases cannot be distinguished, and a plain convolution is assumed. The kind
/// matters for filters: their counts, [`DeadFilters`](crate::DeadFilters), [`FilterUnits`](crate::structure::FilterUnits),
/// N:M patterns, [`InitialScale`](crate::InitialScale), and operators with a value for each output. Set it yourself if you
/// use one of them:
///
/// ```
/// use candle_core::{DType, Device};
/// use candle_nn::{VarBuilder, VarMap};
/// use taper_core::LayerKind;
///
/// let varmap = VarMap::new();
/// let vb = VarBuilder::from_varmap(&varmap, DType::F32, &Device::Cpu);
/// candle_nn::linear(4, 3, vb.pp("fc"))?;
/// candle_nn::conv_transpose1d_no_bias(8, 4, 3, Default::default(), vb.pp("up"))?;
/// let vars = varmap.data().lock().unwrap().clone();
/// let mut prunable = taper_prune::prunable_vars(vars);
/// assert_eq!(prunable.len(), 2);
/// assert_eq!(prunable[0].0.name, "fc.weight");
/// prunable[1].0.kind = LayerKind::ConvTranspose { groups: 1 };
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn prunable_vars(named: impl IntoIterator<Item = (String, Var)>) -> Vec<(LayerInfo, Var)> {
    let mut named: Vec<(String, Var)> = named.into_iter().collect();
    named.sort_by(|a, b| a.0.cmp(&b.0));
    let sorted = sort_out(&named);
    for LeftOut { name, shape, reason } in sorted.left_out {
        match shape.len() {
            0 | 1 => tracing::debug!("variable {name} of shape {shape:?} is not pruned: {reason}"),
            _ => tracing::warn!("variable {name} of shape {shape:?} is not pruned: {reason}"),
        }
    }
    sorted.prunable
}

/// Named variables, divided into prunable and other ones.
struct Sorted {
    prunable: Vec<(LayerInfo, Var)>,
    left_out: Vec<LeftOut>,
}

/// A variable that is not pruned, or not under this name.
struct LeftOut {
    name: String,
    shape: Vec<usize>,
    reason: String,
}

/// Divides variables into prunable and other ones; `named` must be sorted by name.
fn sort_out(named: &[(String, Var)]) -> Sorted {
    let by_name: BTreeMap<&str, &Var> = named.iter().map(|(name, var)| (&name[..], var)).collect();
    let mut sorted = Sorted { prunable: Vec::new(), left_out: Vec::new() };
    for (name, var) in named {
        let shape = var.dims().to_vec();
        let twin = sorted.prunable.iter().find(|(_, other)| other.id() == var.id());
        let kind = match twin {
            Some((info, _)) => Err(format!("it is the same variable as {}", info.name)),
            None => kind(name, var, &by_name),
        };
        match kind {
            Ok(kind) => {
                sorted.prunable.push((LayerInfo { name: name.clone(), kind, shape }, var.clone()));
            }
            Err(reason) => sorted.left_out.push(LeftOut { name: name.clone(), shape, reason }),
        }
    }
    sorted
}

/// The layer type of a variable, or the reason why it is not pruned.
fn kind(name: &str, var: &Var, by_name: &BTreeMap<&str, &Var>) -> Result<LayerKind, String> {
    let (path, last) = name.rsplit_once('.').map_or(("", name), |(path, last)| (path, last));
    let is_recurrent = last.starts_with("weight_ih_l") || last.starts_with("weight_hh_l");
    if last != "weight" && !is_recurrent {
        return Err("its name does not end in weight, weight_ih_l* or weight_hh_l*".into());
    }
    if !is_prunable(var.dtype()) {
        return Err(format!("its type is {}", var.dtype().as_str()));
    }
    match var.dims() {
        [_, _] => Ok(LayerKind::Linear),
        [first, second, _, ..] if var.rank() <= 5 && !is_recurrent => {
            let bias = if path.is_empty() { "bias".to_string() } else { format!("{path}.bias") };
            let channels_out = by_name.get(&bias[..]).map_or(*first, |bias| bias.elem_count());
            Ok(convolution(*first, *second, channels_out))
        }
        dims => Err(format!("no prunable layer has a weight of rank {}", dims.len())),
    }
}

/// The type of a convolution with a weight `[first, second, kernel…]` and this number of output channels. It is
/// transposed if the number is not `first`, but a multiple of `second` by a number of groups that divides `first`.
fn convolution(first: usize, second: usize, channels_out: usize) -> LayerKind {
    let groups = channels_out.checked_div(second).unwrap_or(0);
    let is_transposed = channels_out != first
        && groups > 0
        && channels_out.is_multiple_of(second)
        && first.is_multiple_of(groups);
    if is_transposed { LayerKind::ConvTranspose { groups } } else { LayerKind::Conv }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device, Tensor};
    use candle_nn::{VarBuilder, VarMap};

    fn in_order(varmap: &VarMap) -> Vec<(String, Var)> {
        let mut named: Vec<_> = varmap.data().lock().unwrap().clone().into_iter().collect();
        named.sort_by(|a, b| a.0.cmp(&b.0));
        named
    }

    #[test]
    fn every_candle_layer_with_a_matrix_or_kernels_is_prunable() -> candle_core::Result<()> {
        let varmap = VarMap::new();
        let vb = VarBuilder::from_varmap(&varmap, DType::F32, &Device::Cpu);
        candle_nn::conv1d(4, 8, 3, Default::default(), vb.pp("conv1"))?;
        candle_nn::conv2d(4, 8, 3, Default::default(), vb.pp("conv2"))?;
        candle_nn::conv_transpose1d(4, 8, 3, Default::default(), vb.pp("up1"))?;
        candle_nn::conv_transpose2d(4, 8, 3, Default::default(), vb.pp("up2"))?;
        candle_nn::linear(4, 8, vb.pp("fc"))?;
        candle_nn::lstm(4, 8, Default::default(), vb.pp("lstm"))?;
        candle_nn::gru(4, 8, Default::default(), vb.pp("gru"))?;
        candle_nn::layer_norm(8, 1e-5, vb.pp("ln"))?;
        candle_nn::batch_norm(8, 1e-5, vb.pp("bn"))?;
        candle_nn::group_norm(2, 8, 1e-5, vb.pp("gn"))?;
        candle_nn::prelu(Some(8), vb.pp("prelu"))?;
        let named = in_order(&varmap);
        let sorted = sort_out(&named);
        let taken = sorted.prunable.iter();
        let taken: Vec<_> = taken.map(|(info, _)| (&info.name[..], info.kind)).collect();
        let transposed = LayerKind::ConvTranspose { groups: 1 };
        let want = [
            ("conv1.weight", LayerKind::Conv),
            ("conv2.weight", LayerKind::Conv),
            ("fc.weight", LayerKind::Linear),
            ("gru.weight_hh_l0", LayerKind::Linear),
            ("gru.weight_ih_l0", LayerKind::Linear),
            ("lstm.weight_hh_l0", LayerKind::Linear),
            ("lstm.weight_ih_l0", LayerKind::Linear),
            ("up1.weight", transposed),
            ("up2.weight", transposed),
        ];
        assert_eq!(taken, want);
        assert!(sorted.left_out.iter().all(|left| left.shape.len() == 1), "only vectors");
        assert_eq!(sorted.left_out.len() + want.len(), named.len());
        Ok(())
    }

    #[test]
    fn variables_are_left_out_with_a_reason() -> candle_core::Result<()> {
        let zeros = |dims: &[usize], dtype| Var::zeros(dims, dtype, &Device::Cpu);
        let tied = zeros(&[3, 4], DType::F32)?;
        let named: Vec<(String, Var)> = [
            ("attention.in_proj_weight", zeros(&[3, 4], DType::F32)?),
            ("codes.weight", zeros(&[3, 4], DType::U8)?),
            ("decoder.weight", tied.clone()),
            ("encoder.weight", tied),
            ("half.weight", zeros(&[3, 4], DType::BF16)?),
            ("norm.weight", zeros(&[3], DType::F32)?),
            ("rnn.weight_ih_l0", zeros(&[3], DType::F32)?),
            ("weight", zeros(&[3, 4, 1, 1, 1], DType::F64)?),
        ]
        .map(|(name, var)| (name.to_string(), var))
        .into();
        let sorted = sort_out(&named);
        let taken: Vec<&str> = sorted.prunable.iter().map(|(info, _)| &info.name[..]).collect();
        assert_eq!(taken, ["decoder.weight", "half.weight", "weight"]);
        let reasons: Vec<(&str, &str)> =
            sorted.left_out.iter().map(|left| (&left.name[..], &left.reason[..])).collect();
        let no_layer = "no prunable layer has a weight of rank 1";
        let want = [
            (
                "attention.in_proj_weight",
                "its name does not end in weight, weight_ih_l* or weight_hh_l*",
            ),
            ("codes.weight", "its type is u8"),
            ("encoder.weight", "it is the same variable as decoder.weight"),
            ("norm.weight", no_layer),
            ("rnn.weight_ih_l0", no_layer),
        ];
        assert_eq!(reasons, want);
        Ok(())
    }

    #[test]
    fn the_bias_identifies_a_transposed_convolution() -> candle_core::Result<()> {
        let transposed = |groups| LayerKind::ConvTranspose { groups };
        // First axis, second axis, length of the bias.
        for (first, second, channels_out, want) in [
            (8, 4, 8, LayerKind::Conv),
            (8, 4, 4, transposed(1)),
            (8, 4, 16, transposed(4)),
            (8, 4, 12, LayerKind::Conv), // in three groups, which do not divide eight
            (8, 4, 5, LayerKind::Conv),
            (4, 4, 4, LayerKind::Conv), // or transposed: both have the same shape
            (8, 0, 8, LayerKind::Conv),
        ] {
            assert_eq!(convolution(first, second, channels_out), want, "{first} {second}");
        }
        let bias = Var::from_tensor(&Tensor::zeros(4, DType::F32, &Device::Cpu)?)?;
        let weight = Var::from_tensor(&Tensor::zeros((8, 4, 3), DType::F32, &Device::Cpu)?)?;
        let kind_of = |name: &str, bias_name: &str| {
            let named = [(bias_name.to_string(), bias.clone()), (name.to_string(), weight.clone())];
            sort_out(&named).prunable[0].0.kind
        };
        assert_eq!(kind_of("up.weight", "up.bias"), transposed(1));
        assert_eq!(kind_of("weight", "bias"), transposed(1));
        assert_eq!(kind_of("up.weight", "down.bias"), LayerKind::Conv);
        Ok(())
    }
}
