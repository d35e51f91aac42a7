//! Builds the stand-ins with the host's C++ compiler, once for each state of their sources, beside the other things that
//! cargo keeps for tests.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The libraries: those that stand in, and empty ones by the other names under which they are looked for.
pub struct Built {
    pub driver: PathBuf,
    pub compiler: PathBuf,
    pub aliases: Vec<PathBuf>,
    /// Held, shared, while the libraries are in use.
    pub lock: fs::File,
}

const DRIVER: &str = "libcuda.so.1";
const COMPILER: &str = "libnvrtc.so.13";
/// cudarc asks for these names first; a machine may have a real library behind them.
const ALIASES: [(&str, &str); 2] = [("libcuda.so", DRIVER), ("libnvrtc.so", COMPILER)];
const FLAGS: [&str; 7] = ["-std=c++17", "-O2", "-g1", "-fPIC", "-fno-semantic-interposition", "-Wall", "-Wextra"];

pub fn build() -> Result<Built, String> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return Err("it needs x86-64 Linux".to_owned());
    }
    let cxx = std::env::var("CXX").unwrap_or_else(|_| "g++".to_owned());
    let version =
        Command::new(&cxx).arg("--version").output().map_err(|error| format!("no C++ compiler: {cxx}: {error}"))?;
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    if !version.contains("Free Software Foundation") {
        return Err(format!("{cxx} is not GNU C++, whose checks are needed"));
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/emulator");
    let mut sources = Vec::new();
    for folder in ["include", "include/emulated", "runtime", "driver", "compiler"] {
        let entries = fs::read_dir(root.join(folder)).map_err(|error| format!("{folder}: {error}"))?;
        sources.extend(entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()));
    }
    sources.sort();
    let mut hasher = DefaultHasher::new();
    (&version, &root, FLAGS).hash(&mut hasher);
    for source in &sources {
        (source, fs::read(source).map_err(|error| format!("{}: {error}", source.display()))?).hash(&mut hasher);
    }
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("emulator-{:016x}", hasher.finish()));
    fs::create_dir_all(&home).map_err(|error| format!("{}: {error}", home.display()))?;
    // One process builds; the others wait for it.
    let lock = fs::File::create(home.join("lock")).map_err(|error| error.to_string())?;
    let done = home.join("done");
    // Shared where it is built: a test may start a process of its own while it holds the lock.
    lock.lock_shared().map_err(|error| error.to_string())?;
    if !done.exists() {
        lock.unlock().and_then(|()| lock.lock()).map_err(|error| error.to_string())?;
        if !done.exists() {
            remove_unused(&home);
            compile(&cxx, &root, &home, &sources)?;
            fs::write(done, "").map_err(|error| error.to_string())?;
        }
        lock.lock_shared().map_err(|error| error.to_string())?;
    }
    Ok(Built {
        driver: home.join(DRIVER),
        compiler: home.join(COMPILER),
        aliases: ALIASES.iter().map(|(name, _)| home.join(name)).collect(),
        lock,
    })
}

/// Removes what earlier states of the sources left, where no process has it loaded.
fn remove_unused(home: &Path) {
    let siblings = home.parent().and_then(|folder| fs::read_dir(folder).ok()).into_iter().flatten().flatten();
    for other in siblings.map(|entry| entry.path()) {
        let ours = other.file_name().is_some_and(|name| name.to_string_lossy().starts_with("emulator-"));
        let unused = |file: fs::File| file.try_lock().is_ok();
        if ours && other != home && fs::File::open(other.join("lock")).is_ok_and(unused) {
            // What cannot be removed only takes space.
            let _ = fs::remove_dir_all(other);
        }
    }
}

fn compile(cxx: &str, root: &Path, home: &Path, sources: &[PathBuf]) -> Result<(), String> {
    let objects = home.join("objects");
    fs::create_dir_all(&objects).map_err(|error| error.to_string())?;
    let include = format!("-DEMULATOR_INCLUDE=\"{}\"", root.join("include").display());
    let units: Vec<&PathBuf> = sources.iter().filter(|path| path.extension().is_some_and(|end| end == "cpp")).collect();
    let object = |unit: &Path| objects.join(unit.file_name().unwrap_or_default()).with_extension("o");
    let next = std::sync::atomic::AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get()).min(units.len());
    let worker = || {
        while let Some(unit) = units.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
            run(Command::new(cxx).args(FLAGS).arg(&include).arg("-c").arg(unit).arg("-o").arg(object(unit)))?;
        }
        Ok::<(), String>(())
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().map_err(|_| "a build thread panicked".to_owned())?)
    })?;
    let (compiler, driver): (Vec<&PathBuf>, Vec<&PathBuf>) =
        units.iter().partition(|unit| unit.file_stem().is_some_and(|name| name == "nvrtc"));
    let link = |name: &str, inputs: &[PathBuf]| {
        let soname = format!("-Wl,--no-as-needed,-soname,{name}");
        run(Command::new(cxx).args(["-shared", "-o"]).arg(home.join(name)).arg(soname).args(inputs))
    };
    link(DRIVER, &driver.iter().map(|unit| object(unit)).collect::<Vec<_>>())?;
    let mut inputs: Vec<PathBuf> = compiler.iter().map(|unit| object(unit)).collect();
    inputs.push(home.join(DRIVER));
    link(COMPILER, &inputs)?;
    ALIASES.iter().try_for_each(|(name, library)| link(name, &[home.join(library)]))
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    // A broken stand-in is no reason to skip.
    panic!("{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
}
