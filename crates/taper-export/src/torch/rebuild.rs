//! Finds tensors in a pickle. PyTorch writes a tensor as a call of the function that rebuilds it from a storage.

use super::{
    pickle::{Node, Pickle, Value, shown},
    view::View,
};
use safetensors::Dtype;

/// Most axes of a tensor. No network needs more.
const MOST_AXES: usize = 8;

/// Most flags of a tensor that are checked. PyTorch writes fewer.
const MOST_FLAGS: usize = 8;

/// Most wrappers around a tensor. A parameter has one.
const MOST_WRAPPED: usize = 4;

/// A tensor, or the reason why it cannot be read.
pub(super) type Tensor<'a> = Result<View<&'a [u8]>, String>;

/// The value as a tensor, if it is one.
pub(super) fn tensor<'a>(pickle: &Pickle<'a>, value: Value<'a>) -> Option<Tensor<'a>> {
    let mut value = value;
    for _ in 0..MOST_WRAPPED {
        let Node::Call { callable, arguments, .. } = pickle.node(value)? else { return None };
        let (module, name) = pickle.class(*callable)?;
        let arguments = pickle.values(*arguments).unwrap_or_default();
        match (module, name) {
            (b"torch._utils", b"_rebuild_parameter" | b"_rebuild_parameter_with_state") => {
                value = *arguments.first()?;
            }
            // A subclass of Tensor. The arguments are the function, the class, and the function's arguments.
            (b"torch._tensor", b"_rebuild_from_type_v2") => {
                let function = *arguments.first()?;
                return call(pickle, function, pickle.values(*arguments.get(2)?)?);
            }
            _ => return call(pickle, *callable, arguments),
        }
    }
    None
}

fn call<'a>(
    pickle: &Pickle<'a>,
    function: Value<'a>,
    arguments: &[Value<'a>],
) -> Option<Tensor<'a>> {
    let (module, name) = pickle.class(function)?;
    let other = |what: &str| Some(Err(what.to_string()));
    match (module, name) {
        (b"torch._utils", b"_rebuild_tensor" | b"_rebuild_tensor_v2" | b"_rebuild_tensor_v3") => {
            Some(view(pickle, arguments))
        }
        (b"torch._utils", b"_rebuild_sparse_tensor" | b"_rebuild_sparse_csr_tensor") => {
            other("it is a sparse tensor; convert it with to_dense() before saving")
        }
        (b"torch._utils", b"_rebuild_qtensor") => {
            other("it is a quantized tensor; convert it with dequantize() before saving")
        }
        (b"torch._utils", name) if name.starts_with(b"_rebuild_") => {
            let name = shown(name);
            Some(Err(format!("it is built by {name}, which is not supported; save a plain tensor")))
        }
        (module, b"_reconstruct") if module.starts_with(b"numpy") => {
            other("it is a NumPy array; convert it with torch.from_numpy before saving")
        }
        _ => None,
    }
}

/// Reads the arguments: storage, offset, sizes, strides, `requires_grad`, hooks; then the type, if the storage has
/// none; then flags.
fn view<'a>(pickle: &Pickle<'a>, arguments: &[Value<'a>]) -> Tensor<'a> {
    let damaged = || "its description in the file is incomplete".to_string();
    let [storage, offset, sizes, strides, ..] = *arguments else { return Err(damaged()) };
    let storage = Storage::of(pickle, storage).ok_or_else(damaged)?;
    let axes = |value| -> Option<Vec<usize>> {
        let values = pickle.values(size(pickle, value)).filter(|v| v.len() <= MOST_AXES)?;
        values.iter().map(|&v| whole(v)).collect()
    };
    let (shape, stride) = (axes(sizes).ok_or_else(damaged)?, axes(strides).ok_or_else(damaged)?);
    let offset = whole(offset).and_then(|offset| offset.checked_add(storage.offset));
    let offset = offset.filter(|_| shape.len() == stride.len()).ok_or_else(damaged)?;
    let of_its_own = arguments.get(6).and_then(|&value| pickle.class(value));
    let dtype = match of_its_own {
        Some((b"torch", name)) => dtype(name).ok_or_else(|| other_type(name))?,
        _ => storage.dtype.ok_or_else(|| other_type(storage.class))?,
    };
    let is_lazy = arguments.iter().skip(6).take(2).any(|&flags| {
        let flags = pickle.items(flags).unwrap_or_default();
        flags.iter().take(MOST_FLAGS).any(|(_, flag)| *flag == Value::Bool(true))
    });
    match is_lazy {
        true => {
            Err("it is a lazily negated or conjugated view; copy it with clone() before saving"
                .into())
        }
        false => Ok(View { dtype, storage: storage.key, offset, shape, stride }),
    }
}

/// Replaces `torch.Size((…))` by its argument.
fn size<'a>(pickle: &Pickle<'a>, value: Value<'a>) -> Value<'a> {
    match pickle.node(value) {
        Some(Node::Call { callable, arguments, .. })
            if pickle.class(*callable) == Some((b"torch", b"Size")) =>
        {
            pickle.values(*arguments).and_then(|a| a.first()).copied().unwrap_or(value)
        }
        _ => value,
    }
}

fn whole(value: Value) -> Option<usize> {
    match value {
        Value::Int(n) => usize::try_from(n).ok(),
        _ => None,
    }
}

fn other_type(name: &[u8]) -> String {
    format!(
        "its type is {}, which is not supported; convert it with float() before saving",
        shown(name)
    )
}

/// The description of a storage in a pickle: `('storage', class, key, device, elements)`. In the legacy format, the
/// range of another storage can follow.
pub(super) struct Storage<'a> {
    class: &'a [u8],
    /// Type of the elements; none if the storage is untyped or its type is not supported.
    pub(super) dtype: Option<Dtype>,
    pub(super) key: &'a [u8],
    /// Index of its first element.
    offset: usize,
}

impl<'a> Storage<'a> {
    /// The storage that a value describes, if it describes one.
    pub(super) fn of(pickle: &Pickle<'a>, value: Value<'a>) -> Option<Self> {
        let Node::Persistent(description) = pickle.node(value)? else { return None };
        let [Value::Text(b"storage"), class, Value::Text(key), _, _, rest @ ..] =
            pickle.values(*description)?
        else {
            return None;
        };
        let (_, class) = pickle.class(*class)?;
        let part = rest.first().and_then(|&part| pickle.values(part));
        let offset = match part {
            Some([_, offset, _]) => whole(*offset)?,
            _ => 0,
        };
        Some(Self { class, dtype: dtype_of_storage(class), key, offset })
    }

    /// Bytes of an element.
    pub(super) fn width(&self) -> Option<usize> {
        match self.class {
            b"ComplexFloatStorage" => Some(8),
            b"ComplexDoubleStorage" => Some(16),
            b"QInt8Storage" | b"QUInt8Storage" | b"QUInt4x2Storage" | b"QUInt2x4Storage" => Some(1),
            b"QInt32Storage" => Some(4),
            b"UntypedStorage" | b"_UntypedStorage" => Some(1),
            _ => crate::element::width(self.dtype?),
        }
    }
}

fn dtype_of_storage(class: &[u8]) -> Option<Dtype> {
    Some(match class {
        b"FloatStorage" => Dtype::F32,
        b"DoubleStorage" => Dtype::F64,
        b"HalfStorage" => Dtype::F16,
        b"BFloat16Storage" => Dtype::BF16,
        b"ByteStorage" => Dtype::U8,
        b"CharStorage" => Dtype::I8,
        b"ShortStorage" => Dtype::I16,
        b"IntStorage" => Dtype::I32,
        b"LongStorage" => Dtype::I64,
        b"BoolStorage" => Dtype::BOOL,
        _ => return None,
    })
}

/// The type of a tensor with an untyped storage.
fn dtype(name: &[u8]) -> Option<Dtype> {
    Some(match name {
        b"float32" => Dtype::F32,
        b"float64" => Dtype::F64,
        b"float16" => Dtype::F16,
        b"bfloat16" => Dtype::BF16,
        b"uint8" => Dtype::U8,
        b"int8" => Dtype::I8,
        b"uint16" => Dtype::U16,
        b"int16" => Dtype::I16,
        b"uint32" => Dtype::U32,
        b"int32" => Dtype::I32,
        b"uint64" => Dtype::U64,
        b"int64" => Dtype::I64,
        b"bool" => Dtype::BOOL,
        b"float8_e4m3fn" => Dtype::F8_E4M3,
        b"float8_e5m2" => Dtype::F8_E5M2,
        _ => return None,
    })
}
