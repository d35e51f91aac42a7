//! Where graphs run.

pub mod cpu;
pub mod cuda;

use std::sync::Arc;

pub use cpu::Cpu;
use cuda::{Architecture, Precision, Target, Types};

#[cfg(not(feature = "cuda"))]
use crate::DeviceFault;
use crate::ops::{Op, Workspace};
use crate::tensor::TensorType;
use crate::{Error, Result};

/// A device that runs graphs. Cheap to clone: clones share the device.
#[derive(Clone, Debug)]
pub enum Device {
    /// The host's processor.
    Cpu(Arc<Cpu>),
    /// An NVIDIA GPU.
    #[cfg(feature = "cuda")]
    Cuda(Arc<cuda::Cuda>),
}

/// What is wrong with a device, without the remedy: there is another one.
fn reason(error: &Error) -> String {
    let text = error.to_string();
    let text = text.strip_prefix("device: ").unwrap_or(&text);
    text.split("; ").next().unwrap_or(text).to_owned()
}

/// Names one after the other, those that follow themselves with how often: `gru_step_after_f32 (400 times)`.
#[cfg(feature = "cuda")]
fn names<'a>(all: impl Iterator<Item = &'a str>) -> String {
    let mut runs: Vec<(&str, usize)> = Vec::new();
    for name in all {
        match runs.last_mut() {
            Some((last, times)) if *last == name => *times += 1,
            _ => runs.push((name, 1)),
        }
    }
    let word =
        |(name, times): &(&str, usize)| if *times > 1 { format!("{name} ({times} times)") } else { (*name).to_owned() };
    runs.iter().map(word).collect::<Vec<_>>().join(" ")
}

impl Device {
    /// What may be asked for on the command line.
    pub const NAMES: &'static str = "auto, cpu, cuda or cuda:N";

    /// The processor, with all its cores and its best instruction set.
    pub fn cpu() -> Self {
        Device::Cpu(Arc::new(Cpu::new()))
    }

    /// GPU `ordinal`. Fails, saying why and what to do, if it cannot be used.
    pub fn cuda(ordinal: usize, precision: Precision) -> Result<Self> {
        #[cfg(feature = "cuda")]
        return Ok(Device::Cuda(Arc::new(cuda::Cuda::open(ordinal, precision)?)));
        #[cfg(not(feature = "cuda"))]
        {
            let _ = (ordinal, precision);
            let message = "this build has no GPU support; build it with the feature `cuda`, or use --device cpu";
            Err(Error::device(DeviceFault::Absent, message))
        }
    }

    /// A device from its command-line name: `cpu`, `cuda`, `cuda:1`, or `auto`, which takes the first GPU that can be used and
    /// else the processor.
    pub fn from_name(name: &str) -> Result<Self> {
        Self::from_name_with(name, Precision::default()).map(|(device, _)| device)
    }

    /// A GPU, if kernels can be had for it too: what is missing shows here and not at the first kernel.
    fn usable_gpu(ordinal: usize, precision: Precision) -> Result<Self> {
        let device = Self::cuda(ordinal, precision)?;
        match &device {
            Device::Cpu(_) => {}
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => cuda.can_compile()?,
        }
        Ok(device)
    }

    /// As [`Device::from_name`], a GPU with a precision policy; also says why `auto` chose what it chose. The processor computes
    /// in `f32`: asked for by name, it refuses another policy.
    pub fn from_name_with(name: &str, precision: Precision) -> Result<(Self, Option<String>)> {
        let plain = precision == Precision::F32;
        match name {
            "cpu" if plain => Ok((Self::cpu(), None)),
            "cpu" => Err(Error::value(
                "--precision",
                format!(
                    "the processor computes in f32, not in {precision}; leave it out, or take a GPU with --device cuda"
                ),
            )),
            "auto" => Ok(match Self::usable_gpu(0, precision) {
                Ok(device) => (device, Some("a GPU can be used".to_owned())),
                Err(error) if plain => (Self::cpu(), Some(reason(&error))),
                Err(error) => {
                    (Self::cpu(), Some(format!("{}; it computes in f32, not in {precision}", reason(&error))))
                }
            }),
            "cuda" => Ok((Self::usable_gpu(0, precision)?, None)),
            other => match other.strip_prefix("cuda:").and_then(|ordinal| ordinal.parse().ok()) {
                Some(ordinal) => Ok((Self::usable_gpu(ordinal, precision)?, None)),
                None => Err(Error::value("--device", format!("'{other}' is not a device; use one of {}", Self::NAMES))),
            },
        }
    }

    /// One line for logs: kind, threads and instruction set, or name and architecture.
    pub fn describe(&self) -> String {
        match self {
            Device::Cpu(cpu) => format!("cpu ({} threads, {})", cpu.threads(), cpu.isa()),
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => cuda.describe(),
        }
    }

    /// The processor that host work beside this device uses: itself, or all cores.
    pub fn host(&self) -> Arc<Cpu> {
        match self {
            Device::Cpu(cpu) => cpu.clone(),
            #[cfg(feature = "cuda")]
            Device::Cuda(_) => Arc::new(Cpu::new()),
        }
    }

    /// Memory that a node's body needs on this device besides inputs and outputs.
    pub(crate) fn workspace(&self, op: &dyn Op, types: &Types<'_>) -> Result<Workspace> {
        match self {
            Device::Cpu(cpu) => Ok(op.cpu_workspace(cpu, types.inputs, types.outputs)),
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => Ok(Workspace { packed: 0, scratch: op.cuda(cuda.target(), types)?.scratch }),
        }
    }

    /// What a node runs on this device, for dumps: the variant, or the kernels in order.
    pub(crate) fn kernels(&self, op: &dyn Op, inputs: &[TensorType], outputs: &[TensorType]) -> String {
        match self {
            Device::Cpu(cpu) => op.cpu_kernel(cpu, inputs, outputs),
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => {
                let needed = vec![true; outputs.len()];
                match op.cuda(cuda.target(), &Types { inputs, outputs, needed: &needed }) {
                    Ok(work) => names(work.launches().map(|launch| launch.kernel.as_str())),
                    Err(error) => error.to_string(),
                }
            }
        }
    }

    /// What kernels are chosen for: this GPU, or a typical one (`sm_90`) where this is none.
    pub(crate) fn target(&self) -> Target {
        match self {
            Device::Cpu(_) => Target::typical(Architecture { number: 90 }, Precision::F32),
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => *cuda.target(),
        }
    }

    /// What matrix products round their operands to.
    pub fn precision(&self) -> Precision {
        match self {
            Device::Cpu(_) => Precision::F32,
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => cuda.target().effective_precision(),
        }
    }

    /// Bytes behind every place in memory that belong to nobody, to find writes over the end; 0 unless asked for.
    pub(crate) fn guard_bytes(&self) -> usize {
        match self {
            Device::Cpu(_) => 0,
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => cuda.guard_bytes(),
        }
    }

    /// Every place in memory begins at a multiple of this many bytes.
    pub(crate) fn alignment(&self) -> usize {
        match self {
            Device::Cpu(_) => 64,
            #[cfg(feature = "cuda")]
            Device::Cuda(_) => 256,
        }
    }
}
