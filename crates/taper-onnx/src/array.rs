//! Constants with a shape, and operations on them.

use crate::{budget::Budget, sizes::n_elements};
use std::sync::Arc;

/// Most dimensions of a constant.
const MAX_RANK: usize = 8;

/// Elements in row-major order. Clones share them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Array<T> {
    dims: Vec<usize>,
    values: Arc<[T]>,
}

impl<T: Copy> Array<T> {
    /// An array of this shape.
    pub(crate) fn new(dims: &[usize], values: impl Into<Arc<[T]>>) -> Result<Self, String> {
        let values = values.into();
        if dims.len() > MAX_RANK {
            let rank = dims.len();
            return Err(format!("a constant has {rank} dimensions, more than {MAX_RANK}"));
        }
        if n_elements(dims) != Some(values.len()) {
            let n = values.len();
            return Err(format!(
                "a constant of shape {dims:?} has {n} elements, which do not fit this shape"
            ));
        }
        // Checks that strides do not overflow, even if a size is 0.
        let distance = |n: isize, &size: &usize| n.checked_mul(isize::try_from(size.max(1)).ok()?);
        if dims.iter().try_fold(1, distance).is_none() {
            return Err(format!("a constant has the shape {dims:?}, which is too large"));
        }
        Ok(Self { dims: dims.to_vec(), values })
    }

    /// An array of equal elements.
    pub(crate) fn full(dims: &[usize], value: T, budget: &mut Budget) -> Result<Self, String> {
        let n = budget.take(dims)?;
        Self::new(dims, vec![value; n])
    }

    /// One element, without dimensions.
    pub(crate) fn scalar(value: T) -> Self {
        Self { dims: Vec::new(), values: Arc::new([value]) }
    }

    pub(crate) fn dims(&self) -> &[usize] {
        &self.dims
    }

    pub(crate) fn values(&self) -> &Arc<[T]> {
        &self.values
    }

    /// The element, if there is exactly one.
    pub(crate) fn single(&self) -> Option<T> {
        match self.values[..] {
            [value] => Some(value),
            _ => None,
        }
    }

    /// The same elements in another shape.
    pub(crate) fn reshaped(&self, dims: &[usize]) -> Result<Self, String> {
        Self::new(dims, Arc::clone(&self.values))
    }

    /// Applies a function to each element.
    pub(crate) fn map<U: Copy>(
        &self,
        budget: &mut Budget,
        f: impl Fn(T) -> Result<U, String>,
    ) -> Result<Array<U>, String> {
        budget.take(&self.dims)?;
        let values = self.values.iter().map(|&v| f(v)).collect::<Result<Vec<U>, String>>()?;
        Array::new(&self.dims, values)
    }

    /// Applies a function to each pair of elements, with NumPy's broadcasting.
    pub(crate) fn zip(
        &self,
        other: &Self,
        budget: &mut Budget,
        f: impl Fn(T, T) -> Result<T, String>,
    ) -> Result<Self, String> {
        let dims = broadcast(&self.dims, &other.dims)?;
        let (a, b) = (self.expanded(&dims, budget)?, other.expanded(&dims, budget)?);
        let pairs = a.values.iter().zip(b.values.iter());
        let values = pairs.map(|(&a, &b)| f(a, b)).collect::<Result<Vec<T>, String>>()?;
        Self::new(&dims, values)
    }

    /// The array, broadcast together with this shape.
    pub(crate) fn broadcast_to(&self, dims: &[usize], budget: &mut Budget) -> Result<Self, String> {
        self.expanded(&broadcast(&self.dims, dims)?, budget)
    }

    /// Reorders the dimensions.
    pub(crate) fn transposed(&self, order: &[usize], budget: &mut Budget) -> Result<Self, String> {
        let strides = self.strides();
        let mut seen = vec![false; self.dims.len()];
        let is_new =
            |&axis: &usize| seen.get_mut(axis).is_some_and(|seen| !std::mem::replace(seen, true));
        if order.len() != self.dims.len() || !order.iter().all(is_new) {
            return Err(format!(
                "{order:?} is not a permutation of {} dimensions",
                self.dims.len()
            ));
        }
        let dims: Vec<usize> = order.iter().map(|&axis| self.dims[axis]).collect();
        let strides: Vec<isize> = order.iter().map(|&axis| strides[axis]).collect();
        self.strided(0, &dims, &strides, budget)
    }

    /// `n` elements of a dimension, from `start` in steps of `step`. All must exist.
    pub(crate) fn slice(
        &self,
        axis: usize,
        start: usize,
        n: usize,
        step: isize,
        budget: &mut Budget,
    ) -> Result<Self, String> {
        let (mut dims, mut strides) = (self.dims.clone(), self.strides());
        let (Some(size), Some(stride)) = (dims.get_mut(axis), strides.get_mut(axis)) else {
            return Err(format!("a constant of shape {:?} has no dimension {axis}", self.dims));
        };
        let outside = || {
            format!(
                "{n} elements from {start} in steps of {step} are outside of a dimension of size {size}"
            )
        };
        let last = (n.saturating_sub(1) as isize).checked_mul(step);
        let last = last.and_then(|reach| (start as isize).checked_add(reach));
        if n > 0 && (start >= *size || last.is_none_or(|last| last < 0 || last >= *size as isize)) {
            return Err(outside());
        }
        let begin = if n == 0 { 0 } else { start * stride.unsigned_abs() };
        *size = n;
        *stride = if n > 1 { *stride * step } else { 0 };
        self.strided(begin, &dims, &strides, budget)
    }

    /// Concatenates arrays along a dimension.
    pub(crate) fn concat(parts: &[Self], axis: usize, budget: &mut Budget) -> Result<Self, String> {
        let [first, rest @ ..] = parts else { return Err("it has no input".into()) };
        let mut dims = first.dims.clone();
        for part in rest {
            let is_alike = part.dims.len() == dims.len()
                && (0..dims.len()).all(|i| i == axis || part.dims[i] == first.dims[i]);
            if axis >= dims.len() || !is_alike {
                let (a, b) = (&first.dims, &part.dims);
                return Err(format!("constants of shapes {a:?} and {b:?} do not fit together"));
            }
            dims[axis] = dims[axis].saturating_add(part.dims[axis]);
        }
        let n = budget.take(&dims)?;
        let outer: usize = dims.iter().take(axis).product();
        let mut values = Vec::with_capacity(n);
        for at in 0..outer {
            for part in parts {
                let each = part.values.len() / outer;
                values.extend_from_slice(&part.values[at * each..][..each]);
            }
        }
        Self::new(&dims, values)
    }

    /// Broadcasts sizes of 1 to this shape.
    fn expanded(&self, dims: &[usize], budget: &mut Budget) -> Result<Self, String> {
        let missing = dims.len().saturating_sub(self.dims.len());
        let mut strides = vec![0; missing];
        let sizes = self.dims.iter().zip(self.strides());
        strides.extend(sizes.map(|(&size, stride)| if size == 1 { 0 } else { stride }));
        self.strided(0, dims, &strides, budget)
    }

    /// Stride of each dimension, in elements.
    fn strides(&self) -> Vec<isize> {
        let mut strides = vec![1; self.dims.len()];
        for axis in (1..self.dims.len()).rev() {
            strides[axis - 1] = strides[axis] * self.dims[axis].max(1) as isize;
        }
        strides
    }

    /// Copies the elements from `start` with these strides. All must exist.
    fn strided(
        &self,
        start: usize,
        dims: &[usize],
        strides: &[isize],
        budget: &mut Budget,
    ) -> Result<Self, String> {
        let n = budget.take(dims)?;
        let mut values = Vec::with_capacity(n);
        let (mut at, mut place) = (vec![0; dims.len()], start as isize);
        for _ in 0..n {
            let value = usize::try_from(place).ok().and_then(|place| self.values.get(place));
            values.push(*value.ok_or("a strided copy reads outside of its constant")?);
            for axis in (0..dims.len()).rev() {
                at[axis] += 1;
                place += strides[axis];
                if at[axis] < dims[axis] {
                    break;
                }
                place -= strides[axis] * dims[axis] as isize;
                at[axis] = 0;
            }
        }
        Self::new(dims, values)
    }
}

/// The broadcast shape of two arrays: aligned at the last dimension, with sizes of 1 expanded.
fn broadcast(a: &[usize], b: &[usize]) -> Result<Vec<usize>, String> {
    let rank = a.len().max(b.len());
    let size = |dims: &[usize], axis: usize| match (axis + dims.len()).checked_sub(rank) {
        Some(axis) => dims[axis],
        None => 1,
    };
    let of = |axis| match (size(a, axis), size(b, axis)) {
        (a, b) if a == b => Ok(a),
        (1, n) | (n, 1) => Ok(n),
        _ => Err(format!("constants of shapes {a:?} and {b:?} do not fit together")),
    };
    (0..rank).map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn count(dims: &[usize]) -> Array<usize> {
        let n = dims.iter().product();
        Array::new(dims, (0..n).collect::<Vec<usize>>()).unwrap()
    }

    #[test]
    fn transposed_sliced_and_concatenated() {
        let mut budget = Budget::new();
        let array = count(&[2, 3]);
        let turned = array.transposed(&[1, 0], &mut budget).unwrap();
        assert_eq!((turned.dims(), &turned.values()[..]), (&[3, 2][..], &[0, 3, 1, 4, 2, 5][..]));
        let reversed = array.slice(1, 2, 2, -2, &mut budget).unwrap();
        assert_eq!((reversed.dims(), &reversed.values()[..]), (&[2, 2][..], &[2, 0, 5, 3][..]));
        let row = array.slice(0, 1, 1, 1, &mut budget).unwrap();
        assert_eq!(&row.values()[..], [3, 4, 5]);
        assert_eq!(array.slice(0, 7, 0, 1, &mut budget).unwrap().dims(), [0, 3]);
        let both = Array::concat(&[array.clone(), reversed], 1, &mut budget).unwrap();
        assert_eq!(&both.values()[..], [0, 1, 2, 2, 0, 3, 4, 5, 5, 3]);
        let empty = count(&[0, 3]);
        let same = Array::concat(&[empty.clone(), array.clone()], 0, &mut budget).unwrap();
        assert_eq!(same, array);
        assert_eq!(Array::concat(&[empty.clone(), empty], 1, &mut budget).unwrap().dims(), [0, 6]);
    }

    #[test]
    fn pairs_are_broadcast_as_numpy_does() {
        let mut budget = Budget::new();
        let add = |a: &Array<usize>, b: &Array<usize>, budget: &mut Budget| {
            a.zip(b, budget, |a, b| Ok(10 * a + b))
        };
        let sum = add(&count(&[2, 1]), &count(&[3]), &mut budget).unwrap();
        assert_eq!((sum.dims(), &sum.values()[..]), (&[2, 3][..], &[0, 1, 2, 10, 11, 12][..]));
        let sum = add(&Array::scalar(7), &count(&[2]), &mut budget).unwrap();
        assert_eq!(&sum.values()[..], [70, 71]);
        assert!(add(&count(&[2]), &count(&[3]), &mut budget).unwrap_err().contains("[2] and [3]"));
    }

    #[test]
    fn missing_elements_and_dimensions_are_rejected() {
        let mut budget = Budget::new();
        let array = count(&[2, 3]);
        assert!(array.transposed(&[0, 0], &mut budget).is_err());
        assert!(array.transposed(&[0, 2], &mut budget).is_err());
        assert!(array.transposed(&[0], &mut budget).is_err());
        for (axis, start, n, step) in
            [(2, 0, 1, 1), (1, 3, 1, 1), (1, 0, 2, -1), (1, 1, 2, 2), (0, 0, usize::MAX, 1)]
        {
            assert!(array.slice(axis, start, n, step, &mut budget).is_err(), "{axis} {start} {n}");
        }
        assert!(Array::concat(&[array.clone(), count(&[2, 2])], 0, &mut budget).is_err());
        assert!(Array::concat(&[array.clone(), array.clone()], 2, &mut budget).is_err());
        assert!(Array::<usize>::concat(&[], 0, &mut budget).is_err());
        assert!(Array::full(&[1 << 20, 1 << 20], 0, &mut budget).is_err());
        assert!(Array::new(&[1; 9], vec![0]).unwrap_err().contains("9 dimensions"));
        assert!(Array::new(&[2, 2], vec![0]).is_err());
        assert!(Array::<u8>::new(&[0, 1 << 40, 1 << 40], vec![]).is_err());
    }

    proptest! {
        #[test]
        fn transposing_back_gives_the_array(
            dims in proptest::collection::vec(1usize..4, 3),
            order in Just(vec![0usize, 1, 2]).prop_shuffle(),
        ) {
            let mut budget = Budget::new();
            let array = count(&dims);
            let turned = array.transposed(&order, &mut budget).unwrap();
            let mut back = vec![0; 3];
            order.iter().enumerate().for_each(|(to, &from)| back[from] = to);
            prop_assert_eq!(turned.transposed(&back, &mut budget).unwrap(), array);
        }
    }
}
