//! Compiled kernels on disk: used again, made again when damaged, thrown away over the limit; and those made ahead of time.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sarcomere::Result;
use sarcomere::device::cuda::{Architecture, Bundle, Compiler, Cuda, KernelCache, Module, Precision, Sources};
use sarcomere::tensor::write_beside;

use crate::emulator::Emulator;
use crate::support::{Small, changed_kernels, device, emulator, folder, with};

const LIMIT: u64 = 1 << 30;

/// Runs a small graph with this cache; how many programs were compiled for it.
fn compilations(emulator: &Emulator, sources: Sources, folder: &Path, limit: u64) -> Result<u64> {
    let before = emulator.counters();
    let small = Small::new()?;
    let device = device(with(sources, KernelCache::new(folder, limit))?);
    small.run(&mut small.executor(&device)?, 1.0)?;
    Ok(emulator.counters().since(&before).compilations)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder).expect("the folder is there").flatten().map(|entry| entry.path()).collect();
    files.sort();
    files
}

#[test]
fn kernels_are_compiled_once() -> Result<()> {
    let Some(emulator) = emulator() else { return Ok(()) };
    let folder = folder("cache").join("made/when/needed");
    let made = compilations(emulator, Sources::embedded(), &folder, LIMIT)?;
    assert!(made > 0);
    assert_eq!(files(&folder).len() as u64, made);
    assert_eq!(compilations(emulator, Sources::embedded(), &folder, LIMIT)?, 0);
    // Another text is another kernel; the old one stays.
    let edited = changed_kernels("elementwise.cu", |text| format!("{text}\n// edited\n"));
    assert_eq!(compilations(emulator, edited, &folder, LIMIT)?, made);
    assert_eq!(files(&folder).len() as u64, 2 * made);
    Ok(())
}

#[test]
fn damaged_files_are_made_again() -> Result<()> {
    let Some(emulator) = emulator() else { return Ok(()) };
    let folder = folder("cache");
    compilations(emulator, Sources::embedded(), &folder, LIMIT)?;
    let file = files(&folder).remove(0);
    let whole = fs::read(&file).expect("readable");
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    let damages =
        [Vec::new(), whole[..whole.len() - 1].to_vec(), whole[..20].to_vec(), flipped, [&whole[..], b"x"].concat()];
    for (number, damage) in damages.iter().enumerate() {
        fs::write(&file, damage).expect("writable");
        assert_eq!(compilations(emulator, Sources::embedded(), &folder, LIMIT)?, 1, "damage {number}");
        assert_eq!(fs::read(&file).expect("made again"), whole, "damage {number}");
    }
    Ok(())
}

#[test]
fn a_kept_kernel_that_the_driver_refuses_is_made_again() -> Result<()> {
    const INVALID_IMAGE: i32 = 200;
    let Some(emulator) = emulator() else { return Ok(()) };
    let folder = folder("cache");
    compilations(emulator, Sources::embedded(), &folder, LIMIT)?;
    emulator.fail("cuModuleLoadData", 1, INVALID_IMAGE);
    assert_eq!(compilations(emulator, Sources::embedded(), &folder, LIMIT)?, 1);
    assert_eq!(compilations(emulator, Sources::embedded(), &folder, LIMIT)?, 0);
    // One just made is not made a second time.
    let edited = changed_kernels("elementwise.cu", |text| format!("{text}\n// edited\n"));
    emulator.fail("cuModuleLoadData", 1, INVALID_IMAGE);
    let error = compilations(emulator, edited, &folder, LIMIT).expect_err("refused").to_string();
    assert!(error.contains("refuses") && error.contains("INVALID_IMAGE"), "{error}");
    Ok(())
}

#[test]
fn the_limit_holds() -> Result<()> {
    let Some(emulator) = emulator() else { return Ok(()) };
    let folder = folder("cache");
    compilations(emulator, Sources::embedded(), &folder, LIMIT)?;
    let old = files(&folder);
    let size = fs::metadata(&old[0]).expect("there").len();
    // Room for one and a half.
    let edited = changed_kernels("elementwise.cu", |text| format!("{text}\n// edited\n"));
    compilations(emulator, edited, &folder, size + size / 2)?;
    assert_eq!(files(&folder).len(), 1);
    assert_ne!(files(&folder), old[..1], "the older one went");
    Ok(())
}

#[test]
fn a_cache_that_cannot_be_written_costs_only_time() -> Result<()> {
    let Some(emulator) = emulator() else { return Ok(()) };
    // A file where the folder should be.
    let file = folder("cache").join("file");
    fs::write(&file, "in the way").expect("writable");
    for _ in 0..2 {
        assert!(compilations(emulator, Sources::embedded(), &file, LIMIT)? > 0);
    }
    assert_eq!(fs::read(&file).expect("still there"), b"in the way");
    Ok(())
}

#[test]
fn kernels_compiled_ahead_need_no_compiler() -> Result<()> {
    let Some(emulator) = emulator() else { return Ok(()) };
    let module = Module { source: "elementwise", constants: Vec::new() };
    let compiler =
        |architecture| Compiler::new(architecture, Sources::embedded(), KernelCache::disabled(), Bundle::empty());
    let path = folder("ahead").join("kernels.cubins");
    let mut bundle = Bundle::default();
    for number in [80, 90] {
        bundle.add(&compiler(Architecture { number }), std::slice::from_ref(&module))?;
    }
    assert_eq!(bundle.len(), 2);
    bundle.write(&path)?;
    let read = Arc::new(Bundle::read(&path)?);
    let before = emulator.counters();
    let small = Small::new()?;
    let opened = Cuda::with(0, Precision::F32, Sources::embedded(), KernelCache::disabled(), read)?;
    small.run(&mut small.executor(&device(opened))?, 1.0)?;
    assert_eq!(emulator.counters().since(&before).compilations, 0);
    let bytes = fs::read(&path).expect("readable");
    fs::write(&path, &bytes[..bytes.len() - 7]).expect("writable");
    let error = Bundle::read(&path).expect_err("cut short").to_string();
    assert!(error.contains("kernels.cubins") && error.contains("make it again"), "{error}");
    Ok(())
}

#[test]
fn a_header_that_only_the_folder_has_can_be_included() -> Result<()> {
    let Some(emulator) = emulator() else { return Ok(()) };
    let kernels = folder("kernels");
    fs::create_dir(kernels.join("device")).expect("made");
    fs::write(kernels.join("of_ours.cuh"), "#define OF_OURS 1\n").expect("written");
    fs::write(kernels.join("device/of_ours_too.cuh"), "#define OF_OURS_TOO 1\n").expect("written");
    let includes =
        "#include \"of_ours.cuh\"\n#include \"device/of_ours_too.cuh\"\nstatic_assert(OF_OURS + OF_OURS_TOO == 2);\n";
    let text = Sources::embedded().text("elementwise.cu")?;
    fs::write(kernels.join("elementwise.cu"), format!("{text}\n{includes}")).expect("written");
    let cache = folder("cache");
    let made = compilations(emulator, Sources::folder(&kernels), &cache, LIMIT)?;
    assert!(made > 0);
    // What it says is part of what the kernels are made from.
    fs::write(kernels.join("of_ours.cuh"), "#define OF_OURS (3 - 2)\n").expect("written");
    assert_eq!(compilations(emulator, Sources::folder(&kernels), &cache, LIMIT)?, made);
    Ok(())
}

#[test]
fn files_written_at_once_are_whole() {
    let path = folder("beside").join("file");
    let texts: Vec<Vec<u8>> = (0..4u8).map(|number| vec![number; 100_000]).collect();
    std::thread::scope(|scope| {
        for text in &texts {
            let path = &path;
            scope.spawn(move || (0..8).for_each(|_| write_beside(path, text).expect("written")));
        }
    });
    assert!(texts.contains(&fs::read(&path).expect("readable")));
    assert_eq!(files(path.parent().expect("a folder")).len(), 1, "nothing is left beside it");
}
