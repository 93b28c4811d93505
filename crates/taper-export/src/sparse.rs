//! A weight as compressed sparse rows (CSR), for all formats that store only non-zero values.

use crate::Network;
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, ops::Range};

/// A weight as a matrix `rows × columns`. A row holds the weights of one output.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Csr {
    /// Shape of the weight.
    pub(crate) shape: Vec<usize>,
    /// Index of the first value of each row, then the number of values.
    pub(crate) starts: Vec<u64>,
    /// Column of each value.
    pub(crate) columns: Vec<u64>,
    /// The non-zero values, row by row.
    pub(crate) values: Vec<f32>,
}

/// Rows and columns of a weight: outputs, and weights of each output.
pub(crate) fn rows_and_columns(shape: &[usize]) -> (usize, usize) {
    let rows = shape.first().copied().unwrap_or(1);
    (rows, shape.iter().skip(1).product())
}

/// Shapes and kinds of a network's weights as JSON, `{"W": {"shape": [..], "kind": "conv"}}`. Rows and columns alone do
/// not determine the shape of a kernel.
pub(crate) fn shapes(network: &Network) -> String {
    let layers = network.layers().into_iter().filter_map(|(name, kind)| {
        let shape = network.tensors().get(name)?.dims();
        Some((name.to_string(), json!({ "shape": shape, "kind": kind })))
    });
    Value::Object(layers.collect::<Map<_, _>>()).to_string()
}

/// The [`shapes`] in the metadata of a file.
#[derive(Debug)]
pub(crate) struct StatedShapes {
    key: &'static str,
    layers: Option<Value>,
}

impl StatedShapes {
    /// The shapes under a key of the metadata, if they are present.
    pub(crate) fn of(metadata: &BTreeMap<String, String>, key: &'static str) -> Self {
        let layers = metadata.get(key).and_then(|text| serde_json::from_str(text).ok());
        Self { key, layers }
    }

    /// Checks the shape of a weight.
    pub(crate) fn check(&self, name: &str, shape: &[usize]) -> Result<(), String> {
        let key = self.key;
        let layers = self
            .layers
            .as_ref()
            .ok_or_else(|| format!("its metadata have no shapes under `{key}`; export it again"))?;
        match &layers[name]["shape"] {
            serde_json::Value::Null => {
                Err(format!("tensor {name} has no shape under `{key}`; export it again"))
            }
            found if *found == json!(shape) => Ok(()),
            found => {
                Err(format!("tensor {name} has shape {found}, but the network needs {shape:?}"))
            }
        }
    }
}

impl Csr {
    /// The non-zero values of a weight.
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

    /// The weight with its zeros. The columns of a row may be in any order, and duplicate entries are summed, as in
    /// SciPy.
    ///
    /// # Errors
    /// If the parts are inconsistent: they come from a file and can be anything. Nothing is allocated before this
    /// check.
    pub(crate) fn dense(&self) -> Result<Vec<f32>, String> {
        let (rows, columns) = rows_and_columns(&self.shape);
        if self.starts.len() != rows + 1 {
            return Err(format!(
                "it has {} row pointers, but {rows} rows need {}",
                self.starts.len(),
                rows + 1
            ));
        }
        if self.columns.len() != self.values.len() {
            let (i, v) = (self.columns.len(), self.values.len());
            return Err(format!("it has {i} column indices, but {v} values"));
        }
        let n = self.values.len() as u64;
        let ascend = self.starts.windows(2).all(|pair| pair[0] <= pair[1]);
        if !ascend || self.starts[0] != 0 || self.starts[rows] != n {
            return Err(format!(
                "its row pointers do not ascend from 0 to {n}, the number of values"
            ));
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
    fn a_weight_is_restored_from_a_row_for_each_output() {
        let csr = Csr::of(&[2, 2, 1, 2], &WEIGHT);
        assert_eq!((&csr.starts[..], &csr.columns[..]), (&[0, 2, 3][..], &[1, 3, 3][..]));
        assert_eq!(csr.dense().unwrap(), WEIGHT);
        assert!(Csr::of(&[0, 3], &[]).dense().unwrap().is_empty());
    }

    #[test]
    fn columns_may_be_in_any_order_and_duplicates_are_summed() {
        let unsorted = Csr {
            shape: vec![2, 4],
            starts: vec![0, 4, 5],
            columns: vec![3, 1, 3, 3, 3],
            values: vec![0.5, 1.0, 1.75, -0.25, -3.0],
        };
        assert_eq!(unsorted.dense().unwrap(), WEIGHT);
    }

    #[test]
    fn inconsistent_parts_are_rejected() {
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
