//! Runs a planned graph on a device.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::plan::{Place, Step};
use super::{Graph, Plan, Source, Value};
use crate::device::{Cpu, Device};
use crate::ops::{CpuArgs, Input, Output};
use crate::tensor::{AlignedBytes, DType, Element, Tensor};
use crate::{Error, Result};

/// A graph ready to run: planned, with its memory. Variables keep their values between runs; they start at zero.
pub struct Executor {
    graph: Arc<Graph>,
    plan: Plan,
    cpu: Arc<Cpu>,
    persistent: AlignedBytes,
    arena: AlignedBytes,
    /// Inputs handed in since the last run.
    fed: HashMap<Value, bool>,
    /// Variables have been set since the prologue ran.
    stale: bool,
    profile: Option<Vec<Duration>>,
    check_finite: bool,
    /// Reused from run to run, so that running allocates nothing.
    input_views: Vec<Input<'static>>,
    output_views: Vec<Output<'static>>,
}

impl Executor {
    /// Plans the computation of `targets` and allocates its memory. Targets are the values to be read after a run, and
    /// outputs of nodes that update variables.
    pub fn new(device: &Device, graph: Arc<Graph>, targets: &[Value]) -> Result<Self> {
        let Device::Cpu(cpu) = device;
        let plan = Plan::new(&graph, targets, cpu)?;
        let fed = graph.inputs().iter().filter(|(_, v)| plan.place(*v).is_some()).map(|(_, v)| (*v, false)).collect();
        let mut executor = Self {
            persistent: AlignedBytes::zeroed(plan.persistent_bytes),
            arena: AlignedBytes::zeroed(plan.arena_bytes),
            cpu: cpu.clone(),
            graph: graph.clone(),
            plan,
            fed,
            stale: true,
            profile: None,
            check_finite: false,
            input_views: Vec::new(),
            output_views: Vec::new(),
        };
        for (index, info) in graph.values.iter().enumerate() {
            if let (Source::Constant(tensor), Some(place)) = (&info.source, executor.plan.place(Value(index as u32))) {
                executor.bytes_mut(place).copy_from_slice(tensor.bytes());
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
        Device::Cpu(self.cpu.clone())
    }

    /// Sets a variable by its full name. The type must be the variable's own.
    pub fn set(&mut self, name: &str, tensor: &Tensor) -> Result<()> {
        let value = self.variable(name)?;
        let expected = self.graph.ty(value);
        if expected != tensor.ty() {
            return Err(Error::graph(format!("variable '{name}' is {expected}, it was given {}", tensor.ty())));
        }
        let place = self.place(value)?;
        self.bytes_mut(place).copy_from_slice(tensor.bytes());
        self.stale = true;
        Ok(())
    }

    /// A copy of a variable's value.
    pub fn get(&self, name: &str) -> Result<Tensor> {
        let value = self.variable(name)?;
        Tensor::from_bytes(self.graph.ty(value).clone(), self.bytes(self.place(value)?))
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

    fn feed_bytes(&mut self, input: Value, bytes: &[u8]) -> Result<()> {
        if !matches!(self.graph.source(input), Source::Input(_)) {
            return Err(Error::graph(format!("{} is not an input", self.describe(input))));
        }
        if let Some(place) = self.plan.place(input) {
            self.bytes_mut(place).copy_from_slice(bytes);
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
        for index in 0..self.plan.steps.len() {
            let step = self.plan.steps[index].clone();
            let begin = self.profile.is_some().then(Instant::now);
            self.run_step(&step, !step.packed_once)?;
            if self.check_finite {
                self.find_not_finite(step.node)?;
            }
            if let (Some(profile), Some(begin)) = (&mut self.profile, begin) {
                profile[index] += begin.elapsed();
            }
        }
        self.fed.values_mut().for_each(|fed| *fed = false);
        Ok(())
    }

    /// Computes what depends on variables and constants alone. The arena is free then: inputs are handed in again.
    fn prepare(&mut self) -> Result<()> {
        let kept: Vec<(Place, Vec<u8>)> = if self.plan.prologue.iter().any(|step| step.scratch.bytes > 0) {
            let places = self.fed.keys().filter_map(|input| self.plan.place(*input));
            places.map(|place| (place, self.bytes(place).to_vec())).collect()
        } else {
            Vec::new()
        };
        for index in 0..self.plan.prologue.len() {
            let step = self.plan.prologue[index].clone();
            self.run_step(&step, true)?;
        }
        for index in 0..self.plan.steps.len() {
            if self.plan.steps[index].packed_once {
                let step = self.plan.steps[index].clone();
                self.pack(&step);
            }
        }
        for (place, bytes) in kept {
            self.bytes_mut(place).copy_from_slice(&bytes);
        }
        self.stale = false;
        Ok(())
    }

    fn pack(&mut self, step: &Step) {
        let graph = self.graph.clone();
        let node = &graph.nodes[step.node];
        let packed_inputs = node.op.packed_inputs();
        let inputs: Vec<Input<'_>> = (node.inputs.iter().enumerate())
            .map(|(i, value)| {
                let bytes: &[u8] = match self.plan.place(*value) {
                    // SAFETY: inputs and packed memory never overlap: the plan keeps both during this step.
                    Some(place) if packed_inputs.contains(&i) => unsafe {
                        std::slice::from_raw_parts(self.pointer(place), place.bytes)
                    },
                    _ => &[],
                };
                Input::new(graph.ty(*value), bytes)
            })
            .collect();
        // SAFETY: as above.
        let packed = unsafe { std::slice::from_raw_parts_mut(self.pointer_mut(step.packed), step.packed.bytes) };
        node.op.cpu_pack(&self.cpu, &inputs, packed);
    }

    fn run_step(&mut self, step: &Step, pack: bool) -> Result<()> {
        let graph = self.graph.clone();
        let node = &graph.nodes[step.node];
        if node.op.is_view() {
            return Ok(());
        }
        if pack && step.packed.bytes > 0 {
            self.pack(step);
        }
        let updates = node.op.updates();
        let mut inputs = std::mem::take(&mut self.input_views);
        let mut outputs = std::mem::take(&mut self.output_views);
        for (index, value) in node.inputs.iter().enumerate() {
            let overwritten = updates.iter().any(|(_, input)| *input == index);
            let bytes: &[u8] = match self.plan.place(*value) {
                // SAFETY: the plan gives values that live at the same time disjoint places, and an input that shares its
                // place with an output is handed over empty.
                Some(place) if !overwritten => unsafe { std::slice::from_raw_parts(self.pointer(place), place.bytes) },
                _ => &[],
            };
            // SAFETY: only the lifetime changes; the views are dropped before this function returns.
            inputs
                .push(unsafe { std::mem::transmute::<Input<'_>, Input<'static>>(Input::new(graph.ty(*value), bytes)) });
        }
        for value in &node.outputs {
            let bytes: &mut [u8] = match self.plan.place(*value) {
                // SAFETY: as above.
                Some(place) => unsafe { std::slice::from_raw_parts_mut(self.pointer_mut(place), place.bytes) },
                None => &mut [],
            };
            let output = Output::new(graph.ty(*value), bytes);
            // SAFETY: as above.
            outputs.push(unsafe { std::mem::transmute::<Output<'_>, Output<'static>>(output) });
        }
        // SAFETY: packed memory and scratch are disjoint from all values of this step.
        let packed: &[u8] = unsafe { std::slice::from_raw_parts(self.pointer(step.packed), step.packed.bytes) };
        // SAFETY: as above.
        let scratch = unsafe { std::slice::from_raw_parts_mut(self.pointer_mut(step.scratch), step.scratch.bytes) };
        let result = {
            // SAFETY: shortens the lifetime of what the slice's elements borrow, for this call only.
            let outputs = unsafe { std::mem::transmute::<&mut [Output<'static>], &mut [Output<'_>]>(&mut outputs[..]) };
            node.op.cpu_run(&self.cpu, &mut CpuArgs { inputs: &inputs, outputs, packed, scratch })
        };
        inputs.clear();
        outputs.clear();
        self.input_views = inputs;
        self.output_views = outputs;
        result.map_err(|error| match error {
            Error::Op { op, message } => Error::Op { op: format!("{} ({op})", node.name), message },
            other => other,
        })
    }

    /// A copy of a target's value after a run.
    pub fn output(&self, value: Value) -> Result<Tensor> {
        Tensor::from_bytes(self.graph.ty(value).clone(), self.bytes(self.target_place(value)?))
    }

    /// A target's elements after a run.
    pub fn values<T: Element>(&self, value: Value) -> Result<&[T]> {
        let place = self.target_place(value)?;
        if self.graph.ty(value).dtype != T::DTYPE {
            let (name, found) = (self.describe(value), self.graph.ty(value));
            return Err(Error::graph(format!("{name} is {found}, asked for as {}", T::DTYPE)));
        }
        Ok(bytemuck::cast_slice(self.bytes(place)))
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

    /// Starts (or restarts) counting the time of every step.
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
                let values: &[f32] = bytemuck::cast_slice(self.bytes(place));
                if let Some(at) = values.iter().position(|v| !v.is_finite()) {
                    let (what, found) = (self.describe(value), values[at]);
                    return Err(Error::graph(format!("{what}, {ty}, is {found} at element {at}")));
                }
            }
        }
        Ok(())
    }

    fn buffer(&self, place: Place) -> &AlignedBytes {
        if place.persistent { &self.persistent } else { &self.arena }
    }

    fn bytes(&self, place: Place) -> &[u8] {
        &self.buffer(place)[place.offset..place.offset + place.bytes]
    }

    fn bytes_mut(&mut self, place: Place) -> &mut [u8] {
        let buffer = if place.persistent { &mut self.persistent } else { &mut self.arena };
        &mut buffer[place.offset..place.offset + place.bytes]
    }

    fn pointer(&self, place: Place) -> *const u8 {
        let bytes: &[u8] = self.buffer(place);
        bytes[place.offset..].as_ptr()
    }

    fn pointer_mut(&mut self, place: Place) -> *mut u8 {
        let buffer = if place.persistent { &mut self.persistent } else { &mut self.arena };
        buffer[place.offset..].as_mut_ptr()
    }

    /// Copies every variable that both executors have under the same name and type. Returns how many.
    pub fn copy_variables_from(&mut self, other: &Executor) -> Result<usize> {
        let mut copied = 0;
        for (name, value) in other.graph.variables() {
            if self.graph.find(name).is_some_and(|own| self.graph.ty(own) == other.graph.ty(value)) {
                let (from, to) = (other.place(value)?, self.place(self.variable(name)?)?);
                let bytes = other.bytes(from);
                self.bytes_mut(to).copy_from_slice(bytes);
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
        write!(f, "Executor({steps} steps, {peak} bytes, {:?})", self.cpu)
    }
}
