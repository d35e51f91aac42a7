//! Finds the driver before anything of cudarc is called, which panics when the library is missing, and the kernel compiler.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};

use super::nvrtc::{self, Nvrtc};
use crate::{DeviceFault, Error, Result};

/// The oldest driver that will do, as the driver numbers itself (1000 major + 10 minor): the first that tells the sizes of a
/// kernel's parameters, which the launch gate checks.
const NEEDED: i32 = 12_040;

#[cfg(windows)]
const DRIVER_NAMES: [&str; 1] = ["nvcuda.dll"];
#[cfg(not(windows))]
const DRIVER_NAMES: [&str; 2] = ["libcuda.so.1", "libcuda.so"];

/// Major versions of the kernel compiler that are looked for, best first, beside the driver's own.
const COMPILER_MAJORS: [i32; 2] = [13, 12];

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
    let mut broken = Vec::new();
    let library =
        DRIVER_NAMES.iter().find_map(|name| nvrtc::load(Path::new(name)).map_err(|reason| broken.extend(reason)).ok());
    let Some(library) = library else {
        if !broken.is_empty() {
            let reasons = broken.join(", ");
            return Err(format!(
                "the NVIDIA driver does not load ({reasons}); reinstall the driver of the GPU, or use --device cpu"
            ));
        }
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

/// What came of a search: the library, or what kind of failure and words for it.
type Found = std::result::Result<&'static Nvrtc, (DeviceFault, String)>;

/// The kernel compiler (NVRTC) whose code a driver of this version loads: of the same major version if there is one, else an
/// older one. Without a driver, the newest.
pub(super) fn compiler(driver: Option<i32>) -> Result<&'static Nvrtc> {
    static FOUND: Mutex<BTreeMap<Option<i32>, Found>> = Mutex::new(BTreeMap::new());
    let mut found = FOUND.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let found = found.entry(driver).or_insert_with(|| find_compiler(driver)).clone();
    found.map_err(|(fault, message)| Error::device(fault, message))
}

fn find_compiler(driver: Option<i32>) -> Found {
    let major = driver.map(|version| version / 1000);
    let candidates = match std::env::var_os("SARCOMERE_NVRTC") {
        Some(chosen) => vec![PathBuf::from(chosen)],
        None => compiler_candidates(major, &compiler_folders()),
    };
    let (mut tried, mut broken, mut too_new) = (Vec::new(), Vec::new(), None);
    for path in candidates {
        load_builtins(&path);
        match Nvrtc::load(&path) {
            Ok(found) if major.is_none_or(|major| found.version.0 <= major) => return Ok(Box::leak(Box::new(found))),
            Ok(found) => too_new = too_new.or(Some((found.version, path.display().to_string()))),
            Err(None) => tried.push(path.display().to_string()),
            Err(Some(reason)) => broken.push(reason),
        }
    }
    let package = compiler_package(major);
    let remedy = format!(
        "install it with `pip install {package}` or the CUDA toolkit, and name the library in SARCOMERE_NVRTC if it"
    );
    if let (Some(((newer, minor), path)), Some(driver)) = (too_new, driver) {
        let driver = dotted(driver);
        let message = format!(
            "the driver supports CUDA {driver} and does not load what the kernel compiler NVRTC {newer}.{minor} ({path}) \
             makes; update the driver, or install the compiler of the driver's major version with `pip install \
             \"{package}\"` (SARCOMERE_NVRTC names the library), or use --device cpu"
        );
        return Err((DeviceFault::DriverTooOld, message));
    }
    let what = match broken.is_empty() {
        true => format!("was not found (looked for {})", tried.join(", ")),
        false => format!("does not load ({})", broken.join(", ")),
    };
    let message = format!("the kernel compiler NVRTC {what}; {remedy} lies elsewhere, or use --device cpu");
    Err((DeviceFault::NoCompiler, message))
}

/// Python's package of the kernel compiler of a major version.
pub(super) fn compiler_package(major: Option<i32>) -> &'static str {
    if major.is_some_and(|major| major < 13) { "nvidia-cuda-nvrtc-cu12" } else { "nvidia-cuda-nvrtc" }
}

/// Where the compiler is looked for, in this order: the driver's major version first, everywhere; then those without a number
/// in their name, then the others.
fn compiler_candidates(major: Option<i32>, folders: &[PathBuf]) -> Vec<PathBuf> {
    let mut majors: Vec<i32> = major.into_iter().chain(COMPILER_MAJORS).collect();
    // An older one makes code that the driver loads, a newer one is only good to be told of.
    majors[1..].sort_by_key(|other| (Some(*other) > major, -other));
    majors.dedup();
    let mut names: Vec<String> = majors.iter().map(|major| compiler_name(*major)).collect();
    if !cfg!(windows) {
        names.insert(1, "libnvrtc.so".to_owned());
    }
    let places = |name: String| {
        let in_folders: Vec<PathBuf> = folders.iter().map(|folder| folder.join(&name)).collect();
        std::iter::once(PathBuf::from(name)).chain(in_folders)
    };
    names.into_iter().flat_map(places).collect()
}

fn compiler_name(major: i32) -> String {
    if cfg!(windows) { format!("nvrtc64_{major}0_0.dll") } else { format!("libnvrtc.so.{major}") }
}

/// Loads NVRTC's second library from beside the first: it asks for it by name when it compiles, and would not find it in a folder
/// that the system does not search.
fn load_builtins(compiler: &Path) {
    let folder = compiler.parent().filter(|folder| !folder.as_os_str().is_empty());
    for entry in folder.and_then(|folder| std::fs::read_dir(folder).ok()).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with("libnvrtc-builtins.so")
            && let Ok(library) = nvrtc::load(&entry.path())
        {
            std::mem::forget(library);
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
