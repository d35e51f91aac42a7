//! Plans on the GPU: captured, replayed, without a read in between.

use sarcomere::{Device, Result};

use crate::elementwise;
use crate::support::{Small, device, emulator, gpu, ramp};

#[test]
fn a_plan_is_captured_once_and_replayed() -> Result<()> {
    let Some(emulator) = emulator() else { return Ok(()) };
    let small = Small::new()?;
    let (mut gpu, mut cpu) = (small.executor(&device(gpu()?))?, small.executor(&Device::cpu())?);
    let before = emulator.counters();
    for slope in [1.0, 2.0, -3.0] {
        assert_eq!(small.run(&mut gpu, slope)?, small.run(&mut cpu, slope)?, "slope {slope}");
    }
    let done = emulator.counters().since(&before);
    assert_eq!((done.graph_launches, done.launches), (3, 9), "three nodes, replayed three times: {done:?}");
    assert_eq!((done.allocations, done.compilations), (0, 0), "nothing is made anew: {done:?}");
    Ok(())
}

/// Plans are captured while other threads put work of their own on the same device.
#[test]
fn threads_share_a_device() -> Result<()> {
    let Some(_) = emulator() else { return Ok(()) };
    let small = Small::new()?;
    let shared = device(gpu()?);
    let expected = small.run(&mut small.executor(&Device::cpu())?, 1.5)?;
    let rounds = || {
        (0..50).try_for_each(|_| {
            let mut executor = small.executor(&shared)?;
            for _ in 0..2 {
                assert_eq!(small.run(&mut executor, 1.5)?, expected);
            }
            Ok(())
        })
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(rounds)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("a thread does not panic"))
    })
}

#[test]
fn nothing_is_read_back_in_a_run() -> Result<()> {
    let Some(emulator) = emulator() else { return Ok(()) };
    let small = Small::new()?;
    let mut executor = small.executor(&device(gpu()?))?;
    small.run(&mut executor, 1.0)?;
    let before = emulator.counters();
    for slope in [2.0, 3.0] {
        executor.run(&[(small.a, &ramp(slope)?), (small.b, &ramp(slope)?)])?;
    }
    let done = emulator.counters().since(&before);
    assert_eq!((done.to_host, done.to_device, done.graph_launches), (0, 4, 2), "{done:?}");
    // Read once, however often it is asked for.
    executor.output(small.y)?;
    executor.output(small.y)?;
    assert_eq!(emulator.counters().since(&before).to_host, 1);
    Ok(())
}

#[test]
fn one_graphs_result_is_anothers_input_without_the_host() -> Result<()> {
    let Some(emulator) = emulator() else { return Ok(()) };
    let small = Small::new()?;
    let squares = |device: &Device| -> Result<_> {
        let mut executor = small.executor(device)?;
        executor.run(&[(small.a, &ramp(2.0)?), (small.b, &ramp(1.0)?)])?;
        Ok(executor)
    };
    let (mut expected, first) = (small.executor(&Device::cpu())?, squares(&Device::cpu())?);
    expected.feed(small.a, &ramp(-1.0)?)?;
    expected.feed_from(small.b, &first, small.y)?;
    expected.run_fed()?;
    let shared = device(gpu()?);
    let mut second = small.executor(&shared)?;
    // From another device through the host, on the same one not.
    for (host, other) in [(1, device(gpu()?)), (0, shared)] {
        let first = squares(&other)?;
        let before = emulator.counters();
        second.feed_from(small.b, &first, small.y)?;
        let done = emulator.counters().since(&before);
        assert_eq!((done.to_host, done.to_device, done.on_device), (host, host, 1 - host), "{done:?}");
        second.feed(small.a, &ramp(-1.0)?)?;
        second.run_fed()?;
        assert_eq!(second.output(small.y)?.bytes(), expected.output(small.y)?.bytes());
    }
    let refusal = second.feed_from(small.y, &first, small.y).expect_err("y is no input").to_string();
    assert!(refusal.contains("is not an input"), "{refusal}");
    Ok(())
}

#[test]
fn step_by_step_gives_the_bits_of_the_replay() -> Result<()> {
    let Some(emulator) = emulator() else { return Ok(()) };
    let small = Small::new()?;
    let shared = device(gpu()?);
    let replayed = small.run(&mut small.executor(&shared)?, 1.7)?;
    for seed in 0..8 {
        emulator.seed(seed);
        let mut watched = small.executor(&shared)?;
        watched.check_finite(true);
        watched.start_profile();
        assert_eq!(small.run(&mut watched, 1.7)?, replayed, "schedule {seed}");
        assert_eq!(watched.profile().len(), 3);
    }
    Ok(())
}

#[test]
fn variables_are_set_and_read() -> Result<()> {
    let Some(_) = emulator() else { return Ok(()) };
    let small = Small::new()?;
    let mut executor = small.executor(&device(gpu()?))?;
    assert_eq!(executor.get("v")?.bytes(), ramp(0.3)?.bytes());
    let first = small.run(&mut executor, 1.0)?;
    executor.set("v", &ramp(5.0)?)?;
    assert_ne!(small.run(&mut executor, 1.0)?, first);
    executor.set("v", &ramp(0.3)?)?;
    assert_eq!(small.run(&mut executor, 1.0)?, first);
    Ok(())
}

#[test]
fn a_device_is_described_and_counted() -> Result<()> {
    let Some(_) = emulator() else { return Ok(()) };
    let text = device(gpu()?).describe();
    assert!(text.starts_with("cuda:0 (") && text.contains("sm_90") && text.contains("13.0"), "{text}");
    assert_eq!(sarcomere::device::cuda::Cuda::count()?, 1);
    Ok(())
}

#[test]
fn joined_nodes_give_the_same_bits() -> Result<()> {
    let Some(emulator) = emulator() else { return Ok(()) };
    let shared = device(gpu()?);
    let mut absorbed = 0;
    for seed in 0..30 {
        emulator.seed(seed);
        absorbed += elementwise::joined_nodes_give_the_same_bits(&shared, seed.into())?;
    }
    assert!(absorbed > 150, "{absorbed} of some 1200 nodes");
    Ok(())
}

/// An input may be fed again before a run: what is copied last counts, and no copy is disturbed.
#[test]
fn an_input_is_fed_twice() -> Result<()> {
    let Some(_) = emulator() else { return Ok(()) };
    let small = Small::new()?;
    let mut executor = small.executor(&device(gpu()?))?;
    let expected = small.run(&mut executor, 1.0)?;
    executor.feed(small.a, &ramp(7.0)?)?;
    executor.feed(small.a, &ramp(1.0)?)?;
    executor.feed(small.b, &ramp(-0.5)?)?;
    executor.run_fed()?;
    assert_eq!(executor.output(small.y)?.bytes(), expected);
    Ok(())
}

/// What no `int` holds is never cut: it becomes what the launch gate refuses.
#[test]
fn sizes_beyond_an_int_are_not_cut() {
    use sarcomere::device::cuda::{Arg, Launch};
    let refused = vec![Arg::Int(i32::MAX)];
    assert_eq!(Launch::new("reduce", "any").int(1usize << 31).args, refused);
    assert_eq!(Launch::new("reduce", "any").fields(&[1, 1 << 31], &[0.5]).args, refused);
    assert_eq!(Launch::new("reduce", "any").fields(&[7], &[]).args, vec![Arg::Struct(7i32.to_ne_bytes().to_vec())]);
}
