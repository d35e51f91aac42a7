//! Static graphs of ops: built once for fixed shapes, differentiated by appending nodes, planned, then run many times.

mod allocate;
mod autodiff;
mod backend;
mod chains;
mod dump;
mod executor;
mod gradients_fused;
mod plan;
mod recompute;
mod rewrite;
mod run_cpu;
#[cfg(feature = "cuda")]
mod run_cuda;
mod storage;

use std::collections::HashMap;
use std::sync::Arc;

pub use autodiff::GradientContext;
pub use dump::Dump;
pub use executor::Executor;
pub(crate) use plan::kept_types;
pub use plan::{Place, Plan, Step};

use crate::ops::Op;
use crate::tensor::{Tensor, TensorType};
use crate::{Error, Result};

/// A tensor of a graph: the handle that builder methods take and give.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Value(pub(crate) u32);

impl Value {
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// Where a value comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// Handed in at every run.
    Input(String),
    /// Lives in the executor between runs: weights, moving statistics, optimizer state.
    Variable(String),
    /// Fixed when the graph is built.
    Constant(Arc<Tensor>),
    /// An output of a node.
    Node {
        /// Index of the node.
        node: usize,
        /// Which of its outputs.
        output: usize,
    },
}

/// One op applied to values.
#[derive(Clone, Debug)]
pub struct Node {
    /// The op with its attributes.
    pub op: Arc<dyn Op>,
    /// Its inputs.
    pub inputs: Vec<Value>,
    /// Its outputs.
    pub outputs: Vec<Value>,
    /// Dotted name, for dumps and profiles: the scope it was built in, outside of any the name of its op.
    pub name: String,
}

#[derive(Clone, Debug)]
struct ValueInfo {
    ty: TensorType,
    source: Source,
}

/// A graph under construction, or finished: nodes in the order they were appended, which is a valid order to run them.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    values: Vec<ValueInfo>,
    nodes: Vec<Node>,
    names: HashMap<String, Value>,
    scope: Vec<String>,
}

impl Graph {
    /// An empty graph.
    pub fn new() -> Self {
        Self::default()
    }

    /// Declares an input. Fails if the name is taken.
    pub fn input(&mut self, name: &str, ty: TensorType) -> Result<Value> {
        self.named(name.to_owned(), ty, Source::Input(name.to_owned()))
    }

    /// Declares a variable (weights, moving statistics) under the current scope, or returns the one of that name.
    /// Fails if it exists with another type.
    pub fn variable(&mut self, name: &str, ty: TensorType) -> Result<Value> {
        let name = self.scoped_name(name);
        if let Some(&value) = self.names.get(&name) {
            let found = &self.values[value.index()];
            if matches!(found.source, Source::Variable(_)) && found.ty == ty {
                return Ok(value);
            }
            return Err(Error::graph(format!("variable '{name}' is {}, asked for as {ty}", found.ty)));
        }
        self.named(name.clone(), ty, Source::Variable(name))
    }

    /// A tensor fixed at build time.
    pub fn constant(&mut self, tensor: Tensor) -> Value {
        self.push_value(tensor.ty().clone(), Source::Constant(Arc::new(tensor)))
    }

    /// Applies an op; returns all its outputs.
    pub fn apply(&mut self, op: impl Op, inputs: &[Value]) -> Result<Vec<Value>> {
        self.apply_shared(Arc::new(op), inputs)
    }

    /// Applies an op with a single output.
    pub fn apply1(&mut self, op: impl Op, inputs: &[Value]) -> Result<Value> {
        let name = op.name();
        let outputs = self.apply(op, inputs)?;
        match outputs[..] {
            [output] => Ok(output),
            _ => Err(Error::graph(format!("{name} has {} outputs, one was expected", outputs.len()))),
        }
    }

    pub(crate) fn apply_shared(&mut self, op: Arc<dyn Op>, inputs: &[Value]) -> Result<Vec<Value>> {
        let types: Vec<TensorType> = inputs.iter().map(|v| self.ty(*v).clone()).collect();
        let scope = self.scope.join(".");
        let output_types = op.infer(&types).map_err(|error| match error {
            Error::Op { op, message } if !scope.is_empty() => Error::Op { op: format!("{scope} ({op})"), message },
            other => other,
        })?;
        let node = self.nodes.len();
        let outputs: Vec<Value> = output_types
            .into_iter()
            .enumerate()
            .map(|(output, ty)| self.push_value(ty, Source::Node { node, output }))
            .collect();
        let name = if scope.is_empty() { op.name().to_owned() } else { scope };
        self.nodes.push(Node { op, inputs: inputs.to_vec(), outputs: outputs.clone(), name });
        Ok(outputs)
    }

    /// Builds inside a named scope: variables and nodes get `name.` in front.
    pub fn scoped<T>(&mut self, name: &str, build: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.scope.push(name.to_owned());
        let result = build(self);
        self.scope.pop();
        result
    }

    /// Type of a value.
    pub fn ty(&self, value: Value) -> &TensorType {
        &self.values[value.index()].ty
    }

    /// Extents of a value.
    pub fn shape(&self, value: Value) -> &crate::tensor::Shape {
        &self.ty(value).shape
    }

    /// Where a value comes from.
    pub fn source(&self, value: Value) -> &Source {
        &self.values[value.index()].source
    }

    /// The nodes, in an order in which they can run.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The input or variable of that (full, dotted) name.
    pub fn find(&self, name: &str) -> Option<Value> {
        self.names.get(name).copied()
    }

    /// All variables with their full names, in the order they were declared.
    pub fn variables(&self) -> Vec<(&str, Value)> {
        self.iter_named(|source| match source {
            Source::Variable(name) => Some(name.as_str()),
            _ => None,
        })
    }

    /// All inputs with their names, in the order they were declared.
    pub fn inputs(&self) -> Vec<(&str, Value)> {
        self.iter_named(|source| match source {
            Source::Input(name) => Some(name.as_str()),
            _ => None,
        })
    }

    fn iter_named<'a>(&'a self, pick: impl Fn(&'a Source) -> Option<&'a str>) -> Vec<(&'a str, Value)> {
        let named = |(i, info): (usize, &'a ValueInfo)| pick(&info.source).map(|name| (name, Value(i as u32)));
        self.values.iter().enumerate().filter_map(named).collect()
    }

    fn named(&mut self, name: String, ty: TensorType, source: Source) -> Result<Value> {
        if self.names.contains_key(&name) {
            return Err(Error::graph(format!("the name '{name}' is taken")));
        }
        let value = self.push_value(ty, source);
        self.names.insert(name, value);
        Ok(value)
    }

    fn push_value(&mut self, ty: TensorType, source: Source) -> Value {
        self.values.push(ValueInfo { ty, source });
        Value((self.values.len() - 1) as u32)
    }

    fn scoped_name(&self, name: &str) -> String {
        if self.scope.is_empty() { name.to_owned() } else { format!("{}.{name}", self.scope.join(".")) }
    }
}
