//! NVIDIA GPUs: what ops ask of them ([`Work`], always there), and the device itself (feature `cuda`): driver and kernel
//! compiler found at run time, kernels compiled for the architecture at hand and cached on disk, one gate for launches.

mod divisor;
mod target;
mod work;

#[cfg(feature = "cuda")]
mod ahead;
#[cfg(feature = "cuda")]
mod cache;
#[cfg(feature = "cuda")]
mod compiler;
#[cfg(feature = "cuda")]
mod context;
#[cfg(feature = "cuda")]
mod gate;
#[cfg(feature = "cuda")]
mod memory;
#[cfg(feature = "cuda")]
mod nvrtc;
#[cfg(feature = "cuda")]
mod probe;
mod sources;

pub use divisor::Divisor;
pub use sources::{SOURCES, Sources};
pub use target::{Architecture, Precision, Target};
pub use work::{Arg, Launch, Module, Task, Types, Work};

#[cfg(feature = "cuda")]
pub use self::{
    ahead::Bundle,
    cache::KernelCache,
    compiler::{Compiler, Cubin},
    context::Cuda,
    gate::{Addresses, Bound},
    memory::{DeviceBuffer, PinnedBuffer},
};
#[cfg(feature = "cuda")]
pub(crate) use context::Queue;
