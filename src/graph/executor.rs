//! Runs a planned graph on a device.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::backend::{self, Backend};
use super::{Graph, Place, Plan, Source, Value};
use crate::device::Device;
use crate::tensor::{DType, Element, Tensor};
use crate::{Error, Result};

/// A graph ready to run: planned, with its memory. Variables keep their values between runs; they start at zero.
pub struct Executor {
    graph: Arc<Graph>,
    plan: Plan,
    backend: Box<dyn Backend>,
    /// Inputs handed in since the last run.
    fed: HashMap<Value, bool>,
    /// Variables have been set since the prologue ran.
    stale: bool,
    profile: Option<Vec<Duration>>,
    check_finite: bool,
}

impl Executor {
    /// Plans the computation of `targets` and allocates its memory. Targets are the values to be read after a run, and
    /// outputs of nodes that update variables.
    pub fn new(device: &Device, graph: Arc<Graph>, targets: &[Value]) -> Result<Self> {
        let plan = Plan::new(&graph, targets, device)?;
        Self::with_plan(device, graph, plan)
    }

    /// Runs a plan made from this graph, for this device.
    pub fn with_plan(device: &Device, graph: Arc<Graph>, plan: Plan) -> Result<Self> {
        let fed = graph.inputs().iter().filter(|(_, v)| plan.place(*v).is_some()).map(|(_, v)| (*v, false)).collect();
        let mut executor = Self {
            backend: backend::new(device, &graph, &plan)?,
            graph: graph.clone(),
            plan,
            fed,
            stale: true,
            profile: None,
            check_finite: false,
        };
        for (index, info) in graph.values.iter().enumerate() {
            if let (Source::Constant(tensor), Some(place)) = (&info.source, executor.plan.place(Value(index as u32))) {
                executor.backend.write(place, tensor.bytes())?;
            }
        }
        Ok(executor)
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The graph.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The device.
    pub fn device(&self) -> Device {
        self.backend.device()
    }

    /// Sets a variable by its full name. The type must be the variable's own.
    pub fn set(&mut self, name: &str, tensor: &Tensor) -> Result<()> {
        let value = self.variable(name)?;
        let expected = self.graph.ty(value);
        if expected != tensor.ty() {
            return Err(Error::graph(format!("variable '{name}' is {expected}, it was given {}", tensor.ty())));
        }
        let place = self.place(value)?;
        self.backend.write(place, tensor.bytes())?;
        self.stale = true;
        Ok(())
    }

    /// A copy of a variable's value.
    pub fn get(&self, name: &str) -> Result<Tensor> {
        let value = self.variable(name)?;
        Tensor::from_bytes(self.graph.ty(value).clone(), self.backend.read(self.place(value)?)?)
    }

    fn variable(&self, name: &str) -> Result<Value> {
        match self.graph.find(name) {
            Some(value) if matches!(self.graph.source(value), Source::Variable(_)) => Ok(value),
            _ => Err(Error::graph(format!("there is no variable '{name}'"))),
        }
    }

    /// Hands in an input for the next run. An input that the targets do not need is ignored.
    pub fn feed(&mut self, input: Value, tensor: &Tensor) -> Result<()> {
        let expected = self.graph.ty(input);
        if expected != tensor.ty() {
            let name = self.describe(input);
            return Err(Error::graph(format!("{name} is {expected}, it was given {}", tensor.ty())));
        }
        self.feed_bytes(input, tensor.bytes())
    }

    /// As [`Executor::feed`], from plain values.
    pub fn feed_values<T: Element>(&mut self, input: Value, values: &[T]) -> Result<()> {
        let expected = self.graph.ty(input);
        if expected.dtype != T::DTYPE || expected.len() != values.len() {
            let (name, found) = (self.describe(input), values.len());
            return Err(Error::graph(format!(
                "{name} is {expected}, it was given {found} values of type {}",
                T::DTYPE
            )));
        }
        self.feed_bytes(input, bytemuck::cast_slice(values))
    }

    /// As [`Executor::feed`], from a target of another executor, as its last run left it: on one GPU without the host.
    pub fn feed_from(&mut self, input: Value, other: &Executor, value: Value) -> Result<()> {
        let (expected, found) = (self.graph.ty(input), other.graph.ty(value));
        if expected != found {
            let (name, other) = (self.describe(input), other.describe(value));
            return Err(Error::graph(format!("{name} is {expected}, it was given {other}, {found}")));
        }
        let from = other.target_place(value)?;
        if let Some(place) = self.place_of_input(input)? {
            self.backend.feed_from(place, other.backend.as_ref(), from)?;
            self.fed.insert(input, true);
        }
        Ok(())
    }

    /// None for an input that the targets do not need.
    fn place_of_input(&self, input: Value) -> Result<Option<Place>> {
        if !matches!(self.graph.source(input), Source::Input(_)) {
            return Err(Error::graph(format!("{} is not an input", self.describe(input))));
        }
        Ok(self.plan.place(input))
    }

    fn feed_bytes(&mut self, input: Value, bytes: &[u8]) -> Result<()> {
        if let Some(place) = self.place_of_input(input)? {
            self.backend.feed(place, bytes)?;
            self.fed.insert(input, true);
        }
        Ok(())
    }

    fn describe(&self, value: Value) -> String {
        match self.graph.source(value) {
            Source::Input(name) => format!("input '{name}'"),
            Source::Variable(name) => format!("variable '{name}'"),
            Source::Constant(_) => "a constant".to_owned(),
            Source::Node { node, output } => {
                let node = &self.graph.nodes[*node];
                format!("output {output} of '{}' ({})", node.name, node.op.name())
            }
        }
    }

    /// Hands in inputs and runs every node once.
    pub fn run(&mut self, inputs: &[(Value, &Tensor)]) -> Result<()> {
        for (input, tensor) in inputs {
            self.feed(*input, tensor)?;
        }
        self.run_fed()
    }

    /// Runs every node once on the inputs handed in by [`Executor::feed`]; every input must have been, since memory of
    /// inputs is reused within a run.
    pub fn run_fed(&mut self) -> Result<()> {
        if let Some((missing, _)) = self.fed.iter().find(|(_, fed)| !**fed) {
            return Err(Error::graph(format!("{} was not given", self.describe(*missing))));
        }
        if self.stale {
            self.prepare()?;
        }
        match &mut self.profile {
            _ if self.check_finite => self.run_watched()?,
            Some(times) => self.backend.run_timed(&self.graph, &self.plan, times)?,
            None => self.backend.run(&self.graph, &self.plan)?,
        }
        self.fed.values_mut().for_each(|fed| *fed = false);
        Ok(())
    }

    /// Runs step by step, looking at what each has made.
    fn run_watched(&mut self) -> Result<()> {
        for step in &self.plan.steps {
            self.backend.run_step(&self.graph, &self.plan, step)?;
            self.find_not_finite(step.node)?;
        }
        Ok(())
    }

    /// Computes what depends on variables and constants alone. The arena is free then: inputs are handed in again.
    fn prepare(&mut self) -> Result<()> {
        let mut kept: Vec<(Place, Vec<u8>)> = Vec::new();
        if self.plan.prologue.iter().any(|step| step.scratch.bytes > 0) {
            for place in self.fed.keys().filter_map(|input| self.plan.place(*input)) {
                kept.push((place, self.backend.read(place)?.to_vec()));
            }
        }
        self.backend.prepare(&self.graph, &self.plan)?;
        for (place, bytes) in kept {
            self.backend.feed(place, &bytes)?;
        }
        self.stale = false;
        Ok(())
    }

    /// A copy of a target's value after a run.
    pub fn output(&self, value: Value) -> Result<Tensor> {
        Tensor::from_bytes(self.graph.ty(value).clone(), self.backend.read(self.target_place(value)?)?)
    }

    /// A target's elements after a run.
    pub fn values<T: Element>(&self, value: Value) -> Result<&[T]> {
        let place = self.target_place(value)?;
        if self.graph.ty(value).dtype != T::DTYPE {
            let (name, found) = (self.describe(value), self.graph.ty(value));
            return Err(Error::graph(format!("{name} is {found}, asked for as {}", T::DTYPE)));
        }
        Ok(bytemuck::cast_slice(self.backend.read(place)?))
    }

    /// The single `f32` of a target, after a run.
    pub fn scalar(&self, value: Value) -> Result<f32> {
        match self.values::<f32>(value)? {
            [only] => Ok(*only),
            _ => Err(Error::graph(format!("{} is {}, not a scalar", self.describe(value), self.graph.ty(value)))),
        }
    }

    fn target_place(&self, value: Value) -> Result<Place> {
        let kept = self.plan.targets().contains(&value) || !matches!(self.graph.source(value), Source::Node { .. });
        if !kept {
            return Err(Error::graph(format!("{} is not a target of this executor", self.describe(value))));
        }
        self.place(value)
    }

    fn place(&self, value: Value) -> Result<Place> {
        self.plan.place(value).ok_or_else(|| Error::graph(format!("{} is not in the plan", self.describe(value))))
    }

    /// Starts (or restarts) counting the time of every step: on a GPU from the end of the step before to its own, its launches
    /// put on the stream one by one. Runs that are watched for values which are not finite are not counted.
    pub fn start_profile(&mut self) {
        self.profile = Some(vec![Duration::ZERO; self.plan.steps.len()]);
    }

    /// Time of every step since [`Executor::start_profile`], with the index of its node.
    pub fn profile(&self) -> Vec<(usize, Duration)> {
        let times = self.profile.as_deref().unwrap_or_default();
        self.plan.steps.iter().zip(times).map(|(step, time)| (step.node, *time)).collect()
    }

    /// With `true`, every run stops with an error at the first node that makes a value which is not finite, naming node and
    /// place. Slow: for finding out where a run went wrong.
    pub fn check_finite(&mut self, check: bool) {
        self.check_finite = check;
    }

    fn find_not_finite(&self, node: usize) -> Result<()> {
        for &value in &self.graph.nodes[node].outputs {
            let (ty, Some(place)) = (self.graph.ty(value), self.plan.place(value)) else { continue };
            if ty.dtype == DType::F32 {
                let stored = self.plan.stored(&self.graph, value);
                let tensor = Tensor::from_bytes(stored, self.backend.read(place)?)?.to_f32();
                let values = tensor.values::<f32>()?;
                if let Some(at) = values.iter().position(|v| !v.is_finite()) {
                    let (what, found) = (self.describe(value), values[at]);
                    return Err(Error::graph(format!("{what}, {ty}, is {found} at element {at}")));
                }
            }
        }
        Ok(())
    }

    /// Copies every variable that both executors have under the same name and type. Returns how many.
    pub fn copy_variables_from(&mut self, other: &Executor) -> Result<usize> {
        let mut copied = 0;
        for (name, value) in other.graph.variables() {
            if self.graph.find(name).is_some_and(|own| self.graph.ty(own) == other.graph.ty(value)) {
                let (from, to) = (other.place(value)?, self.place(self.variable(name)?)?);
                self.backend.write(to, other.backend.read(from)?)?;
                copied += 1;
            }
        }
        self.stale = true;
        Ok(copied)
    }

    /// Whether all values of a target are finite (targets that are not `f32` are).
    pub fn is_finite(&self, value: Value) -> Result<bool> {
        Ok(self.graph.ty(value).dtype != DType::F32 || self.values::<f32>(value)?.iter().all(|v| v.is_finite()))
    }
}

impl std::fmt::Debug for Executor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (steps, peak) = (self.plan.steps.len(), self.plan.peak_bytes());
        write!(f, "Executor({steps} steps, {peak} bytes, {:?})", self.device())
    }
}
