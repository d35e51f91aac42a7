//! Where graphs run.

pub mod cpu;

use std::sync::Arc;

use crate::{Error, Result};
pub use cpu::Cpu;

/// A device that runs graphs. Cheap to clone: clones share the device.
#[derive(Clone, Debug)]
pub enum Device {
    /// The host's processor.
    Cpu(Arc<Cpu>),
}

impl Device {
    /// The processor, with all its cores and its best instruction set.
    pub fn cpu() -> Self {
        Device::Cpu(Arc::new(Cpu::new()))
    }

    /// A device from its command-line name: `auto` or `cpu`.
    pub fn from_name(name: &str) -> Result<Self> {
        match name {
            "auto" | "cpu" => Ok(Self::cpu()),
            other => Err(Error::value("--device", format!("'{other}' is not a device; use auto or cpu"))),
        }
    }

    /// One line for logs: kind, threads, instruction set.
    pub fn describe(&self) -> String {
        match self {
            Device::Cpu(cpu) => format!("cpu ({} threads, {})", cpu.threads(), cpu.isa()),
        }
    }
}
