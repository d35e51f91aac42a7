//! Rewrites that keep a graph's meaning and save work: a frozen batch norm folds into the convolution before it, bias,
//! residual sum and ReLU join the convolution or dense layer before them. What is left without a reader is not scheduled.

use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;

use super::{Graph, Node, Source, Value};
use crate::Result;
use crate::ops::conv::{Conv, ConvAttrs, Fused};
use crate::ops::elementwise::{Binary, BinaryKind, Unary, UnaryKind};
use crate::ops::norm::BatchNormFrozen;

impl Graph {
    /// Rewrites the graph: values keep their meaning (up to rounding) and their handles; `targets` are the values that will be
    /// read or differentiated with respect to: they are not absorbed. Returns how many nodes were absorbed by others. A graph to be
    /// trained is fused before it is differentiated: its gradients then go through the fused nodes.
    pub fn fuse(&mut self, targets: &[Value]) -> Result<usize> {
        let mut fused = 0;
        let mut index = 0;
        while index < self.nodes.len() {
            let readers = self.readers(targets);
            if self.fold_batch_norm(index, &readers)?
                || self.join_relu(index, &readers)
                || self.join_residual(index, &readers)
            {
                fused += 1;
            } else {
                index += 1;
            }
        }
        Ok(fused)
    }

    /// Number of nodes (and targets) that read each value.
    pub(super) fn readers(&self, targets: &[Value]) -> HashMap<Value, usize> {
        let mut readers = HashMap::new();
        let live = super::plan::schedule(self, targets);
        let inputs = live.iter().flat_map(|node| &self.nodes[*node].inputs);
        inputs.chain(targets).for_each(|value| *readers.entry(*value).or_insert(0) += 1);
        readers
    }

    /// A node's op, if it is one of this type.
    pub(super) fn op<T: Any>(&self, node: usize) -> Option<&T> {
        let op: &dyn Any = &*self.nodes[node].op;
        op.downcast_ref::<T>()
    }

    /// The convolution that makes `value`, if nothing else reads it and no ReLU follows inside it.
    fn open_conv(&self, value: Value, readers: &HashMap<Value, usize>) -> Option<(usize, Conv)> {
        let Source::Node { node, .. } = *self.source(value) else { return None };
        let conv = self.op::<Conv>(node)?;
        (readers.get(&value) == Some(&1) && !conv.attrs.relu).then(|| (node, conv.clone()))
    }

    /// Node `index` becomes the convolution `conv` on `inputs`, making the value that `index` made.
    fn replace_by_conv(&mut self, index: usize, conv: Conv, inputs: Vec<Value>, name: String) {
        let outputs = self.nodes[index].outputs.clone();
        self.nodes[index] = Node { op: Arc::new(conv), inputs, outputs, name };
    }

    fn join_relu(&mut self, index: usize, readers: &HashMap<Value, usize>) -> bool {
        if !self.op::<Unary>(index).is_some_and(|op| op.kind == UnaryKind::Relu) {
            return false;
        }
        let Some((node, mut conv)) = self.open_conv(self.nodes[index].inputs[0], readers) else { return false };
        conv.attrs.relu = true;
        let (inputs, name) = (self.nodes[node].inputs.clone(), self.nodes[node].name.clone());
        self.replace_by_conv(index, conv, inputs, name);
        true
    }

    fn join_residual(&mut self, index: usize, readers: &HashMap<Value, usize>) -> bool {
        if !self.op::<Binary>(index).is_some_and(|op| op.kind == BinaryKind::Add) {
            return false;
        }
        let &[a, b] = &self.nodes[index].inputs[..] else { return false };
        if self.ty(a) != self.ty(b) {
            return false;
        }
        for (value, residual) in [(a, b), (b, a)] {
            let Some((node, mut conv)) = self.open_conv(value, readers) else { continue };
            if conv.fused.residual || value == residual {
                continue;
            }
            let mut inputs = self.nodes[node].inputs.clone();
            inputs.insert(conv.fused.residual_at(), residual);
            conv.fused.residual = true;
            let name = self.nodes[node].name.clone();
            self.replace_by_conv(index, conv, inputs, name);
            return true;
        }
        false
    }

    /// `gamma (conv(x, w) + b - mean) / sqrt(var + eps) + beta = conv(x, w s) + (b - mean) s + beta` with
    /// `s = gamma / sqrt(var + eps)`. The new weights are made by a node that depends on variables only: in inference
    /// it runs once.
    fn fold_batch_norm(&mut self, index: usize, readers: &HashMap<Value, usize>) -> Result<bool> {
        let Some(norm) = self.op::<BatchNormFrozen>(index).copied() else { return Ok(false) };
        let Some(epsilon) = norm.eps else { return Ok(false) };
        let &[x, gamma, beta, mean, variance, ..] = &self.nodes[index].inputs[..] else { return Ok(false) };
        let Some((node, conv)) = self.open_conv(x, readers) else { return Ok(false) };
        if conv.fused.residual {
            return Ok(false);
        }
        let (inputs, name) = (self.nodes[node].inputs.clone(), self.nodes[node].name.clone());
        // New nodes must run before node `index`: build them at the end, then move them in front of it.
        let first = self.nodes.len();
        let scope = std::mem::replace(&mut self.scope, vec![format!("{name} (folded)")]);
        let bias = conv.fused.bias.then(|| inputs[2]);
        let folded = self.batch_norm_fold(inputs[1], bias, [gamma, beta, mean, variance], epsilon);
        self.scope = scope;
        let (weight, bias) = folded?;
        let mut new_inputs = vec![inputs[0], weight, bias];
        new_inputs.extend(&inputs[2 + usize::from(conv.fused.bias)..]);
        let fused = Fused { bias: true, ..conv.fused };
        let attrs = ConvAttrs { relu: norm.relu, ..conv.attrs };
        self.replace_by_conv(index, Conv { attrs, fused }, new_inputs, name);
        self.move_nodes(first, index);
        Ok(true)
    }

    /// Moves the nodes from `first` to the end in front of node `to`.
    fn move_nodes(&mut self, first: usize, to: usize) {
        let moved = self.nodes.len() - first;
        self.nodes[to..].rotate_right(moved);
        self.number_nodes(to);
    }

    /// Tells the outputs of the nodes from `first` on where they come from now.
    pub(super) fn number_nodes(&mut self, first: usize) {
        for (index, node) in self.nodes.iter().enumerate().skip(first) {
            for (output, value) in node.outputs.iter().enumerate() {
                self.values[value.index()].source = Source::Node { node: index, output };
            }
        }
    }
}
