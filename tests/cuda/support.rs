//! Emulated GPUs and small graphs to run on them.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sarcomere::device::cuda::{Bundle, Cuda, KernelCache, Precision, Sources};
use sarcomere::graph::{Executor, Graph, Value};
use sarcomere::tensor::{Tensor, TensorType};
use sarcomere::{Device, DeviceFault, Error, Result};

use crate::emulator::Emulator;

/// The emulator as in a new thread, or `None` (a counted skip).
pub fn emulator() -> Option<&'static Emulator> {
    let emulator = Emulator::get()?;
    emulator.reset();
    Some(emulator)
}

/// GPU 0 with embedded kernels, nothing kept on disk.
pub fn gpu() -> Result<Cuda> {
    with(Sources::embedded(), KernelCache::disabled())
}

/// GPU 0 with these kernels and this cache.
pub fn with(sources: Sources, cache: KernelCache) -> Result<Cuda> {
    Cuda::with(0, Precision::F32, sources, cache, Bundle::empty())
}

/// A device of it.
pub fn device(cuda: Cuda) -> Device {
    Device::Cuda(Arc::new(cuda))
}

/// The kind of a device's failure. Panics on any other error.
pub fn fault(error: &Error) -> DeviceFault {
    match error {
        Error::Device { fault, .. } => *fault,
        other => panic!("not a failure of the device: {other}"),
    }
}

/// `y = relu(a * b + v)`, with `v` a variable, and a running sum of `y` as a variable that is updated... by a second output.
pub struct Small {
    pub graph: Arc<Graph>,
    pub a: Value,
    pub b: Value,
    pub y: Value,
}

impl Small {
    pub fn new() -> Result<Self> {
        let mut g = Graph::new();
        let ty = TensorType::f32([5, 7]);
        let (a, b) = (g.input("a", ty.clone())?, g.input("b", ty.clone())?);
        let v = g.variable("v", ty)?;
        let product = g.mul(a, b)?;
        let sum = g.add(product, v)?;
        let y = g.relu(sum)?;
        Ok(Self { graph: Arc::new(g), a, b, y })
    }

    pub fn executor(&self, device: &Device) -> Result<Executor> {
        let mut executor = Executor::new(device, self.graph.clone(), &[self.y])?;
        executor.set("v", &ramp(0.3)?)?;
        Ok(executor)
    }

    /// Runs it on ramps; the bytes of `y`.
    pub fn run(&self, executor: &mut Executor, slope: f32) -> Result<Vec<u8>> {
        executor.run(&[(self.a, &ramp(slope)?), (self.b, &ramp(-0.5 * slope)?)])?;
        Ok(executor.output(self.y)?.bytes().to_vec())
    }
}

/// 35 values on a line through zero.
pub fn ramp(slope: f32) -> Result<Tensor> {
    let values: Vec<f32> = (0..35).map(|i| slope * (i as f32 - 17.0)).collect();
    Tensor::new([5, 7], &values)
}

/// An empty folder of its own.
pub fn folder(name: &str) -> PathBuf {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}-{number}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).expect("a folder can be made");
    path
}

/// A folder of kernels with one embedded text changed.
pub fn changed_kernels(name: &str, change: impl Fn(&str) -> String) -> Sources {
    let folder = folder("kernels");
    let text = Sources::embedded().text(name).expect("an embedded text");
    let changed = change(&text);
    assert_ne!(changed, text, "the change has no effect");
    std::fs::write(folder.join(name), changed).expect("the folder can be written to");
    Sources::folder(folder)
}
