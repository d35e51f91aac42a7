//! Devices that problems are checked on.

use std::sync::Arc;

use crate::device::cpu::Isa;
use crate::device::{Cpu, Device};

/// The processor once for every instruction set of this machine, with one and with three threads.
pub fn processors() -> Vec<Device> {
    let with = |isa| [1, 3].map(|threads| Device::Cpu(Arc::new(Cpu::with(threads, isa))));
    Isa::available().into_iter().flat_map(with).collect()
}

/// A device to check problems on, and what must be set up before.
pub struct Setting<'a> {
    pub(super) device: Device,
    pub(super) name: String,
    pub(super) narrow: bool,
    prepare: Box<dyn Fn() + 'a>,
}

impl<'a> Setting<'a> {
    /// A device that needs no preparation.
    pub fn of(device: Device) -> Self {
        Self { name: device.describe(), device, narrow: false, prepare: Box::new(|| ()) }
    }

    /// The same with inputs and outputs rounded to bf16, so that a GPU under that policy keeps all in memory so that can be.
    pub fn narrow(self) -> Self {
        Self { name: format!("{}, kept as bf16", self.name), narrow: true, ..self }
    }

    /// The device, after the preparation.
    pub fn prepared_device(&self) -> &Device {
        (self.prepare)();
        &self.device
    }

    /// The same with something to be called before each problem, and its name for messages.
    pub fn prepared(self, name: String, prepare: impl Fn() + 'a) -> Self {
        Self { name: format!("{}, {name}", self.name), prepare: Box::new(prepare), ..self }
    }
}
