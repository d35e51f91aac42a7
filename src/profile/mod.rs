//! How long things take: whole networks to be timed ([`networks`]), and where the time of a run goes ([`kernel_times`]).

mod kernels;
pub mod networks;

pub use kernels::{KernelTime, kernel_times};
