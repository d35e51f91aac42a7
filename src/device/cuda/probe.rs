//! Finds the driver and the kernel compiler before anything of cudarc is called, which panics when a library is missing.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use libloading::Library;

use crate::{DeviceFault, Error, Result};

/// The oldest driver that will do, as the driver numbers itself (1000 major + 10 minor): the first that tells the sizes of a
/// kernel's parameters, which the launch gate checks.
const NEEDED: i32 = 12_040;

#[cfg(windows)]
const DRIVER_NAMES: [&str; 1] = ["nvcuda.dll"];
#[cfg(not(windows))]
const DRIVER_NAMES: [&str; 2] = ["libcuda.so.1", "libcuda.so"];

#[cfg(windows)]
const COMPILER_NAMES: [&str; 2] = ["nvrtc64_130_0.dll", "nvrtc64_120_0.dll"];
#[cfg(not(windows))]
const COMPILER_NAMES: [&str; 3] = ["libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"];

/// The version of the driver, or why there is none that will do.
pub(super) fn driver() -> Result<i32> {
    static FOUND: OnceLock<std::result::Result<GetVersion, String>> = OnceLock::new();
    let absent = |message| Error::device(DeviceFault::Absent, message);
    let get = FOUND.get_or_init(find_driver).clone().map_err(absent)?;
    let mut version = 0;
    // SAFETY: writes one integer.
    let status = unsafe { get(&mut version) };
    if status != 0 || version <= 0 {
        return Err(absent(format!("the NVIDIA driver does not answer (status {status}); reinstall the driver")));
    }
    if version < NEEDED {
        let message = format!(
            "the NVIDIA driver supports CUDA {}, {} or newer is needed; update the driver, or use --device cpu",
            dotted(version),
            dotted(NEEDED)
        );
        return Err(Error::device(DeviceFault::DriverTooOld, message));
    }
    Ok(version)
}

type GetVersion = unsafe extern "C" fn(*mut i32) -> i32;

fn find_driver() -> std::result::Result<GetVersion, String> {
    // SAFETY: loading the driver runs its initialisers, as any program that uses a GPU does.
    let library = DRIVER_NAMES.iter().find_map(|name| unsafe { Library::new(*name) }.ok());
    let Some(library) = library else {
        let names = DRIVER_NAMES.join(", ");
        return Err(format!(
            "no NVIDIA driver was found (looked for {names}); install the driver of the GPU, or use --device cpu"
        ));
    };
    // SAFETY: the symbol has this signature in every driver.
    let get = unsafe { library.get::<GetVersion>(b"cuDriverGetVersion\0") }.map(|symbol| *symbol);
    // Stays loaded: cudarc finds it by the same name.
    std::mem::forget(library);
    get.map_err(|error| format!("the NVIDIA driver library is not one ({error}); reinstall the driver"))
}

/// Makes the kernel compiler (NVRTC) available to cudarc: by name, else from the places where it is usually put.
pub(super) fn compiler() -> Result<()> {
    static FOUND: OnceLock<std::result::Result<(), String>> = OnceLock::new();
    let found = FOUND.get_or_init(find_compiler).clone();
    found.map_err(|message| Error::device(DeviceFault::NoCompiler, message))
}

fn find_compiler() -> std::result::Result<(), String> {
    let mut tried = Vec::new();
    let chosen = std::env::var_os("SARCOMERE_NVRTC").map(PathBuf::from);
    let folders = if chosen.is_some() { Vec::new() } else { compiler_folders() };
    let by_name = COMPILER_NAMES.iter().map(PathBuf::from).filter(|_| chosen.is_none());
    let in_folders = folders.iter().flat_map(|folder| COMPILER_NAMES.iter().map(|name| folder.join(name)));
    for path in chosen.clone().into_iter().chain(by_name).chain(in_folders) {
        load_builtins(&path);
        // SAFETY: NVRTC's initialisers are run, as by any program that compiles kernels.
        if let Ok(library) = unsafe { Library::new(&path) } {
            // Stays loaded: cudarc finds it by its name.
            std::mem::forget(library);
            return Ok(());
        }
        tried.push(path.display().to_string());
    }
    Err(format!(
        "the kernel compiler NVRTC was not found (looked for {}); install it with `pip install nvidia-cuda-nvrtc` or the CUDA \
         toolkit, and name the library in SARCOMERE_NVRTC if it lies elsewhere",
        tried.join(", ")
    ))
}

/// Loads NVRTC's second library from beside the first: it asks for it by name when it compiles, and would not find it in a folder
/// that the system does not search.
fn load_builtins(compiler: &Path) {
    let folder = compiler.parent().filter(|folder| !folder.as_os_str().is_empty());
    for entry in folder.and_then(|folder| std::fs::read_dir(folder).ok()).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with("libnvrtc-builtins.so") {
            // SAFETY: as for NVRTC itself.
            if let Ok(library) = unsafe { Library::new(entry.path()) } {
                std::mem::forget(library);
            }
        }
    }
}

/// Folders that hold NVRTC on usual machines: the toolkit's, and those of Python's wheels.
fn compiler_folders() -> Vec<PathBuf> {
    let mut folders = Vec::new();
    for variable in ["CUDA_HOME", "CUDA_PATH"] {
        if let Some(home) = std::env::var_os(variable) {
            folders.extend(["lib64", "lib", "bin"].map(|sub| Path::new(&home).join(sub)));
        }
    }
    folders.push(PathBuf::from("/usr/local/cuda/lib64"));
    let environments = ["VIRTUAL_ENV", "CONDA_PREFIX"];
    let mut pythons: Vec<PathBuf> = environments.into_iter().filter_map(std::env::var_os).map(PathBuf::from).collect();
    pythons.extend(std::env::var_os("HOME").map(|home| Path::new(&home).join(".local")));
    pythons.extend([PathBuf::from("/usr/local"), PathBuf::from("/usr")]);
    for python in pythons {
        let Ok(entries) = std::fs::read_dir(python.join("lib")) else { continue };
        for entry in entries.flatten().filter(|e| e.file_name().to_string_lossy().starts_with("python3")) {
            for packages in ["site-packages", "dist-packages"] {
                let nvidia = entry.path().join(packages).join("nvidia");
                folders.extend(["cu13/lib", "cuda_nvrtc/lib"].map(|sub| nvidia.join(sub)));
            }
        }
    }
    folders.retain(|folder| folder.is_dir());
    folders
}

/// A version as people write it: 13000 is "13.0".
pub(super) fn dotted(version: i32) -> String {
    format!("{}.{}", version / 1000, version % 1000 / 10)
}
