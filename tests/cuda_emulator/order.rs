//! When things happen: schedules by seed, capture and replay, events, several threads at once.

use cudarc::driver::result::{self, event, graph, stream};
use cudarc::driver::sys::{self, CUresult};

use crate::driver::{TEXT, setup};
use crate::gpu::{Arg, Gpu};

#[test]
fn seeds_change_the_order_and_the_same_seed_repeats_it() {
    let Some((gpu, module)) = setup() else { return };
    let kernel = gpu.function(module, "order");
    let order = |seed| {
        gpu.emulator.seed(seed);
        let (out, counter) = (gpu.empty(1024), gpu.upload(&[0i32]));
        gpu.launch(kernel, 4, 64, 0, &[Arg::Pointer(out), Arg::Pointer(counter)]).expect("runs");
        gpu.download::<i32>(out, 256)
    };
    assert_eq!(order(0), (0..256).collect::<Vec<_>>());
    let orders: Vec<Vec<i32>> = (0..8).map(order).collect();
    for (seed, found) in orders.iter().enumerate() {
        assert_eq!(*found, order(seed as u32));
        assert!(orders[..seed].iter().all(|other| other != found), "seed {seed} runs as another one did");
    }
}

#[test]
fn captured_work_runs_when_the_graph_is_launched() {
    let Some((gpu, module)) = setup() else { return };
    let kernel = gpu.function(module, "add_one");
    let x = gpu.upload(&[0.0f32; 64]);
    let own = stream::create(stream::StreamKind::NonBlocking).expect("a stream");
    let launch = |on| gpu.launch_on(on, kernel, (1, 1, 1), (64, 1, 1), 256, &[Arg::Pointer(x), Arg::Int(64)]);
    // SAFETY: stream, graph and memory live to the end of the test.
    unsafe {
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        stream::begin_capture(own, mode).expect("begins");
        result::memset_d8_async(x, 0, 128, own).expect("noted");
        launch(own).expect("noted");
        launch(own).expect("noted");
        let captured = stream::end_capture(own).expect("ends");
        assert_eq!(gpu.download::<f32>(x, 64), [0.0; 64], "nothing has run yet");
        let executable = graph::instantiate(captured, sys::CUgraphInstantiate_flags(0)).expect("a graph");
        let before = gpu.emulator.counters();
        for round in 1..3 {
            graph::launch(executable, own).expect("runs");
            let found = gpu.download::<f32>(x, 64);
            assert_eq!((found[0], found[63]), (2.0, 2.0 * round as f32));
        }
        let done = gpu.emulator.counters().since(&before);
        assert_eq!((done.graph_launches, done.launches, done.fills), (2, 4, 2));

        // Waiting or allocating in between ends the capture.
        stream::begin_capture(own, mode).expect("begins");
        launch(own).expect("noted");
        assert_eq!(result::malloc_sync(16).map_err(|e| e.0), Err(CUresult::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED));
        let ended = stream::end_capture(own).map_err(|error| error.0);
        assert_eq!(ended.err(), Some(CUresult::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED));
        graph::exec_destroy(executable).expect("destroyed");
        graph::destroy(captured).expect("destroyed");
        stream::destroy(own).expect("destroyed");
    }
}

#[test]
fn events_measure_time() {
    let Some(_gpu) = Gpu::new() else { return };
    let [start, end] = [0, 1].map(|_| event::create(sys::CUevent_flags::CU_EVENT_DEFAULT).expect("an event"));
    // SAFETY: the events exist.
    unsafe {
        event::record(start, std::ptr::null_mut()).expect("recorded");
        event::record(end, std::ptr::null_mut()).expect("recorded");
        assert!((0.0..10_000.0).contains(&event::elapsed(start, end).expect("both are recorded")));
    }
}

#[test]
fn threads_launch_at_the_same_time() {
    if Gpu::new().is_none() {
        return;
    }
    let worker = |factor: i32| {
        move || {
            let (gpu, module) = setup().expect("there is an emulator");
            gpu.emulator.checks(factor % 2 == 0);
            gpu.emulator.seed(factor as u32);
            let kernel = gpu.function(module, "add_one");
            let x = gpu.upload(&vec![factor as f32; 1000]);
            for _ in 0..20 {
                gpu.launch(kernel, 16, 64, 256, &[Arg::Pointer(x), Arg::Int(1000)]).expect("runs");
            }
            assert_eq!(gpu.emulator.counters().launches, 20);
            assert_eq!(gpu.download::<f32>(x, 1000), vec![factor as f32 + 20.0; 1000]);
            // One thread's fault is no other's.
            if factor == 2 {
                let module = gpu.module("driver.cu", TEXT, &[]);
                let bad = gpu.function(module, "bad");
                assert_eq!(gpu.launch(bad, 1, 1, 0, &[Arg::Pointer(x)]), Err(CUresult::CUDA_ERROR_LAUNCH_FAILED));
                assert!(gpu.emulator.report().starts_with("out-of-bounds-global"), "{}", gpu.emulator.report());
            }
        }
    };
    let threads: Vec<_> = (1..5).map(|factor| std::thread::spawn(worker(factor))).collect();
    threads.into_iter().for_each(|thread| thread.join().expect("the thread is content"));
}

/// A thread that waits for a word which another thread sets: the other one gets its turn, or the deadlock is found.
#[test]
fn a_thread_that_watches_a_word_lets_the_others_go_on() {
    let Some(gpu) = Gpu::new() else { return };
    const TEXT: &str = r#"
#include "device/prelude.cuh"
KERNEL(64) watch(int* word, int setter, int yields) {
    if (threadIdx.x == 0) {
        while (atomicAdd(word, 0) == 0) {
            if (yields) emulator_yield("the word");
        }
        word[1] = 7;
    }
    if (static_cast<int>(threadIdx.x) == setter) atomicExch(word, 1);
}
"#;
    for checks in [false, true] {
        gpu.emulator.checks(checks);
        let module = gpu.module("watch.cu", TEXT, &[]);
        let kernel = gpu.function(module, "watch");
        for (setter, yields) in [(63, 0), (63, 1), (64, 1)] {
            let word = gpu.upload(&[0i32; 2]);
            let outcome = gpu.launch(kernel, 1, 64, 0, &[Arg::Pointer(word), Arg::Int(setter), Arg::Int(yields)]);
            if setter < 64 {
                assert_eq!(outcome, Ok(()));
                assert_eq!(gpu.download::<i32>(word, 2), [1, 7]);
            } else {
                assert_eq!(outcome, Err(CUresult::CUDA_ERROR_LAUNCH_FAILED));
                assert!(gpu.emulator.report().starts_with("deadlock"), "{}", gpu.emulator.report());
                gpu.emulator.clear();
            }
        }
    }
}
