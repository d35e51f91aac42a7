//! Reverse-mode differentiation: the gradient of a graph is more nodes of the same graph.

use std::collections::HashMap;

use super::{Graph, Source, Value};
use crate::{Error, Result};

/// What an op's gradient rule works with.
pub struct GradientContext<'a> {
    /// The graph to append to.
    pub graph: &'a mut Graph,
    /// The node's inputs.
    pub inputs: &'a [Value],
    /// The node's outputs.
    pub outputs: &'a [Value],
    /// Gradient of each output; `None` where the result does not depend on it.
    pub output_gradients: &'a [Option<Value>],
    /// Which inputs' gradients are asked for: the rule may return `None` for the others.
    pub needed: &'a [bool],
}

impl GradientContext<'_> {
    /// The gradient of output 0, for ops that have only one worth differentiating.
    pub fn dy(&self) -> Result<Value> {
        self.output_gradients
            .first()
            .copied()
            .flatten()
            .ok_or_else(|| Error::graph("gradient rule called without a gradient of output 0"))
    }
}

impl Graph {
    /// Appends the nodes that compute d`loss`/d`wrt` and returns one value for each of `wrt`, of its shape. `loss` must
    /// be a single value. A `wrt` that the loss does not depend on gets zeros.
    pub fn gradients(&mut self, loss: Value, wrt: &[Value]) -> Result<Vec<Value>> {
        if self.ty(loss).len() != 1 {
            return Err(Error::graph(format!("a loss is a single value, got {}", self.ty(loss))));
        }
        let seed = crate::tensor::Tensor::new(self.shape(loss).clone(), &[1.0f32])?;
        let seed = self.constant(seed);
        self.gradients_from(&[(loss, seed)], wrt)
    }

    /// As [`Graph::gradients`], from given gradients of any values (vector-Jacobian product).
    pub fn gradients_from(&mut self, seeds: &[(Value, Value)], wrt: &[Value]) -> Result<Vec<Value>> {
        let forward_nodes = self.nodes.len();
        let depends = self.depends_on(wrt);
        let mut partials: HashMap<Value, Vec<Value>> = HashMap::new();
        for &(value, gradient) in seeds {
            if self.ty(value) != self.ty(gradient) {
                let (value, gradient) = (self.ty(value), self.ty(gradient));
                return Err(Error::graph(format!("gradient {gradient} given for a value {value}")));
            }
            partials.entry(value).or_default().push(gradient);
        }
        for index in (0..forward_nodes).rev() {
            let node = self.nodes[index].clone();
            if !node.outputs.iter().any(|output| partials.contains_key(output)) {
                continue;
            }
            let needed: Vec<bool> = node.inputs.iter().map(|input| depends[input.index()]).collect();
            if !needed.contains(&true) {
                continue;
            }
            // Gradient nodes carry the name of the node they differentiate.
            let scope = std::mem::replace(&mut self.scope, vec![format!("{}'", node.name)]);
            let result = self.node_gradient(&node, &needed, &mut partials);
            self.scope = scope;
            let gradients = result?;
            for ((&input, needed), gradient) in node.inputs.iter().zip(needed).zip(gradients) {
                if let (true, Some(gradient)) = (needed, gradient) {
                    if self.ty(gradient) != self.ty(input) {
                        let (found, expected) = (self.ty(gradient), self.ty(input));
                        let message = format!("gradient of {} is {found}, its input is {expected}", node.op.name());
                        return Err(Error::graph(message));
                    }
                    partials.entry(input).or_default().push(gradient);
                }
            }
        }
        wrt.iter().map(|&value| self.total(value, &mut partials)).collect()
    }

    fn node_gradient(
        &mut self,
        node: &super::Node,
        needed: &[bool],
        partials: &mut HashMap<Value, Vec<Value>>,
    ) -> Result<Vec<Option<Value>>> {
        let mut output_gradients = Vec::with_capacity(node.outputs.len());
        for &output in &node.outputs {
            let known = partials.contains_key(&output);
            output_gradients.push(if known { Some(self.total(output, partials)?) } else { None });
        }
        let context = &mut GradientContext {
            graph: self,
            inputs: &node.inputs,
            outputs: &node.outputs,
            output_gradients: &output_gradients,
            needed,
        };
        let gradients = node.op.gradient(context)?;
        if gradients.len() != node.inputs.len() {
            let (found, expected) = (gradients.len(), node.inputs.len());
            return Err(Error::graph(format!("{} returned {found} gradients for {expected} inputs", node.op.name())));
        }
        Ok(gradients)
    }

    /// The sum of all gradients that reached a value, kept as its only one.
    fn total(&mut self, value: Value, partials: &mut HashMap<Value, Vec<Value>>) -> Result<Value> {
        let parts = partials.remove(&value).unwrap_or_default();
        let total = match parts[..] {
            [] => self.constant(crate::tensor::Tensor::zeros(self.ty(value).dtype, self.shape(value).clone())),
            [only] => only,
            _ => self.sum_of(&parts)?,
        };
        partials.insert(value, vec![total]);
        Ok(total)
    }

    /// For every value, whether it depends on one of `wrt` through differentiable (`f32`) values.
    fn depends_on(&self, wrt: &[Value]) -> Vec<bool> {
        let mut depends = vec![false; self.values.len()];
        wrt.iter().for_each(|value| depends[value.index()] = true);
        for node in &self.nodes {
            if node.inputs.iter().any(|input| depends[input.index()]) {
                for output in &node.outputs {
                    depends[output.index()] |= self.ty(*output).dtype == crate::tensor::DType::F32;
                }
            }
        }
        depends
    }

    /// The values that gradients must not cross: inputs and constants have none anyway.
    #[doc(hidden)]
    pub fn is_leaf(&self, value: Value) -> bool {
        !matches!(self.source(value), Source::Node { .. })
    }
}
