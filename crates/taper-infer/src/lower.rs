//! Lowers the nodes of a graph to drafts of steps.

use crate::{
    InferError,
    conv::Term,
    draft::{Drafts, Work},
    value::Value,
};
use std::{borrow::Cow, ops::Range};
use taper_graph::{ActivationFn, Conv, Fused, Graph, GraphError, Node, Norm, Op, Window};
use taper_kernels::planes::{
    Epilogue, Function, GlobalPool, Layout, Map, Pairs, Pairwise, Pool, ReadFrom, Reduce, flush,
};

/// The drafts of a graph, with the values of its input and output.
pub(crate) struct Lowered<'a> {
    pub(crate) drafts: Drafts<'a>,
    pub(crate) input: Value,
    pub(crate) output: Value,
}

/// Lowers a valid graph for vectors of these widths.
pub(crate) fn lower<'a>(
    graph: &'a Graph,
    lanes: &'static [usize],
) -> Result<Lowered<'a>, InferError> {
    let readers = graph.sole_readers();
    let mut lowering = Lowering { graph, drafts: Drafts::new(lanes), values: Vec::new(), readers };
    for (i, node) in graph.nodes.iter().enumerate() {
        let value = lowering.node(node).map_err(|e| e.at(graph, i))?;
        lowering.values.push(value);
    }
    let Lowering { drafts, mut values, .. } = lowering;
    let output = values[graph.output].clone();
    Ok(Lowered { drafts, input: values.swap_remove(Graph::INPUT), output })
}

/// Channels, rows and columns of a shape. Each element of a vector is a channel.
pub(crate) fn planes_of(dims: &[usize]) -> Result<[usize; 3], InferError> {
    let planes = match *dims {
        [features] => [features, 1, 1],
        [channels, columns] => [channels, 1, columns],
        [channels, rows, columns] => [channels, rows, columns],
        _ => {
            let message = format!(
                "its value has shape {dims:?}; the engine supports one to three dimensions"
            );
            return Err(GraphError::new(message).into());
        }
    };
    if planes[1] == 0 || planes[2] == 0 {
        return Err(GraphError::new(format!("its value of shape {dims:?} has no pixels")).into());
    }
    check_size(dims)?;
    Ok(planes)
}

/// Largest number of channels of a value. A few bytes of a file can claim any size.
const PLANES: usize = 1 << 20;
/// Largest number of channels of all values together. Each channel has entries in the tables of some steps.
const ALL_PLANES: usize = 1 << 22;
/// Largest number of elements of a value.
const ELEMENTS: usize = 1 << 27;
/// Largest distance in columns of the pixels that a convolution reads. Sums are shifted by one column at a time.
const REACH: usize = 1 << 10;
/// Largest number of weights of an average over windows as a convolution.
const TAPS: usize = 1 << 22;
/// Largest window, in pixels, for which the mean is computed as a convolution.
const MEANS: usize = 1 << 10;

/// Checks that the engine supports the size of a value.
pub(crate) fn check_size(dims: &[usize]) -> Result<(), InferError> {
    // A value without channels still has tables of rows and columns, so sizes of 0 count as 1.
    let n = dims.iter().try_fold(1, |n: usize, &size| n.checked_mul(size.max(1)));
    let planes = dims.first().copied().unwrap_or(1);
    if planes <= PLANES && n.is_some_and(|n| n <= ELEMENTS) {
        return Ok(());
    }
    let limits = format!("{PLANES} channels and {ELEMENTS} elements");
    let message = format!("its value has shape {dims:?}; the engine supports up to {limits}");
    Err(GraphError::new(message).into())
}

/// Checks that the engine supports the number of channels of all values together.
pub(crate) fn check_all(graph: &Graph) -> Result<(), InferError> {
    let channels = |i: usize| graph.nodes[i].dims.first().copied().unwrap_or(1);
    let n = (0..graph.nodes.len()).map(channels).fold(0, usize::saturating_add);
    if n <= ALL_PLANES {
        return Ok(());
    }
    let most = (0..graph.nodes.len()).max_by_key(|&i| channels(i)).unwrap_or(Graph::INPUT);
    let (title, of_it) = (graph.title(most), channels(most));
    let message = format!(
        "all values together have {n} channels; the engine supports up to {ALL_PLANES}, and {title} has {of_it} of them"
    );
    Err(GraphError::new(message).into())
}

/// Checks that the sizes of a node's windows are small enough: sums of them must not overflow.
fn check_windows(op: &Op) -> Result<(), InferError> {
    let windows: Vec<&Window> = match op {
        Op::Conv(conv) => vec![&conv.window],
        Op::Fused(fused) => fused.convs.iter().map(|conv| &conv.window).collect(),
        Op::MaxPool(window) | Op::AveragePool { window, .. } => vec![window],
        _ => Vec::new(),
    };
    let limit = i32::MAX as usize;
    for Window { kernel, stride, padding, dilation } in windows {
        let sizes = || kernel.iter().chain(stride).chain(padding).chain(dilation);
        if let Some(size) = sizes().find(|&&size| size > limit) {
            let message =
                format!("a window has a size of {size}; the engine supports up to {limit}");
            return Err(GraphError::new(message).into());
        }
    }
    Ok(())
}

/// Stride of windows. Along an axis with one window, it is at most the size of the plane.
fn strides(window: &Window, from: &Layout, [_, rows, columns]: [usize; 3]) -> [usize; 2] {
    let stride = |axis: usize, n: usize, size: usize| match n {
        1 => window.stride[axis].min(size),
        _ => window.stride[axis],
    };
    [stride(0, rows, from.rows), stride(1, columns, from.columns)]
}

struct Lowering<'a> {
    graph: &'a Graph,
    drafts: Drafts<'a>,
    values: Vec<Value>,
    /// The only reader of each node, if there is one.
    readers: Vec<Option<usize>>,
}

impl<'a> Lowering<'a> {
    fn node(&mut self, node: &'a Node) -> Result<Value, InferError> {
        let dims = planes_of(&node.dims)?;
        check_windows(&node.op)?;
        let inputs: Vec<Value> = node.inputs.iter().map(|&i| self.values[i].clone()).collect();
        let name = name_of(&node.op);
        Ok(match &node.op {
            Op::Input => self.drafts.value(dims, 0),
            Op::Constant(tensor) => {
                let values = self.graph.tensor(tensor)?.values().to_vec();
                self.constant(dims, &values)
            }
            Op::Conv(conv) => self.fused(&conv.clone().into(), node, &inputs, dims, &name)?,
            Op::Fused(fused) => self.fused(fused, node, &inputs, dims, &name)?,
            Op::Linear { weight, bias } => {
                let tensor = self.graph.tensor(weight)?;
                let bias = self.channels(bias.as_deref(), dims[0])?;
                let (node, weight) = (node.inputs[0], Cow::Borrowed(tensor.values()));
                let term = Term::pointwise(node, inputs[0].clone(), weight, dims[0], 1);
                self.drafts.conv(vec![term], bias, &[], Epilogue::None, dims, &name)
            }
            // If only an activation reads the norm, the activation computes it.
            Op::Norm(_) if self.is_deferred(self.values.len()) => inputs[0].clone(),
            Op::Norm(norm) => {
                let affine = self.norm(norm)?;
                self.scaled(node, &inputs[0], affine, Epilogue::None, dims, &name)
            }
            Op::Activation(activation) => match function(*activation) {
                Ok(finish) => {
                    let affine = match &self.graph.nodes[node.inputs[0]].op {
                        Op::Norm(norm) if self.is_deferred(node.inputs[0]) => self.norm(norm)?,
                        _ => (vec![1.0; dims[0]], vec![0.0; dims[0]]),
                    };
                    self.scaled(node, &inputs[0], affine, finish, dims, &name)
                }
                Err(function) => self.map(&inputs[0], function, dims, &name),
            },
            Op::Add | Op::Multiply => self.pairs(&node.op, node, &inputs, dims, &name)?,
            Op::Concat => {
                let pitch = inputs.iter().map(|v| v.layout.pitch).max().unwrap_or(0);
                let parts: Vec<Value> =
                    inputs.iter().map(|v| self.drafts.with_pitch(v, pitch)).collect();
                let planes = parts.iter().flat_map(|v| v.planes.iter().copied()).collect();
                Value { layout: parts[0].layout, planes }
            }
            Op::Pad(pad) => {
                let [top, left, ..] = pad.sizes;
                let Layout { rows, columns, .. } = inputs[0].layout;
                let to = self.drafts.value(dims, 0);
                let (rows, columns) = (placed(rows, top, dims[1]), placed(columns, left, dims[2]));
                self.drafts.remap(&inputs[0], &to, rows, columns, pad.value, &name);
                to
            }
            Op::Upsample { factors } => {
                let to = self.drafts.value(dims, 0);
                let origins = |n: usize, factor: usize| -> Vec<ReadFrom> {
                    (0..n).map(|i| Some((i / factor) as u32)).collect()
                };
                let (rows, columns) = (origins(dims[1], factors[0]), origins(dims[2], factors[1]));
                self.drafts.remap(&inputs[0], &to, rows, columns, 0.0, &name);
                to
            }
            Op::MaxPool(window) => self.pool(window, Reduce::Max, 0, &inputs[0], dims, &name),
            Op::AveragePool { window, counts_padding } => {
                let area = window.kernel[0] * window.kernel[1];
                let counts_alike = *counts_padding || window.padding == [0; 4];
                if area <= MEANS
                    && counts_alike
                    && let Some(mean) = self.mean(node, window, &inputs[0], dims, &name)
                {
                    return Ok(mean);
                }
                let count = if *counts_padding { area } else { 0 };
                self.pool(window, Reduce::Mean, count, &inputs[0], dims, &name)
            }
            Op::GlobalAverage => self.global(Reduce::Mean, &inputs[0], dims, &name),
            Op::GlobalMax => self.global(Reduce::Max, &inputs[0], dims, &name),
            Op::Reshape(_) => self.reshaped(&inputs[0], dims, &name),
            Op::Softmax { axis } => self.softmax(*axis, node, &inputs[0], dims, &name),
        })
    }

    /// Whether the only reader of a norm is an activation that computes it.
    fn is_deferred(&self, at: usize) -> bool {
        self.readers[at].is_some_and(|reader| match self.graph.nodes[reader].op {
            Op::Activation(activation) => function(activation).is_ok(),
            _ => false,
        })
    }

    fn constant(&mut self, dims: [usize; 3], values: &[f32]) -> Value {
        let value = self.drafts.value(dims, 0);
        if let Some(plane) = value.planes.first() {
            self.drafts.regions[plane.region].constant =
                Some(values.iter().map(|&v| flush(v)).collect());
        }
        value
    }

    /// The tensor of this name, or zeros.
    fn channels(&self, name: Option<&str>, n: usize) -> Result<Vec<f32>, InferError> {
        Ok(match name {
            Some(name) => self.graph.tensor(name)?.values().to_vec(),
            None => vec![0.0; n],
        })
    }

    fn norm(&self, norm: &Norm) -> Result<(Vec<f32>, Vec<f32>), InferError> {
        let channels = norm.affine(self.graph)?;
        Ok(channels.iter().map(|c| (c.scale as f32, c.shift as f32)).unzip())
    }

    /// Multiplies each channel by its scale and adds its bias.
    fn scaled(
        &mut self,
        node: &Node,
        value: &Value,
        (scale, bias): (Vec<f32>, Vec<f32>),
        finish: Epilogue,
        dims: [usize; 3],
        name: &str,
    ) -> Value {
        let scale = Cow::Owned(scale);
        let term = Term::pointwise(node.inputs[0], value.clone(), scale, dims[0], dims[0]);
        self.drafts.conv(vec![term], bias, &[], finish, dims, name)
    }

    fn fused(
        &mut self,
        fused: &Fused,
        node: &Node,
        inputs: &[Value],
        dims: [usize; 3],
        name: &str,
    ) -> Result<Value, InferError> {
        let mut terms = Vec::new();
        for ((conv, &input), value) in fused.convs.iter().zip(&node.inputs).zip(inputs) {
            terms.push(term(self.graph, conv, input, value, dims)?);
        }
        // A bias per pixel is added as a constant value.
        let per_pixel = match &fused.bias {
            Some(name) => Some(self.graph.tensor(name)?).filter(|t| t.dims().len() == 3),
            None => None,
        };
        let bias = match per_pixel {
            Some(_) => vec![0.0; dims[0]],
            None => self.channels(fused.bias.as_deref(), dims[0])?,
        };
        let plane = per_pixel.map(|t| t.values().to_vec()).map(|v| self.constant(dims, &v));
        let residual = fused.residual.then(|| &inputs[fused.convs.len()]);
        let addends: Vec<&Value> = plane.iter().chain(residual).collect();
        let finish = fused.activation.map_or(Ok(Epilogue::None), function);
        let now = finish.unwrap_or(Epilogue::None);
        let value = self.drafts.conv(terms, bias, &addends, now, dims, name);
        Ok(match finish {
            Ok(_) => value,
            Err(function) => self.map(&value, function, dims, name),
        })
    }

    fn map(&mut self, value: &Value, function: Function, dims: [usize; 3], name: &str) -> Value {
        let to = self.drafts.value(dims, value.layout.pitch);
        let map = Map { layouts: [value.layout, to.layout], function, planes: Vec::new() };
        self.drafts.push(Work::Map(map, value.beside(&to)), name, &dims, &[value], &to);
        to
    }

    fn pairs(
        &mut self,
        op: &Op,
        node: &Node,
        inputs: &[Value],
        dims: [usize; 3],
        name: &str,
    ) -> Result<Value, InferError> {
        let [a, b] = [
            planes_of(&self.graph.nodes[node.inputs[0]].dims)?,
            planes_of(&self.graph.nodes[node.inputs[1]].dims)?,
        ];
        if *op == Op::Add && a == b {
            let addends: Vec<&Value> = inputs.iter().collect();
            let bias = vec![0.0; dims[0]];
            return Ok(self.drafts.conv(Vec::new(), bias, &addends, Epilogue::None, dims, name));
        }
        let to = self.drafts.value(dims, 0);
        let op = if *op == Op::Add { Pairwise::Sum } else { Pairwise::Product };
        let plane =
            |value: &Value, c: usize| value.planes[if value.planes.len() == 1 { 0 } else { c }];
        let planes = (0..dims[0])
            .map(|c| [plane(&inputs[0], c), plane(&inputs[1], c), to.planes[c]])
            .collect();
        let layouts = [inputs[0].layout, inputs[1].layout, to.layout];
        let reads = [&inputs[0], &inputs[1]];
        let pairs = Pairs { op, layouts, planes: Vec::new() };
        self.drafts.push(Work::Pairs(pairs, planes), name, &dims, &reads, &to);
        Ok(to)
    }

    /// Average pooling with windows of equal size, as a depthwise convolution. `None` if the engine does not support that
    /// convolution.
    fn mean(
        &mut self,
        node: &Node,
        window: &Window,
        value: &Value,
        dims: [usize; 3],
        name: &str,
    ) -> Option<Value> {
        let [down, across] = window.kernel;
        let area = down.checked_mul(across)?;
        let n = area.checked_mul(dims[0]).filter(|&n| n <= TAPS)?;
        let weight = vec![1.0 / area as f32; n];
        let Window { padding: [top, left, ..], dilation, .. } = *window;
        let stride = strides(window, &value.layout, dims);
        let term = Term {
            node: node.inputs[0],
            input: value.clone(),
            weight: Cow::Owned(weight),
            dims: [dims[0], 1, down, across],
            groups: dims[0],
            stride,
            padding: [top, left],
            dilation,
        };
        let fits = n_planes(value, stride) <= PLANES && term.reach(dims[2]) <= REACH;
        fits.then(|| {
            self.drafts.conv(vec![term], vec![0.0; dims[0]], &[], Epilogue::None, dims, name)
        })
    }

    fn pool(
        &mut self,
        window: &Window,
        reduce: Reduce,
        count: usize,
        value: &Value,
        dims: [usize; 3],
        name: &str,
    ) -> Value {
        let to = self.drafts.value(dims, 0);
        let ranges = |axis: usize, n: usize, limit: usize| -> Vec<Range<u32>> {
            (0..n).map(|i| taps(window, axis, i, limit)).collect()
        };
        let rows = ranges(0, dims[1], value.layout.rows);
        let columns = ranges(1, dims[2], value.layout.columns);
        let (from, steps, planes) = (value.layout, window.dilation, Vec::new());
        let pool = Pool { from, to: to.layout, rows, columns, steps, reduce, count, planes };
        self.drafts.push(Work::Pool(pool, value.beside(&to)), name, &dims, &[value], &to);
        to
    }

    fn global(&mut self, reduce: Reduce, value: &Value, dims: [usize; 3], name: &str) -> Value {
        let to = self.drafts.value(dims, 0);
        let global = GlobalPool { from: value.layout, reduce, planes: Vec::new() };
        self.drafts.push(Work::Global(global, value.beside(&to)), name, &dims, &[value], &to);
        to
    }

    fn reshaped(&mut self, value: &Value, dims: [usize; 3], name: &str) -> Value {
        let Layout { rows, columns, .. } = value.layout;
        if [rows, columns] == dims[1..] {
            return value.clone();
        }
        let to = self.drafts.value(dims, 0);
        let values = [value.clone(), to.clone()];
        self.drafts.push(Work::Gather(values), name, &dims, &[value], &to);
        to
    }

    fn softmax(
        &mut self,
        axis: usize,
        node: &Node,
        value: &Value,
        dims: [usize; 3],
        name: &str,
    ) -> Value {
        let to = self.drafts.value(dims, 0);
        let values = [value.clone(), to.clone()];
        let (n, inner) = (node.dims[axis], node.dims[axis + 1..].iter().product());
        self.drafts.push(Work::Softmax { values, n, inner }, name, &dims, &[value], &to);
        to
    }
}

/// Number of planes that a convolution with a stride reads: each phase of a stride is a separate plane.
fn n_planes(value: &Value, stride: [usize; 2]) -> usize {
    value.planes.len().saturating_mul(stride[0].saturating_mul(stride[1]))
}

fn term<'a>(
    graph: &'a Graph,
    conv: &Conv,
    node: usize,
    value: &Value,
    to: [usize; 3],
) -> Result<Term<'a>, InferError> {
    let weight = graph.tensor(&conv.weight)?;
    let dims = weight.dims().try_into();
    let dims = dims.map_err(|_| {
        let name = &conv.weight;
        GraphError::new(format!("the weight `{name}` of a convolution must have four dimensions"))
    })?;
    let Window { padding: [top, left, ..], dilation, .. } = conv.window;
    let stride = strides(&conv.window, &value.layout, to);
    if n_planes(value, stride) > PLANES {
        let n = value.planes.len();
        let message = format!(
            "the convolution with weight `{}` has stride {stride:?} on {n} channels; the engine supports channels times strides up to {PLANES}",
            conv.weight
        );
        return Err(GraphError::new(message).into());
    }
    let (input, weight, groups) = (value.clone(), Cow::Borrowed(weight.values()), conv.groups);
    let term = Term { node, input, weight, dims, groups, stride, padding: [top, left], dilation };
    let reach = term.reach(to[2]);
    if reach > REACH {
        let message = format!(
            "the convolution with weight `{}` reads pixels {reach} columns away; the engine supports up to {REACH}",
            conv.weight
        );
        return Err(GraphError::new(message).into());
    }
    Ok(term)
}

/// The pixels of a plane that window `i` covers along an axis, as a range.
fn taps(window: &Window, axis: usize, i: usize, limit: usize) -> Range<u32> {
    let dilation = window.dilation[axis];
    let begin = (i * window.stride[axis]) as i64 - window.padding[axis] as i64;
    let end = begin + ((window.kernel[axis] - 1) * dilation) as i64 + 1;
    let skipped = (-begin).max(0) as u64;
    let first = begin + (skipped.div_ceil(dilation as u64) * dilation as u64) as i64;
    let end = end.min(limit as i64).max(first);
    first as u32..end as u32
}

/// The sources of `n` rows or columns, where the `n_from` source rows or columns start at `first`.
fn placed(n_from: usize, first: usize, n: usize) -> Vec<ReadFrom> {
    (0..n).map(|i| i.checked_sub(first).filter(|&at| at < n_from).map(|at| at as u32)).collect()
}

/// The activation as an epilogue of a convolution, or else as an elementwise function.
fn function(activation: ActivationFn) -> Result<Epilogue, Function> {
    match activation {
        ActivationFn::Relu => Ok(Epilogue::RELU),
        ActivationFn::Clip { min, max } => Ok(Epilogue::Clip { min: flush(min), max: flush(max) }),
        ActivationFn::LeakyRelu { slope } => Ok(Epilogue::Leaky { slope }),
        ActivationFn::Sigmoid => Err(Function::Sigmoid),
        ActivationFn::HardSigmoid { alpha, beta } => Err(Function::HardSigmoid { alpha, beta }),
        ActivationFn::Silu => Err(Function::Silu),
        ActivationFn::HardSwish => Err(Function::HardSwish),
    }
}

/// Name of the node in plans.
fn name_of(op: &Op) -> String {
    let tensor = op.tensors().first().copied().map(str::to_owned);
    let short = tensor.map(|name| name.strip_suffix(".weight").unwrap_or(&name).to_owned());
    short.unwrap_or_else(|| op.name().into())
}
