//! Reads opset version, names, input and output of a file, before its operators.

use crate::{
    LeftOpen, OnnxError,
    proto::{FLOAT, GraphProto, ModelProto, NodeProto, ValueInfo},
    sizes::n_elements,
};
use std::collections::BTreeSet;

/// Supported opset versions.
const OPSETS: std::ops::RangeInclusive<i64> = 11..=22;

/// Most elements of a value for each image: 4 GiB of f32.
const MAX_VALUE: usize = 1 << 30;

/// The input image of a network.
pub(crate) struct Input {
    /// Name of the value.
    pub(crate) name: String,
    /// Batch size, if it is fixed.
    pub(crate) batch: Option<usize>,
    /// Channels, rows and columns.
    pub(crate) dims: [usize; 3],
}

/// Opset version of ONNX's own operators.
pub(crate) fn opset(model: &ModelProto) -> Result<i64, String> {
    let own = model.opset_import.iter().find(|set| is_own(&set.domain));
    let version =
        own.ok_or("it names no opset version of ONNX's operators; export it again")?.version;
    match OPSETS.contains(&version) {
        true => Ok(version),
        false => Err(format!(
            "it uses opset {version}, but only {} to {} are supported; export it again with opset 17, or convert it with onnx.version_converter",
            OPSETS.start(),
            OPSETS.end()
        )),
    }
}

/// Whether a domain is ONNX's own.
pub(crate) fn is_own(domain: &str) -> bool {
    matches!(domain, "" | "ai.onnx")
}

/// Checks that each name is defined once. An input may also be an initializer, which is then its default value.
pub(crate) fn check_names(graph: &GraphProto) -> Result<(), String> {
    let initializers: Vec<&str> = initializers(graph).collect();
    let is_default: BTreeSet<&str> = initializers.iter().copied().collect();
    let inputs = graph.input.iter().map(|input| &*input.name);
    let outputs = graph.node.iter().flat_map(|node| &node.output).map(String::as_str);
    let given = inputs.filter(|name| !is_default.contains(name));
    let mut seen = BTreeSet::new();
    for name in initializers.iter().copied().chain(given).chain(outputs) {
        if !name.is_empty() && !seen.insert(name) {
            return Err(format!("two of its values have the name `{name}`; export it again"));
        }
    }
    Ok(())
}

fn initializers(graph: &GraphProto) -> impl Iterator<Item = &str> {
    let sparse = graph.sparse_initializer.iter().filter_map(|tensor| tensor.values.as_ref());
    graph.initializer.iter().chain(sparse).map(|tensor| &*tensor.name)
}

/// The only input, an image. `given` has the sizes that the file leaves open.
pub(crate) fn input(graph: &GraphProto, given: Option<[usize; 3]>) -> Result<Input, OnnxError> {
    let is_default: BTreeSet<&str> = initializers(graph).collect();
    let inputs = graph.input.iter().filter(|input| !is_default.contains(&*input.name));
    let inputs: Vec<&ValueInfo> = inputs.collect();
    let [input] = inputs[..] else {
        let names: Vec<&str> = inputs.iter().map(|input| &*input.name).collect();
        let (n, names) = (names.len(), names.join(", "));
        let message = format!("it has {n} inputs ({names}), but only one image is supported");
        return Err(message.into());
    };
    let name = input.name.clone();
    let tensor = input.r#type.as_ref().and_then(|t| t.tensor_type.as_ref());
    let tensor = tensor.ok_or_else(|| format!("its input `{name}` is not a tensor"))?;
    if tensor.elem_type != FLOAT {
        let number = tensor.elem_type;
        return Err(format!(
            "its input `{name}` has ONNX data type {number}; export it with FLOAT images"
        )
        .into());
    }
    // Some files write open sizes as 0 or negative numbers.
    let sizes: Option<Vec<Option<usize>>> = tensor.shape.as_ref().map(|shape| {
        let size = |value: i64| usize::try_from(value).ok().filter(|&size| size > 0);
        shape.dim.iter().map(|dim| dim.dim_value.and_then(size)).collect()
    });
    let sizes = sizes.unwrap_or(vec![None; 4]);
    let shown = || {
        let size = |size: &Option<usize>| size.map_or("?".into(), |n| n.to_string());
        sizes.iter().map(size).collect::<Vec<String>>().join(", ")
    };
    let &[batch, ref image @ ..] = &sizes[..] else {
        return Err(format!("its input `{name}` has no dimensions").into());
    };
    let Ok(image) = <[Option<usize>; 3]>::try_from(image) else {
        let shown = shown();
        return Err(format!(
            "its input `{name}` has shape [{shown}] instead of [batch, channels, rows, columns]"
        )
        .into());
    };
    let mut dims = [0; 3];
    for (i, dim) in dims.iter_mut().enumerate() {
        *dim = match (image[i], given.map(|given| given[i])) {
            (Some(size), Some(other)) if size != other => {
                let (shown, given) = (shown(), given.unwrap_or_default());
                return Err(format!(
                    "its input `{name}` has shape [{shown}], which does not match images of shape {given:?}"
                )
                .into());
            }
            (Some(size), _) | (None, Some(size)) => size,
            (None, None) => {
                let shown = shown();
                let message = format!(
                    "its input `{name}` has shape [{shown}], which leaves the size of images open"
                );
                return Err(OnnxError::open(LeftOpen::Image, message));
            }
        };
    }
    if dims.contains(&0) {
        return Err(format!("an image of shape {dims:?} has no pixels").into());
    }
    check_value(&dims)?;
    Ok(Input { name, batch, dims })
}

/// Checks that a value for each image is not too large. A few bytes of padding or upsampling can request any size.
pub(crate) fn check_value(dims: &[usize]) -> Result<(), String> {
    match n_elements(dims) {
        Some(n) if n <= MAX_VALUE => Ok(()),
        _ => Err(format!(
            "a value of shape {dims:?} for each image is too large; at most {MAX_VALUE} numbers are supported"
        )),
    }
}

/// Name of the output: the only one, or `wanted`.
pub(crate) fn output(graph: &GraphProto, wanted: Option<&str>) -> Result<String, OnnxError> {
    let names: Vec<&str> = graph.output.iter().map(|output| &*output.name).collect();
    let listed = names.join(", ");
    match (wanted, &names[..]) {
        (Some(wanted), names) if names.contains(&wanted) => Ok(wanted.into()),
        (Some(wanted), _) => {
            Err(format!("it has no output `{wanted}`; its outputs are {listed}").into())
        }
        (None, [name]) => Ok((*name).into()),
        (None, []) => Err(String::from("it has no output").into()),
        (None, _) => {
            let message =
                format!("it has {} outputs ({listed}), but only one can be computed", names.len());
            Err(OnnxError::open(LeftOpen::Output, message))
        }
    }
}

/// The nodes that an output depends on, in order.
pub(crate) fn needed<'a>(nodes: &'a [NodeProto], output: &'a str) -> Vec<&'a NodeProto> {
    let mut wanted = BTreeSet::from([output]);
    let mut found = Vec::new();
    for node in nodes.iter().rev() {
        if node.output.iter().any(|name| wanted.contains(&**name)) {
            wanted.extend(node.input.iter().map(String::as_str).filter(|name| !name.is_empty()));
            found.push(node);
        }
    }
    found.reverse();
    found
}

/// Description of a node in messages.
pub(crate) fn title(node: &NodeProto) -> String {
    let (name, operator) = (name(node), &node.op_type);
    match node.name.is_empty() {
        true => format!("node of `{name}` ({operator})"),
        false => format!("node `{name}` ({operator})"),
    }
}

/// The name of a node, or the name of its first output if the node has none.
pub(crate) fn name(node: &NodeProto) -> &str {
    let output = node.output.first().map_or("", String::as_str);
    if node.name.is_empty() { output } else { &node.name }
}
