//! A tensor in its stored form, and its values.

use crate::{
    budget::Budget,
    external::Beside,
    numbers::{DataType, Numbers},
    proto::{INT64, SparseTensor, TensorProto},
    sizes::n_elements,
};
use std::borrow::Cow;

/// A message with the values of a tensor.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stored<'a> {
    /// All values.
    Dense(&'a TensorProto),
    /// The non-zero values.
    Sparse(&'a SparseTensor),
}

impl Stored<'_> {
    /// The shape.
    ///
    /// # Errors
    /// If one is negative, or the number of elements overflows.
    pub(crate) fn dims(self) -> Result<Vec<usize>, String> {
        let (Self::Dense(TensorProto { dims, .. }) | Self::Sparse(SparseTensor { dims, .. })) =
            self;
        let sizes =
            sizes(dims).ok_or_else(|| format!("it has a negative size in its shape {dims:?}"))?;
        match n_elements(&sizes) {
            Some(_) => Ok(sizes),
            None => Err(format!("its shape {dims:?} is too large")),
        }
    }

    /// Type of the values.
    ///
    /// # Errors
    /// If it is not supported.
    pub(crate) fn dtype(self) -> Result<DataType, String> {
        let values = match self {
            Self::Dense(tensor) => tensor,
            Self::Sparse(tensor) => tensor.values.as_ref().ok_or("it has no values")?,
        };
        DataType::of(values.data_type)
    }

    /// The values for the shape [`dims`](Self::dims). A sparse tensor can claim any shape in a few bytes: either the
    /// caller knows the shape, or a budget bounds it.
    ///
    /// # Errors
    /// If the data are missing or damaged, or the budget is too small.
    pub(crate) fn numbers(
        self,
        dims: &[usize],
        beside: Option<&Beside>,
        budget: Option<&mut Budget>,
    ) -> Result<Numbers, String> {
        let n = n_elements(dims).ok_or_else(|| format!("its shape {dims:?} is too large"))?;
        match self {
            Self::Dense(tensor) => {
                let numbers = values(tensor, n, beside)?;
                if let Some(budget) = budget {
                    budget.store(n.saturating_mul(DataType::of(tensor.data_type)?.width()));
                }
                Ok(numbers)
            }
            Self::Sparse(tensor) => scattered(tensor, dims, n, beside, budget).map(Numbers::Floats),
        }
    }
}

/// Sizes, if none is negative.
fn sizes(dims: &[i64]) -> Option<Vec<usize>> {
    dims.iter().map(|&size| usize::try_from(size).ok()).collect()
}

/// The `n` values of a tensor.
fn values(tensor: &TensorProto, n: usize, beside: Option<&Beside>) -> Result<Numbers, String> {
    let dtype = DataType::of(tensor.data_type)?;
    let width = dtype.width();
    if tensor.segment.is_some() {
        return Err(
            "it is stored in segments, which are not supported; save the model again".into()
        );
    }
    let data = match (beside, tensor.data_location) {
        (_, 0) => stored(tensor, dtype),
        (Some(beside), 1) => beside.read(&tensor.external_data, n.saturating_mul(width))?.into(),
        (_, place) if place != 1 => {
            return Err(format!(
                "its data location is {place}, but only 0 and 1 are defined; export the model again"
            ));
        }
        _ => {
            return Err(
                "its data are in another file, whose folder is unknown; open the model by its path"
                    .into(),
            );
        }
    };
    match data.len() / width == n && data.len().is_multiple_of(width) {
        true => Numbers::decode(dtype, &data),
        false => {
            Err(format!("it has {} bytes, but {n} numbers of type {dtype} are needed", data.len()))
        }
    }
}

/// The `n` values of a sparse tensor.
fn scattered(
    tensor: &SparseTensor,
    shape: &[usize],
    n: usize,
    beside: Option<&Beside>,
    budget: Option<&mut Budget>,
) -> Result<Vec<f32>, String> {
    let kept = tensor.values.as_ref().ok_or("it has no values")?;
    let indices = tensor.indices.as_ref().ok_or("it has no indices")?;
    // Indices into the flattened tensor, or coordinates.
    let (n_kept, rank) = match (sizes(&kept.dims).as_deref(), sizes(&indices.dims).as_deref()) {
        (Some(&[n]), Some(&[m])) if n == m => (n, 1),
        (Some(&[n]), Some(&[m, rank])) if n == m && rank == shape.len().max(1) => (n, rank),
        _ => {
            let (v, i) = (&kept.dims, &indices.dims);
            return Err(format!("it has indices of shape {i:?} for values of shape {v:?}"));
        }
    };
    if indices.data_type != INT64 {
        return Err("its indices are not INT64".into());
    }
    let n_indices = n_kept.checked_mul(rank).ok_or("it has too many indices")?;
    let indices = values(indices, n_indices, beside)?.indices()?;
    let kept = values(kept, n_kept, beside)?.floats()?;
    if let Some(budget) = budget {
        budget.store(size_of_val(&indices[..]) + size_of_val(&kept[..]));
        budget.take(shape)?;
    }
    let limits = if rank == 1 { vec![n] } else { shape.to_vec() };
    let mut whole = vec![0.0; n];
    let mut is_set = vec![false; n];
    for (coordinates, value) in indices.chunks(rank).zip(kept) {
        let mut place = 0;
        for (&at, &limit) in coordinates.iter().zip(&limits) {
            if at >= limit as u64 {
                return Err(format!("its index {at} is not below {limit}"));
            }
            place = place * limit + at as usize;
        }
        if std::mem::replace(&mut is_set[place], true) {
            return Err(format!("its index {coordinates:?} occurs twice"));
        }
        whole[place] = value;
    }
    Ok(whole)
}

/// The data of a tensor in the file itself: raw, or in the list for its type.
fn stored(tensor: &TensorProto, dtype: DataType) -> Cow<'_, [u8]> {
    if !tensor.raw_data.is_empty() {
        return (&tensor.raw_data[..]).into();
    }
    let width = dtype.width();
    let bytes: Vec<u8> = match dtype {
        DataType::F32 => tensor.float_data.iter().flat_map(|v| v.to_le_bytes()).collect(),
        DataType::F64 => tensor.double_data.iter().flat_map(|v| v.to_le_bytes()).collect(),
        DataType::I64 => tensor.int64_data.iter().flat_map(|v| v.to_le_bytes()).collect(),
        DataType::U32 | DataType::U64 => tensor
            .uint64_data
            .iter()
            .flat_map(|v| v.to_le_bytes().into_iter().take(width))
            .collect(),
        _ => {
            tensor.int32_data.iter().flat_map(|v| v.to_le_bytes().into_iter().take(width)).collect()
        }
    };
    bytes.into()
}
