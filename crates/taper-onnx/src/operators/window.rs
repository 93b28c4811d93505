//! Operators with windows on planes: convolution, pooling, and padding.

use crate::{
    call::{Call, axis},
    importer::Importer,
    value::Value,
};
use taper_graph::{Conv, Op, Pad, Window};

pub(super) fn conv(importer: &mut Importer, call: &Call) -> Result<Value, String> {
    let node = call.image(0)?;
    let plane = plane(importer, node)?;
    let (name, weight) = call.floats(1)?;
    let &[_, _, down, across] = weight.dims() else {
        let dims = weight.dims();
        return Err(format!(
            "its weight has shape {dims:?}, but only two spatial dimensions are supported"
        ));
    };
    let kernel = [down, across];
    if let Some(stated) = sizes::<2>(call, "kernel_shape")?
        && stated != kernel
    {
        return Err(format!(
            "its kernel_shape is {stated:?}, but its weight has a kernel of {kernel:?}"
        ));
    }
    let window = window(call, kernel, plane)?;
    let groups = call.attributes.int("group")?.unwrap_or(1);
    let groups = usize::try_from(groups)
        .map_err(|_| format!("it has {groups} groups, but needs at least 1"))?;
    let weight = importer.tensor(name, weight)?;
    let bias = match call.optional(2) {
        Some(_) => {
            let (name, bias) = call.floats(2)?;
            Some(importer.tensor(name, bias)?)
        }
        None => None,
    };
    importer.push(Op::Conv(Conv { weight, bias, window, groups }), &[node])
}

pub(super) fn max_pool(importer: &mut Importer, call: &Call) -> Result<Value, String> {
    // Orders the indices of maxima, an output that is not supported.
    call.attributes.ignore(&["storage_order"]);
    let node = call.image(0)?;
    let plane = plane(importer, node)?;
    let kernel = sizes::<2>(call, "kernel_shape")?.ok_or("its kernel_shape is missing")?;
    let mut window = window(call, kernel, plane)?;
    let [down, across] = overhang(call, &window, plane)?;
    window.padding[2] += down;
    window.padding[3] += across;
    importer.push(Op::MaxPool(window), &[node])
}

/// Pixels beyond the padding never count, even if a window covers them.
pub(super) fn average_pool(importer: &mut Importer, call: &Call) -> Result<Value, String> {
    let mut node = call.image(0)?;
    let plane = plane(importer, node)?;
    let kernel = sizes::<2>(call, "kernel_shape")?.ok_or("its kernel_shape is missing")?;
    let mut window = window(call, kernel, plane)?;
    let [down, across] = overhang(call, &window, plane)?;
    let mut counts_padding = call.attributes.flag("count_include_pad", false)?;
    if counts_padding && [down, across] != [0; 2] {
        // Padding that counts becomes pixels of 0.
        let pad = Pad { sizes: std::mem::take(&mut window.padding), value: 0.0 };
        if pad.sizes != [0; 4] {
            node = importer.add(Op::Pad(pad), &[node])?;
        }
        counts_padding = false;
    }
    window.padding[2] += down;
    window.padding[3] += across;
    importer.push(Op::AveragePool { window, counts_padding }, &[node])
}

pub(super) fn pad(importer: &mut Importer, call: &Call) -> Result<Value, String> {
    let mode = call.attributes.text("mode")?.unwrap_or("constant");
    if mode != "constant" {
        return Err(format!("its mode is `{mode}`, but only `constant` is supported"));
    }
    let node = call.image(0)?;
    plane(importer, node)?;
    let pads = call.ints(1)?.ok_or("its pads are missing")?;
    let value = call.float(2)?.unwrap_or(0.0);
    let axes = call.ints(3)?.unwrap_or(vec![0, 1, 2, 3]);
    if pads.len() != 2 * axes.len() {
        return Err(format!("it has {} pads for {} axes", pads.len(), axes.len()));
    }
    let (begins, ends) = pads.split_at(axes.len());
    let mut sizes = [0; 4];
    for ((&at, &begin), &end) in axes.iter().zip(begins).zip(ends) {
        let at = axis(at, 4)?;
        let (Ok(begin), Ok(end)) = (usize::try_from(begin), usize::try_from(end)) else {
            return Err(format!("its pads are {pads:?}, but negative pads are not supported"));
        };
        match at {
            0 | 1 if [begin, end] == [0; 2] => {}
            0 | 1 => {
                return Err(format!("it pads axis {at}, but only rows and columns are supported"));
            }
            at => [sizes[at - 2], sizes[at]] = [begin, end],
        }
    }
    match sizes {
        [0, 0, 0, 0] => Ok(Value::Node(node)),
        sizes => importer.push(Op::Pad(Pad { sizes, value }), &[node]),
    }
}

/// Rows and columns of an input.
fn plane(importer: &Importer, node: usize) -> Result<[usize; 2], String> {
    match *importer.dims(node) {
        [_, rows, columns] => Ok([rows, columns]),
        ref dims => Err(format!(
            "its input has shape {dims:?} for each image instead of [channels, rows, columns]"
        )),
    }
}

/// An attribute of `N` sizes.
fn sizes<const N: usize>(call: &Call, name: &str) -> Result<Option<[usize; N]>, String> {
    let Some(list) = call.attributes.ints(name)? else { return Ok(None) };
    let sizes: Option<Vec<usize>> = list.iter().map(|&n| usize::try_from(n).ok()).collect();
    let sizes = sizes.and_then(|sizes| <[usize; N]>::try_from(sizes).ok());
    let wrong = || format!("its {name} are {list:?} instead of {N} non-negative numbers");
    sizes.ok_or_else(wrong).map(Some)
}

/// The window of a node. All operators here have the same attributes.
fn window(call: &Call, kernel: [usize; 2], plane: [usize; 2]) -> Result<Window, String> {
    let stride = sizes::<2>(call, "strides")?.unwrap_or([1; 2]);
    let dilation = sizes::<2>(call, "dilations")?.unwrap_or([1; 2]);
    let pads = sizes::<4>(call, "pads")?.unwrap_or([0; 4]);
    let mut window = Window { kernel, stride, padding: pads, dilation };
    let auto = call.attributes.text("auto_pad")?.unwrap_or("NOTSET");
    let puts_more_before = match auto {
        "NOTSET" | "" => return Ok(window),
        _ if pads != [0; 4] => return Err(format!("it has both pads and auto_pad `{auto}`")),
        "VALID" => return Ok(window),
        "SAME_UPPER" => false,
        "SAME_LOWER" => true,
        _ => return Err(format!("its auto_pad is `{auto}`, which ONNX does not define")),
    };
    for i in 0..2 {
        let reach = reach(&window, i)?;
        let n = plane[i].div_ceil(stride[i]);
        let needed = n.saturating_sub(1).checked_mul(stride[i]);
        let needed =
            needed.and_then(|n| n.checked_add(reach)).ok_or("its windows are too large")?;
        let total = needed.saturating_sub(plane[i]);
        let less = total / 2;
        let before = if puts_more_before { total - less } else { less };
        [window.padding[i], window.padding[i + 2]] = [before, total - before];
    }
    Ok(window)
}

/// Pixels that a window covers in one dimension.
fn reach(window: &Window, i: usize) -> Result<usize, String> {
    let (kernel, stride, dilation) = (window.kernel[i], window.stride[i], window.dilation[i]);
    if kernel == 0 || stride == 0 || dilation == 0 {
        return Err(format!(
            "kernel {kernel}, stride {stride} and dilation {dilation} must all be at least 1"
        ));
    }
    let reach = (kernel - 1).checked_mul(dilation).and_then(|reach| reach.checked_add(1));
    reach.ok_or_else(|| "its windows are too large".into())
}

/// Pixels by which the last windows reach beyond the padding, at the bottom and at the right. `ceil_mode` rounds the
/// number of windows up, without windows that begin after the last pixel of the plane.
fn overhang(call: &Call, window: &Window, plane: [usize; 2]) -> Result<[usize; 2], String> {
    let mut over = [0; 2];
    if !call.attributes.flag("ceil_mode", false)? {
        return Ok(over);
    }
    for (i, over) in over.iter_mut().enumerate() {
        let (reach, stride) = (reach(window, i)?, window.stride[i]);
        let begin = plane[i].checked_add(window.padding[i]).ok_or("its padding is too large")?;
        let padded = begin.checked_add(window.padding[i + 2]).ok_or("its padding is too large")?;
        let Some(free) = padded.checked_sub(reach) else { continue };
        let last = free.div_ceil(stride).checked_mul(stride).ok_or("its strides are too large")?;
        let last = if last >= begin { last.saturating_sub(stride) } else { last };
        *over = last.saturating_sub(free);
    }
    Ok(over)
}
