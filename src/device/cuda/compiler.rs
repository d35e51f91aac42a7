//! NVRTC: source text and constants to a cubin for one architecture.

use std::ffi::CString;
use std::sync::Arc;

use super::cache::key;
use super::nvrtc::Nvrtc;
use super::probe;
use super::{Architecture, Bundle, KernelCache, Module, Sources};
use crate::{DeviceFault, Error, Result};

/// What NVRTC returns for an option that it does not take.
const INVALID_OPTION: i32 = 5;

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
    driver: Option<i32>,
}

/// A source with its headers and the compiler's options.
struct Ingredients {
    name: String,
    text: String,
    headers: Vec<(String, String)>,
    options: Vec<String>,
}

impl Ingredients {
    fn parts(&self) -> Vec<&str> {
        let mut parts = vec![env!("CARGO_PKG_VERSION"), &self.name, &self.text];
        parts.extend(self.headers.iter().flat_map(|(name, text)| [name.as_str(), text.as_str()]));
        parts.extend(self.options.iter().map(String::as_str));
        parts
    }
}

impl Compiler {
    /// For an architecture; NVRTC is looked for when something is wanted that `ahead` does not hold.
    pub fn new(architecture: Architecture, sources: Sources, cache: KernelCache, ahead: Arc<Bundle>) -> Self {
        Self { architecture, sources, cache, ahead, driver: None }
    }

    /// The same, for a driver of this version: not every compiler's code is loaded by it.
    pub(super) fn for_driver(mut self, version: i32) -> Self {
        self.driver = Some(version);
        self
    }

    /// Whether there is something to take kernels from: cubins made ahead of time for this architecture from these sources, or a
    /// compiler. Else why not.
    pub(super) fn usable(&self) -> Result<()> {
        // Bundles are made whole: one that holds this module holds the others.
        let module = Module { source: "elementwise", constants: Vec::new() };
        if self.ahead.get(key(&self.ingredients(&module)?.parts())).is_some() {
            return Ok(());
        }
        self.nvrtc().map(drop).map_err(|error| match error {
            Error::Device { fault, message } if !self.ahead.is_empty() => {
                let architecture = self.architecture;
                let message = format!(
                    "the kernels compiled ahead of time (SARCOMERE_CUBINS) are not for {architecture}, or were made from other \
                     sources: make them anew with `sarcomere kernels compile --arch {}`; without them, {message}",
                    architecture.number
                );
                Error::Device { fault, message }
            }
            other => other,
        })
    }

    /// All that a module's cubin is made from.
    fn ingredients(&self, module: &Module) -> Result<Ingredients> {
        let name = format!("{}.cu", module.source);
        let text = self.sources.text(&name)?;
        Ok(Ingredients { name, text, headers: self.sources.headers()?, options: self.options(module) })
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
        let ingredients = self.ingredients(module)?;
        let mut parts = ingredients.parts();
        let made_from = key(&parts);
        let found = |image: Vec<u8>| Cubin { image, log: String::new(), made_from, found: true };
        if let Some(image) = self.ahead.get(made_from).filter(|_| !anew) {
            return Ok(found(image.to_vec()));
        }
        // The same text gives other code from another compiler.
        let nvrtc = self.nvrtc()?;
        let version = format!("nvrtc {}.{}", nvrtc.version.0, nvrtc.version.1);
        parts.push(&version);
        let key = key(&parts);
        if let Some(image) = self.cache.load(key).filter(|_| !anew) {
            return Ok(found(image));
        }
        let Ingredients { name, text, headers, options } = &ingredients;
        let (image, log) = compile(nvrtc, name, text, headers, options, module)?;
        self.cache.store(key, &image);
        Ok(Cubin { image, log, made_from, found: false })
    }

    /// NVRTC, if it knows the architecture.
    fn nvrtc(&self) -> Result<&'static Nvrtc> {
        let nvrtc = probe::compiler(self.driver)?;
        if nvrtc.knows(self.architecture.number) {
            return Ok(nvrtc);
        }
        let ((major, minor), architecture) = (nvrtc.version, self.architecture);
        let package = probe::compiler_package(self.driver.map(|version| version / 1000));
        let message = format!(
            "the kernel compiler NVRTC {major}.{minor} does not know {architecture}; install one that does, with `pip install \
             --upgrade {package}` or the CUDA toolkit, name it in SARCOMERE_NVRTC if it lies elsewhere, or use --device cpu"
        );
        Err(Error::device(DeviceFault::NoCompiler, message))
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

fn c_string(text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| Error::graph("a kernel source or option has a zero byte inside"))
}

fn compile(
    nvrtc: &Nvrtc,
    name: &str,
    text: &str,
    headers: &[(String, String)],
    options: &[String],
    module: &Module,
) -> Result<(Vec<u8>, String)> {
    let refused = |what: &str, status| {
        let words = nvrtc.words(status);
        Error::device(DeviceFault::KernelText, format!("NVRTC: {what} of kernels/{name} failed: {words}"))
    };
    let source = c_string(text)?;
    let title = c_string(&format!("kernels/{name}"))?;
    let contents: Vec<CString> = headers.iter().map(|(_, text)| c_string(text)).collect::<Result<_>>()?;
    let names: Vec<CString> = headers.iter().map(|(name, _)| c_string(name)).collect::<Result<_>>()?;
    let content_pointers: Vec<_> = contents.iter().map(|text| text.as_ptr()).collect();
    let name_pointers: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
    let program = nvrtc.program(&source, &title, &content_pointers, &name_pointers);
    let program = program.map_err(|status| refused("taking the text", status))?;
    let option_texts: Vec<CString> = options.iter().map(|option| c_string(option)).collect::<Result<_>>()?;
    let option_pointers: Vec<_> = option_texts.iter().map(|option| option.as_ptr()).collect();
    let compiled = program.compile(&option_pointers);
    let log = program.log();
    if let Err(status) = compiled {
        let (words, log) = (nvrtc.words(status), log.trim_end());
        if status == INVALID_OPTION {
            let ((major, minor), options) = (nvrtc.version, options.join(" "));
            let message = format!(
                "the kernel compiler NVRTC {major}.{minor} refuses an option of {options} ({words}: {log}); install another \
                 version of it, or use --device cpu"
            );
            return Err(Error::device(DeviceFault::NoCompiler, message));
        }
        let message = format!("kernel source '{module}' does not compile ({words}); NVRTC says:\n{log}");
        return Err(Error::device(DeviceFault::KernelText, message));
    }
    let image = program.cubin().map_err(|status| refused("reading the result", status))?;
    Ok((image, log))
}
