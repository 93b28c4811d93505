//! Linear layers: Gemm and MatMul with a constant weight.

use crate::{array::Array, call::Call, importer::Importer, value::Value};
use std::rc::Rc;
use taper_graph::Op;

pub(super) fn gemm(importer: &mut Importer, call: &Call) -> Result<Value, String> {
    if call.attributes.flag("transA", false)? {
        return Err(
            "it transposes its first input, which has the batch; only transA = 0 is supported"
                .into(),
        );
    }
    let is_turned = call.attributes.flag("transB", false)?;
    let alpha = call.attributes.float("alpha")?.unwrap_or(1.0);
    let beta = call.attributes.float("beta")?.unwrap_or(1.0);
    let (weight_name, weight) = call.floats(1)?;
    let weight = if is_turned { weight.clone() } else { turned(importer, weight)? };
    let weight = scaled(importer, weight, alpha)?;
    let bias = match call.optional(2) {
        Some(_) => {
            let (name, bias) = call.floats(2)?;
            let bias = bias_of(importer, bias, &weight)?;
            Some((name, scaled(importer, bias, beta)?))
        }
        None => None,
    };
    linear(importer, call, (weight_name, weight), bias)
}

pub(super) fn matmul(importer: &mut Importer, call: &Call) -> Result<Value, String> {
    let (name, weight) = call.floats(1)?;
    let weight = turned(importer, weight)?;
    linear(importer, call, (name, weight), None)
}

fn linear(
    importer: &mut Importer,
    call: &Call,
    (name, weight): (&Rc<str>, Array<f32>),
    bias: Option<(&Rc<str>, Array<f32>)>,
) -> Result<Value, String> {
    let node = call.image(0)?;
    if importer.dims(node).len() != 1 {
        let dims = importer.dims(node);
        return Err(format!(
            "its input has shape {dims:?} for each image, but must be [batch, features]"
        ));
    }
    let weight = importer.tensor(name, &weight)?;
    let bias = bias.map(|(name, bias)| importer.tensor(name, &bias)).transpose()?;
    importer.push(Op::Linear { weight, bias }, &[node])
}

/// Transposes a matrix `[in, out]` to `[out, in]`.
fn turned(importer: &mut Importer, weight: &Array<f32>) -> Result<Array<f32>, String> {
    match weight.dims() {
        [_, _] => weight.transposed(&[1, 0], &mut importer.budget),
        dims => Err(format!("its weight has shape {dims:?}, but must be a matrix")),
    }
}

fn scaled(importer: &mut Importer, array: Array<f32>, by: f32) -> Result<Array<f32>, String> {
    match by == 1.0 {
        true => Ok(array),
        false => array.map(&mut importer.budget, |v| Ok(v * by)),
    }
}

/// Broadcasts a bias to one number for each output.
fn bias_of(
    importer: &mut Importer,
    bias: &Array<f32>,
    weight: &Array<f32>,
) -> Result<Array<f32>, String> {
    let out = weight.dims().first().copied().unwrap_or(0);
    match (bias.dims(), bias.single()) {
        (&[n] | &[1, n], _) if n == out => bias.reshaped(&[n]),
        ([] | [1] | [1, 1], Some(value)) => Array::full(&[out], value, &mut importer.budget),
        (dims, _) => Err(format!("its bias has shape {dims:?}, which does not fit {out} outputs")),
    }
}
