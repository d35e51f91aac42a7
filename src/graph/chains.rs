//! Joins runs of elementwise nodes to one node each: values between them are never written to memory.

use std::any::Any;
use std::collections::{HashMap, HashSet};

use super::{Graph, Node, Source, Value};
use crate::ops::elementwise::chain::{Expression, Pair};
use crate::ops::elementwise::{Binary, BinaryKind, ElementwiseChain, SumOf, Unary, UnaryGrad};

/// What is known of a graph's values before its nodes are joined.
struct Facts {
    /// Number of nodes and targets that read a value.
    readers: HashMap<Value, usize>,
    /// The last node that reads a value, or a view of it.
    last_reader: HashMap<Value, usize>,
    /// The node that overwrites a variable.
    overwritten: HashMap<Value, usize>,
    /// Values that are computed once, when the variables are set.
    once: HashSet<Value>,
    /// For every node, the one scheduled before it, views left out.
    before: HashMap<usize, usize>,
}

impl Graph {
    /// Joins every elementwise node to the one that alone reads its result, where both have one shape and their memory does not
    /// grow: what is left is one [`ElementwiseChain`] for several nodes, with the same bits. Call it last, after differentiation and
    /// [`Graph::recompute`]: chains have no gradient. `targets` are the values to be read. Returns how many nodes were absorbed.
    pub fn fuse_elementwise(&mut self, targets: &[Value]) -> usize {
        let schedule = super::plan::schedule(self, targets);
        let mut facts = self.facts(&schedule, targets);
        schedule.iter().map(|index| self.absorb(*index, &mut facts)).sum()
    }

    fn facts(&self, schedule: &[usize], targets: &[Value]) -> Facts {
        let mut facts = Facts {
            readers: self.readers(targets),
            last_reader: targets.iter().map(|value| (self.viewed(*value), usize::MAX)).collect(),
            overwritten: HashMap::new(),
            once: HashSet::new(),
            before: HashMap::new(),
        };
        let mut previous = None;
        for &index in schedule {
            let node = &self.nodes[index];
            for input in &node.inputs {
                let last = facts.last_reader.entry(self.viewed(*input)).or_insert(index);
                *last = index.max(*last);
            }
            for (_, input) in node.op.updates() {
                facts.overwritten.insert(node.inputs[input], index);
            }
            if !node.op.is_view() {
                facts.before.extend(previous.replace(index).map(|previous| (index, previous)));
            }
        }
        for &index in schedule {
            let node = &self.nodes[index];
            let is_once = |input: &Value| match self.source(*input) {
                Source::Constant(_) => true,
                Source::Variable(_) => facts.overwritten.is_empty(),
                Source::Input(_) => false,
                Source::Node { .. } => facts.once.contains(input),
            };
            if node.op.updates().is_empty() && node.inputs.iter().all(is_once) {
                facts.once.extend(&node.outputs);
            }
        }
        facts
    }

    /// The value that a view, or a view of a view, is another shape of.
    fn viewed(&self, mut value: Value) -> Value {
        while let Source::Node { node, .. } = self.source(value) {
            if !self.nodes[*node].op.is_view() {
                break;
            }
            value = self.nodes[*node].inputs[0];
        }
        value
    }

    /// Joins the nodes that make the inputs of node `index` to it, where that is allowed. Returns how many.
    fn absorb(&mut self, index: usize, facts: &mut Facts) -> usize {
        if elementwise(&self.nodes[index]).is_none() {
            return 0;
        }
        let mut absorbed: Vec<Value> = Vec::new();
        let mut best = None;
        for value in self.nodes[index].inputs.clone() {
            if !absorbed.contains(&value) && self.may_absorb(index, value, facts) {
                absorbed.push(value);
                match self.joined(index, &absorbed) {
                    Some(joined) => best = Some(joined),
                    None => drop(absorbed.pop()),
                }
            }
        }
        if let Some((op, inputs)) = best {
            for input in &inputs {
                let last = facts.last_reader.entry(self.viewed(*input)).or_insert(index);
                *last = index.max(*last);
            }
            self.nodes[index].op = std::sync::Arc::new(op);
            self.nodes[index].inputs = inputs;
        }
        absorbed.len()
    }

    /// Whether the node that makes `value` may become part of node `index`, which reads it.
    fn may_absorb(&self, index: usize, value: Value, facts: &Facts) -> bool {
        let Source::Node { node, .. } = *self.source(value) else { return false };
        let (from, to) = (&self.nodes[node], &self.nodes[index]);
        let result = to.outputs[0];
        // Its inputs are then read later: they must not have been overwritten, nor hold more memory than is saved.
        let overwritten = |input: &Value| {
            facts.overwritten.get(&self.viewed(*input)).is_some_and(|overwriter| (node..index).contains(overwriter))
        };
        let dies_before = |input: &Value| {
            let within_run = matches!(self.source(*input), Source::Node { .. } | Source::Input(_));
            within_run && facts.last_reader.get(input).is_some_and(|last| *last < index)
        };
        let held: HashSet<Value> = from.inputs.iter().map(|input| self.viewed(*input)).filter(dies_before).collect();
        let held: usize = held.iter().map(|input| self.ty(*input).bytes()).sum();
        let neighbours = facts.before.get(&index) == Some(&node);
        elementwise(from).is_some()
            && facts.readers.get(&value) == Some(&1)
            && self.ty(value) == self.ty(result)
            && facts.once.contains(&value) == facts.once.contains(&result)
            && !from.inputs.iter().any(overwritten)
            && (neighbours || held <= self.ty(value).bytes())
    }

    /// Node `index` with the nodes that make some of its inputs as one op; `None` if that is too long for one.
    fn joined(&self, index: usize, absorbed: &[Value]) -> Option<(ElementwiseChain, Vec<Value>)> {
        let node = &self.nodes[index];
        let mut inputs: Vec<Value> = Vec::new();
        let mut slot = |value: Value| {
            let known = inputs.iter().position(|input| *input == value);
            Expression::Input(known.unwrap_or_else(|| {
                inputs.push(value);
                inputs.len() - 1
            }))
        };
        let expression = elementwise(node)?.replaced(&mut |input| {
            let value = node.inputs[input];
            match self.source(value) {
                Source::Node { node, .. } if absorbed.contains(&value) => {
                    let from = &self.nodes[*node];
                    let expression = elementwise(from).unwrap_or(Expression::Input(0));
                    expression.replaced(&mut |input| slot(from.inputs[input]))
                }
                _ => slot(value),
            }
        });
        Some((ElementwiseChain::new(expression)?, inputs))
    }
}

/// What a node computes, if it is elementwise.
fn elementwise(node: &Node) -> Option<Expression> {
    let op: &dyn Any = &*node.op;
    let x = Expression::Input;
    if let Some(op) = op.downcast_ref::<Unary>() {
        return Some(Expression::unary(op.kind, x(0)));
    }
    if let Some(op) = op.downcast_ref::<UnaryGrad>() {
        return Some(Expression::pair(Pair::Gradient(op.kind), x(0), x(1)));
    }
    if let Some(op) = op.downcast_ref::<Binary>() {
        return Some(Expression::pair(Pair::Binary(op.kind), x(0), x(1)));
    }
    if op.is::<SumOf>() && node.inputs.len() > 1 {
        let add = |sum, input| Expression::pair(Pair::Binary(BinaryKind::Add), sum, x(input));
        return Some((1..node.inputs.len()).fold(x(0), add));
    }
    op.downcast_ref::<ElementwiseChain>().map(|chain| chain.expression().clone())
}
