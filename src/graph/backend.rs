//! What an executor needs of a device: memory for values, and a way to run steps.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Graph, Place, Plan, Step};
use crate::Result;
use crate::device::Device;

/// The memory and the bodies of one planned graph on one device.
pub(super) trait Backend: Send {
    /// Sets a value that lives between runs.
    fn write(&mut self, place: Place, bytes: &[u8]) -> Result<()>;

    /// Sets an input of the next run.
    fn feed(&mut self, place: Place, bytes: &[u8]) -> Result<()> {
        self.write(place, bytes)
    }

    /// Sets an input of the next run to what another backend's run left at a place of its own.
    fn feed_from(&mut self, place: Place, other: &dyn Backend, from: Place) -> Result<()> {
        self.feed(place, other.read(from)?)
    }

    /// Where a place lies in device memory; none in the host's.
    #[cfg(feature = "cuda")]
    fn address(&self, _: Place) -> Option<u64> {
        None
    }

    /// A value's bytes, aligned for any element, as everything run so far left them.
    fn read(&self, place: Place) -> Result<&[u8]>;

    /// Brings up to date what depends on variables and constants alone.
    fn prepare(&mut self, graph: &Graph, plan: &Plan) -> Result<()>;

    /// Runs one step, to its end.
    fn run_step(&mut self, graph: &Graph, plan: &Plan, step: &Step) -> Result<()>;

    /// Runs all steps; a device may still be at work when this returns.
    fn run(&mut self, graph: &Graph, plan: &Plan) -> Result<()> {
        plan.steps.iter().try_for_each(|step| self.run_step(graph, plan, step))
    }

    /// As [`Backend::run`], to its end; adds what each step took to `times`.
    fn run_timed(&mut self, graph: &Graph, plan: &Plan, times: &mut [Duration]) -> Result<()> {
        for (step, time) in plan.steps.iter().zip(times) {
            let begin = Instant::now();
            self.run_step(graph, plan, step)?;
            *time += begin.elapsed();
        }
        Ok(())
    }

    /// The device.
    fn device(&self) -> Device;
}

/// The backend of a device.
pub(super) fn new(device: &Device, graph: &Arc<Graph>, plan: &Plan) -> Result<Box<dyn Backend>> {
    let _ = graph;
    match device {
        Device::Cpu(cpu) => Ok(Box::new(super::run_cpu::CpuBackend::new(cpu.clone(), plan)?)),
        #[cfg(feature = "cuda")]
        Device::Cuda(cuda) => Ok(Box::new(super::run_cuda::CudaBackend::new(cuda.clone(), graph, plan)?)),
    }
}
