//! Whatever can be missing, refused or broken: an error of the right kind with the remedy, and a usable program after it.

use std::path::Path;
use std::process::Command;

use sarcomere::device::cuda::{Architecture, Bundle, Compiler, Cuda, KernelCache, Module, Precision, Sources};
use sarcomere::{Device, DeviceFault, Result};

use crate::emulator::DeviceDescription;
use crate::support::{Small, changed_kernels, device, emulator, fault, folder, gpu, with};

/// The driver's numbers of errors.
const OUT_OF_MEMORY: i32 = 2;
const NO_BINARY_FOR_GPU: i32 = 209;
const LAUNCH_OUT_OF_RESOURCES: i32 = 701;
const ILLEGAL_ADDRESS: i32 = 700;

#[test]
fn an_old_driver_is_told() {
    let Some(emulator) = emulator() else { return };
    emulator.device(&DeviceDescription { driver: 11_080, ..DeviceDescription::default() });
    let error = Cuda::count().expect_err("too old");
    assert_eq!(fault(&error), DeviceFault::DriverTooOld);
    let text = error.to_string();
    assert!(text.contains("11.8") && text.contains("12.4") && text.contains("update"), "{text}");
}

#[test]
fn a_machine_without_gpus_is_told() {
    let Some(emulator) = emulator() else { return };
    emulator.device(&DeviceDescription { count: 0, ..DeviceDescription::default() });
    let error = gpu().expect_err("none");
    assert_eq!(fault(&error), DeviceFault::Absent);
    assert!(error.to_string().contains("--device cpu"), "{error}");
    let (chosen, why) = Device::from_name_with("auto", Default::default()).expect("the processor");
    assert!(matches!(chosen, Device::Cpu(_)) && why.is_some_and(|why| why.contains("no GPU")));
    emulator.device(&DeviceDescription::default());
    let error = Device::from_name("cuda:3").expect_err("there is one").to_string();
    assert!(error.contains("GPU 3") && error.contains("sees 1"), "{error}");
    assert!(Device::from_name("cuda:x").expect_err("no number").to_string().contains("cuda:N"));
}

#[test]
fn an_old_gpu_is_told() {
    let Some(emulator) = emulator() else { return };
    emulator.device(&DeviceDescription { major: 7, minor: 0, ..DeviceDescription::default() });
    let error = gpu().expect_err("too old");
    assert_eq!(fault(&error), DeviceFault::WrongArchitecture);
    assert!(error.to_string().contains("sm_70") && error.to_string().contains("sm_75"), "{error}");
}

/// Runs an ignored test in a process of its own: the search for the compiler is made once a process.
fn alone(test: &str, variable: &str, value: &Path) {
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", &format!("faults::{test}"), "--ignored", "--nocapture"])
        .env(variable, value)
        .output()
        .expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
fn a_missing_compiler_is_told() {
    let Some(_) = emulator() else { return };
    alone("without_a_compiler", "SARCOMERE_NVRTC", Path::new("/nowhere/libnvrtc.so.13"));
}

#[test]
#[ignore = "run by a_missing_compiler_is_told in a process of its own"]
fn without_a_compiler() -> Result<()> {
    let Some(_) = emulator() else { return Ok(()) };
    let small = Small::new()?;
    let error = small.executor(&device(gpu()?)).expect_err("no compiler");
    assert_eq!(fault(&error), DeviceFault::NoCompiler);
    let text = error.to_string();
    assert!(text.contains("/nowhere/libnvrtc.so.13") && text.contains("pip install nvidia-cuda-nvrtc"), "{text}");
    assert!(text.contains("was not found") && text.contains("--device cpu"), "{text}");
    // Whoever leaves the choice gets the processor, and the reason.
    let (chosen, why) = Device::from_name_with("auto", Precision::Bf16)?;
    let why = why.expect("a reason");
    assert!(matches!(chosen, Device::Cpu(_)) && why.contains("NVRTC was not found") && why.contains("f32"), "{why}");
    Ok(())
}

#[test]
fn a_compiler_that_does_not_load_is_told_with_the_loaders_words() {
    let Some(_) = emulator() else { return };
    let path = folder("nvrtc").join("libnvrtc.so.13");
    std::fs::write(
        &path,
        "this is no library, though it is as long as the first part of one would have to be, or longer",
    )
    .expect("written");
    alone("with_a_broken_compiler", "SARCOMERE_NVRTC", &path);
}

#[test]
#[ignore = "run by a_compiler_that_does_not_load_is_told_with_the_loaders_words in a process of its own"]
fn with_a_broken_compiler() -> Result<()> {
    let Some(_) = emulator() else { return Ok(()) };
    let error = gpu()?.can_compile().expect_err("no compiler");
    assert_eq!(fault(&error), DeviceFault::NoCompiler);
    let text = error.to_string();
    assert!(text.contains("does not load") && text.contains("libnvrtc.so.13: "), "{text}");
    assert!(!text.contains("not found") && text.contains("ELF"), "{text}");
    Ok(())
}

#[test]
fn a_compiler_newer_than_the_driver_is_told() {
    let Some(emulator) = emulator() else { return };
    alone("with_a_newer_compiler", "SARCOMERE_NVRTC", &emulator.folder().join("libnvrtc.so.13"));
}

#[test]
#[ignore = "run by a_compiler_newer_than_the_driver_is_told in a process of its own"]
fn with_a_newer_compiler() -> Result<()> {
    let Some(emulator) = emulator() else { return Ok(()) };
    let small = Small::new()?;
    emulator.device(&DeviceDescription { driver: 12_080, ..DeviceDescription::default() });
    let error = small.executor(&device(gpu()?)).expect_err("13 is newer than 12");
    assert_eq!(fault(&error), DeviceFault::DriverTooOld);
    let text = error.to_string();
    assert!(text.contains("12.8") && text.contains("NVRTC 13.0") && text.contains("update the driver"), "{text}");
    assert!(text.contains("nvidia-cuda-nvrtc-cu12") && text.contains("--device cpu"), "{text}");
    // The same one for a newer driver, in the same process.
    emulator.device(&DeviceDescription { driver: 13_010, ..DeviceDescription::default() });
    small.run(&mut small.executor(&device(gpu()?))?, 1.0)?;
    Ok(())
}

/// Where a compiler of the driver's major version and a newer one lie side by side.
#[test]
fn the_compiler_of_the_drivers_version_is_taken() {
    let Some(emulator) = emulator() else { return };
    let folder = folder("nvrtc");
    let source = folder.join("older.c");
    std::fs::write(&source, "int nvrtcVersion(int* major, int* minor) { *major = 12; *minor = 8; return 0; }")
        .expect("written");
    // All but the version is the stand-in's.
    let built = Command::new("gcc")
        .args(["-shared", "-fPIC", "-Wl,--no-as-needed,-soname,libnvrtc.so.12", "-o"])
        .args([folder.join("libnvrtc.so.12"), source, emulator.folder().join("libnvrtc.so.13")])
        .status();
    assert!(built.is_ok_and(|status| status.success()));
    alone("with_two_compilers", "LD_LIBRARY_PATH", &folder);
}

#[test]
#[ignore = "run by the_compiler_of_the_drivers_version_is_taken in a process of its own"]
fn with_two_compilers() -> Result<()> {
    let Some(emulator) = emulator() else { return Ok(()) };
    emulator.device(&DeviceDescription { driver: 12_080, ..DeviceDescription::default() });
    // Only found: what the stand-in makes is of version 13 all the same.
    gpu()?.can_compile()
}

#[test]
fn a_compiler_too_old_for_the_gpu_is_told() -> Result<()> {
    const INVALID_OPTION: i32 = 5;
    let Some(emulator) = emulator() else { return Ok(()) };
    let module = Module { source: "elementwise", constants: Vec::new() };
    let compile = |number| {
        let (sources, cache) = (Sources::embedded(), KernelCache::disabled());
        Compiler::new(Architecture { number }, sources, cache, Bundle::empty()).compile(&module)
    };
    let error = compile(95).expect_err("there is no such architecture");
    assert_eq!(fault(&error), DeviceFault::NoCompiler);
    assert!(error.to_string().contains("does not know sm_95") && error.to_string().contains("--upgrade"), "{error}");
    emulator.fail("nvrtcCompileProgram", 1, INVALID_OPTION);
    let error = compile(90).expect_err("refused");
    assert_eq!(fault(&error), DeviceFault::NoCompiler);
    assert!(error.to_string().contains("refuses an option") && error.to_string().contains("sm_90"), "{error}");
    Ok(())
}

#[test]
fn the_precision_in_force_is_told() -> Result<()> {
    let Some(emulator) = emulator() else { return Ok(()) };
    let described = |precision| {
        Cuda::with(0, precision, Sources::embedded(), KernelCache::disabled(), Bundle::empty())
            .map(|gpu| gpu.describe())
    };
    assert!(described(Precision::Bf16)?.ends_with(", bf16)"));
    emulator.device(&DeviceDescription { major: 7, minor: 5, ..DeviceDescription::default() });
    assert!(described(Precision::Bf16)?.ends_with(", f32 (bf16 needs sm_80))"));
    assert!(described(Precision::F32)?.ends_with(", f32)"));
    Ok(())
}

#[test]
fn the_processor_refuses_what_it_would_ignore() -> Result<()> {
    let error = Device::from_name_with("cpu", Precision::Bf16).expect_err("it computes in f32").to_string();
    assert!(error.contains("--precision") && error.contains("f32"), "{error}");
    Device::from_name_with("cpu", Precision::F32).map(drop)
}

#[test]
fn a_kernel_that_does_not_compile_is_told_with_the_compilers_words() -> Result<()> {
    let Some(_) = emulator() else { return Ok(()) };
    let sources = changed_kernels("elementwise.cu", |text| format!("{text}\nfloat broken( {{\n"));
    let small = Small::new()?;
    let error = small.executor(&device(with(sources, KernelCache::disabled())?)).expect_err("broken");
    assert_eq!(fault(&error), DeviceFault::KernelText);
    assert!(error.to_string().contains("elementwise") && error.to_string().contains("error"), "{error}");
    Ok(())
}

#[test]
fn an_edited_kernel_with_other_arguments_is_refused() -> Result<()> {
    let Some(_) = emulator() else { return Ok(()) };
    let sources = changed_kernels("elementwise.cu", |text| {
        text.replace("Stored* x, Stored* y, int64_t n)", "Stored* x, Stored* y, int n)")
    });
    let small = Small::new()?;
    let error = small.executor(&device(with(sources, KernelCache::disabled())?)).expect_err("4 bytes are not 8");
    assert_eq!(fault(&error), DeviceFault::Refused);
    let text = error.to_string();
    assert!(text.contains("relu_f32") && text.contains("8 bytes") && text.contains("has 4"), "{text}");
    Ok(())
}

#[test]
fn a_plan_that_does_not_fit_names_the_largest_holders() -> Result<()> {
    let Some(emulator) = emulator() else { return Ok(()) };
    emulator.device(&DeviceDescription { memory_bytes: 256, ..DeviceDescription::default() });
    let small = Small::new()?;
    let error = small.executor(&device(gpu()?)).expect_err("256 bytes");
    assert_eq!(fault(&error), DeviceFault::OutOfMemory);
    let text = error.to_string();
    assert!(text.contains("Largest") && text.contains("f32[5,7]") && text.contains("smaller batch"), "{text}");
    Ok(())
}

#[test]
fn every_call_may_fail_and_the_device_stays_usable() -> Result<()> {
    let Some(emulator) = emulator() else { return Ok(()) };
    let small = Small::new()?;
    let shared = device(gpu()?);
    let expected = small.run(&mut small.executor(&shared)?, 1.0)?;
    for (call, status, kind) in [
        ("cuMemAlloc", OUT_OF_MEMORY, DeviceFault::OutOfMemory),
        ("cuMemHostAlloc", OUT_OF_MEMORY, DeviceFault::OutOfMemory),
        ("cuLaunchKernel", LAUNCH_OUT_OF_RESOURCES, DeviceFault::Refused),
        ("cuGraphLaunch", LAUNCH_OUT_OF_RESOURCES, DeviceFault::Refused),
        ("cuMemcpyHtoDAsync", OUT_OF_MEMORY, DeviceFault::OutOfMemory),
        ("cuMemcpyDtoH", OUT_OF_MEMORY, DeviceFault::OutOfMemory),
    ] {
        let mut failures = 0;
        for nth in 1..20 {
            emulator.fail(call, nth, status);
            let result = small.executor(&shared).and_then(|mut executor| small.run(&mut executor, 1.0));
            emulator.clear();
            match result {
                // The nth call is not made any more.
                Ok(found) => {
                    assert_eq!(found, expected, "{call} {nth}");
                    break;
                }
                Err(error) => {
                    failures += 1;
                    assert_eq!(fault(&error), kind, "{call} {nth}: {error}");
                }
            }
            assert_eq!(small.run(&mut small.executor(&shared)?, 1.0)?, expected, "after {call} {nth}");
        }
        assert!(failures > 0, "{call} never failed");
    }
    Ok(())
}

#[test]
fn a_module_for_another_gpu_is_told() -> Result<()> {
    let Some(emulator) = emulator() else { return Ok(()) };
    let small = Small::new()?;
    let opened = device(gpu()?);
    emulator.fail("cuModuleLoadData", 1, NO_BINARY_FOR_GPU);
    let error = small.executor(&opened).expect_err("refused");
    assert_eq!(fault(&error), DeviceFault::WrongArchitecture);
    assert!(error.to_string().contains("compiled for another GPU"), "{error}");
    Ok(())
}

#[test]
fn after_a_fault_every_call_returns_the_first() -> Result<()> {
    let Some(emulator) = emulator() else { return Ok(()) };
    let small = Small::new()?;
    let shared = device(gpu()?);
    let mut executor = small.executor(&shared)?;
    small.run(&mut executor, 1.0)?;
    emulator.fail("cuGraphLaunch", 1, ILLEGAL_ADDRESS);
    let first = small.run(&mut executor, 1.0).expect_err("lost");
    assert_eq!(fault(&first), DeviceFault::Lost);
    let text = first.to_string();
    assert!(
        text.contains("ILLEGAL_ADDRESS") && text.contains("compute-sanitizer") && text.contains("last launches"),
        "{text}"
    );
    emulator.clear();
    // The driver would answer again, the device does not: what it holds cannot be trusted.
    for error in [small.run(&mut executor, 1.0).expect_err("lost"), small.executor(&shared).expect_err("lost")] {
        assert_eq!(fault(&error), DeviceFault::Lost);
        assert!(
            error.to_string().contains("the first fault was") && error.to_string().contains("ILLEGAL_ADDRESS"),
            "{error}"
        );
    }
    Ok(())
}

/// What a kernel writes over its end, inside the arena, no driver sees: the guards do.
#[test]
fn a_write_over_the_end_is_found() -> Result<()> {
    let Some(_) = emulator() else { return Ok(()) };
    let sources = changed_kernels("elementwise.cu", |text| {
        text.replace("if (rest < n) y[rest] = f(x[rest]);", "if (rest < n) y[rest + 1] = f(x[rest]);")
    });
    let small = Small::new()?;
    let guarded = device(with(sources, KernelCache::disabled())?.guarded(true));
    let error = small.run(&mut small.executor(&guarded)?, 1.0).expect_err("one too far").to_string();
    assert!(error.contains("relu") && error.contains("behind the end"), "{error}");
    Ok(())
}

#[test]
fn a_folder_of_kernels_that_is_none_is_told() {
    let folder = Sources::folder("/nowhere");
    assert!(folder.text("elementwise.cu").is_ok(), "what a folder lacks is taken from the program");
    assert!(folder.text("nothing.cu").expect_err("no such source").to_string().contains("nothing.cu"));
}
