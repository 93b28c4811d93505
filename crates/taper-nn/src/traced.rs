//! Tracing: a pass that records its operations without computing them.

use crate::{
    Params,
    ops::{Weights, with_values},
};
use candle_core::{DType, Device, Error, Result, Tensor, TensorId};
use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use taper_graph::{Graph, Op};

/// Records the operations of a pass.
#[derive(Debug)]
pub(crate) struct Tracer(Mutex<Trace>);

#[derive(Debug)]
struct Trace {
    graph: Graph,
    /// The compute type of the network; the graph has f32 tensors.
    dtype: DType,
    /// Names of parameters, and of other constants read so far.
    names: HashMap<TensorId, String>,
    taken: BTreeSet<String>,
    /// Placeholder tensors of nodes.
    values: HashMap<TensorId, usize>,
}

impl Tracer {
    pub(crate) fn new(params: &Params, image: [usize; 3]) -> Self {
        let named = params.entries().iter().map(|e| (e.var.as_tensor().id(), e.name.clone()));
        let names: HashMap<_, _> = named.collect();
        let taken = names.values().cloned().collect();
        let (graph, dtype) = (Graph::new(&image), params.dtype());
        Self(Mutex::new(Trace { graph, dtype, names, taken, values: HashMap::new() }))
    }

    fn lock(&self) -> MutexGuard<'_, Trace> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The value of a node, for a batch of one image.
    pub(crate) fn value(self: &Arc<Self>, node: usize) -> Traced {
        let trace = self.lock();
        let dims = std::iter::once(1).chain(trace.graph.nodes[node].dims.iter().copied()).collect();
        Traced { tracer: self.clone(), node, dims, dtype: trace.dtype }
    }

    /// The node of a placeholder tensor.
    pub(crate) fn node(&self, tensor: &Tensor) -> Option<usize> {
        self.lock().values.get(&tensor.id()).copied()
    }

    /// Takes the graph, with this node as its output.
    pub(crate) fn graph_to(&self, output: usize) -> Graph {
        let mut trace = self.lock();
        trace.graph.output = output;
        std::mem::replace(&mut trace.graph, Graph::new(&[]))
    }
}

impl Trace {
    /// Name of a parameter or constant. Adds the tensor to the graph.
    fn name(&mut self, tensor: &Tensor) -> Result<String> {
        let name = match self.names.get(&tensor.id()) {
            Some(name) => name.clone(),
            None => {
                let mut n = self.names.len();
                while self.taken.contains(&format!("constant.{n}")) {
                    n += 1;
                }
                let name = format!("constant.{n}");
                self.taken.insert(name.clone());
                self.names.insert(tensor.id(), name.clone());
                name
            }
        };
        if !self.graph.tensors.contains_key(&name) {
            let values = with_values(&[tensor], |values| values[0].to_vec())?;
            let copy = taper_graph::Tensor::new(tensor.dims(), values).map_err(Error::wrap)?;
            self.graph.add_tensor(name.clone(), copy);
        }
        Ok(name)
    }
}

/// A traced activation: a shape without values.
#[derive(Clone, Debug)]
pub(crate) struct Traced {
    tracer: Arc<Tracer>,
    node: usize,
    pub(crate) dims: Vec<usize>,
    pub(crate) dtype: DType,
}

impl Traced {
    /// Name in the graph of a tensor that an operation reads.
    pub(crate) fn name(&self, tensor: &Tensor) -> Result<String> {
        self.tracer.lock().name(tensor)
    }

    /// Names of weight and bias.
    pub(crate) fn names(&self, weights: &Weights) -> Result<(String, Option<String>)> {
        let bias = weights.bias.map(|bias| self.name(bias)).transpose()?;
        Ok((self.name(weights.weight)?, bias))
    }

    /// Records an operation on this activation and others.
    pub(crate) fn then(&self, op: Op, others: &[&Self]) -> Result<Self> {
        let inputs: Vec<usize> =
            std::iter::once(self).chain(others.iter().copied()).map(|t| t.node).collect();
        let node = self.tracer.lock().graph.push(op, &inputs).map_err(Error::wrap)?;
        Ok(self.tracer.value(node))
    }

    /// A placeholder tensor of zeros for this activation.
    pub(crate) fn tensor(&self) -> Result<Tensor> {
        let tensor = Tensor::zeros(&self.dims[..], self.dtype, &Device::Cpu)?;
        self.tracer.lock().values.insert(tensor.id(), self.node);
        Ok(tensor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Init, Scope};
    use candle_core::Device;

    /// A parameter has the name that the first constant would get.
    #[test]
    fn a_constant_does_not_get_the_name_of_a_parameter() -> Result<()> {
        let scope = Scope::new(0, &Device::Cpu);
        scope.param("constant.1", 1, crate::ParamKind::Bias, Init::Constant(0.0))?;
        let tracer = Tracer::new(&scope.finish(), [1, 1, 1]);
        let constant = Tensor::new(&[7.0f32], &Device::Cpu)?;
        let mut trace = tracer.lock();
        assert_eq!(trace.name(&constant)?, "constant.2");
        assert_eq!(trace.name(&constant)?, "constant.2");
        assert_eq!(trace.graph.tensors["constant.2"].values(), [7.0]);
        Ok(())
    }
}
