//! Memory for arithmetic: what is cheap to make again need not be kept for the gradients.

use std::sync::Arc;

use super::{Graph, Source, Value};
use crate::Result;
use crate::ops::Op;

/// Values smaller than this are kept.
const SMALLEST: usize = 64 * 1024;

/// A value to be made again before node `before` by `op` from `inputs`.
struct Repeat {
    value: Value,
    before: usize,
    op: Arc<dyn Op>,
    inputs: Vec<Value>,
    name: String,
}

impl Graph {
    /// Values of the first `forward` nodes that only gradients (later nodes) read any more are made again right before the first
    /// of these, where the op knows a cheap way and everything it needs is kept anyway. Bits stay the same. Returns how many
    /// nodes were added. Call it once, after differentiation.
    pub fn recompute(&mut self, forward: usize) -> Result<usize> {
        // First and last reader of every value among the gradients.
        let mut first = vec![usize::MAX; self.values.len()];
        let mut last = vec![0; self.values.len()];
        for (index, node) in self.nodes.iter().enumerate() {
            for input in &node.inputs {
                let at = input.index();
                last[at] = index;
                if index >= forward {
                    first[at] = first[at].min(index);
                }
            }
        }
        // Who reads a view reads what it is a view of.
        for node in self.nodes[..forward].iter().rev().filter(|node| node.op.is_view()) {
            let (from, to) = (node.inputs[0].index(), node.outputs[0].index());
            first[from] = first[from].min(first[to]);
            last[from] = last[from].max(last[to]);
        }
        let mut repeats: Vec<Repeat> = Vec::new();
        // For every value, the node before which it is made again.
        let mut repeated = vec![usize::MAX; self.values.len()];
        for node in &self.nodes[..forward] {
            let Some(&value) = node.outputs.first() else { continue };
            let (before, bytes) = (first[value.index()], self.ty(value).bytes());
            if before == usize::MAX || bytes < SMALLEST {
                continue;
            }
            let is_repeated = |input: &Value| repeated[input.index()] <= before;
            let is_kept = |input: &Value| {
                let stays = !matches!(self.source(*input), Source::Node { .. });
                stays || last[input.index()] >= before || 8 * self.ty(*input).bytes() <= bytes
            };
            let again = if node.op.is_view() {
                is_repeated(&node.inputs[0]).then(|| (node.op.clone(), node.inputs.clone()))
            } else {
                let again = node.op.again(&node.inputs, &node.outputs);
                again.filter(|(_, inputs)| inputs.iter().all(|input| is_repeated(input) || is_kept(input)))
            };
            if let Some((op, inputs)) = again {
                repeated[value.index()] = before;
                repeats.push(Repeat { value, before, op, inputs, name: format!("{} (again)", node.name) });
            }
        }
        // Stable: what a repeated node reads is repeated before it.
        repeats.sort_by_key(|repeat| repeat.before);
        self.insert(repeats)
    }

    fn insert(&mut self, repeats: Vec<Repeat>) -> Result<usize> {
        let (old, added) = (self.nodes.len(), repeats.len());
        let mut again: Vec<Value> = (0..self.values.len() as u32).map(Value).collect();
        let mut befores = Vec::with_capacity(added);
        for repeat in repeats {
            let inputs: Vec<Value> = repeat.inputs.iter().map(|input| again[input.index()]).collect();
            let scope = std::mem::replace(&mut self.scope, vec![repeat.name]);
            let outputs = self.apply_shared(repeat.op, &inputs);
            self.scope = scope;
            again[repeat.value.index()] = outputs?[0];
            befores.push(repeat.before);
        }
        let Some(&start) = befores.first() else { return Ok(0) };
        let mut new = self.nodes.split_off(old).into_iter().zip(befores).peekable();
        for (index, mut node) in self.nodes.split_off(start).into_iter().enumerate() {
            while let Some((repeat, _)) = new.next_if(|(_, before)| *before <= start + index) {
                self.nodes.push(repeat);
            }
            // The gradients read what was made again.
            node.inputs.iter_mut().for_each(|input| *input = again[input.index()]);
            self.nodes.push(node);
        }
        self.number_nodes(start);
        Ok(added)
    }
}
