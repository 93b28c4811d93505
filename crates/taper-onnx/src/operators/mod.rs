//! The supported ONNX operators. Each is a function from a call to a value.

mod arithmetic;
mod constants;
mod form;
mod parts;
mod pointwise;
mod pooled;
mod product;
mod resize;
mod window;

use crate::{call::Call, importer::Importer, proto::NodeProto, source::is_own, value::Value};

/// A supported operator.
pub(crate) struct Operator {
    name: &'static str,
    pub(crate) max_inputs: usize,
    /// Most outputs to compute. Further outputs are ignored, and no node may read them.
    pub(crate) max_outputs: usize,
    pub(crate) import: fn(&mut Importer, &Call) -> Result<Value, String>,
}

const fn operator(
    name: &'static str,
    max_inputs: usize,
    import: fn(&mut Importer, &Call) -> Result<Value, String>,
) -> Operator {
    Operator { name, max_inputs, max_outputs: 1, import }
}

/// All operators, by name.
const OPERATORS: &[Operator] = &[
    operator("Add", 2, arithmetic::add),
    operator("AveragePool", 1, window::average_pool),
    operator("BatchNormalization", 5, pointwise::batch_norm),
    operator("Cast", 1, constants::cast),
    operator("Clip", 3, pointwise::clip),
    operator("Concat", usize::MAX, form::concat),
    operator("Constant", 0, constants::constant),
    operator("ConstantOfShape", 1, constants::constant_of_shape),
    operator("Conv", 3, window::conv),
    operator("Div", 2, arithmetic::div),
    operator("Dropout", 3, pointwise::dropout),
    operator("Expand", 2, form::expand),
    operator("Flatten", 1, form::flatten),
    operator("Floor", 1, arithmetic::floor),
    operator("Gather", 2, constants::gather),
    operator("Gemm", 3, product::gemm),
    operator("GlobalAveragePool", 1, pooled::global_average),
    operator("GlobalMaxPool", 1, pooled::global_max),
    operator("HardSigmoid", 1, pointwise::hard_sigmoid),
    operator("HardSwish", 1, pointwise::hard_swish),
    operator("Identity", 1, pointwise::identity),
    operator("LeakyRelu", 1, pointwise::leaky_relu),
    operator("MatMul", 2, product::matmul),
    operator("Max", 2, arithmetic::max),
    operator("MaxPool", 1, window::max_pool),
    operator("Min", 2, arithmetic::min),
    operator("Mul", 2, arithmetic::mul),
    operator("Neg", 1, arithmetic::neg),
    operator("PRelu", 2, arithmetic::prelu),
    operator("Pad", 4, window::pad),
    operator("ReduceMax", 2, pooled::reduce_max),
    operator("ReduceMean", 2, pooled::reduce_mean),
    operator("Relu", 1, pointwise::relu),
    operator("Reshape", 2, form::reshape),
    operator("Resize", 4, resize::resize),
    operator("Shape", 1, constants::shape),
    operator("Sigmoid", 1, pointwise::sigmoid),
    operator("Slice", 5, parts::slice),
    operator("Softmax", 1, pointwise::softmax),
    Operator { max_outputs: usize::MAX, ..operator("Split", 2, parts::split) },
    operator("Squeeze", 2, form::squeeze),
    operator("Sub", 2, arithmetic::sub),
    operator("Transpose", 1, form::transpose),
    operator("Unsqueeze", 2, form::unsqueeze),
];

/// The operator of a node.
///
/// # Errors
/// If it is not supported. The message lists the supported operators.
pub(crate) fn find(node: &NodeProto) -> Result<&'static Operator, String> {
    let name = &*node.op_type;
    if !is_own(&node.domain) {
        let domain = &node.domain;
        return Err(format!(
            "the operator is defined in `{domain}`, but only ONNX's own operators are supported; inline functions with onnx.inliner before saving"
        ));
    }
    if ["uantize", "QLinear", "Integer"].iter().any(|part| name.contains(part)) {
        return Err("quantized networks are not supported; export it with weights of FLOAT".into());
    }
    OPERATORS.iter().find(|operator| operator.name == name).ok_or_else(|| {
        let names: Vec<&str> = OPERATORS.iter().map(|operator| operator.name).collect();
        format!("the operator is not supported; supported are {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_are_sorted_and_occur_once() {
        assert!(OPERATORS.windows(2).all(|pair| pair[0].name < pair[1].name));
    }
}
