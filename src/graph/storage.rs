//! Which values a GPU keeps in memory as bf16 under that precision policy: half the bytes to move and to hold.
//!
//! A value is kept so where the node that makes it and all nodes that read it can take it ([`Op::narrow`](crate::ops::Op::narrow));
//! types in the graph stay `f32`. Variables, constants, inputs and targets are never: master weights, statistics, losses and whatever
//! is read after a run have full precision.

use std::collections::HashSet;

use super::{Graph, Value};
use crate::ops::Narrow;
use crate::tensor::{DType, TensorType};

/// The values among `candidates` (made by nodes, `f32`) that all of the `scheduled` nodes can take as bf16.
pub(super) fn narrow(graph: &Graph, scheduled: &[usize], mut candidates: HashSet<Value>) -> HashSet<Value> {
    let slots: Vec<Vec<Narrow>> = scheduled
        .iter()
        .map(|&index| {
            let node = &graph.nodes[index];
            let types: Vec<TensorType> = node.inputs.iter().map(|value| graph.ty(*value).clone()).collect();
            if node.op.is_view() { vec![Narrow::new([0], [0])] } else { node.op.narrow(&types) }
        })
        .collect();
    // Each round may take from what the one before left together.
    loop {
        let before = candidates.len();
        for (&index, slots) in scheduled.iter().zip(&slots) {
            let node = &graph.nodes[index];
            let inputs = node.inputs.iter().enumerate();
            let taken = |position: usize, of: fn(&Narrow) -> &Vec<usize>| {
                slots.iter().any(|narrow| of(narrow).contains(&position))
            };
            for (position, value) in inputs {
                if !taken(position, |narrow| &narrow.inputs) {
                    candidates.remove(value);
                }
            }
            for (position, value) in node.outputs.iter().enumerate() {
                if !taken(position, |narrow| &narrow.outputs) {
                    candidates.remove(value);
                }
            }
            for narrow in slots {
                let inputs = narrow.inputs.iter().map(|position| node.inputs[*position]);
                let together: Vec<Value> = inputs.chain(narrow.outputs.iter().map(|p| node.outputs[*p])).collect();
                if !together.iter().all(|value| candidates.contains(value)) {
                    for value in &together {
                        candidates.remove(value);
                    }
                }
            }
        }
        if candidates.len() == before {
            return candidates;
        }
    }
}

/// A value's type as it is kept in memory.
pub(super) fn stored(graph: &Graph, narrow: &HashSet<Value>, value: Value) -> TensorType {
    let ty = graph.ty(value).clone();
    if narrow.contains(&value) { TensorType { dtype: DType::Bf16, ..ty } } else { ty }
}
