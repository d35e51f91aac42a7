//! What an op asks of a CUDA device, as data: kernels, grids, arguments. Shapes are static, and so are the places of all
//! tensors, so an op says this once, without a driver, and the same description is checked, dumped, captured, replayed.

use std::fmt;

use crate::tensor::{DType, TensorType};

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
    /// The kernel's name, as in `conv_fprop_f32_tile64x64`: the same in dumps, profiles and errors.
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

    /// A launch of the variant of `kernel` for tensors kept in `dtype`: `relu_f32`, or `relu_bf16`.
    pub fn stored(source: &'static str, kernel: &str, dtype: DType) -> Self {
        Self::new(source, format!("{kernel}_{dtype}")).element("STORAGE", dtype)
    }

    /// With a constant that names a type of elements, `f32` if it is not there.
    pub fn element(self, name: &'static str, dtype: DType) -> Self {
        if dtype == DType::F32 { self } else { self.constant(name, dtype) }
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

    /// The next argument: a plain struct by value of `int` fields (extents), then `float` fields. Sizes as for [`Launch::int`].
    pub fn fields(self, integers: &[usize], floats: &[f32]) -> Self {
        let Ok(integers) = integers.iter().map(|n| i32::try_from(*n)).collect::<Result<Vec<i32>, _>>() else {
            return self.int(i32::MAX);
        };
        let integers = integers.into_iter().map(i32::to_ne_bytes);
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
