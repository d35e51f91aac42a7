//! The one gate that every launch passes: bound once to a function, addresses and checked argument sizes, then launched.

use std::ffi::c_void;
use std::fmt::Write;
use std::sync::Arc;

use cudarc::driver::{DriverError, result, sys};

use super::{Arg, Cuda, Launch, Queue, Task, Work};
use crate::{DeviceFault, Error, Result};

/// Where a node's tensors and scratch lie.
#[derive(Debug)]
pub struct Addresses<'a> {
    /// Of the inputs.
    pub inputs: &'a [u64],
    /// Of the outputs; 0 for those without memory.
    pub outputs: &'a [u64],
    /// Of the scratch.
    pub scratch: u64,
}

impl Addresses<'_> {
    fn of(&self, arg: &Arg) -> Option<u64> {
        match arg {
            Arg::Input(index) => self.inputs.get(*index).copied(),
            Arg::Output(index) => self.outputs.get(*index).copied(),
            Arg::Scratch(offset) => Some(self.scratch + *offset as u64),
            Arg::Null => Some(0),
            _ => None,
        }
    }
}

/// A task ready to be put on the stream any number of times.
#[derive(Debug)]
pub enum Bound {
    /// A kernel.
    Launch(BoundLaunch),
    /// A fill.
    Fill {
        /// Where.
        address: u64,
        /// How many bytes.
        bytes: usize,
        /// With what.
        byte: u8,
    },
    /// A copy.
    Copy {
        /// Where from.
        from: u64,
        /// Where to.
        to: u64,
        /// How many bytes.
        bytes: usize,
    },
}

/// A kernel with its grid and its arguments' bytes.
#[derive(Debug)]
pub struct BoundLaunch {
    function: sys::CUfunction,
    launch: Launch,
    /// The node that it belongs to, for messages.
    node: String,
    /// Kernel and node, remembered at each launch.
    label: Arc<str>,
    /// The arguments' bytes, each at a multiple of 16.
    bytes: Vec<u128>,
    /// Where each argument begins, in units of 16 bytes.
    starts: Vec<usize>,
}

// SAFETY: a function handle may be used from any thread in which the context is current.
unsafe impl Send for BoundLaunch {}

impl Bound {
    /// Binds all of a node's work. `node` and `shapes` are for messages.
    pub fn new(cuda: &Arc<Cuda>, work: &Work, addresses: &Addresses<'_>, node: &str) -> Result<Vec<Self>> {
        let missing = |arg: &Arg| Error::graph(format!("'{node}': a kernel's argument {arg:?} does not exist"));
        let address = |arg: &Arg| addresses.of(arg).ok_or_else(|| missing(arg));
        let mut bound = Vec::new();
        for task in &work.tasks {
            bound.push(match task {
                Task::Fill { target, bytes, byte } => {
                    Bound::Fill { address: address(target)?, bytes: *bytes, byte: *byte }
                }
                Task::Copy { from, to, bytes } => Bound::Copy { from: address(from)?, to: address(to)?, bytes: *bytes },
                Task::Launch(launch) => Bound::Launch(BoundLaunch::new(cuda, launch, addresses, node)?),
            });
        }
        // An output that nothing reads has no memory: nothing to fill.
        bound.retain(|task| !matches!(task, Bound::Fill { address: 0, .. } | Bound::Copy { to: 0, .. }));
        Ok(bound)
    }

    /// Puts the task on a stream.
    pub(crate) fn enqueue(&self, cuda: &Cuda, queue: Queue) -> Result<()> {
        match self {
            Bound::Fill { address, bytes, byte } => cuda.fill(queue, *address, *bytes, *byte),
            Bound::Copy { from, to, bytes } => cuda.copy(queue, *from, *to, *bytes),
            Bound::Launch(launch) => launch.enqueue(cuda, queue),
        }
    }
}

impl BoundLaunch {
    fn new(cuda: &Arc<Cuda>, launch: &Launch, addresses: &Addresses<'_>, node: &str) -> Result<Self> {
        let function = cuda.function(&launch.module, &launch.kernel)?;
        let mut bound = Self {
            function,
            launch: launch.clone(),
            node: node.to_owned(),
            label: format!("{} of '{node}'", launch.kernel).into(),
            bytes: Vec::new(),
            starts: Vec::new(),
        };
        for (index, arg) in launch.args.iter().enumerate() {
            let missing = |arg: &Arg| bound.refused(&format!("argument {index} ({arg:?}) does not exist"));
            let bytes = match arg {
                Arg::Int(i32::MAX) => return Err(bound.refused(&format!("argument {index} is over 2^31 - 1"))),
                Arg::Int(value) => value.to_ne_bytes().to_vec(),
                Arg::Long(value) => value.to_ne_bytes().to_vec(),
                Arg::Float(value) => value.to_ne_bytes().to_vec(),
                Arg::Struct(bytes) => bytes.clone(),
                Arg::Pointers(pointers) => {
                    let address = |pointer| addresses.of(pointer).ok_or_else(|| missing(pointer));
                    let table: Vec<u64> = pointers.iter().map(address).collect::<Result<_>>()?;
                    bytemuck::cast_slice(&table).to_vec()
                }
                pointer => match addresses.of(pointer) {
                    Some(address) => address.to_ne_bytes().to_vec(),
                    None => return Err(missing(pointer)),
                },
            };
            bound.check_size(cuda, index, bytes.len())?;
            bound.starts.push(bound.bytes.len());
            for piece in bytes.chunks(16) {
                let mut padded = [0u8; 16];
                padded[..piece.len()].copy_from_slice(piece);
                bound.bytes.push(u128::from_ne_bytes(padded));
            }
        }
        bound.check_number(launch.args.len())?;
        bound.check_shape(cuda)?;
        Ok(bound)
    }

    /// Checks an argument's size against the kernel's own parameter.
    fn check_size(&self, cuda: &Cuda, index: usize, bytes: usize) -> Result<()> {
        let (mut offset, mut size) = (0, 0);
        // SAFETY: the function is loaded; writes two integers.
        let status = unsafe { sys::cuFuncGetParamInfo(self.function, index, &mut offset, &mut size) };
        match status {
            sys::CUresult::CUDA_SUCCESS if size == bytes => Ok(()),
            sys::CUresult::CUDA_SUCCESS => {
                Err(self.refused(&format!("argument {index} has {bytes} bytes, the kernel's parameter has {size}")))
            }
            sys::CUresult::CUDA_ERROR_INVALID_VALUE => {
                Err(self.refused(&format!("argument {index} is one too many for the kernel")))
            }
            other => Err(cuda.failed("asking for a kernel's parameters", DriverError(other))),
        }
    }

    /// Checks that the kernel has no further parameters.
    fn check_number(&self, count: usize) -> Result<()> {
        let (mut offset, mut size) = (0, 0);
        // SAFETY: as above.
        let status = unsafe { sys::cuFuncGetParamInfo(self.function, count, &mut offset, &mut size) };
        match status {
            sys::CUresult::CUDA_SUCCESS => Err(self.refused(&format!("has {count} arguments, the kernel takes more"))),
            _ => Ok(()),
        }
    }

    /// Checks grid, block and shared memory against the kernel's and the device's limits.
    fn check_shape(&self, cuda: &Cuda) -> Result<()> {
        use sys::CUfunction_attribute_enum as Attribute;
        let attribute = |which| {
            // SAFETY: the function is loaded.
            let value = unsafe { result::function::get_function_attribute(self.function, which) };
            value.map(|value| value.max(0) as u32).map_err(|error| cuda.failed("asking for a kernel's limits", error))
        };
        let Launch { grid: [x, y, z], block, shared, .. } = self.launch;
        if x == 0 || y == 0 || z == 0 || x > i32::MAX as u32 || y > 65_535 || z > 65_535 {
            return Err(self.refused("its grid is empty or too large (at most 2^31 - 1, 65535, 65535 blocks)"));
        }
        let threads = attribute(Attribute::CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK)?;
        if block == 0 || block > threads {
            return Err(self.refused(&format!("its block must have 1 to {threads} threads")));
        }
        let fixed = attribute(Attribute::CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES)?;
        let limit = cuda.target().shared_bytes;
        if fixed.saturating_add(shared) > limit {
            let message =
                format!("it needs {fixed} + {shared} bytes of shared memory, a block of this GPU has {limit}");
            return Err(self.refused(&message));
        }
        if fixed + shared > 48 * 1024 {
            let which = Attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            // All that there is: another plan's launch of the same function may need more than this one.
            // SAFETY: the function is loaded.
            unsafe { result::function::set_function_attribute(self.function, which, (limit - fixed) as i32) }
                .map_err(|error| cuda.failed(&format!("giving {} its shared memory", self.words()), error))?;
        }
        Ok(())
    }

    fn enqueue(&self, cuda: &Cuda, queue: Queue) -> Result<()> {
        cuda.usable()?;
        // 32 arguments cover every kernel without an allocation a launch.
        let mut fixed = [std::ptr::null_mut::<c_void>(); 32];
        let mut heap = Vec::new();
        let count = self.starts.len();
        let pointers = match fixed.get_mut(..count) {
            Some(pointers) => pointers,
            None => {
                heap.resize(count, std::ptr::null_mut());
                &mut heap[..]
            }
        };
        for (pointer, start) in pointers.iter_mut().zip(&self.starts) {
            *pointer = std::ptr::from_ref(&self.bytes[*start]).cast_mut().cast();
        }
        let Launch { grid: [x, y, z], block, shared, .. } = self.launch;
        cuda.remember(&self.label);
        // SAFETY: number and sizes of the arguments were checked against the kernel; the driver copies them in the call.
        let status =
            unsafe { result::launch_kernel(self.function, (x, y, z), (block, 1, 1), shared, queue.0, pointers) };
        status.map_err(|error| cuda.failed(&format!("launching {}", self.words()), error))
    }

    fn refused(&self, why: &str) -> Error {
        Error::device(DeviceFault::Refused, format!("cannot launch {}: {why}", self.words()))
    }

    /// Kernel, node, grid, block, shared memory, arguments.
    fn words(&self) -> String {
        let Launch { grid: [x, y, z], block, shared, ref module, ref kernel, ref args } = self.launch;
        let mut text =
            format!("{kernel} of '{}' ({module}; grid {x}x{y}x{z}, block {block}, {shared} B shared; ", self.node);
        for (index, arg) in args.iter().enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            let _ = match arg {
                Arg::Struct(bytes) => write!(text, "{comma}{} B", bytes.len()),
                Arg::Pointers(pointers) => write!(text, "{comma}{} pointers", pointers.len()),
                other => write!(text, "{comma}{other:?}"),
            };
        }
        text + ")"
    }
}
