//! NVRTC: source text and constants to a cubin for one architecture.

use std::ffi::{CStr, CString};

use cudarc::nvrtc::{result, sys};

use super::probe;
use super::{Architecture, KernelCache, Module, Sources};
use crate::{DeviceFault, Error, Result};

/// A compiled module.
#[derive(Clone, Debug)]
pub struct Cubin {
    /// What the driver loads.
    pub image: Vec<u8>,
    /// What the compiler said: registers, spills, shared memory of each kernel. Empty if it came from the disk.
    pub log: String,
    /// Whether it came from the disk.
    pub cached: bool,
}

/// Compiles modules for an architecture, through a cache. Needs NVRTC, and no driver.
#[derive(Clone, Debug)]
pub struct Compiler {
    architecture: Architecture,
    sources: Sources,
    cache: KernelCache,
}

impl Compiler {
    /// For an architecture; NVRTC is looked for when something is compiled that the cache does not hold.
    pub fn new(architecture: Architecture, sources: Sources, cache: KernelCache) -> Self {
        Self { architecture, sources, cache }
    }

    /// The architecture that it compiles for.
    pub fn architecture(&self) -> Architecture {
        self.architecture
    }

    /// The module's cubin. Fails with NVRTC's log if the text does not compile.
    pub fn compile(&self, module: &Module) -> Result<Cubin> {
        let name = format!("{}.cu", module.source);
        let text = self.sources.text(&name)?;
        let headers = self.sources.headers()?;
        let options = self.options(module);
        let version = version()?;
        let mut key = vec![version.as_str(), self.sources_mark(), &name, &text];
        key.extend(headers.iter().flat_map(|(name, text)| [*name, text.as_str()]));
        key.extend(options.iter().map(String::as_str));
        let key = KernelCache::key(&key);
        if let Some(image) = self.cache.load(key) {
            return Ok(Cubin { image, log: String::new(), cached: true });
        }
        let cubin = compile(&name, &text, &headers, &options, module)?;
        self.cache.store(key, &cubin.image);
        Ok(cubin)
    }

    fn sources_mark(&self) -> &'static str {
        env!("CARGO_PKG_VERSION")
    }

    fn options(&self, module: &Module) -> Vec<String> {
        let mut options = vec![
            format!("--gpu-architecture={}", self.architecture),
            "--std=c++17".to_owned(),
            "-default-device".to_owned(),
            "-lineinfo".to_owned(),
            "--ptxas-options=-v".to_owned(),
        ];
        options.extend(module.constants.iter().map(|(name, value)| format!("-D{name}={value}")));
        options
    }
}

/// The compiler's version: part of what a cubin depends on.
fn version() -> Result<String> {
    probe::compiler()?;
    let (mut major, mut minor) = (0, 0);
    // SAFETY: writes two integers; the library is there.
    let status = unsafe { sys::nvrtcVersion(&mut major, &mut minor) };
    status
        .result()
        .map_err(|error| Error::device(DeviceFault::NoCompiler, format!("NVRTC does not answer: {error}")))?;
    Ok(format!("nvrtc {major}.{minor}"))
}

fn c_string(text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| Error::graph("a kernel source or option has a zero byte inside"))
}

/// A program of NVRTC, destroyed when dropped.
struct Program(sys::nvrtcProgram);

impl Drop for Program {
    fn drop(&mut self) {
        // SAFETY: created by us and destroyed once.
        let _ = unsafe { result::destroy_program(self.0) };
    }
}

fn compile(name: &str, text: &str, headers: &[(&str, String)], options: &[String], module: &Module) -> Result<Cubin> {
    let refused = |what: &str, error: &dyn std::fmt::Display| {
        Error::device(DeviceFault::KernelText, format!("NVRTC: {what} of kernels/{name} failed: {error}"))
    };
    let source = c_string(text)?;
    let title = c_string(&format!("kernels/{name}"))?;
    let contents: Vec<CString> = headers.iter().map(|(_, text)| c_string(text)).collect::<Result<_>>()?;
    let names: Vec<CString> = headers.iter().map(|(name, _)| c_string(name)).collect::<Result<_>>()?;
    let content_pointers: Vec<_> = contents.iter().map(|text| text.as_ptr()).collect();
    let name_pointers: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
    let mut program = std::ptr::null_mut();
    // SAFETY: all strings live until the call returns; the counts are theirs.
    let created = unsafe {
        sys::nvrtcCreateProgram(
            &mut program,
            source.as_ptr(),
            title.as_ptr(),
            headers.len() as i32,
            content_pointers.as_ptr(),
            name_pointers.as_ptr(),
        )
    };
    created.result().map_err(|error| refused("taking the text", &error))?;
    let program = Program(program);
    let option_texts: Vec<CString> = options.iter().map(|option| c_string(option)).collect::<Result<_>>()?;
    let option_pointers: Vec<_> = option_texts.iter().map(|option| option.as_ptr()).collect();
    // SAFETY: as above.
    let status = unsafe { sys::nvrtcCompileProgram(program.0, option_pointers.len() as i32, option_pointers.as_ptr()) };
    let log = log(&program);
    if let Err(error) = status.result() {
        let message = format!("kernel source '{module}' does not compile ({error}); NVRTC says:\n{}", log.trim_end());
        return Err(Error::device(DeviceFault::KernelText, message));
    }
    let mut size = 0;
    // SAFETY: writes one integer.
    unsafe { sys::nvrtcGetCUBINSize(program.0, &mut size) }.result().map_err(|error| refused("sizing", &error))?;
    let mut image = vec![0u8; size];
    // SAFETY: writes `size` bytes.
    unsafe { sys::nvrtcGetCUBIN(program.0, image.as_mut_ptr().cast()) }
        .result()
        .map_err(|error| refused("reading the result", &error))?;
    Ok(Cubin { image, log, cached: false })
}

fn log(program: &Program) -> String {
    // SAFETY: the program exists.
    let bytes = unsafe { result::get_program_log(program.0) }.unwrap_or_default();
    let bytes: Vec<u8> = bytes.into_iter().map(|c| c as u8).collect();
    CStr::from_bytes_until_nul(&bytes).map(|text| text.to_string_lossy().into_owned()).unwrap_or_default()
}
