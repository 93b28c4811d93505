//! The shape that an operation gives, and the conditions on its inputs and tensors.

use crate::{Conv, Graph, GraphError, Op, Window, tensor::n_elements};

/// Shape of the value of `op` behind the nodes `inputs` of a graph, for one image.
///
/// # Errors
/// If an input or tensor is not there or does not fit; the message names it.
pub fn of(graph: &Graph, op: &Op, inputs: &[usize]) -> Result<Vec<usize>, GraphError> {
    let at = graph.nodes.len();
    fit(graph, op, inputs)
        .map_err(|message| GraphError::new(format!("node {at} ({}): {message}", op.name())))
}

/// Like [`of`], with messages that do not name the node.
pub(crate) fn fit(graph: &Graph, op: &Op, inputs: &[usize]) -> Result<Vec<usize>, String> {
    let mut dims = Vec::with_capacity(inputs.len());
    for &input in inputs {
        match graph.nodes.get(input) {
            Some(node) => dims.push(&node.dims[..]),
            None => return Err(format!("it reads node {input}, which does not come before it")),
        }
    }
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
    if !expected.contains(&dims.len()) {
        return Err(format!("it has {} inputs instead of {}", dims.len(), expected.start()));
    }
    let dims = infer(graph, op, &dims)?;
    match n_elements(&dims) {
        Some(_) => Ok(dims),
        None => Err(format!("its shape {dims:?} is too large")),
    }
}

fn infer(graph: &Graph, op: &Op, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
    let text = |e: GraphError| e.to_string();
    Ok(match op {
        Op::Input => return Err("only the first node is the input".into()),
        Op::Constant(name) => graph.tensor(name).map_err(text)?.dims().to_vec(),
        Op::Conv(conv) => convolved(graph, conv, inputs[0])?,
        Op::Linear { weight, bias } => {
            let dims = graph.tensor(weight).map_err(text)?.dims();
            let (&[out, features], &[n]) = (dims, inputs[0]) else {
                return Err(format!("a weight {dims:?} does not fit an input {:?}", inputs[0]));
            };
            if features != n {
                return Err(format!("a weight {dims:?} does not fit an input of {n}"));
            }
            if let Some(bias) = bias {
                expect(graph, bias, &[out])?;
            }
            vec![out]
        }
        Op::Norm(norm) => {
            let channels = *inputs[0].first().ok_or("its input has no channels")?;
            for name in [&norm.weight, &norm.bias, &norm.mean, &norm.var] {
                expect(graph, name, &[channels])?;
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
                0 => Err("a factor is 0, outside 1 and more"),
                _ => n.checked_mul(by).ok_or("its planes are too large"),
            };
            vec![channels, times(rows, factors[0])?, times(columns, factors[1])?]
        }
        Op::Fused(fused) => {
            let Some(first) = fused.convs.first() else {
                return Err("it has no convolution".into());
            };
            let dims = convolved(graph, first, inputs[0])?;
            for (conv, input) in fused.convs.iter().zip(inputs).skip(1) {
                let other = convolved(graph, conv, input)?;
                if other != dims {
                    return Err(format!("its convolutions give {dims:?} and {other:?}"));
                }
            }
            if let Some(residual) = inputs.get(fused.convs.len())
                && *residual != &dims[..]
            {
                return Err(format!("it adds {residual:?} to {dims:?}"));
            }
            if let Some(name) = &fused.bias {
                let bias = graph.tensor(name).map_err(text)?.dims();
                if bias != &dims[..1] && bias != &dims[..] {
                    return Err(format!(
                        "its bias {bias:?} fits neither channels nor pixels of {dims:?}"
                    ));
                }
            }
            dims
        }
    })
}

/// Channels, rows and columns.
pub(crate) fn plane(dims: &[usize]) -> Result<[usize; 3], String> {
    dims.try_into().map_err(|_| format!("its input {dims:?} is not [channels, rows, columns]"))
}

/// Rows and columns of windows on a plane of `sizes`.
///
/// # Errors
/// If a parameter is outside its range, or no window fits.
pub fn windows(window: &Window, sizes: [usize; 2]) -> Result<[usize; 2], String> {
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

fn convolved(graph: &Graph, conv: &Conv, input: &[usize]) -> Result<Vec<usize>, String> {
    let weight = graph.tensor(&conv.weight).map_err(|e| e.to_string())?.dims();
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
            "its kernel is {:?}, that of its weight {weight:?}",
            conv.window.kernel
        ));
    }
    if let Some(bias) = &conv.bias {
        expect(graph, bias, &[out])?;
    }
    let [rows, columns] = windows(&conv.window, [rows, columns])?;
    Ok(vec![out, rows, columns])
}

fn expect(graph: &Graph, name: &str, dims: &[usize]) -> Result<(), String> {
    let found = graph.tensor(name).map_err(|e| e.to_string())?.dims();
    match found == dims {
        true => Ok(()),
        false => Err(format!("tensor `{name}` has shape {found:?} instead of {dims:?}")),
    }
}

/// Shape of two inputs of equal rank, where a size of 1 is broadcast.
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
