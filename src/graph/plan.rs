//! The memory plan: which nodes run, what runs only once, and where every value lives. Made before anything runs, so that
//! the peak is known beforehand.

use std::collections::{HashMap, HashSet};

use super::allocate::{Allocator, Interval, Owner, allocate, fullest_step, side_by_side};
use super::{Graph, Node, Source, Value, storage};
use crate::device::Device;
use crate::device::cuda::{Precision, Target, Types};
use crate::ops::Workspace;
use crate::tensor::{DType, TensorType};
use crate::{Error, Result};

/// A byte range of one of the executor's two buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Whether it lies in the buffer that lives between runs (variables, constants, what is computed from them).
    pub persistent: bool,
    /// First byte.
    pub offset: usize,
    /// Number of bytes.
    pub bytes: usize,
}

/// One scheduled node.
#[derive(Clone, Debug)]
pub struct Step {
    /// Index of the node in the graph.
    pub node: usize,
    /// Packed inputs and, if they are made anew each time this step runs, whether.
    pub packed: Place,
    /// Whether the packed inputs are constant: filled when the weights are set, not at every run.
    pub packed_once: bool,
    /// Scratch of the body.
    pub scratch: Place,
    /// The input whose memory output 0 has taken over, if any.
    pub in_place: Option<usize>,
}

/// What runs, in which order, and where everything lives.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Nodes that depend on constant values only: run when the variables have been set.
    pub prologue: Vec<Step>,
    /// Nodes of every run.
    pub steps: Vec<Step>,
    /// Bytes that live between runs.
    pub persistent_bytes: usize,
    /// Bytes of the arena: values that live within a run, and scratch.
    pub arena_bytes: usize,
    places: HashMap<Value, Place>,
    /// Values kept as bf16.
    narrow: HashSet<Value>,
    targets: Vec<Value>,
    fullest: usize,
    holders: Vec<(Option<Value>, usize)>,
}

impl Plan {
    /// Plans the computation of `targets` (values to be read afterwards, or whose nodes update variables).
    pub fn new(graph: &Graph, targets: &[Value], device: &Device) -> Result<Self> {
        let mut planner = Planner::new(graph, targets)?;
        // Kernels of a GPU may take their operands for distinct memory.
        if matches!(device, Device::Cpu(_)) {
            planner.take_over_memory();
        }
        planner.narrow_for(&device.target());
        planner.plan(device, allocate)
    }

    /// A plan in which every value has memory of its own, which nothing else uses at any time: for looking into a run, and for
    /// showing that reuse changes nothing.
    pub fn without_reuse(graph: &Graph, targets: &[Value], device: &Device) -> Result<Self> {
        let mut planner = Planner::new(graph, targets)?;
        planner.narrow_for(&device.target());
        planner.plan(device, side_by_side)
    }

    /// Bytes of all buffers together: the peak, known before anything runs.
    pub fn peak_bytes(&self) -> usize {
        self.persistent_bytes + self.arena_bytes
    }

    /// The step at which values and scratch of a run take most, and what they are then, largest first: a value, or `None` for
    /// scratch, with its bytes.
    pub fn fullest_step(&self) -> (usize, &[(Option<Value>, usize)]) {
        (self.fullest, &self.holders)
    }

    /// Where a value lives; `None` if the plan does not compute or keep it.
    pub fn place(&self, value: Value) -> Option<Place> {
        self.places.get(&value).copied()
    }

    /// A value's type as it is kept in memory: bf16 where the device's precision policy and the nodes round it allow it.
    pub fn stored(&self, graph: &Graph, value: Value) -> TensorType {
        storage::stored(graph, &self.narrow, value)
    }

    /// The values that can be read after a run.
    pub fn targets(&self) -> &[Value] {
        &self.targets
    }
}

struct Planner<'a> {
    graph: &'a Graph,
    targets: &'a [Value],
    /// Scheduled nodes in order.
    scheduled: Vec<usize>,
    /// For each value, the value whose memory it shares (views, in-place updates), or itself.
    roots: Vec<Value>,
    /// Values that never change once the variables are set.
    constant: Vec<bool>,
    read: HashSet<Value>,
    /// For a node, the input whose memory its output 0 takes over.
    in_place: HashMap<usize, usize>,
    /// Values kept as bf16.
    narrow: HashSet<Value>,
}

impl<'a> Planner<'a> {
    fn new(graph: &'a Graph, targets: &'a [Value]) -> Result<Self> {
        let scheduled = schedule(graph, targets);
        let mut planner = Self {
            graph,
            targets,
            roots: (0..graph.values.len() as u32).map(Value).collect(),
            constant: vec![false; graph.values.len()],
            read: targets.iter().copied().collect(),
            in_place: HashMap::new(),
            narrow: HashSet::new(),
            scheduled,
        };
        planner.share_memory()?;
        planner.find_constants();
        Ok(planner)
    }

    fn root(&self, mut value: Value) -> Value {
        while self.roots[value.index()] != value {
            value = self.roots[value.index()];
        }
        value
    }

    /// Resolves views and in-place updates, and checks that nobody reads a variable after it was overwritten.
    fn share_memory(&mut self) -> Result<()> {
        let mut overwritten: HashMap<Value, &str> = HashMap::new();
        for &index in &self.scheduled {
            let node = &self.graph.nodes[index];
            for input in &node.inputs {
                self.read.insert(*input);
                if let Some(by) = overwritten.get(input) {
                    let name = &node.name;
                    return Err(Error::graph(format!("'{name}' reads a variable that '{by}' has already overwritten")));
                }
            }
            if node.op.is_view() {
                self.roots[node.outputs[0].index()] = self.roots[node.inputs[0].index()];
            }
            for (output, input) in node.op.updates() {
                let (output, input) = (node.outputs[output], node.inputs[input]);
                if !matches!(self.graph.source(input), Source::Variable(_))
                    || self.graph.ty(input) != self.graph.ty(output)
                {
                    let name = node.op.name();
                    return Err(Error::graph(format!("{name} can only update a variable of its own type in place")));
                }
                self.roots[output.index()] = input;
                overwritten.insert(input, &node.name);
            }
        }
        Ok(())
    }

    fn find_constants(&mut self) {
        let mut updated: HashSet<Value> = HashSet::new();
        for &index in &self.scheduled {
            let node = &self.graph.nodes[index];
            updated.extend(node.op.updates().iter().map(|(_, input)| node.inputs[*input]));
        }
        for (i, info) in self.graph.values.iter().enumerate() {
            self.constant[i] = match info.source {
                Source::Constant(_) => true,
                Source::Variable(_) => !updated.contains(&Value(i as u32)),
                _ => false,
            };
        }
        // While anything is trained, variables are set between runs too: hoist only for pure inference.
        if !updated.is_empty() {
            for (i, info) in self.graph.values.iter().enumerate() {
                self.constant[i] &= matches!(info.source, Source::Constant(_));
            }
        }
        for &index in &self.scheduled {
            let node = &self.graph.nodes[index];
            let constant = node.op.updates().is_empty() && node.inputs.iter().all(|input| self.constant[input.index()]);
            node.outputs.iter().for_each(|output| self.constant[output.index()] = constant);
        }
    }

    /// Lets outputs take over the memory of inputs that nothing reads any more, where the op can work in place.
    fn take_over_memory(&mut self) {
        let mut last: HashMap<Value, usize> = HashMap::new();
        for &index in &self.scheduled {
            let node = &self.graph.nodes[index];
            for value in node.inputs.iter().chain(&node.outputs) {
                last.insert(self.root(*value), index);
            }
        }
        for target in self.targets {
            last.insert(self.root(*target), usize::MAX);
        }
        for position in 0..self.scheduled.len() {
            let index = self.scheduled[position];
            let node = &self.graph.nodes[index];
            let Some(&output) = node.outputs.first() else { continue };
            if self.is_prologue(index) || self.root(output) != output || !self.read.contains(&output) {
                continue;
            }
            let dies = |input: Value| {
                let root = self.root(input);
                let within_run = matches!(self.graph.source(root), Source::Node { .. } | Source::Input(_));
                within_run
                    && !self.constant[root.index()]
                    && self.graph.ty(root).bytes() == self.graph.ty(output).bytes()
                    && self.graph.ty(input) == self.graph.ty(output)
                    && last.get(&root) == Some(&index)
                    && node.inputs.iter().filter(|other| self.root(**other) == root).count() == 1
            };
            let Some(&taken) = node.op.in_place().iter().find(|i| node.inputs.get(**i).is_some_and(|v| dies(*v)))
            else {
                continue;
            };
            let root = self.root(node.inputs[taken]);
            last.insert(root, last.get(&output).copied().unwrap_or(index));
            self.roots[output.index()] = root;
            self.in_place.insert(index, taken);
        }
    }

    /// Finds the values that a GPU keeps as bf16.
    fn narrow_for(&mut self, target: &Target) {
        if target.effective_precision() != Precision::Bf16 {
            return;
        }
        let within_run = |value: &&Value| {
            let root = self.root(**value);
            matches!(self.graph.source(root), Source::Node { .. })
                && !self.constant[value.index()]
                && self.graph.ty(**value).dtype == DType::F32
                && !self.targets.contains(value)
        };
        let made = self.scheduled.iter().flat_map(|index| &self.graph.nodes[*index].outputs);
        let candidates = made.filter(within_run).copied().collect();
        self.narrow = storage::narrow(self.graph, &self.scheduled, candidates);
    }

    fn is_prologue(&self, node: usize) -> bool {
        self.graph.nodes[node].outputs.iter().any(|output| self.constant[output.index()])
    }

    fn types(&self, values: &[Value]) -> Vec<TensorType> {
        values.iter().map(|value| storage::stored(self.graph, &self.narrow, *value)).collect()
    }

    /// For each output of a node, whether it is made: optional ones only if something reads them.
    fn needed(&self, node: &Node) -> Vec<bool> {
        let optional = node.op.optional_outputs();
        let needed = |(i, value): (usize, &Value)| self.read.contains(value) || !optional.contains(&i);
        node.outputs.iter().enumerate().map(needed).collect()
    }

    fn plan(self, device: &Device, allocate: Allocator) -> Result<Plan> {
        let graph = self.graph;
        let (alignment, guard) = (device.alignment(), device.guard_bytes());
        let aligned = |bytes: usize| (bytes + guard).div_ceil(alignment) * alignment;
        let mut persistent = 0usize;
        let mut keep = |bytes: usize| {
            let place = Place { persistent: true, offset: persistent, bytes };
            persistent += aligned(bytes);
            place
        };
        let mut places: HashMap<Value, Place> = HashMap::new();
        for (i, info) in graph.values.iter().enumerate() {
            let value = Value(i as u32);
            let stays = match &info.source {
                Source::Variable(_) => true,
                Source::Constant(_) => self.read.contains(&value),
                Source::Node { node, .. } => {
                    self.constant[i] && self.root(value) == value && self.scheduled.binary_search(node).is_ok()
                }
                Source::Input(_) => false,
            };
            if stays {
                places.insert(value, keep(info.ty.bytes()));
            }
        }
        let (mut prologue, mut steps, mut intervals) = (Vec::new(), Vec::new(), Vec::new());
        let mut prologue_scratch = 0;
        let mut lifetimes: HashMap<Value, (usize, usize)> = HashMap::new();
        for &index in &self.scheduled {
            let node = &graph.nodes[index];
            let workspace: Workspace = if node.op.is_view() {
                Workspace::default()
            } else {
                let (inputs, outputs) = (self.types(&node.inputs), self.types(&node.outputs));
                let types = Types { inputs: &inputs, outputs: &outputs, needed: &self.needed(node) };
                device.workspace(&*node.op, &types).map_err(|error| error.inside(&node.name))?
            };
            let packed_inputs = node.op.packed_inputs();
            let packed_once =
                workspace.packed > 0 && packed_inputs.iter().all(|input| self.constant[node.inputs[*input].index()]);
            let nowhere = Place { persistent: false, offset: 0, bytes: 0 };
            let packed = if packed_once { keep(workspace.packed) } else { nowhere };
            let in_place = self.in_place.get(&index).copied();
            let mut step = Step { node: index, packed, packed_once, scratch: nowhere, in_place };
            if self.is_prologue(index) {
                // The prologue uses the arena before any run does.
                step.scratch = Place { persistent: false, offset: 0, bytes: workspace.scratch };
                prologue_scratch = prologue_scratch.max(workspace.scratch);
                prologue.push(step);
                continue;
            }
            let now = steps.len();
            for value in node.inputs.iter().chain(&node.outputs) {
                let root = self.root(*value);
                if places.contains_key(&root) {
                    continue;
                }
                let begin = if matches!(graph.source(root), Source::Input(_)) { 0 } else { now };
                lifetimes.entry(root).or_insert((begin, now)).1 = now;
            }
            for (value, needed) in node.outputs.iter().zip(self.needed(node)) {
                if !needed {
                    lifetimes.remove(value);
                }
            }
            if workspace.packed > 0 && !packed_once {
                intervals.push(Interval { owner: Owner::Packed(now), bytes: workspace.packed, first: now, last: now });
            }
            if workspace.scratch > 0 {
                intervals.push(Interval {
                    owner: Owner::Scratch(now),
                    bytes: workspace.scratch,
                    first: now,
                    last: now,
                });
            }
            steps.push(step);
        }
        for target in self.targets {
            let root = self.root(*target);
            if !places.contains_key(&root) {
                lifetimes.entry(root).or_insert((0, 0)).1 = usize::MAX;
            }
        }
        for (&value, &(first, last)) in &lifetimes {
            intervals.push(Interval {
                owner: Owner::Value(value),
                bytes: self.types(&[value])[0].bytes(),
                first,
                last,
            });
        }
        let (offsets, arena) = allocate(&intervals, &aligned);
        let (fullest, holders) = fullest_step(&intervals, steps.len());
        for (interval, offset) in intervals.iter().zip(offsets) {
            let place = Place { persistent: false, offset, bytes: interval.bytes };
            match interval.owner {
                Owner::Value(value) => drop(places.insert(value, place)),
                Owner::Packed(step) => steps[step].packed = place,
                Owner::Scratch(step) => steps[step].scratch = place,
            }
        }
        // Views and in-place updates live where their root does.
        for index in 0..graph.values.len() {
            let value = Value(index as u32);
            if let (false, Some(place)) = (places.contains_key(&value), places.get(&self.root(value)).copied()) {
                places.insert(value, place);
            }
        }
        Ok(Plan {
            prologue,
            steps,
            persistent_bytes: persistent,
            arena_bytes: arena.max(aligned(prologue_scratch)),
            places,
            narrow: self.narrow,
            targets: self.targets.to_vec(),
            fullest,
            holders,
        })
    }
}

/// The types of a graph's values as a GPU keeps them in memory, with a plan for these targets.
pub(crate) fn kept_types(graph: &Graph, targets: &[Value], target: &Target) -> Result<Vec<TensorType>> {
    let mut planner = Planner::new(graph, targets)?;
    planner.narrow_for(target);
    let values: Vec<Value> = (0..graph.values.len() as u32).map(Value).collect();
    Ok(planner.types(&values))
}

/// The nodes that the targets need, in graph order; dead nodes are left out.
pub(super) fn schedule(graph: &Graph, targets: &[Value]) -> Vec<usize> {
    let mut needed = vec![false; graph.nodes.len()];
    let mut stack: Vec<Value> = targets.to_vec();
    while let Some(value) = stack.pop() {
        if let Source::Node { node, .. } = graph.source(value)
            && !std::mem::replace(&mut needed[*node], true)
        {
            stack.extend(&graph.nodes[*node].inputs);
        }
    }
    (0..graph.nodes.len()).filter(|node| needed[*node]).collect()
}
