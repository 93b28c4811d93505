//! A weight as its rows: what is common to formats that store what is not zero.

use crate::Network;
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, ops::Range};

/// A weight of `rows × columns`, where a row is all that one output reads.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Csr {
    /// Sizes of the weight.
    pub(crate) shape: Vec<usize>,
    /// Where each row begins among the values, and at last their number.
    pub(crate) starts: Vec<u64>,
    /// Column of each value.
    pub(crate) columns: Vec<u64>,
    /// What is not zero, row by row.
    pub(crate) values: Vec<f32>,
}

/// Rows and columns of a weight: outputs, and what each of them reads.
pub(crate) fn rows_and_columns(shape: &[usize]) -> (usize, usize) {
    let rows = shape.first().copied().unwrap_or(1);
    (rows, shape.iter().skip(1).product())
}

/// Sizes and kinds of the weights of a network as JSON, `{"W": {"shape": [..], "kind": "conv"}}`: rows alone do not tell a
/// kernel from another of as many outputs.
pub(crate) fn shapes(network: &Network) -> String {
    let layers = network.layers().into_iter().filter_map(|(name, kind)| {
        let shape = network.tensors().get(name)?.dims();
        Some((name.to_string(), json!({ "shape": shape, "kind": kind })))
    });
    Value::Object(layers.collect::<Map<_, _>>()).to_string()
}

/// The [`shapes`] that a file states.
#[derive(Debug)]
pub(crate) struct StatedShapes {
    key: &'static str,
    layers: Option<Value>,
}

impl StatedShapes {
    /// Those under a key of the metadata, if they are there.
    pub(crate) fn of(metadata: &BTreeMap<String, String>, key: &'static str) -> Self {
        let layers = metadata.get(key).and_then(|text| serde_json::from_str(text).ok());
        Self { key, layers }
    }

    /// Whether they say so of a weight.
    pub(crate) fn check(&self, name: &str, shape: &[usize]) -> Result<(), String> {
        let key = self.key;
        let layers = self
            .layers
            .as_ref()
            .ok_or_else(|| format!("its metadata has no `{key}` with the shapes of its weights"))?;
        match &layers[name]["shape"] {
            found if *found == json!(shape) => Ok(()),
            found => {
                Err(format!("tensor {name} has shape {found} where the network has {shape:?}"))
            }
        }
    }
}

impl Csr {
    /// What is not zero of a weight.
    pub(crate) fn of(shape: &[usize], weight: &[f32]) -> Self {
        let (rows, columns) = rows_and_columns(shape);
        let mut csr = Self { shape: shape.to_vec(), starts: vec![0], ..Self::default() };
        for row in 0..rows {
            for column in 0..columns {
                let value = weight[row * columns + column];
                if value != 0.0 {
                    csr.columns.push(column as u64);
                    csr.values.push(value);
                }
            }
            csr.starts.push(csr.values.len() as u64);
        }
        csr
    }

    /// The weight with its zeros. The parts may be anything that a file has held: the columns of a row may come in any
    /// order, and values of one place are added, as SciPy does.
    ///
    /// # Errors
    /// What is wrong with the parts. Nothing is allocated before they are known to be right.
    pub(crate) fn dense(&self) -> Result<Vec<f32>, String> {
        let (rows, columns) = rows_and_columns(&self.shape);
        if self.starts.len() != rows + 1 {
            return Err(format!("it has {} row pointers for {rows} rows", self.starts.len()));
        }
        if self.columns.len() != self.values.len() {
            let (i, v) = (self.columns.len(), self.values.len());
            return Err(format!("it has {i} column indices for {v} values"));
        }
        let n = self.values.len() as u64;
        let ascend = self.starts.windows(2).all(|pair| pair[0] <= pair[1]);
        if !ascend || self.starts[0] != 0 || self.starts[rows] != n {
            return Err(format!("its row pointers do not ascend from 0 to {n}"));
        }
        if let Some(column) = self.columns.iter().find(|&&column| column >= columns as u64) {
            return Err(format!("its column index {column} is not below {columns}"));
        }
        let mut dense = vec![0.0; rows * columns];
        for row in 0..rows {
            for at in self.span(row) {
                dense[row * columns + self.columns[at] as usize] += self.values[at];
            }
        }
        Ok(dense)
    }

    fn span(&self, row: usize) -> Range<usize> {
        self.starts[row] as usize..self.starts[row + 1] as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEIGHT: [f32; 8] = [0.0, 1.0, 0.0, 2.0, 0.0, 0.0, 0.0, -3.0];

    #[test]
    fn a_weight_comes_back_and_its_rows_are_outputs() {
        let csr = Csr::of(&[2, 2, 1, 2], &WEIGHT);
        assert_eq!((&csr.starts[..], &csr.columns[..]), (&[0, 2, 3][..], &[1, 3, 3][..]));
        assert_eq!(csr.dense().unwrap(), WEIGHT);
        assert!(Csr::of(&[0, 3], &[]).dense().unwrap().is_empty());
    }

    #[test]
    fn columns_in_any_order_and_values_of_one_place_are_summed() {
        let unsorted = Csr {
            shape: vec![2, 4],
            starts: vec![0, 4, 5],
            columns: vec![3, 1, 3, 3, 3],
            values: vec![0.5, 1.0, 1.75, -0.25, -3.0],
        };
        assert_eq!(unsorted.dense().unwrap(), WEIGHT);
    }

    #[test]
    fn parts_that_do_not_fit_are_refused() {
        let good = Csr::of(&[2, 4], &WEIGHT);
        let bad = |change: fn(&mut Csr)| {
            let mut csr = good.clone();
            change(&mut csr);
            csr.dense().unwrap_err()
        };
        assert!(bad(|c| c.starts.push(3)).contains("row pointers"));
        assert!(bad(|c| c.starts[1] = 9).contains("ascend"));
        assert!(bad(|c| c.starts[0] = 1).contains("ascend"));
        assert!(bad(|c| c.columns[2] = 4).contains("index 4 is not below 4"));
        assert!(bad(|c| c.values.truncate(2)).contains("values"));
    }
}
