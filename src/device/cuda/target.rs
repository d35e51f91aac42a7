//! What kernels are chosen for: the architecture, its limits, the precision policy.

use std::fmt;

use crate::{Error, Result};

/// A GPU architecture by its compute capability, as in `sm_90`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Architecture {
    /// Ten times the major plus the minor compute capability: 75, 80, 86, 89, 90, 100, 120.
    pub number: u32,
}

impl Architecture {
    /// Turing: the oldest that the kernels are built for.
    pub const OLDEST: Self = Self { number: 75 };

    /// The ones that every kernel is compiled and checked for.
    pub const CHECKED: [Self; 7] = [
        Self { number: 75 },
        Self { number: 80 },
        Self { number: 86 },
        Self { number: 89 },
        Self { number: 90 },
        Self { number: 100 },
        Self { number: 120 },
    ];

    /// Warps of a kernel that a multiprocessor can hold at once, from its registers a thread, shared memory and threads a block;
    /// 0 if the block size is not known.
    pub fn resident_warps(self, registers: u32, shared_bytes: u32, block: u32) -> u32 {
        if block == 0 {
            return 0;
        }
        // Threads, blocks and KiB of shared memory a multiprocessor (CUDA programming guide, compute capabilities).
        let (threads, blocks, shared_kib) = match self.number {
            ..80 => (1024, 16, 64),
            80 => (2048, 32, 164),
            81..89 => (1536, 16, 100),
            89 => (1536, 24, 100),
            90..120 => (2048, 32, 228),
            _ => (1536, 24, 100),
        };
        let warps = block.div_ceil(32);
        // Registers are given to warps in units of 256; a block's shared memory is rounded up, and 1 KiB is the system's.
        let by_registers = 65_536 / ((registers.max(1) * 32).div_ceil(256) * 256) / warps;
        let reserved = if self.has_async_copy() { 1024 } else { 0 };
        let by_shared = shared_kib * 1024 / (shared_bytes.div_ceil(1024) * 1024 + reserved).max(1);
        blocks.min(threads / (warps * 32)).min(by_registers).min(by_shared) * warps
    }

    /// Whether `cp.async`, and `mma.sync` on bf16 and tf32, are there (compute capability 8.0).
    pub fn has_async_copy(self) -> bool {
        self.number >= 80
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sm_{}", self.number)
    }
}

/// What matrix products and convolutions round their operands to. Sums, statistics, losses and master weights are `f32`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Precision {
    /// Nothing: full `f32` arithmetic.
    #[default]
    F32,
    /// TensorFloat-32, 10 bits of fraction, on tensor cores.
    Tf32,
    /// bfloat16, 7 bits of fraction, on tensor cores.
    Bf16,
}

impl Precision {
    /// Every policy, plainest first.
    pub const ALL: [Self; 3] = [Self::F32, Self::Tf32, Self::Bf16];

    /// The nearest value of this precision, ties to even.
    pub fn round(self, value: f32) -> f32 {
        let dropped = match self {
            Self::F32 => return value,
            Self::Tf32 => 13,
            Self::Bf16 => 16,
        };
        if !value.is_finite() {
            return value;
        }
        let bits = value.to_bits();
        let half = (1u32 << (dropped - 1)) - 1 + ((bits >> dropped) & 1);
        f32::from_bits(bits.wrapping_add(half) >> dropped << dropped)
    }

    /// From its name: `f32`, `tf32` or `bf16`.
    pub fn from_name(name: &str) -> Result<Self> {
        match name {
            "f32" => Ok(Self::F32),
            "tf32" => Ok(Self::Tf32),
            "bf16" => Ok(Self::Bf16),
            other => Err(Error::value("precision", format!("'{other}' is not a precision; use f32, tf32 or bf16"))),
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Tf32 => "tf32",
            Self::Bf16 => "bf16",
        })
    }
}

/// What kernels are chosen for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The GPU's architecture.
    pub architecture: Architecture,
    /// Number of multiprocessors.
    pub multiprocessors: u32,
    /// Most shared memory that one block can have, in bytes.
    pub shared_bytes: u32,
    /// Precision policy.
    pub precision: Precision,
}

impl Target {
    /// A typical GPU of an architecture: what kernels are listed and compiled for when none is there.
    pub fn typical(architecture: Architecture, precision: Precision) -> Self {
        let (multiprocessors, shared_kib) = match architecture.number {
            ..80 => (72, 64),
            80 => (108, 163),
            81..90 => (84, 99),
            90 => (132, 227),
            91..120 => (148, 227),
            _ => (170, 99),
        };
        Self { architecture, multiprocessors, shared_bytes: shared_kib * 1024, precision }
    }

    /// The same with work cut as for so many multiprocessors.
    pub fn cut_for(self, multiprocessors: u32) -> Self {
        Self { multiprocessors, ..self }
    }

    /// The policy in force: tensor cores take bf16 and tf32 from 8.0 on; before, everything is `f32`.
    pub fn effective_precision(&self) -> Precision {
        if self.architecture.has_async_copy() { self.precision } else { Precision::F32 }
    }
}
