//! NVRTC: source text and constants to a cubin for one architecture.

use std::ffi::{CStr, CString};
use std::sync::{Arc, OnceLock};

use cudarc::nvrtc::{result, sys};

use super::cache::key;
use super::probe;
use super::{Architecture, Bundle, KernelCache, Module, Sources};
use crate::{DeviceFault, Error, Result};

/// A compiled module.
#[derive(Clone, Debug)]
pub struct Cubin {
    /// What the driver loads.
    pub image: Vec<u8>,
    /// What the compiler said: registers, spills, shared memory of each kernel. Empty if it was found.
    pub log: String,
    /// A hash of all that it is made from but the compiler.
    pub made_from: u128,
    /// Whether it was made ahead of time or came from the cache.
    pub found: bool,
}

/// Compiles modules for an architecture: taken from cubins made ahead of time, else from the cache, else made by NVRTC. Needs
/// no driver.
#[derive(Clone, Debug)]
pub struct Compiler {
    architecture: Architecture,
    sources: Sources,
    cache: KernelCache,
    ahead: Arc<Bundle>,
}

impl Compiler {
    /// For an architecture; NVRTC is looked for when something is wanted that `ahead` does not hold.
    pub fn new(architecture: Architecture, sources: Sources, cache: KernelCache, ahead: Arc<Bundle>) -> Self {
        Self { architecture, sources, cache, ahead }
    }

    /// The architecture that it compiles for.
    pub fn architecture(&self) -> Architecture {
        self.architecture
    }

    /// The module's cubin. Fails with NVRTC's log if the text does not compile.
    pub fn compile(&self, module: &Module) -> Result<Cubin> {
        self.make(module, false)
    }

    /// As [`Compiler::compile`], but not from the cache, whose entry is replaced: for an image that the driver refuses.
    pub fn compile_anew(&self, module: &Module) -> Result<Cubin> {
        self.make(module, true)
    }

    fn make(&self, module: &Module, anew: bool) -> Result<Cubin> {
        let name = format!("{}.cu", module.source);
        let text = self.sources.text(&name)?;
        let headers = self.sources.headers()?;
        let options = self.options(module);
        let mut parts = vec![env!("CARGO_PKG_VERSION"), &name, &text];
        parts.extend(headers.iter().flat_map(|(name, text)| [*name, text.as_str()]));
        parts.extend(options.iter().map(String::as_str));
        let made_from = key(&parts);
        let found = |image: Vec<u8>| Cubin { image, log: String::new(), made_from, found: true };
        if let Some(image) = self.ahead.get(made_from).filter(|_| !anew) {
            return Ok(found(image.to_vec()));
        }
        // The same text gives other code from another compiler.
        parts.push(version()?);
        let key = key(&parts);
        if let Some(image) = self.cache.load(key).filter(|_| !anew) {
            return Ok(found(image));
        }
        let (image, log) = compile(&name, &text, &headers, &options, module)?;
        self.cache.store(key, &image);
        Ok(Cubin { image, log, made_from, found: false })
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

/// The compiler's version, as in "nvrtc 13.0".
fn version() -> Result<&'static str> {
    static VERSION: OnceLock<String> = OnceLock::new();
    if let Some(version) = VERSION.get() {
        return Ok(version);
    }
    probe::compiler()?;
    let (mut major, mut minor) = (0, 0);
    // SAFETY: writes two integers; the library is there.
    let status = unsafe { sys::nvrtcVersion(&mut major, &mut minor) };
    status
        .result()
        .map_err(|error| Error::device(DeviceFault::NoCompiler, format!("NVRTC does not answer: {error}")))?;
    Ok(VERSION.get_or_init(|| format!("nvrtc {major}.{minor}")))
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

fn compile(
    name: &str,
    text: &str,
    headers: &[(&str, String)],
    options: &[String],
    module: &Module,
) -> Result<(Vec<u8>, String)> {
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
    Ok((image, log))
}

fn log(program: &Program) -> String {
    // SAFETY: the program exists.
    let bytes = unsafe { result::get_program_log(program.0) }.unwrap_or_default();
    let bytes: Vec<u8> = bytes.into_iter().map(|c| c as u8).collect();
    CStr::from_bytes_until_nul(&bytes).map(|text| text.to_string_lossy().into_owned()).unwrap_or_default()
}
