//! Stores equal rows and columns of a constant once.
//!
//! After padding, a constant channel adds the same value to all pixels except those near the border.

use std::collections::BTreeMap;
use taper_graph::{GraphError, Tensor};

/// Longest list of indices: readers reject a long list of integers, as it could be a quantized weight.
const MOST_PLACES: usize = 1024;

/// A constant `[channels, rows, columns]`, as its distinct rows and columns.
#[derive(Debug)]
pub(crate) struct Repeats {
    /// `[channels, distinct rows, distinct columns]`.
    pub(crate) distinct: Tensor,
    /// Index of each row among the distinct rows; none if all differ.
    pub(super) rows: Option<Vec<usize>>,
    /// The same for columns.
    pub(super) columns: Option<Vec<usize>>,
}

impl Repeats {
    /// The parts of a constant, if they take less memory than the constant.
    pub(crate) fn of(tensor: &Tensor) -> Result<Option<Self>, GraphError> {
        let &[_, n_rows, n_columns] = tensor.dims() else { return Ok(None) };
        if n_rows > MOST_PLACES || n_columns > MOST_PLACES {
            return Ok(None);
        }
        let (tall, rows) = distinct(tensor, 1)?;
        let (distinct, columns) = distinct(&tall, 2)?;
        let places = [&rows, &columns].into_iter().flatten().map(Vec::len).sum::<usize>();
        // An index takes the bytes of two floats.
        let is_less = distinct.values().len() + 2 * places < tensor.values().len();
        Ok(is_less.then_some(Self { distinct, rows, columns }))
    }
}

/// The distinct slices of an axis, compared bit by bit, and the index of each slice among them; none if all differ.
fn distinct(tensor: &Tensor, axis: usize) -> Result<(Tensor, Option<Vec<usize>>), GraphError> {
    let dims = tensor.dims();
    let (size, step) = (dims[axis], dims[axis + 1..].iter().product::<usize>());
    let slice = |at: usize| -> Vec<u32> {
        let blocks = tensor.values().chunks_exact((size * step).max(1));
        blocks.flat_map(|block| &block[at * step..][..step]).map(|v| v.to_bits()).collect()
    };
    let mut seen: BTreeMap<Vec<u32>, usize> = BTreeMap::new();
    let (mut firsts, mut places) = (Vec::new(), Vec::with_capacity(size));
    for at in 0..size {
        let place = *seen.entry(slice(at)).or_insert(firsts.len());
        if place == firsts.len() {
            firsts.push(at);
        }
        places.push(place);
    }
    if firsts.len() == size {
        return Ok((tensor.clone(), None));
    }
    let blocks = tensor.values().chunks_exact((size * step).max(1));
    let kept = blocks.flat_map(|block| firsts.iter().flat_map(|&at| &block[at * step..][..step]));
    let values: Vec<f32> = kept.copied().collect();
    let mut dims = dims.to_vec();
    dims[axis] = firsts.len();
    Ok((Tensor::new(&dims, values)?, Some(places)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Planes whose pixels are `value(channel, row, column)`.
    fn planes(dims: [usize; 3], value: impl Fn(usize, usize, usize) -> f32) -> Tensor {
        let [channels, rows, columns] = dims;
        let at = |i: usize| value(i / (rows * columns), i / columns % rows, i % columns);
        let values: Vec<f32> = (0..channels * rows * columns).map(at).collect();
        Tensor::new(&dims, values).unwrap()
    }

    fn border(at: usize, size: usize) -> usize {
        if at == 0 { 0 } else { 1 + usize::from(at + 1 == size) }
    }

    #[test]
    fn a_border_is_a_few_rows_and_columns() {
        let value = |c, y, x| (100 * c + 10 * border(y, 6) + border(x, 9)) as f32;
        let tensor = planes([2, 6, 9], value);
        let found = Repeats::of(&tensor).unwrap().unwrap();
        assert_eq!(found.distinct, planes([2, 3, 3], |c, y, x| (100 * c + 10 * y + x) as f32));
        assert_eq!(found.rows, Some(vec![0, 1, 1, 1, 1, 2]));
        assert_eq!(found.columns, Some(vec![0, 1, 1, 1, 1, 1, 1, 1, 2]));
        // Rows alone.
        let tensor = planes([9, 6, 9], |c, y, x| (100 * c + 10 * border(y, 6) + x) as f32);
        let found = Repeats::of(&tensor).unwrap().unwrap();
        assert_eq!((found.distinct.dims(), found.columns), (&[9, 3, 9][..], None));
    }

    #[test]
    fn constants_with_few_repeats_stay_whole() {
        let whole = |tensor: &Tensor| Repeats::of(tensor).unwrap().is_none();
        assert!(whole(&planes([4, 5, 5], |c, y, x| (100 * c + 10 * y + x) as f32)));
        // Four numbers instead of nine, but six indices.
        assert!(whole(&planes([1, 3, 3], |_, y, x| (border(y, 9) + 2 * border(x, 9)) as f32)));
        // −0 is another number than 0.
        assert!(whole(&planes([9, 2, 1], |_, y, _| if y == 0 { 0.0 } else { -0.0 })));
        for dims in [&[0, 0, 0][..], &[2, 0, 9], &[5000], &[7, 5000], &[1, 1, 2000], &[]] {
            let n = dims.iter().product();
            assert!(whole(&Tensor::new(dims, vec![1.0; n]).unwrap()), "{dims:?}");
        }
    }
}
