//! NVRTC's functions, from a library that was chosen at run time: which one cudarc would take by itself does not depend on the
//! driver.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::Path;

use libloading::Library;

/// What functions return when all went well.
const SUCCESS: c_int = 0;

macro_rules! nvrtc {
    ($($field:ident: $symbol:literal ($($argument:ty),*) -> $result:ty,)*) => {
        /// A loaded NVRTC. It stays loaded.
        pub(super) struct Nvrtc {
            /// Major and minor version.
            pub version: (c_int, c_int),
            architectures: Vec<c_int>,
            functions: Functions,
        }

        struct Functions {
            $($field: unsafe extern "C" fn($($argument),*) -> $result,)*
        }

        impl Functions {
            fn new(library: &Library) -> Result<Self, libloading::Error> {
                Ok(Self {
                    // SAFETY: the symbol has this signature in every NVRTC.
                    $($field: *unsafe { library.get::<unsafe extern "C" fn($($argument),*) -> $result>($symbol.as_bytes()) }?,)*
                })
            }
        }
    };
}

nvrtc! {
    version: "nvrtcVersion\0" (*mut c_int, *mut c_int) -> c_int,
    count_architectures: "nvrtcGetNumSupportedArchs\0" (*mut c_int) -> c_int,
    list_architectures: "nvrtcGetSupportedArchs\0" (*mut c_int) -> c_int,
    error_text: "nvrtcGetErrorString\0" (c_int) -> *const c_char,
    create: "nvrtcCreateProgram\0"
        (*mut *mut c_void, *const c_char, *const c_char, c_int, *const *const c_char, *const *const c_char) -> c_int,
    destroy: "nvrtcDestroyProgram\0" (*mut *mut c_void) -> c_int,
    compile: "nvrtcCompileProgram\0" (*mut c_void, c_int, *const *const c_char) -> c_int,
    log_size: "nvrtcGetProgramLogSize\0" (*mut c_void, *mut usize) -> c_int,
    log: "nvrtcGetProgramLog\0" (*mut c_void, *mut c_char) -> c_int,
    cubin_size: "nvrtcGetCUBINSize\0" (*mut c_void, *mut usize) -> c_int,
    cubin: "nvrtcGetCUBIN\0" (*mut c_void, *mut c_char) -> c_int,
}

impl Nvrtc {
    /// Loads a library: by name where the system looks, or from a path. `Err(None)`: there is no such file.
    pub fn load(path: &Path) -> Result<Self, Option<String>> {
        let library = load(path)?;
        let functions = Functions::new(&library)
            .map_err(|error| Some(format!("{}: is not NVRTC 11.2 or newer: {}", path.display(), words(&error))))?;
        std::mem::forget(library);
        let mut nvrtc = Self { version: (0, 0), architectures: Vec::new(), functions };
        let asked = nvrtc.ask();
        asked.map_err(|status| Some(format!("{}: does not answer: {}", path.display(), nvrtc.words(status))))?;
        Ok(nvrtc)
    }

    fn ask(&mut self) -> Result<(), c_int> {
        let (mut major, mut minor, mut count) = (0, 0, 0);
        // SAFETY: writes two integers.
        done(unsafe { (self.functions.version)(&mut major, &mut minor) })?;
        // SAFETY: writes one integer.
        done(unsafe { (self.functions.count_architectures)(&mut count) })?;
        self.version = (major, minor);
        self.architectures = vec![0; usize::try_from(count).unwrap_or(0)];
        // SAFETY: writes as many integers as it said.
        done(unsafe { (self.functions.list_architectures)(self.architectures.as_mut_ptr()) })
    }

    /// Whether it compiles for an architecture, as in 90.
    pub fn knows(&self, architecture: u32) -> bool {
        self.architectures.iter().any(|known| u32::try_from(*known) == Ok(architecture))
    }

    /// NVRTC's name of what a function returned.
    pub fn words(&self, status: c_int) -> String {
        // SAFETY: takes any number; returns a string that lives for ever.
        let text = unsafe { (self.functions.error_text)(status) };
        if text.is_null() {
            return format!("status {status}");
        }
        // SAFETY: as above.
        unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
    }

    /// A program of a text, its title, and the headers that it may include.
    pub fn program(
        &self,
        text: &CStr,
        title: &CStr,
        headers: &[*const c_char],
        names: &[*const c_char],
    ) -> Result<Program<'_>, c_int> {
        assert_eq!(headers.len(), names.len());
        let mut handle = std::ptr::null_mut();
        let (text, title, count) = (text.as_ptr(), title.as_ptr(), headers.len() as c_int);
        // SAFETY: all strings live until the call returns; the counts are theirs.
        done(unsafe { (self.functions.create)(&mut handle, text, title, count, headers.as_ptr(), names.as_ptr()) })?;
        Ok(Program { nvrtc: self, handle })
    }
}

/// A program, destroyed when dropped.
pub(super) struct Program<'a> {
    nvrtc: &'a Nvrtc,
    handle: *mut c_void,
}

impl Program<'_> {
    /// Compiles it.
    pub fn compile(&self, options: &[*const c_char]) -> Result<(), c_int> {
        // SAFETY: the program exists; the options live until the call returns.
        done(unsafe { (self.nvrtc.functions.compile)(self.handle, options.len() as c_int, options.as_ptr()) })
    }

    /// What the compiler said; empty if it cannot be had.
    pub fn log(&self) -> String {
        let functions = &self.nvrtc.functions;
        let bytes = self.bytes(functions.log_size, functions.log).unwrap_or_default();
        CStr::from_bytes_until_nul(&bytes).map(|text| text.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// What came out.
    pub fn cubin(&self) -> Result<Vec<u8>, c_int> {
        self.bytes(self.nvrtc.functions.cubin_size, self.nvrtc.functions.cubin)
    }

    fn bytes(
        &self,
        size: unsafe extern "C" fn(*mut c_void, *mut usize) -> c_int,
        get: unsafe extern "C" fn(*mut c_void, *mut c_char) -> c_int,
    ) -> Result<Vec<u8>, c_int> {
        let mut count = 0;
        // SAFETY: the program exists; writes one integer.
        done(unsafe { size(self.handle, &mut count) })?;
        let mut bytes = vec![0u8; count];
        // SAFETY: writes as many bytes as it said.
        done(unsafe { get(self.handle, bytes.as_mut_ptr().cast()) })?;
        Ok(bytes)
    }
}

impl Drop for Program<'_> {
    fn drop(&mut self) {
        // SAFETY: created by us and destroyed once.
        unsafe { (self.nvrtc.functions.destroy)(&mut self.handle) };
    }
}

fn done(status: c_int) -> Result<(), c_int> {
    if status == SUCCESS { Ok(()) } else { Err(status) }
}

/// Loads a library; `Err(None)` if there is none of that name, else why it does not load.
pub(super) fn load(path: &Path) -> Result<Library, Option<String>> {
    // SAFETY: the initialisers of the driver or of NVRTC are run, as by any program that uses a GPU.
    unsafe { Library::new(path) }.map_err(|error| {
        let (text, name) = (words(&error), path.display().to_string());
        let absent = match cfg!(windows) {
            true => !path.is_file(),
            false => text.starts_with(&format!("{name}: ")) && text.ends_with("No such file or directory"),
        };
        (!absent).then(|| if text.contains(&name) { text } else { format!("{name}: {text}") })
    })
}

/// The loader's own words.
fn words(error: &libloading::Error) -> String {
    let source = std::error::Error::source(error).map(ToString::to_string);
    source.unwrap_or_else(|| error.to_string())
}
