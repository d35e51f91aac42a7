//! Joins what a ReLU and a sum of gradients do on the way back to the convolutions before them: their results then never go through
//! memory unmasked, and can be written where the ReLU's result or the other gradient was.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Graph, Node, Source, Value};
use crate::ops::Op;
use crate::ops::conv::{Conv, ConvDgrad, Fused};
use crate::ops::elementwise::{Binary, BinaryKind, SumOf, UnaryGrad, UnaryKind};

/// A convolution or data gradient.
enum Convolution {
    Forward(Conv),
    Data(ConvDgrad),
}

impl Convolution {
    fn of(graph: &Graph, node: usize) -> Option<Self> {
        let forward = graph.op::<Conv>(node).cloned().map(Self::Forward);
        forward.or_else(|| graph.op::<ConvDgrad>(node).cloned().map(Self::Data))
    }

    fn fused(&mut self) -> &mut Fused {
        match self {
            Self::Forward(op) => &mut op.fused,
            Self::Data(op) => &mut op.fused,
        }
    }

    fn has_relu(&self) -> bool {
        match self {
            Self::Forward(op) => op.attrs.relu,
            Self::Data(op) => op.attrs.relu,
        }
    }

    fn op(self) -> Arc<dyn Op> {
        match self {
            Self::Forward(op) => Arc::new(op),
            Self::Data(op) => Arc::new(op),
        }
    }
}

impl Graph {
    /// Joins gradients of ReLUs, and sums of two gradients, to the convolution that alone makes what they work on, with the same
    /// values. Call it after differentiation and [`Graph::recompute`], before [`Graph::fuse_elementwise`]. `targets` are the values
    /// to be read. Returns how many nodes were absorbed.
    pub fn fuse_gradients(&mut self, targets: &[Value]) -> usize {
        let readers = self.readers(targets);
        let schedule = super::plan::schedule(self, targets);
        schedule.into_iter().filter(|index| self.join_sum(*index, &readers) || self.join_mask(*index, &readers)).count()
    }

    /// The convolution that makes `value`, and its node, if nothing else reads that and `other` exists before it.
    fn convolution(
        &self,
        value: Value,
        other: Value,
        readers: &HashMap<Value, usize>,
    ) -> Option<(usize, Convolution, Fused)> {
        let Source::Node { node, .. } = *self.source(value) else { return None };
        let exists = match *self.source(other) {
            Source::Node { node: maker, .. } => maker < node,
            _ => true,
        };
        if !exists || readers.get(&value) != Some(&1) || self.ty(value) != self.ty(other) {
            return None;
        }
        let mut convolution = Convolution::of(self, node)?;
        let fused = *convolution.fused();
        Some((node, convolution, fused))
    }

    /// `convolution`, which node `node` was, takes `input` too and makes what node `absorbed` made. It stays where it was, so that
    /// nothing is kept longer for it.
    fn extend(&mut self, node: usize, absorbed: usize, convolution: Convolution, at: usize, input: Value) {
        let (mut inputs, name) = (self.nodes[node].inputs.clone(), self.nodes[node].name.clone());
        inputs.insert(at, input);
        let outputs = self.nodes[absorbed].outputs.clone();
        let extended = Node { op: convolution.op(), inputs, outputs, name };
        // Without a reader from now on.
        self.nodes[absorbed] = std::mem::replace(&mut self.nodes[node], extended);
        self.number_nodes(node);
    }

    fn join_sum(&mut self, index: usize, readers: &HashMap<Value, usize>) -> bool {
        let adds = self.op::<Binary>(index).is_some_and(|op| op.kind == BinaryKind::Add);
        if !adds && self.op::<SumOf>(index).is_none() {
            return false;
        }
        let &[a, b] = &self.nodes[index].inputs[..] else { return false };
        for (value, other) in [(a, b), (b, a)] {
            let Some((node, mut convolution, fused)) = self.convolution(value, other, readers) else { continue };
            // With counts, invalid rows are zero whatever the residual is.
            if fused.residual || fused.mask || fused.counts || convolution.has_relu() {
                continue;
            }
            convolution.fused().residual = true;
            self.extend(node, index, convolution, fused.residual_at(), other);
            return true;
        }
        false
    }

    fn join_mask(&mut self, index: usize, readers: &HashMap<Value, usize>) -> bool {
        if !self.op::<UnaryGrad>(index).is_some_and(|op| op.kind == UnaryKind::Relu) {
            return false;
        }
        let &[gradient, mask] = &self.nodes[index].inputs[..] else { return false };
        let Some((node, mut convolution, fused)) = self.convolution(gradient, mask, readers) else { return false };
        if fused.mask {
            return false;
        }
        convolution.fused().mask = true;
        self.extend(node, index, convolution, fused.mask_at(), mask);
        true
    }
}
