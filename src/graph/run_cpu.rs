//! Runs steps on the processor, in two buffers of host memory.

use std::sync::Arc;

use super::backend::Backend;
use super::{Graph, Place, Plan, Step};
use crate::device::{Cpu, Device};
use crate::ops::{CpuArgs, Input, Output};
use crate::tensor::AlignedBytes;
use crate::{DeviceFault, Error, Result};

/// Host memory and the CPU bodies.
pub(super) struct CpuBackend {
    cpu: Arc<Cpu>,
    persistent: AlignedBytes,
    arena: AlignedBytes,
    /// Reused from run to run, so that running allocates nothing.
    input_views: Vec<Input<'static>>,
    output_views: Vec<Output<'static>>,
}

impl CpuBackend {
    pub(super) fn new(cpu: Arc<Cpu>, plan: &Plan) -> Result<Self> {
        let memory = |bytes: usize| {
            AlignedBytes::try_zeroed(bytes).ok_or_else(|| {
                let gib = plan.peak_bytes() as f64 / f64::from(1 << 30);
                let message = format!("there are no {gib:.1} GiB of memory: choose a smaller batch or network");
                Error::device(DeviceFault::OutOfMemory, message)
            })
        };
        Ok(Self {
            cpu,
            persistent: memory(plan.persistent_bytes)?,
            arena: memory(plan.arena_bytes)?,
            input_views: Vec::new(),
            output_views: Vec::new(),
        })
    }

    fn buffer(&self, place: Place) -> &AlignedBytes {
        if place.persistent { &self.persistent } else { &self.arena }
    }

    fn pointer(&self, place: Place) -> *const u8 {
        let bytes: &[u8] = self.buffer(place);
        bytes[place.offset..].as_ptr()
    }

    fn pointer_mut(&mut self, place: Place) -> *mut u8 {
        let buffer = if place.persistent { &mut self.persistent } else { &mut self.arena };
        buffer[place.offset..].as_mut_ptr()
    }

    fn pack(&mut self, graph: &Graph, plan: &Plan, step: &Step) {
        let node = &graph.nodes[step.node];
        let packed_inputs = node.op.packed_inputs();
        let inputs: Vec<Input<'_>> = (node.inputs.iter().enumerate())
            .map(|(i, value)| {
                let bytes: &[u8] = match plan.place(*value) {
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

    fn run_packed(&mut self, graph: &Graph, plan: &Plan, step: &Step, pack: bool) -> Result<()> {
        let node = &graph.nodes[step.node];
        if node.op.is_view() {
            return Ok(());
        }
        if pack && step.packed.bytes > 0 {
            self.pack(graph, plan, step);
        }
        let updates = node.op.updates();
        let mut inputs = std::mem::take(&mut self.input_views);
        let mut outputs = std::mem::take(&mut self.output_views);
        for (index, value) in node.inputs.iter().enumerate() {
            let overwritten = step.in_place == Some(index) || updates.iter().any(|(_, input)| *input == index);
            let bytes: &[u8] = match plan.place(*value) {
                // SAFETY: the plan gives values that live at the same time disjoint places, and an input that shares its
                // place with an output is handed over empty.
                Some(place) if !overwritten => unsafe { std::slice::from_raw_parts(self.pointer(place), place.bytes) },
                _ => &[],
            };
            let input = Input::new(graph.ty(*value), bytes);
            // SAFETY: only the lifetime changes; the views are dropped before this function returns.
            inputs.push(unsafe { std::mem::transmute::<Input<'_>, Input<'static>>(input) });
        }
        for value in &node.outputs {
            let bytes: &mut [u8] = match plan.place(*value) {
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
        result.map_err(|error| error.inside(&node.name))
    }
}

impl Backend for CpuBackend {
    fn write(&mut self, place: Place, bytes: &[u8]) -> Result<()> {
        let buffer = if place.persistent { &mut self.persistent } else { &mut self.arena };
        buffer[place.offset..place.offset + place.bytes].copy_from_slice(bytes);
        Ok(())
    }

    fn read(&self, place: Place) -> Result<&[u8]> {
        Ok(&self.buffer(place)[place.offset..place.offset + place.bytes])
    }

    fn prepare(&mut self, graph: &Graph, plan: &Plan) -> Result<()> {
        for step in &plan.prologue {
            self.run_packed(graph, plan, step, true)?;
        }
        for step in plan.steps.iter().filter(|step| step.packed_once) {
            self.pack(graph, plan, step);
        }
        Ok(())
    }

    fn run_step(&mut self, graph: &Graph, plan: &Plan, step: &Step) -> Result<()> {
        self.run_packed(graph, plan, step, !step.packed_once)
    }

    fn device(&self) -> Device {
        Device::Cpu(self.cpu.clone())
    }
}
