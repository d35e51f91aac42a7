//! Runs steps on a GPU: one arena, every launch bound once, the whole plan captured as one CUDA graph and replayed.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use cudarc::driver::CudaGraph;

use super::backend::Backend;
use super::{Graph, Place, Plan, Source, Step, Value};
use crate::device::cpu::Isa;
use crate::device::cuda::{Addresses, Bound, Cuda, DeviceBuffer, PinnedBuffer, Queue, Types};
use crate::device::{Cpu, Device};
use crate::tensor::{AlignedBytes, TensorType};
use crate::{DeviceFault, Error, Result};

/// Device memory and bound launches.
pub(super) struct CudaBackend {
    /// The captured plan; made at the first run. Dropped before what it refers to.
    captured: Option<Captured>,
    /// Launches of each scheduled node.
    bound: HashMap<usize, Vec<Bound>>,
    /// Persistent places first, then the arena.
    memory: DeviceBuffer,
    persistent_bytes: usize,
    /// Host copies of places, made when they are read and dropped when anything runs or is written.
    mirrors: HashMap<(bool, usize, usize), OnceLock<AlignedBytes>>,
    /// Some of them have been made: most runs have none to drop.
    mirrored: AtomicBool,
    /// What the device copies inputs from.
    staging: HashMap<(usize, usize), PinnedBuffer>,
    /// Those that a copy on the stream may still read.
    in_flight: HashSet<(usize, usize)>,
    /// Fills large ones; made when first needed.
    host: OnceLock<Cpu>,
    cuda: Arc<Cuda>,
}

struct Captured(CudaGraph);

// SAFETY: a graph is used by one thread at a time: its executor is borrowed alone for that.
unsafe impl Send for Captured {}

/// Bytes from which copying is shared among threads: one core of some machines moves 5 GB/s, a recording has 6.5 MB.
const SHARED_BYTES: usize = 1 << 20;
/// Threads that copy.
const COPIERS: usize = 4;

fn copy(host: &OnceLock<Cpu>, to: &mut [u8], from: &[u8]) {
    if from.len() < SHARED_BYTES {
        return to.copy_from_slice(from);
    }
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    let host = host.get_or_init(|| Cpu::with(cores.min(COPIERS), Isa::Portable));
    let each = from.len().div_ceil(host.threads());
    host.parallel_chunks(to, each, |part, to| to.copy_from_slice(&from[part * each..][..to.len()]));
}

fn key(place: Place) -> (bool, usize, usize) {
    (place.persistent, place.offset, place.bytes)
}

impl CudaBackend {
    pub(super) fn new(cuda: Arc<Cuda>, graph: &Graph, plan: &Plan) -> Result<Self> {
        let bytes = plan.peak_bytes();
        let free = cuda.free_bytes()?;
        if bytes > free {
            return Err(out_of_memory(graph, plan, free));
        }
        let memory = DeviceBuffer::new(&cuda, bytes)?;
        memory.fill(0, bytes, 0)?;
        let mirrors = (0..graph.values.len() as u32).filter_map(|index| plan.place(Value(index)));
        let mut backend = Self {
            captured: None,
            bound: HashMap::new(),
            mirrors: mirrors.map(|place| (key(place), OnceLock::new())).collect(),
            mirrored: AtomicBool::new(false),
            staging: HashMap::new(),
            in_flight: HashSet::new(),
            host: OnceLock::new(),
            persistent_bytes: plan.persistent_bytes,
            memory,
            cuda,
        };
        for step in plan.prologue.iter().chain(&plan.steps) {
            let bound = backend.bind(graph, plan, step)?;
            backend.bound.insert(step.node, bound);
        }
        Ok(backend)
    }

    fn offset(&self, place: Place) -> usize {
        if place.persistent { place.offset } else { self.persistent_bytes + place.offset }
    }

    fn bind(&self, graph: &Graph, plan: &Plan, step: &Step) -> Result<Vec<Bound>> {
        let node = &graph.nodes[step.node];
        if node.op.is_view() {
            return Ok(Vec::new());
        }
        let types = |values: &[Value]| -> Vec<TensorType> { values.iter().map(|v| plan.stored(graph, *v)).collect() };
        let address = |value: &Value| plan.place(*value).map_or(0, |place| self.memory.address(self.offset(place)));
        let (inputs, outputs) = (types(&node.inputs), types(&node.outputs));
        let needed: Vec<bool> = node.outputs.iter().map(|value| plan.place(*value).is_some()).collect();
        let types = Types { inputs: &inputs, outputs: &outputs, needed: &needed };
        let work = node.op.cuda(self.cuda.target(), &types).map_err(|error| error.inside(&node.name))?;
        let addresses = Addresses {
            inputs: &node.inputs.iter().map(address).collect::<Vec<_>>(),
            outputs: &node.outputs.iter().map(address).collect::<Vec<_>>(),
            scratch: self.memory.address(self.offset(step.scratch)),
        };
        Bound::new(&self.cuda, &work, &addresses, &node.name)
    }

    fn enqueue(&self, step: &Step, queue: Queue) -> Result<()> {
        self.bound.get(&step.node).into_iter().flatten().try_for_each(|bound| bound.enqueue(&self.cuda, queue))
    }

    /// Fills what a step writes, and the guards behind, with NaN.
    fn poison(&self, graph: &Graph, plan: &Plan, step: &Step) -> Result<()> {
        for place in written(graph, plan, step) {
            self.memory.fill(self.offset(place), place.bytes + self.cuda.guard_bytes(), POISON)?;
        }
        for place in updated(graph, plan, step) {
            self.memory.fill(self.offset(place) + place.bytes, self.cuda.guard_bytes(), POISON)?;
        }
        Ok(())
    }

    /// Checks that the guards behind what a step wrote are as [`CudaBackend::poison`] left them.
    fn check_guards(&self, graph: &Graph, plan: &Plan, step: &Step) -> Result<()> {
        let mut guard = vec![0u8; self.cuda.guard_bytes()];
        for place in written(graph, plan, step).into_iter().chain(updated(graph, plan, step)) {
            self.memory.read(self.offset(place) + place.bytes, &mut guard)?;
            if let Some(at) = guard.iter().position(|byte| *byte != POISON) {
                let node = &graph.nodes[step.node];
                let (name, op, bytes) = (&node.name, node.op.name(), place.bytes);
                let message = format!("'{name}' ({op}) wrote {at} bytes behind the end of {bytes} bytes of its own");
                return Err(Error::device(DeviceFault::Refused, message));
            }
        }
        Ok(())
    }

    fn forget_mirrors(&mut self) {
        if std::mem::take(self.mirrored.get_mut()) {
            self.mirrors.values_mut().for_each(|mirror| drop(mirror.take()));
        }
    }
}

impl Backend for CudaBackend {
    fn write(&mut self, place: Place, bytes: &[u8]) -> Result<()> {
        self.forget_mirrors();
        self.memory.write(self.offset(place), bytes)
    }

    fn feed(&mut self, place: Place, bytes: &[u8]) -> Result<()> {
        self.forget_mirrors();
        let offset = self.offset(place);
        let key = (offset, bytes.len());
        if self.in_flight.contains(&key) {
            self.cuda.synchronize()?;
            self.in_flight.clear();
        }
        let staging = match self.staging.entry(key) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert(PinnedBuffer::new(&self.cuda, bytes.len())?)
            }
        };
        copy(&self.host, staging.get_mut(), bytes);
        self.in_flight.insert(key);
        self.memory.write_pinned(offset, staging)
    }

    fn feed_from(&mut self, place: Place, other: &dyn Backend, from: Place) -> Result<()> {
        match (other.device(), other.address(from)) {
            (Device::Cuda(cuda), Some(address)) if Arc::ptr_eq(&cuda, &self.cuda) => {
                self.forget_mirrors();
                self.cuda.copy(self.cuda.queue(), address, self.memory.address(self.offset(place)), place.bytes)
            }
            _ => self.feed(place, other.read(from)?),
        }
    }

    fn address(&self, place: Place) -> Option<u64> {
        Some(self.memory.address(self.offset(place)))
    }

    fn read(&self, place: Place) -> Result<&[u8]> {
        let mirror = self.mirrors.get(&key(place));
        let mirror = mirror.ok_or_else(|| Error::graph("asked for a place that holds no value"))?;
        if mirror.get().is_none() {
            let mut bytes = AlignedBytes::zeroed(place.bytes);
            self.memory.read(self.offset(place), &mut bytes)?;
            // Another thread may have been first; both read the same.
            let _ = mirror.set(bytes);
            self.mirrored.store(true, Ordering::Relaxed);
        }
        Ok(mirror.get().map_or(&[], |bytes| &bytes[..]))
    }

    fn prepare(&mut self, graph: &Graph, plan: &Plan) -> Result<()> {
        if self.cuda.guard_bytes() > 0 {
            return plan.prologue.iter().try_for_each(|step| self.run_step(graph, plan, step));
        }
        self.forget_mirrors();
        plan.prologue.iter().try_for_each(|step| self.enqueue(step, self.cuda.queue()))
    }

    fn run_step(&mut self, graph: &Graph, plan: &Plan, step: &Step) -> Result<()> {
        self.forget_mirrors();
        let guarded = self.cuda.guard_bytes() > 0 && !graph.nodes[step.node].op.is_view();
        if guarded {
            self.poison(graph, plan, step)?;
        }
        self.enqueue(step, self.cuda.queue())?;
        self.cuda.synchronize()?;
        if guarded { self.check_guards(graph, plan, step) } else { Ok(()) }
    }

    fn run(&mut self, graph: &Graph, plan: &Plan) -> Result<()> {
        if self.cuda.guard_bytes() > 0 {
            return plan.steps.iter().try_for_each(|step| self.run_step(graph, plan, step));
        }
        self.forget_mirrors();
        if self.captured.is_none() {
            let graph = self.cuda.capture(|queue| plan.steps.iter().try_for_each(|step| self.enqueue(step, queue)))?;
            self.captured = graph.map(Captured);
        }
        match &self.captured {
            Some(Captured(graph)) => self.cuda.replay(graph),
            // Nothing to run.
            None => Ok(()),
        }
    }

    fn run_timed(&mut self, graph: &Graph, plan: &Plan, times: &mut [Duration]) -> Result<()> {
        if self.cuda.guard_bytes() > 0 {
            return self.run(graph, plan);
        }
        self.forget_mirrors();
        let mut marks = vec![self.cuda.mark()?];
        for step in &plan.steps {
            self.enqueue(step, self.cuda.queue())?;
            marks.push(self.cuda.mark()?);
        }
        self.cuda.synchronize()?;
        for (pair, time) in marks.windows(2).zip(times) {
            *time += self.cuda.between(&pair[0], &pair[1])?;
        }
        Ok(())
    }

    fn device(&self) -> Device {
        Device::Cuda(self.cuda.clone())
    }
}

/// What outputs, scratch and guards are filled with: a NaN in every float type.
const POISON: u8 = 0xff;

/// Places that a step fills anew: outputs that update nothing, and scratch.
fn written(graph: &Graph, plan: &Plan, step: &Step) -> Vec<Place> {
    let node = &graph.nodes[step.node];
    let updates = node.op.updates();
    let outputs = node.outputs.iter().enumerate().filter(|(i, _)| !updates.iter().any(|(output, _)| output == i));
    outputs
        .filter_map(|(_, value)| plan.place(*value))
        .chain((step.scratch.bytes > 0).then_some(step.scratch))
        .collect()
}

/// Places of variables that a step updates.
fn updated(graph: &Graph, plan: &Plan, step: &Step) -> Vec<Place> {
    let node = &graph.nodes[step.node];
    node.op.updates().iter().filter_map(|(output, _)| plan.place(node.outputs[*output])).collect()
}

/// The error for a plan that is larger than what is free, with what takes most.
fn out_of_memory(graph: &Graph, plan: &Plan, free: usize) -> Error {
    let mib = |bytes: usize| bytes as f64 / (1 << 20) as f64;
    let mut holders: Vec<(usize, String)> = Vec::new();
    for (index, info) in graph.values.iter().enumerate() {
        if let Some(place) = plan.place(Value(index as u32)) {
            let name = match &info.source {
                Source::Input(name) | Source::Variable(name) => name.clone(),
                Source::Constant(_) => "a constant".to_owned(),
                Source::Node { node, .. } => format!("{} ({})", graph.nodes[*node].name, graph.nodes[*node].op.name()),
            };
            holders.push((place.bytes, format!("{name} {} {:.1} MiB", info.ty, mib(place.bytes))));
        }
    }
    holders.sort_by(|a, b| b.cmp(a));
    let largest: Vec<String> = holders.into_iter().take(5).map(|(_, text)| text).collect();
    let message = format!(
        "the plan needs {:.1} MiB ({:.1} kept, {:.1} within a run), {:.1} MiB of device memory are free; take a smaller batch or \
         close other programs on this GPU. Largest: {}",
        mib(plan.peak_bytes()),
        mib(plan.persistent_bytes),
        mib(plan.arena_bytes),
        mib(free),
        largest.join("; ")
    );
    Error::device(DeviceFault::OutOfMemory, message)
}
