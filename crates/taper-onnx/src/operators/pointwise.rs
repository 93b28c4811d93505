//! Operators on each element or channel: batch norm, activations, softmax.

use super::form::reshaped;
use crate::{
    call::{Call, axis},
    importer::Importer,
    value::{Size, Value},
};
use taper_graph::{ActivationFn, Norm, Op};

fn activation(importer: &mut Importer, call: &Call, of: ActivationFn) -> Result<Value, String> {
    importer.push(Op::Activation(of), &[call.image(0)?])
}

pub(super) fn relu(importer: &mut Importer, call: &Call) -> Result<Value, String> {
    activation(importer, call, ActivationFn::Relu)
}

pub(super) fn sigmoid(importer: &mut Importer, call: &Call) -> Result<Value, String> {
    activation(importer, call, ActivationFn::Sigmoid)
}

pub(super) fn hard_swish(importer: &mut Importer, call: &Call) -> Result<Value, String> {
    activation(importer, call, ActivationFn::HardSwish)
}

pub(super) fn leaky_relu(importer: &mut Importer, call: &Call) -> Result<Value, String> {
    let slope = call.attributes.float("alpha")?.unwrap_or(0.01);
    activation(importer, call, ActivationFn::LeakyRelu { slope })
}

pub(super) fn hard_sigmoid(importer: &mut Importer, call: &Call) -> Result<Value, String> {
    let alpha = call.attributes.float("alpha")?.unwrap_or(0.2);
    let beta = call.attributes.float("beta")?.unwrap_or(0.5);
    activation(importer, call, ActivationFn::HardSigmoid { alpha, beta })
}

/// Bounds are inputs, but some tools still write the attributes of older versions. A missing bound is the largest
/// finite number, so infinity is clipped to it.
pub(super) fn clip(importer: &mut Importer, call: &Call) -> Result<Value, String> {
    let min = call.float(1)?.or(call.attributes.float("min")?).unwrap_or(f32::MIN);
    let max = call.float(2)?.or(call.attributes.float("max")?).unwrap_or(f32::MAX);
    if min.is_nan() || max.is_nan() {
        return Err(format!("its bounds are {min} and {max}, but must not be NaN"));
    }
    activation(importer, call, ActivationFn::Clip { min, max })
}

pub(super) fn batch_norm(importer: &mut Importer, call: &Call) -> Result<Value, String> {
    call.attributes.ignore(&["momentum"]);
    // Before opset 14, further outputs, such as the statistics of the batch, mean training.
    let trains = call.opset < 14 && call.has_further_outputs;
    if call.attributes.flag("training_mode", false)? || trains {
        return Err("it uses batch statistics; export the network in eval mode".into());
    }
    let eps = f64::from(call.attributes.float("epsilon")?.unwrap_or(1e-5));
    let mut tensor = |at: usize| {
        let (name, array) = call.floats(at)?;
        importer.tensor(name, array)
    };
    let (weight, bias, mean, var) = (tensor(1)?, tensor(2)?, tensor(3)?, tensor(4)?);
    importer.push(Op::Norm(Norm { weight, bias, mean, var, eps }), &[call.image(0)?])
}

/// Before opset 13, softmax runs over all dimensions from its axis on.
pub(super) fn softmax(importer: &mut Importer, call: &Call) -> Result<Value, String> {
    let node = call.image(0)?;
    let dims = importer.dims(node).to_vec();
    let at = call.attributes.int("axis")?.unwrap_or(if call.opset < 13 { 1 } else { -1 });
    let Some(at) = axis(at, dims.len() + 1)?.checked_sub(1) else {
        return Err("it runs over the batch, but only dimensions of the image are supported".into());
    };
    if call.opset >= 13 || at + 1 == dims.len() {
        return importer.push(Op::Softmax { axis: at }, &[node]);
    }
    let (outer, inner) = dims.split_at(at);
    let flat = vec![outer.iter().product(), inner.iter().product()];
    let flat = importer.add(Op::Reshape(flat), &[node])?;
    let softmax = importer.add(Op::Softmax { axis: 1 }, &[flat])?;
    reshaped(importer, softmax, dims)
}

pub(super) fn identity(_: &mut Importer, call: &Call) -> Result<Value, String> {
    call.input(0).cloned()
}

pub(super) fn dropout(importer: &mut Importer, call: &Call) -> Result<Value, String> {
    call.attributes.ignore(&["ratio", "seed"]);
    let trains = match call.optional(2) {
        Some(_) => call.sizes(2)?.single() != Some(Size::Known(0)),
        None => false,
    };
    match trains {
        true => Err("it is in training mode; export the network in eval mode".into()),
        false => identity(importer, call),
    }
}
