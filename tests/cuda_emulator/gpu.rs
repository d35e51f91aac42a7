//! A few lines over cudarc's raw calls: compile, load, allocate, launch.

use std::ffi::{CString, c_void};
use std::fs;
use std::path::Path;

use cudarc::driver::{result, sys};
use cudarc::nvrtc::{result as nvrtc_result, sys as nvrtc};

use crate::emulator::Emulator;

pub type Outcome<T> = Result<T, sys::CUresult>;

/// The emulated GPU of this thread, everything at its default.
pub struct Gpu {
    pub emulator: &'static Emulator,
}

/// A kernel's argument.
#[derive(Clone, Copy)]
pub enum Arg {
    Pointer(u64),
    Int(i32),
    Float(f32),
    Pair([u32; 2]),
    Words([u32; 4]),
}

impl Arg {
    /// The argument's bytes at the front.
    fn words(&self) -> [u32; 4] {
        match *self {
            Self::Pointer(address) => [address as u32, (address >> 32) as u32, 0, 0],
            Self::Int(value) => [value as u32, 0, 0, 0],
            Self::Float(value) => [value.to_bits(), 0, 0, 0],
            Self::Pair([low, high]) => [low, high, 0, 0],
            Self::Words(words) => words,
        }
    }
}

/// What did not compile says why.
#[derive(Debug)]
pub struct NotCompiled {
    pub result: nvrtc::nvrtcResult,
    pub log: String,
}

impl Gpu {
    /// `None` where there is no emulator.
    pub fn new() -> Option<Self> {
        let emulator = Emulator::get()?;
        emulator.reset();
        result::init().expect("cuInit");
        let device = result::device::get(0).expect("a device");
        // SAFETY: the device exists; the context is made current on this thread.
        let context = unsafe { result::primary_ctx::retain(device) }.expect("a context");
        unsafe { result::ctx::set_current(context) }.expect("the context is current");
        Some(Self { emulator })
    }

    /// Compiles text with the headers of `kernels/device`.
    pub fn compile(&self, name: &str, text: &str, options: &[&str]) -> Result<Vec<u8>, NotCompiled> {
        let c = |text: &str| CString::new(text).expect("no zero byte");
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels");
        let mut headers: Vec<(CString, CString)> = Vec::new();
        for entry in fs::read_dir(root.join("device")).expect("kernels/device").flatten() {
            let name = format!("device/{}", entry.file_name().to_string_lossy());
            headers.push((c(&name), c(&fs::read_to_string(entry.path()).expect("a header"))));
        }
        let (source, title) = (c(text), c(name));
        let names: Vec<_> = headers.iter().map(|(name, _)| name.as_ptr()).collect();
        let texts: Vec<_> = headers.iter().map(|(_, text)| text.as_ptr()).collect();
        let options: Vec<CString> = options.iter().map(|option| c(option)).collect();
        let options: Vec<_> = options.iter().map(|option| option.as_ptr()).collect();
        let mut program = std::ptr::null_mut();
        // SAFETY: all strings live to the end of the function.
        unsafe {
            let created = nvrtc::nvrtcCreateProgram(
                &mut program,
                source.as_ptr(),
                title.as_ptr(),
                names.len() as i32,
                texts.as_ptr(),
                names.as_ptr(),
            );
            created.result().map_err(|error| NotCompiled { result: error.0, log: String::new() })?;
            let compiled = nvrtc::nvrtcCompileProgram(program, options.len() as i32, options.as_ptr());
            let log: Vec<u8> =
                nvrtc_result::get_program_log(program).expect("a log").iter().map(|c| *c as u8).collect();
            let log = String::from_utf8_lossy(&log).trim_end_matches('\0').to_owned();
            let mut image = Vec::new();
            if compiled == nvrtc::nvrtcResult::NVRTC_SUCCESS {
                let mut size = 0;
                nvrtc::nvrtcGetCUBINSize(program, &mut size).result().expect("a size");
                image.resize(size, 0u8);
                nvrtc::nvrtcGetCUBIN(program, image.as_mut_ptr().cast()).result().expect("an image");
            }
            nvrtc_result::destroy_program(program).expect("destroyed");
            compiled.result().map_err(|error| NotCompiled { result: error.0, log })?;
            Ok(image)
        }
    }

    /// Compiles for sm_90 and loads.
    pub fn module(&self, name: &str, text: &str, defines: &[&str]) -> sys::CUmodule {
        let mut options = vec!["--gpu-architecture=sm_90", "--std=c++17", "-default-device"];
        options.extend(defines);
        let image = self.compile(name, text, &options).unwrap_or_else(|error| panic!("{name}: {}", error.log));
        self.load(&image).unwrap_or_else(|error| panic!("{name}: {error:?} {}", self.emulator.report()))
    }

    pub fn load(&self, image: &[u8]) -> Outcome<sys::CUmodule> {
        // SAFETY: a whole image.
        unsafe { result::module::load_data(image.as_ptr().cast::<c_void>()) }.map_err(|error| error.0)
    }

    pub fn function(&self, module: sys::CUmodule, name: &str) -> sys::CUfunction {
        let name = CString::new(name).expect("no zero byte");
        // SAFETY: the module is loaded.
        unsafe { result::module::get_function(module, name) }.expect("the kernel exists")
    }

    /// Device memory that nobody has written.
    pub fn empty(&self, bytes: usize) -> u64 {
        // SAFETY: a context is current.
        unsafe { result::malloc_sync(bytes) }.expect("memory")
    }

    pub fn free(&self, address: u64) {
        // SAFETY: the caller allocated it and uses it no more.
        unsafe { result::free_sync(address) }.expect("freed");
    }

    pub fn upload<T: Copy>(&self, values: &[T]) -> u64 {
        let address = self.empty(size_of_val(values));
        // SAFETY: the range was just allocated.
        unsafe { result::memcpy_htod_sync(address, values) }.expect("a copy");
        address
    }

    pub fn download<T: Copy + Default>(&self, address: u64, count: usize) -> Vec<T> {
        let mut values = vec![T::default(); count];
        // SAFETY: the caller allocated this much.
        unsafe { result::memcpy_dtoh_sync(&mut values, address) }.expect("a copy");
        values
    }

    /// Launches on the default stream.
    pub fn launch(&self, kernel: sys::CUfunction, grid: u32, block: u32, shared: u32, args: &[Arg]) -> Outcome<()> {
        self.launch_on(std::ptr::null_mut(), kernel, (grid, 1, 1), (block, 1, 1), shared, args)
    }

    pub fn launch_on(
        &self,
        stream: sys::CUstream,
        kernel: sys::CUfunction,
        grid: (u32, u32, u32),
        block: (u32, u32, u32),
        shared: u32,
        args: &[Arg],
    ) -> Outcome<()> {
        let mut values: Vec<[u32; 4]> = args.iter().map(|arg| arg.words()).collect();
        let mut pointers: Vec<*mut c_void> = values.iter_mut().map(|value| std::ptr::from_mut(value).cast()).collect();
        // SAFETY: the tests pass what their kernels take.
        unsafe { result::launch_kernel(kernel, grid, block, shared, stream, &mut pointers) }.map_err(|error| error.0)
    }
}
