//! The channels that the output needs.

use super::{channel::Channel, sum::Sum};
use crate::{
    Graph, GraphError, Op,
    interpret::{
        channels,
        conv::{kernels, reads},
        pixels,
    },
};

/// The channels of each node that are kept, in order.
pub(super) fn kept(
    graph: &Graph,
    constants: &[Vec<Channel>],
) -> Result<Vec<Vec<usize>>, GraphError> {
    let mut first = vec![0];
    for node in &graph.nodes {
        first.push(first[first.len() - 1] + channels(&node.dims));
    }
    let n = first[graph.nodes.len()];
    let mut analysis = Analysis {
        graph,
        constants,
        first,
        classes: Classes((0..n).collect()),
        needed: Vec::new(),
        sums: Vec::new(),
    };
    analysis.all_of(Graph::INPUT);
    analysis.all_of(graph.output);
    for (i, channels) in constants.iter().enumerate() {
        // A node with only constant channels reads nothing.
        let is_constant = channels.iter().all(Option::is_some);
        let sum = if is_constant { None } else { Sum::of(graph, i)? };
        match &sum {
            Some(sum) => analysis.sum(i, sum),
            None if is_constant => {}
            None => analysis.node(i),
        }
        analysis.sums.push(sum);
    }
    Ok(analysis.kept())
}

/// The analysis. The channels of all nodes are numbered consecutively.
struct Analysis<'a> {
    graph: &'a Graph,
    constants: &'a [Vec<Channel>],
    /// Number of the first channel of each node, then the number of all channels.
    first: Vec<usize>,
    classes: Classes,
    /// Channels that are needed even if no weight reads them.
    needed: Vec<usize>,
    /// The nodes with weights, as sums.
    sums: Vec<Option<Sum<'a>>>,
}

impl Analysis<'_> {
    /// Marks all channels of a node as needed.
    fn all_of(&mut self, node: usize) {
        self.needed.extend(self.first[node]..self.first[node + 1]);
    }

    /// Puts channel `c` of node `a` and channel `d` of node `b` into one class.
    fn tie(&mut self, (a, c): (usize, usize), (b, d): (usize, usize)) {
        self.classes.join(self.first[a] + c, self.first[b] + d);
    }

    /// Ties the channels of a node without weights to the channels of its inputs, or marks them as needed.
    fn node(&mut self, i: usize) {
        let node = &self.graph.nodes[i];
        let n_channels = channels(&node.dims);
        match &node.op {
            Op::Input | Op::Constant(_) => {}
            Op::Softmax { .. } => {
                self.all_of(i);
                node.inputs.iter().for_each(|&input| self.all_of(input));
            }
            Op::Concat => {
                let mut to = 0;
                for &input in &node.inputs {
                    let n = channels(&self.graph.nodes[input].dims);
                    (0..n).for_each(|c| self.tie((input, c), (i, to + c)));
                    to += n;
                }
            }
            Op::Reshape(_) => {
                let input = node.inputs[0];
                let (from, to) = (pixels(&self.graph.nodes[input].dims), pixels(&node.dims));
                // Each overlap of an input and an output channel starts where one of the two starts.
                let firsts = (0..n_channels * to).step_by(from);
                firsts.chain((0..n_channels * to).step_by(to)).for_each(|element| {
                    self.tie((input, element / from), (i, element / to));
                });
            }
            _ => {
                for &input in &node.inputs {
                    match channels(&self.graph.nodes[input].dims) {
                        n if n == n_channels => (0..n).for_each(|c| self.tie((input, c), (i, c))),
                        // One channel, broadcast to all.
                        _ => self.all_of(input),
                    }
                }
            }
        }
    }

    /// Ties the channels of a sum together: those of a residual input that is not constant, and those of groups.
    fn sum(&mut self, i: usize, sum: &Sum) {
        if let Some(residual) = sum.residual
            && self.constants[residual].iter().any(Option::is_none)
        {
            (0..self.constants[residual].len()).for_each(|c| self.tie((residual, c), (i, c)));
        }
        for term in sum.terms.iter().filter(|term| term.conv.groups > 1) {
            // A group is kept as a whole.
            for (o, c, _) in kernels(term.weight, term.conv.groups) {
                self.tie((term.input, c), (i, o));
            }
        }
    }

    /// Adds the channels that output channel `o` of sum `i` reads by weights other than 0 to `needed`, except for
    /// constant channels and channels already found. Grouped convolutions are skipped, because their channels are tied.
    fn read(&self, i: usize, o: usize, found: &Found, needed: &mut Vec<usize>) {
        let terms = self.sums[i].iter().flat_map(|sum| &sum.terms);
        for term in terms.filter(|term| term.conv.groups == 1 && found.n_open[term.input] > 0) {
            let (constants, first) = (&self.constants[term.input], self.first[term.input]);
            let is_open = |c: usize| constants[c].is_none() && !found.is_found(first + c);
            let reads = reads(term.weight, 1, o).filter(|(c, _)| is_open(*c));
            needed.extend(reads.map(|(c, _)| first + c));
        }
    }

    /// Follows the reads of needed channels, class by class, and returns the kept channels of each node.
    fn kept(mut self) -> Vec<Vec<usize>> {
        let n = self.classes.0.len();
        let class: Vec<usize> = (0..n).map(|channel| self.classes.of(channel)).collect();
        let nodes = self.first.windows(2).enumerate();
        let channels = nodes.flat_map(|(i, at)| (0..at[1] - at[0]).map(move |c| (i, c)));
        let mut members = vec![Vec::new(); n];
        channels.zip(&class).for_each(|(channel, &class)| members[class].push(channel));
        let n_open = |channels: &Vec<Channel>| channels.iter().filter(|c| c.is_none()).count();
        let n_open = self.constants.iter().map(n_open).collect();
        let mut found = Found { class, is_found: vec![false; n], n_open };
        let mut kept = vec![Vec::new(); self.graph.nodes.len()];
        let mut needed = std::mem::take(&mut self.needed);
        while let Some(channel) = needed.pop() {
            let class = found.class[channel];
            found.is_found[class] = true;
            for (i, c) in std::mem::take(&mut members[class]) {
                kept[i].push(c);
                found.n_open[i] -= usize::from(self.constants[i][c].is_none());
                self.read(i, c, &found, &mut needed);
            }
        }
        kept.iter_mut().for_each(|channels| channels.sort_unstable());
        kept
    }
}

/// The classes that are known to be needed so far.
struct Found {
    /// The class of each channel.
    class: Vec<usize>,
    /// Whether each class is needed.
    is_found: Vec<bool>,
    /// Number of channels of each node that are neither constant nor found.
    n_open: Vec<usize>,
}

impl Found {
    fn is_found(&self, channel: usize) -> bool {
        self.is_found[self.class[channel]]
    }
}

/// Disjoint sets of channels (union-find): each channel points to another channel of its set, or to itself.
struct Classes(Vec<usize>);

impl Classes {
    /// The representative of the set of `channel`.
    fn of(&mut self, mut channel: usize) -> usize {
        while self.0[channel] != channel {
            self.0[channel] = self.0[self.0[channel]];
            channel = self.0[channel];
        }
        channel
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.of(a), self.of(b));
        self.0[a] = b;
    }
}
