//! Prunable weights of a candle model that is not built of taper layers.

use crate::weight::is_prunable;
use candle_core::Var;
use std::collections::BTreeMap;
use taper_core::{LayerInfo, LayerKind};

/// The weights of convolutions, linear and recurrent layers among named variables, sorted by name so that the order of
/// a hash map cannot reach a result.
///
/// | name | rank | taken as |
/// | --- | --- | --- |
/// | `weight` | 2 | linear |
/// | `weight` | 3 to 5 | convolution, or transposed convolution where the `bias` beside it says so |
/// | `weight_ih_l*`, `weight_hh_l*` | 2 | linear: the matrices of an LSTM or GRU |
///
/// A variable under two names (tied weights) is taken once, under the name that comes first. (`VarMap::all_vars` lists it
/// twice: an optimizer of these moves it twice a step.) What is left out is logged by `tracing` with the reason: a matrix
/// as a warning, a vector (a bias, a weight of a normalisation) for debugging.
///
/// Embeddings are matrices with the name `weight` as well: filter them out first.
///
/// The bias of a convolution has one value for each output channel. Where its length is not that of the weight's first
/// axis, the convolution is transposed, and its output channels are along the second axis. Where both axes are equally
/// long, or there is no bias, nothing tells the two apart, and a convolution is assumed. This matters for the count of
/// filters and for [`DeadFilters`](crate::DeadFilters) alone; say it where you need it:
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

/// Named variables, told apart.
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

/// `named` is in order.
fn sort_out(named: &[(String, Var)]) -> Sorted {
    let by_name: BTreeMap<&str, &Var> = named.iter().map(|(name, var)| (&name[..], var)).collect();
    let mut sorted = Sorted { prunable: Vec::new(), left_out: Vec::new() };
    for (name, var) in named {
        let shape = var.dims().to_vec();
        let twin = sorted.prunable.iter().find(|(_, other)| other.id() == var.id());
        let kind = match twin {
            Some((info, _)) => Err(format!("it is the variable {}, which is", info.name)),
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

/// What a variable belongs to, or why it is not pruned.
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
        dims => Err(format!("no layer has a weight of rank {} that is pruned", dims.len())),
    }
}

/// A convolution with a weight `[first, second, kernel…]` and so many output channels: transposed where these can be the
/// second axis, once or in groups, and not the first.
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
    fn every_layer_of_candle_with_a_matrix_or_kernels_is_taken() -> candle_core::Result<()> {
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
        assert!(sorted.left_out.iter().all(|left| left.shape.len() == 1), "vectors alone");
        assert_eq!(sorted.left_out.len() + want.len(), named.len());
        Ok(())
    }

    #[test]
    fn what_is_left_out_is_left_out_for_a_reason() -> candle_core::Result<()> {
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
        let no_layer = "no layer has a weight of rank 1 that is pruned";
        let want = [
            (
                "attention.in_proj_weight",
                "its name does not end in weight, weight_ih_l* or weight_hh_l*",
            ),
            ("codes.weight", "its type is u8"),
            ("encoder.weight", "it is the variable decoder.weight, which is"),
            ("norm.weight", no_layer),
            ("rnn.weight_ih_l0", no_layer),
        ];
        assert_eq!(reasons, want);
        Ok(())
    }

    #[test]
    fn the_bias_tells_a_transposed_convolution() -> candle_core::Result<()> {
        let transposed = |groups| LayerKind::ConvTranspose { groups };
        // First axis, second axis, length of the bias.
        for (first, second, channels_out, want) in [
            (8, 4, 8, LayerKind::Conv),
            (8, 4, 4, transposed(1)),
            (8, 4, 16, transposed(4)),
            (8, 4, 12, LayerKind::Conv), // in three groups, which do not divide eight
            (8, 4, 5, LayerKind::Conv),
            (4, 4, 4, LayerKind::Conv), // or not: both are the same
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
