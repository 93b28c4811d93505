//! Shape inference: the shape of an operation's value, and the conditions on its inputs and tensors.

use crate::{
    Conv, Op, Window,
    tensor::{Tensor, n_elements},
};
use std::collections::BTreeMap;

/// The constants of a graph by name.
type Tensors = BTreeMap<String, Tensor>;

/// The tensor of this name.
pub(crate) fn tensor<'a>(tensors: &'a Tensors, name: &str) -> Result<&'a Tensor, String> {
    tensors.get(name).ok_or_else(|| format!("the graph has no tensor `{name}`"))
}

/// Shape of the value of `op` on inputs of these shapes, for one image.
pub(crate) fn shape(tensors: &Tensors, op: &Op, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
    let expected = match op {
        Op::Input | Op::Constant(_) => 0..=0,
        Op::Add | Op::Multiply => 2..=2,
        Op::Concat => 1..=usize::MAX,
        Op::Fused(fused) => {
            let n = fused.convs.len() + usize::from(fused.residual);
            n..=n
        }
        _ => 1..=1,
    };
    if !expected.contains(&inputs.len()) {
        return Err(format!("it has {} inputs instead of {}", inputs.len(), expected.start()));
    }
    let dims = infer(tensors, op, inputs)?;
    match n_elements(&dims) {
        Some(_) => Ok(dims),
        None => Err(format!("its shape {dims:?} is too large")),
    }
}

fn infer(tensors: &Tensors, op: &Op, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
    Ok(match op {
        Op::Input => return Err("only the first node is the input".into()),
        Op::Constant(name) => tensor(tensors, name)?.dims().to_vec(),
        Op::Conv(conv) => convolved(tensors, conv, inputs[0])?,
        Op::Linear { weight, bias } => {
            let dims = tensor(tensors, weight)?.dims();
            let (&[out, features], &[n]) = (dims, inputs[0]) else {
                return Err(format!("a weight {dims:?} does not fit an input {:?}", inputs[0]));
            };
            if features != n {
                return Err(format!("a weight {dims:?} does not fit an input of {n} features"));
            }
            if let Some(bias) = bias {
                expect(tensors, bias, &[out])?;
            }
            vec![out]
        }
        Op::Norm(norm) => {
            let channels = *inputs[0].first().ok_or("its input has no channels")?;
            for name in [&norm.weight, &norm.bias, &norm.mean, &norm.var] {
                expect(tensors, name, &[channels])?;
            }
            inputs[0].to_vec()
        }
        Op::Activation(_) => inputs[0].to_vec(),
        Op::Add | Op::Multiply => broadcast(inputs[0], inputs[1])?,
        Op::Concat => {
            let [first, rest @ ..] = inputs else { return Err("it has no input".into()) };
            let mut dims = first.to_vec();
            if dims.is_empty() {
                return Err("its inputs have no channels".into());
            }
            for other in rest {
                if other.len() != dims.len() || other[1..] != dims[1..] {
                    return Err(format!(
                        "its inputs {first:?} and {other:?} differ in more than channels"
                    ));
                }
                dims[0] = dims[0].checked_add(other[0]).ok_or("it has too many channels")?;
            }
            dims
        }
        Op::Pad(pad) => {
            let [channels, rows, columns] = plane(inputs[0])?;
            let [top, left, bottom, right] = pad.sizes;
            let sum = |n: usize, a: usize, b: usize| {
                n.checked_add(a).and_then(|n| n.checked_add(b)).ok_or("its border is too large")
            };
            vec![channels, sum(rows, top, bottom)?, sum(columns, left, right)?]
        }
        Op::MaxPool(window) | Op::AveragePool { window, .. } => {
            let [channels, rows, columns] = plane(inputs[0])?;
            let [top, left, bottom, right] = window.padding;
            let [down, across] = [0, 1].map(|axis| {
                let gaps = window.kernel[axis].saturating_sub(1);
                gaps.saturating_mul(window.dilation[axis]).saturating_add(1)
            });
            if top >= down || bottom >= down || left >= across || right >= across {
                let padding = window.padding;
                return Err(format!(
                    "its padding {padding:?} is not smaller than its windows of {down} × {across} pixels"
                ));
            }
            let [rows, columns] = windows(window, [rows, columns])?;
            vec![channels, rows, columns]
        }
        Op::GlobalAverage | Op::GlobalMax => {
            let [channels, rows, columns] = plane(inputs[0])?;
            if rows == 0 || columns == 0 {
                return Err(format!("its input {:?} has no pixels", inputs[0]));
            }
            vec![channels, 1, 1]
        }
        Op::Reshape(dims) => {
            if n_elements(dims).is_none_or(|n| Some(n) != n_elements(inputs[0])) {
                return Err(format!("an input {:?} does not fit the shape {dims:?}", inputs[0]));
            }
            dims.clone()
        }
        Op::Softmax { axis } => {
            if *axis >= inputs[0].len() {
                return Err(format!("its input {:?} has no dimension {axis}", inputs[0]));
            }
            inputs[0].to_vec()
        }
        Op::Upsample { factors } => {
            let [channels, rows, columns] = plane(inputs[0])?;
            let times = |n: usize, by: usize| match by {
                0 => Err("an upsampling factor is 0; it must be at least 1"),
                _ => n.checked_mul(by).ok_or("its output is too large"),
            };
            vec![channels, times(rows, factors[0])?, times(columns, factors[1])?]
        }
        Op::Fused(fused) => {
            let Some(first) = fused.convs.first() else {
                return Err("it has no convolution".into());
            };
            let dims = convolved(tensors, first, inputs[0])?;
            for (conv, input) in fused.convs.iter().zip(inputs).skip(1) {
                let other = convolved(tensors, conv, input)?;
                if other != dims {
                    return Err(format!(
                        "its convolutions have different output shapes, {dims:?} and {other:?}"
                    ));
                }
            }
            if let Some(residual) = inputs.get(fused.convs.len())
                && *residual != &dims[..]
            {
                return Err(format!(
                    "its residual input has shape {residual:?} instead of {dims:?}"
                ));
            }
            if let Some(name) = &fused.bias {
                let bias = tensor(tensors, name)?.dims();
                if bias != &dims[..1] && bias != &dims[..] {
                    return Err(format!(
                        "its bias {bias:?} fits neither the channels nor the pixels of {dims:?}"
                    ));
                }
            }
            dims
        }
    })
}

/// Channels, rows and columns.
fn plane(dims: &[usize]) -> Result<[usize; 3], String> {
    dims.try_into().map_err(|_| format!("its input {dims:?} is not [channels, rows, columns]"))
}

/// Number of window positions along rows and columns of a plane of `sizes`; an error if a parameter is outside its
/// range, or no window fits.
fn windows(window: &Window, sizes: [usize; 2]) -> Result<[usize; 2], String> {
    let mut counts = [0; 2];
    for (i, count) in counts.iter_mut().enumerate() {
        let (kernel, stride, dilation) = (window.kernel[i], window.stride[i], window.dilation[i]);
        if kernel == 0 || stride == 0 || dilation == 0 {
            return Err(format!(
                "kernel {kernel}, stride {stride} and dilation {dilation} are not all at least 1"
            ));
        }
        let too_large = || format!("windows of {kernel} taps, dilation {dilation}, are too large");
        let reach = (kernel - 1).checked_mul(dilation).ok_or_else(too_large)?;
        let padded = sizes[i]
            .checked_add(window.padding[i])
            .and_then(|n| n.checked_add(window.padding[i + 2]))
            .ok_or_else(too_large)?;
        if padded <= reach {
            return Err(format!(
                "windows of {} pixels do not fit {padded} pixels with padding",
                reach.saturating_add(1)
            ));
        }
        *count = (padded - 1 - reach) / stride + 1;
    }
    Ok(counts)
}

fn convolved(tensors: &Tensors, conv: &Conv, input: &[usize]) -> Result<Vec<usize>, String> {
    let weight = tensor(tensors, &conv.weight)?.dims();
    let [channels, rows, columns] = plane(input)?;
    let &[out, each, down, across] = weight else {
        return Err(format!(
            "its weight {weight:?} is not [out, in / groups, kernel rows, kernel columns]"
        ));
    };
    let groups = conv.groups;
    if groups == 0 || !out.is_multiple_of(groups) || each.checked_mul(groups) != Some(channels) {
        return Err(format!(
            "a weight {weight:?} in {groups} groups does not fit {channels} channels"
        ));
    }
    if conv.window.kernel != [down, across] {
        return Err(format!(
            "its kernel size {:?} does not match its weight {weight:?}",
            conv.window.kernel
        ));
    }
    if let Some(bias) = &conv.bias {
        expect(tensors, bias, &[out])?;
    }
    let [rows, columns] = windows(&conv.window, [rows, columns])?;
    Ok(vec![out, rows, columns])
}

fn expect(tensors: &Tensors, name: &str, dims: &[usize]) -> Result<(), String> {
    let found = tensor(tensors, name)?.dims();
    match found == dims {
        true => Ok(()),
        false => Err(format!("tensor `{name}` has shape {found:?} instead of {dims:?}")),
    }
}

/// Shape of an element-wise operation on two inputs of equal rank; sizes of 1 are broadcast.
fn broadcast(a: &[usize], b: &[usize]) -> Result<Vec<usize>, String> {
    let misfit = || format!("its inputs {a:?} and {b:?} do not fit together");
    if a.len() != b.len() {
        return Err(misfit());
    }
    let size = |(&a, &b): (&usize, &usize)| match (a, b) {
        (a, b) if a == b => Ok(a),
        (1, n) | (n, 1) => Ok(n),
        _ => Err(misfit()),
    };
    a.iter().zip(b).map(size).collect()
}
