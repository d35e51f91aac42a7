//! The stand-ins as driver and compiler: what they refuse, what they count, what is ordered to fail.

use cudarc::driver::result;
use cudarc::driver::sys::{self, CUresult};
use cudarc::nvrtc::sys::nvrtcResult;

use crate::emulator::DeviceDescription;
use crate::gpu::{Arg, Gpu};

pub const TEXT: &str = r#"
#include "device/prelude.cuh"
struct Plane { int rows; float factor; long long stride; };
KERNEL(256) arguments(int* out, int a, float b, Plane plane, long long c) {
    if (threadIdx.x != 0 || blockIdx.x != 0) return;
    out[0] = a;
    out[1] = __float_as_int(b);
    out[2] = plane.rows;
    out[3] = __float_as_int(plane.factor);
    out[4] = static_cast<int>(plane.stride >> 32);
    out[5] = static_cast<int>(c);
    out[6] = __CUDA_ARCH__;
}
KERNEL(64) places(int* out) {
    const int block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
    const int thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
    out[block * blockDim.x * blockDim.y * blockDim.z + thread] = block * 1000 + thread;
}
KERNEL(64) add_one(float* x, int n) {
    SHARED_DYNAMIC(memory);
    const int i = static_cast<int>(global_thread());
    float* mine = reinterpret_cast<float*>(memory) + threadIdx.x;
    if (i < n) {
        *mine = x[i];
        x[i] = *mine + 1.0f;
    }
}
// In what order threads pass: differs between seeds.
KERNEL(64) order(int* out, int* counter) { out[blockIdx.x * 64 + threadIdx.x] = atomicAdd(counter, 1); }
KERNEL(64) bad(int* out) { out[1 << 20] = 1; }
"#;

pub fn setup() -> Option<(Gpu, sys::CUmodule)> {
    let gpu = Gpu::new()?;
    let module = gpu.module("driver.cu", TEXT, &[]);
    Some((gpu, module))
}

#[test]
fn arguments_and_places_arrive() {
    let Some((gpu, module)) = setup() else { return };
    let out = gpu.upload(&[0i32; 512]);
    let kernel = gpu.function(module, "arguments");
    // A struct of 16 bytes: rows, factor, stride.
    let plane = [7u32, 2.5f32.to_bits(), 0, 9];
    let args = [Arg::Pointer(out), Arg::Int(-3), Arg::Float(1.5), Arg::Words(plane), Arg::Pointer(11)];
    gpu.launch(kernel, 2, 64, 0, &args).expect("runs");
    assert_eq!(gpu.download::<i32>(out, 7), [-3, 1.5f32.to_bits() as i32, 7, 2.5f32.to_bits() as i32, 9, 11, 900]);
    // Offsets and sizes of the parameters as the driver tells them.
    let parameter = |index| {
        let (mut offset, mut size) = (0, 0);
        // SAFETY: the function is loaded; writes two integers.
        let status = unsafe { sys::cuFuncGetParamInfo(kernel, index, &mut offset, &mut size) };
        (status == CUresult::CUDA_SUCCESS).then_some((offset, size))
    };
    let found: Vec<_> = (0..6).map(parameter).collect();
    assert_eq!(found, [Some((0, 8)), Some((8, 4)), Some((12, 4)), Some((16, 16)), Some((32, 8)), None]);

    let kernel = gpu.function(module, "places");
    gpu.launch_on(std::ptr::null_mut(), kernel, (2, 3, 2), (4, 2, 5), 0, &[Arg::Pointer(out)]).expect("runs");
    let expected: Vec<i32> = (0..480).map(|i| i / 40 * 1000 + i % 40).collect();
    assert_eq!(gpu.download::<i32>(out, 480), expected);
}

#[test]
fn launches_that_no_device_takes_are_refused() {
    let Some((gpu, module)) = setup() else { return };
    let x = gpu.upload(&[0.0f32; 64]);
    let args = [Arg::Pointer(x), Arg::Int(64)];
    let kernel = gpu.function(module, "add_one");
    let launch = |grid, block, shared| gpu.launch_on(std::ptr::null_mut(), kernel, grid, block, shared, &args);
    use CUresult::{CUDA_ERROR_INVALID_VALUE as INVALID, CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES as RESOURCES};
    assert_eq!(launch((1, 1, 1), (65, 1, 1), 256), Err(RESOURCES));
    assert_eq!(launch((1, 1, 1), (1025, 1, 1), 256), Err(INVALID));
    assert_eq!(launch((1, 1, 1), (1, 1, 65), 256), Err(INVALID));
    assert_eq!(launch((0, 1, 1), (64, 1, 1), 256), Err(INVALID));
    assert_eq!(launch((1, 65_536, 1), (64, 1, 1), 256), Err(INVALID));
    assert_eq!(launch((1, 1, 1), (64, 1, 1), 49 * 1024), Err(INVALID));
    let allow = |bytes| {
        let which = sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        // SAFETY: the function is loaded.
        unsafe { result::function::set_function_attribute(kernel, which, bytes) }.map_err(|error| error.0)
    };
    assert_eq!(allow(228 * 1024), Err(INVALID));
    assert_eq!(allow(100 * 1024), Ok(()));
    assert_eq!(launch((1, 1, 1), (64, 1, 1), 49 * 1024), Ok(()));
    assert_eq!(gpu.download::<f32>(x, 64), [1.0; 64]);
    // Memory that was never allocated, or is no more.
    gpu.free(x);
    // SAFETY: the driver refuses before it touches anything.
    unsafe {
        assert_eq!(result::free_sync(x).map_err(|error| error.0), Err(INVALID));
        assert_eq!(result::memcpy_htod_sync(x, &[0u8; 4]).map_err(|error| error.0), Err(INVALID));
        let mut module = std::ptr::null_mut();
        assert_eq!(
            sys::cuModuleGetFunction(&mut module, std::ptr::null_mut(), c"x".as_ptr()),
            CUresult::CUDA_ERROR_INVALID_HANDLE
        );
    }
}

#[test]
fn images_are_for_an_architecture_and_whole() {
    let Some(gpu) = Gpu::new() else { return };
    let compile = |arch: &str| {
        gpu.compile("driver.cu", TEXT, &[&format!("--gpu-architecture={arch}")])
            .unwrap_or_else(|error| panic!("{}", error.log))
    };
    let on = |major, minor| gpu.emulator.device(&DeviceDescription { major, minor, ..Default::default() });
    for (arch, major, minor, fits) in [
        ("sm_80", 8, 0, true),
        ("sm_80", 8, 9, true),
        ("sm_86", 8, 0, false),
        ("sm_80", 9, 0, false),
        ("sm_90a", 9, 0, true),
        ("sm_100", 9, 0, false),
    ] {
        on(major, minor);
        let expected = if fits { None } else { Some(CUresult::CUDA_ERROR_NO_BINARY_FOR_GPU) };
        assert_eq!(gpu.load(&compile(arch)).err(), expected, "{arch} on {major}.{minor}");
    }
    on(9, 0);
    let image = compile("sm_90");
    let mut damaged = image.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    assert_eq!(gpu.load(&damaged).err(), Some(CUresult::CUDA_ERROR_INVALID_IMAGE));
    assert_eq!(gpu.load(b"nothing of the kind\0").err(), Some(CUresult::CUDA_ERROR_INVALID_IMAGE));
    gpu.emulator.device(&DeviceDescription { driver: 12_040, ..Default::default() });
    assert_eq!(gpu.load(&image).err(), Some(CUresult::CUDA_ERROR_INVALID_IMAGE), "an old driver");
}

#[test]
fn what_does_not_compile_says_why() {
    let Some(gpu) = Gpu::new() else { return };
    let error = gpu.compile(
        "kernels/broken.cu",
        "#include \"device/prelude.cuh\"\nKERNEL(32) k() { nonsense; }\n",
        &["-arch=sm_90"],
    );
    let error = error.expect_err("it is nonsense");
    assert_eq!(error.result, nvrtcResult::NVRTC_ERROR_COMPILATION);
    assert!(error.log.contains("kernels/broken.cu:2") && error.log.contains("nonsense"), "{}", error.log);
    for option in ["--gpu-architecture=sm_70", "--gpu-architecture=sm_99", "--no-such-option"] {
        let error = gpu.compile("driver.cu", TEXT, &[option]).expect_err("refused");
        assert_eq!(error.result, nvrtcResult::NVRTC_ERROR_INVALID_OPTION, "{option}");
        assert!(error.log.contains(option), "{}", error.log);
    }
    // A tensor-core product does not exist before sm_80.
    let text = "#include \"device/mma.cuh\"\nKERNEL(32) k(float* x) { float d[4]; unsigned a[4], b[2]; mma_m16n8k16_bf16(d, a, b); }";
    assert!(gpu.compile("old.cu", text, &["-arch=sm_75"]).is_err());
    assert!(gpu.compile("old.cu", text, &["-arch=sm_80"]).is_ok());
}

#[test]
fn everything_is_counted() {
    let Some((gpu, module)) = setup() else { return };
    let before = gpu.emulator.counters();
    let kernel = gpu.function(module, "add_one");
    let x = gpu.upload(&[1.0f32; 50]);
    let y = gpu.empty(200);
    gpu.launch(kernel, 1, 64, 256, &[Arg::Pointer(x), Arg::Int(50)]).expect("runs");
    // SAFETY: both ranges are allocated.
    unsafe {
        result::memcpy_dtod_sync(y, x, 200).expect("a copy");
        result::memset_d8_sync(x, 0, 200).expect("a fill");
    }
    assert_eq!(gpu.download::<f32>(y, 50), [2.0; 50]);
    result::ctx::synchronize().expect("waits");
    gpu.free(x);
    let done = gpu.emulator.counters().since(&before);
    assert_eq!((done.allocations, done.frees, done.launches, done.fills), (2, 1, 1, 1));
    assert_eq!((done.to_device, done.to_device_bytes, done.to_host, done.to_host_bytes), (1, 200, 1, 200));
    assert_eq!((done.on_device, done.on_device_bytes, done.synchronisations, done.graph_launches), (1, 200, 1, 0));
    assert_eq!((done.compilations, done.module_loads), (0, 0));
}

#[test]
fn failures_come_when_they_are_ordered() {
    let Some((gpu, module)) = setup() else { return };
    let kernel = gpu.function(module, "add_one");
    let x = gpu.upload(&[0.0f32; 64]);
    let launch = || gpu.launch(kernel, 1, 64, 256, &[Arg::Pointer(x), Arg::Int(64)]);
    gpu.emulator.fail("cuLaunchKernel", 3, 701);
    gpu.emulator.fail("cuMemAlloc", 2, 2);
    assert_eq!((launch(), launch()), (Ok(()), Ok(())));
    assert_eq!(launch(), Err(CUresult::CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES));
    assert_eq!(launch(), Ok(()));
    // SAFETY: a context is current.
    let allocate = || unsafe { result::malloc_sync(16) }.map_err(|error| error.0);
    assert!(allocate().is_ok());
    assert_eq!(allocate(), Err(CUresult::CUDA_ERROR_OUT_OF_MEMORY));
    assert!(allocate().is_ok());
    assert_eq!(gpu.download::<f32>(x, 64), [3.0; 64]);
    gpu.emulator.fail("nvrtcCompileProgram", 1, 1);
    let error = gpu.compile("driver.cu", TEXT, &["-arch=sm_90"]).expect_err("ordered");
    assert_eq!(error.result, nvrtcResult::NVRTC_ERROR_OUT_OF_MEMORY);
    // A device that is lost stays lost until the test says otherwise.
    gpu.emulator.fail("cuLaunchKernel", 1, 719);
    assert_eq!(
        (launch(), launch()),
        (Err(CUresult::CUDA_ERROR_LAUNCH_FAILED), Err(CUresult::CUDA_ERROR_LAUNCH_FAILED))
    );
    assert_eq!(allocate(), Err(CUresult::CUDA_ERROR_LAUNCH_FAILED));
    gpu.emulator.clear();
    assert_eq!(launch(), Ok(()));
}

#[test]
fn memory_ends() {
    let Some(gpu) = Gpu::new() else { return };
    gpu.emulator.device(&DeviceDescription { memory_bytes: 1 << 40, ..Default::default() });
    let (_, total) = result::mem_get_info().expect("answers");
    assert_eq!(total, 1 << 40);
    // SAFETY: a context is current.
    let allocate = |bytes| unsafe { result::malloc_sync(bytes) }.map_err(|error| error.0);
    assert_eq!(allocate(1 << 39), Err(CUresult::CUDA_ERROR_OUT_OF_MEMORY));
    assert_eq!(allocate(0), Err(CUresult::CUDA_ERROR_INVALID_VALUE));
    gpu.emulator.device(&DeviceDescription { memory_bytes: 1000, ..Default::default() });
    assert_eq!(allocate(1001), Err(CUresult::CUDA_ERROR_OUT_OF_MEMORY));
}

#[test]
fn no_device_and_several_devices() {
    let Some(gpu) = Gpu::new() else { return };
    gpu.emulator.device(&DeviceDescription { count: 3, major: 8, minor: 6, ..Default::default() });
    assert_eq!(result::device::get_count(), Ok(3));
    let second = result::device::get(2).expect("it exists");
    let which = sys::CUdevice_attribute_enum::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR;
    // SAFETY: the device exists.
    assert_eq!(unsafe { result::device::get_attribute(second, which) }, Ok(6));
    assert_eq!(result::device::get(3).map_err(|error| error.0), Err(CUresult::CUDA_ERROR_INVALID_DEVICE));
    gpu.emulator.device(&DeviceDescription { count: 0, ..Default::default() });
    assert_eq!(result::init().map_err(|error| error.0), Err(CUresult::CUDA_ERROR_NO_DEVICE));
}

#[test]
fn page_locked_memory_stays_as_it_is_until_the_host_has_waited() {
    let Some(gpu) = Gpu::new() else { return };
    // SAFETY: a context is current; all ranges are allocated here.
    unsafe {
        let device = result::malloc_sync(64).expect("there is room");
        let host = result::malloc_host(64, 0).expect("there is room").cast::<u8>();
        let stream = result::stream::create(result::stream::StreamKind::NonBlocking).expect("a stream");
        let copy = || result::memcpy_htod_async(device, std::slice::from_raw_parts(host, 64), stream);
        host.write_bytes(1, 64);
        assert_eq!(copy(), Ok(()));
        assert_eq!(result::stream::synchronize(stream), Ok(()));
        host.write_bytes(2, 64);
        assert_eq!(copy(), Ok(()));
        host.write_bytes(3, 64);
        let error = result::stream::synchronize(stream).expect_err("written too early");
        assert_eq!(error.0, CUresult::CUDA_ERROR_LAUNCH_FAILED);
        assert!(gpu.emulator.report().contains("host-changed"));
    }
}
