//! What an op asks of a CUDA device, as data: kernels, grids, arguments. Shapes are static, and so are the places of all
//! tensors, so an op says this once, without a driver, and the same description is checked, dumped, captured, replayed.

use std::fmt;

use crate::tensor::TensorType;
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

    /// The policy in force: tensor cores take bf16 and tf32 from 8.0 on; before, everything is `f32`.
    pub fn effective_precision(&self) -> Precision {
        if self.architecture.has_async_copy() { self.precision } else { Precision::F32 }
    }
}

/// A node's types, as its launches are made for them.
#[derive(Clone, Copy, Debug)]
pub struct Types<'a> {
    /// Of the inputs, in the node's order.
    pub inputs: &'a [TensorType],
    /// Of the outputs, in the op's order.
    pub outputs: &'a [TensorType],
    /// For each output, whether something reads it; false only for optional outputs, which are then [`Arg::Output`]s without
    /// memory: a null pointer.
    pub needed: &'a [bool],
}

/// A source file with constants: what is compiled as one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Module {
    /// Name of the source without its ending: `elementwise` for `kernels/elementwise.cu`.
    pub source: &'static str,
    /// Names and values of the constants that it is compiled with, as preprocessor definitions.
    pub constants: Vec<(&'static str, String)>,
}

impl fmt::Display for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.source)?;
        self.constants.iter().try_for_each(|(name, value)| write!(f, " {name}={value}"))
    }
}

/// An argument of a kernel. Pointers are given by what they point to; the executor knows where that lies.
#[derive(Clone, Debug, PartialEq)]
pub enum Arg {
    /// Pointer to an input of the node. Of an input that the node updates: to the same memory as the output.
    Input(usize),
    /// Pointer to an output of the node; null if it is optional and nothing reads it.
    Output(usize),
    /// Pointer into the node's scratch, in bytes from its start. Multiples of 256 are aligned for anything.
    Scratch(usize),
    /// A null pointer, for an input that is not there.
    Null,
    /// `int`.
    Int(i32),
    /// `long long`.
    Long(i64),
    /// `float`.
    Float(f32),
    /// A plain struct by value: its bytes.
    Struct(Vec<u8>),
    /// A table of pointers by value, for kernels that work on many tensors: an array, or a struct of nothing but pointers.
    Pointers(Vec<Arg>),
}

/// One launch of one kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct Launch {
    /// What the kernel is compiled from.
    pub module: Module,
    /// The kernel's name, as in `conv_fprop_f32_tile64`: the same in dumps, profiles and errors.
    pub kernel: String,
    /// Number of blocks in x, y and z.
    pub grid: [u32; 3],
    /// Threads a block.
    pub block: u32,
    /// Bytes of dynamic shared memory.
    pub shared: u32,
    /// Arguments in the kernel's order.
    pub args: Vec<Arg>,
}

impl Launch {
    /// A launch of `kernel` of `kernels/<source>.cu`: one block of 256 threads, no arguments yet.
    pub fn new(source: &'static str, kernel: impl Into<String>) -> Self {
        Self {
            module: Module { source, constants: Vec::new() },
            kernel: kernel.into(),
            grid: [1, 1, 1],
            block: 256,
            shared: 0,
            args: Vec::new(),
        }
    }

    /// With a constant that the source is compiled with. Sizes that vary from graph to graph are arguments, not constants.
    pub fn constant(mut self, name: &'static str, value: impl ToString) -> Self {
        self.module.constants.push((name, value.to_string()));
        self
    }

    /// With a grid of blocks.
    pub fn grid(mut self, x: usize, y: usize, z: usize) -> Self {
        self.grid = [x, y, z].map(clamp);
        self
    }

    /// With blocks of `threads`.
    pub fn block(mut self, threads: usize) -> Self {
        self.block = clamp(threads);
        self
    }

    /// One thread for each of `elements`, in blocks of 256, but not more blocks than fill a large GPU several times: such
    /// kernels step by the whole grid (`for (long long i = first; i < n; i += stride)`).
    pub fn over(self, elements: usize) -> Self {
        self.grid(elements.div_ceil(256).clamp(1, 16_384), 1, 1).block(256)
    }

    /// With dynamic shared memory.
    pub fn shared(mut self, bytes: usize) -> Self {
        self.shared = clamp(bytes);
        self
    }

    /// The next argument.
    pub fn arg(mut self, arg: Arg) -> Self {
        self.args.push(arg);
        self
    }

    /// The next argument: pointer to input `index`.
    pub fn input(self, index: usize) -> Self {
        self.arg(Arg::Input(index))
    }

    /// The next argument: pointer to input `index` if the node has one, else null (`counts`, `bias`).
    pub fn optional_input(self, types: &Types<'_>, index: usize) -> Self {
        self.arg(if index < types.inputs.len() { Arg::Input(index) } else { Arg::Null })
    }

    /// The next argument: pointer to output `index`.
    pub fn output(self, index: usize) -> Self {
        self.arg(Arg::Output(index))
    }

    /// The next argument: pointer to scratch at `offset` bytes.
    pub fn scratch(self, offset: usize) -> Self {
        self.arg(Arg::Scratch(offset))
    }

    /// The next argument: an `int`. Sizes over 2^31 - 1 saturate and are refused when the work is bound.
    pub fn int(self, value: impl TryInto<i32>) -> Self {
        self.arg(Arg::Int(value.try_into().unwrap_or(i32::MAX)))
    }

    /// The next argument: a `long long`.
    pub fn long(self, value: usize) -> Self {
        self.arg(Arg::Long(value as i64))
    }

    /// The next argument: a `float`.
    pub fn float(self, value: f32) -> Self {
        self.arg(Arg::Float(value))
    }

    /// The next argument: a table of pointers by value, `size` of them; those after the last one given are null.
    pub fn pointers(self, mut pointers: Vec<Arg>, size: usize) -> Self {
        pointers.resize(size, Arg::Null);
        self.arg(Arg::Pointers(pointers))
    }

    /// The next argument: a plain struct by value. Its twin in the kernel's source has the same fields in the same order.
    pub fn structure<T: bytemuck::NoUninit>(self, value: &T) -> Self {
        self.arg(Arg::Struct(bytemuck::bytes_of(value).to_vec()))
    }

    /// The next argument: a plain struct by value of `int` fields (extents), then `float` fields.
    pub fn fields(self, integers: &[usize], floats: &[f32]) -> Self {
        let integers = integers.iter().map(|n| i32::try_from(*n).unwrap_or(i32::MAX).to_ne_bytes());
        let floats = floats.iter().map(|value| value.to_ne_bytes());
        self.arg(Arg::Struct(integers.chain(floats).flatten().collect()))
    }
}

/// Saturates; the launch gate refuses what saturated.
fn clamp(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// One thing that a stream does.
#[derive(Clone, Debug, PartialEq)]
pub enum Task {
    /// Launches a kernel.
    Launch(Launch),
    /// Sets `bytes` bytes to `byte`.
    Fill {
        /// Where: an output or scratch.
        target: Arg,
        /// How many.
        bytes: usize,
        /// With what.
        byte: u8,
    },
    /// Copies `bytes` bytes.
    Copy {
        /// Where from: an input, an output or scratch.
        from: Arg,
        /// Where to: an output or scratch.
        to: Arg,
        /// How many.
        bytes: usize,
    },
}

/// All that a node does in one run, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Work {
    /// Bytes of scratch; its content is arbitrary.
    pub scratch: usize,
    /// What is done.
    pub tasks: Vec<Task>,
}

impl Work {
    /// No scratch, nothing to do.
    pub fn new() -> Self {
        Self::default()
    }

    /// One launch.
    pub fn of(launch: Launch) -> Self {
        Self { scratch: 0, tasks: vec![Task::Launch(launch)] }
    }

    /// Asks for `bytes` of scratch; returns their offset, a multiple of 256.
    pub fn take_scratch(&mut self, bytes: usize) -> usize {
        let offset = self.scratch;
        self.scratch += bytes.div_ceil(256) * 256;
        offset
    }

    /// Adds a launch.
    pub fn launch(&mut self, launch: Launch) {
        self.tasks.push(Task::Launch(launch));
    }

    /// Adds a fill with zeros.
    pub fn zero(&mut self, target: Arg, bytes: usize) {
        self.tasks.push(Task::Fill { target, bytes, byte: 0 });
    }

    /// Adds a copy.
    pub fn copy(&mut self, from: Arg, to: Arg, bytes: usize) {
        self.tasks.push(Task::Copy { from, to, bytes });
    }

    /// The launches.
    pub fn launches(&self) -> impl Iterator<Item = &Launch> {
        self.tasks.iter().filter_map(|task| match task {
            Task::Launch(launch) => Some(launch),
            _ => None,
        })
    }
}
