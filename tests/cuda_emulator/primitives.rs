//! The primitives of `kernels/device` against plain loops, in several schedules and under the checks.

use sarcomere::ops::random::{approx, philox as cpu};

use crate::gpu::{Arg, Gpu};

const TEXT: &str = include_str!("primitives.cu");

/// Runs `test` with the kernels, plain with four seeds and then under the checks.
fn everywhere(test: impl Fn(&Gpu, &dyn Fn(&str) -> cudarc::driver::sys::CUfunction)) {
    let Some(gpu) = Gpu::new() else { return };
    for checks in [false, true] {
        gpu.emulator.checks(checks);
        let module = gpu.module("primitives.cu", TEXT, &[]);
        for seed in 0..if checks { 2 } else { 4 } {
            gpu.emulator.seed(seed);
            test(&gpu, &|name| gpu.function(module, name));
        }
    }
}

/// Small numbers that repeat, so that there are ties.
fn numbers(count: usize) -> Vec<f32> {
    (0..count as u32).map(|i| ((i.wrapping_mul(2_654_435_761) >> 20) % 37) as f32 * 0.37 - 5.0).collect()
}

/// The sum as a butterfly over 32 values gives it.
fn butterfly(values: &[f32]) -> f32 {
    let mut now = values.to_vec();
    for step in [16, 8, 4, 2, 1] {
        now = (0..32).map(|lane| now[lane] + now[lane ^ step]).collect();
    }
    now[0]
}

fn argmax(values: &[f32]) -> (f32, i32) {
    let mut best = (f32::NEG_INFINITY, i32::MAX);
    for (index, value) in values.iter().enumerate() {
        if *value > best.0 {
            best = (*value, index as i32);
        }
    }
    best
}

fn pairs(words: &[u32]) -> Vec<(f32, i32)> {
    words.chunks(2).map(|pair| (f32::from_bits(pair[0]), pair[1] as i32)).collect()
}

#[test]
fn reductions_of_a_warp() {
    everywhere(|gpu, kernel| {
        let x = numbers(128);
        let n: Vec<i32> = (0..128).map(|i| i * i % 11 - 3).collect();
        let (from, counts) = (gpu.upload(&x), gpu.upload(&n));
        let [sum, most, prefix, best] = [512, 512, 512, 1024].map(|bytes| gpu.empty(bytes));
        let args = [from, counts, sum, most, prefix, best].map(Arg::Pointer);
        gpu.launch(kernel("warp_reductions"), 4, 32, 0, &args).expect("runs");
        let (sum, most) = (gpu.download::<f32>(sum, 128), gpu.download::<f32>(most, 128));
        let (prefix, best) = (gpu.download::<i32>(prefix, 128), pairs(&gpu.download::<u32>(best, 256)));
        for i in 0..128 {
            let warp = &x[i / 32 * 32..][..32];
            assert_eq!(sum[i].to_bits(), butterfly(warp).to_bits());
            assert_eq!(most[i], warp.iter().copied().fold(f32::NEG_INFINITY, f32::max));
            assert_eq!(prefix[i], n[i / 32 * 32..i].iter().sum::<i32>());
            assert_eq!(best[i], argmax(warp));
        }
    });
}

#[test]
fn reductions_of_a_block() {
    everywhere(|gpu, kernel| {
        for threads in [32, 96, 256, 1024] {
            let x = numbers(2 * threads);
            let from = gpu.upload(&x);
            let [sum_at, most_at, best_at] = [8, 8, 16].map(|bytes| gpu.empty(bytes * threads));
            let args = [from, sum_at, most_at, best_at].map(Arg::Pointer);
            gpu.launch(kernel("block_reductions"), 2, threads as u32, 0, &args).expect("runs");
            let (sum, most) = (gpu.download::<f32>(sum_at, 2 * threads), gpu.download::<f32>(most_at, 2 * threads));
            let best = pairs(&gpu.download::<u32>(best_at, 4 * threads));
            for i in 0..2 * threads {
                let block = &x[i / threads * threads..][..threads];
                let mut warps: Vec<f32> = block.chunks(32).map(butterfly).collect();
                warps.resize(32, 0.0);
                assert_eq!(sum[i].to_bits(), butterfly(&warps).to_bits(), "{threads} threads");
                assert_eq!(most[i], block.iter().copied().fold(f32::NEG_INFINITY, f32::max));
                assert_eq!(best[i], argmax(block));
            }
            for address in [from, sum_at, most_at, best_at] {
                gpu.free(address);
            }
        }
    });
}

#[test]
fn random_numbers_have_the_bits_of_the_cpu() {
    everywhere(|gpu, kernel| {
        let (words, normal) = (gpu.empty(16 * 300), gpu.empty(16 * 300));
        let key = [0xa409_3822u32, 0x299f_31d0];
        let args = [Arg::Pointer(words), Arg::Pointer(normal), Arg::Pair(key), Arg::Int(300)];
        gpu.launch(kernel("random_words"), 3, 128, 0, &args).expect("runs");
        let (words, normal) = (gpu.download::<u32>(words, 1200), gpu.download::<u32>(normal, 1200));
        for i in 0..300 {
            assert_eq!(words[4 * i..][..4], cpu::philox(key, [i as u32, 3, 5, 7]));
            assert_eq!(normal[4 * i..][..4], cpu::normals(key, [i as u32, 3, 5, 7]).map(f32::to_bits));
        }
        // The words themselves, and the ends of the range.
        let n = 1200;
        let mut words = words;
        words[0] = 0;
        words[1] = u32::MAX;
        let (from, to) = (gpu.upload(&words), gpu.empty(24 * n));
        let args = [Arg::Pointer(from), Arg::Pointer(to), Arg::Int(n as i32)];
        gpu.launch(kernel("random_numbers"), 10, 128, 0, &args).expect("runs");
        let found = gpu.download::<u32>(to, 6 * n);
        for (word, found) in words.iter().zip(found.chunks(6)) {
            let open = cpu::uniform_open(*word);
            let expected = [
                cpu::uniform(*word).to_bits(),
                open.to_bits(),
                approx::ln(open).to_bits(),
                approx::exp(-90.0 + 170.0 * cpu::uniform(*word)).to_bits(),
                approx::sin_cos_turn(word >> 8).0.to_bits(),
                cpu::below(*word, 1000),
            ];
            assert_eq!(found, expected, "word {word:#x}");
        }
    });
}

#[test]
fn asynchronous_copies_arrive_and_fill_with_zeros() {
    everywhere(|gpu, kernel| {
        for bytes in [4, 8, 16] {
            let (units, valid) = (160, 133);
            let x: Vec<u8> = (0..units * bytes).map(|i| (i * 7 + i / 256) as u8).collect();
            let (from, to) = (gpu.upload(&x), gpu.empty(x.len()));
            let args = [Arg::Pointer(from), Arg::Pointer(to), Arg::Int(units as i32), Arg::Int(valid as i32)];
            gpu.launch(kernel(&format!("staged_copy_{bytes}")), 1, 32, 0, &args).expect("runs");
            let mut expected = x;
            expected[valid * bytes..].fill(0);
            assert_eq!(gpu.download::<u8>(to, expected.len()), expected, "{bytes} bytes");
        }
    });
}

#[test]
fn number_formats_round_as_they_should() {
    everywhere(|gpu, kernel| {
        let mut x: Vec<f32> = (0..250u32).map(|i| f32::from_bits(0x3f80_0000 + i * 0x0000_1a55)).collect();
        x.extend([0.0, -0.0, f32::INFINITY, 1.0 + 1.0 / 256.0, 1.0 + 3.0 / 256.0, 3.0e38]);
        let n = x.len();
        let from = gpu.upload(&x);
        let [packed, unpacked, rounded] = [4, 8, 4].map(|bytes| gpu.empty(bytes * n));
        let mut args = [from, packed, unpacked, rounded].map(Arg::Pointer).to_vec();
        args.push(Arg::Int(n as i32));
        gpu.launch(kernel("formats"), 2, 128, 0, &args).expect("runs");
        let (packed, rounded) = (gpu.download::<u32>(packed, n), gpu.download::<u32>(rounded, n));
        let unpacked = gpu.download::<f32>(unpacked, 2 * n);
        for i in 0..n {
            // Nearest by distance; the tie to the even one is among the numbers above.
            let [low, high] = [packed[i] & 0xffff, packed[i] >> 16];
            assert_eq!(high, low ^ 0x8000);
            assert_eq!(unpacked[2 * i].to_bits(), low << 16);
            assert_eq!(unpacked[2 * i + 1].to_bits(), high << 16);
            let distance = |bits: u32| (f64::from(f32::from_bits(bits << 16)) - f64::from(x[i])).abs();
            if x[i].is_finite() && low & 0x7fff < 0x7f80 {
                let (down, up) = (distance(low - u32::from(low & 0x7fff > 0)), distance(low + 1));
                assert!(distance(low) <= down.min(up), "{}", x[i]);
                assert!(low & 1 == 0 || distance(low) < down.min(up), "{}: the tie is not even", x[i]);
            }
            let tf32 = f64::from(f32::from_bits(rounded[i]));
            assert_eq!(rounded[i] & 0x1fff, 0);
            if x[i].is_finite() {
                assert!((tf32 - f64::from(x[i])).abs() <= f64::from(x[i]).abs() / 2048.0, "{} {tf32}", x[i]);
            }
        }
    });
}

#[test]
fn matrix_loads_give_each_lane_its_elements() {
    everywhere(|gpu, kernel| {
        let x: Vec<u16> = (0..256).map(|i| i * 131 + 7).collect();
        let (from, to) = (gpu.upload(&x), gpu.upload(&[0u32; 6 * 128]));
        gpu.launch(kernel("matrix_loads"), 1, 32, 0, &[Arg::Pointer(from), Arg::Pointer(to)]).expect("runs");
        let found = gpu.download::<u32>(to, 6 * 128);
        for (form, (matrices, transposed)) in
            [(1, false), (2, false), (4, false), (1, true), (2, true), (4, true)].into_iter().enumerate()
        {
            for lane in 0..32 {
                for matrix in 0..matrices {
                    let (row, column) = (lane / 4, lane % 4 * 2);
                    let element = |r: usize, c: usize| u32::from(x[matrix * 64 + r * 8 + c]);
                    let [low, high] = match transposed {
                        false => [element(row, column), element(row, column + 1)],
                        true => [element(column, row), element(column + 1, row)],
                    };
                    assert_eq!(found[form * 128 + lane * 4 + matrix], low | high << 16, "form {form}, lane {lane}");
                }
            }
        }
    });
}

#[test]
fn tensor_core_products_are_products() {
    everywhere(|gpu, kernel| {
        // Small integers: every sum is exact, so the order of the additions does not matter.
        let small =
            |count: usize, step: usize| -> Vec<f32> { (0..count).map(|i| (i * step % 13) as f32 - 6.0).collect() };
        for (name, k) in [("product_bf16", 16), ("product_tf32", 8)] {
            let (a, b, d) = (small(16 * k, 5), small(k * 8, 7), small(128, 3));
            let upload = |values: &[f32]| match k {
                16 => gpu.upload(&values.iter().map(|v| (v.to_bits() >> 16) as u16).collect::<Vec<_>>()),
                _ => gpu.upload(values),
            };
            let (left, right, sum) = (upload(&a), upload(&b), gpu.upload(&d));
            gpu.launch(kernel(name), 1, 32, 0, &[left, right, sum].map(Arg::Pointer)).expect("runs");
            let found = gpu.download::<f32>(sum, 128);
            for row in 0..16 {
                for column in 0..8 {
                    let dot: f32 = (0..k).map(|i| a[row * k + i] * b[i * 8 + column]).sum();
                    assert_eq!(found[row * 8 + column], d[row * 8 + column] + dot, "{name} at {row}, {column}");
                }
            }
        }
    });
}

#[test]
fn rows_are_valid_as_on_the_cpu() {
    everywhere(|gpu, kernel| {
        let counts = [2, 0, -1, 9];
        let (from, to) = (gpu.upload(&counts), gpu.empty(80));
        for groups in [4, 0] {
            let args = [Arg::Pointer(from), Arg::Pointer(to), Arg::Int(20), Arg::Int(groups)];
            gpu.launch(kernel("rows"), 1, 64, 0, &args).expect("runs");
            let expected: Vec<i32> =
                (0..20).map(|row| i32::from(groups == 0 || row % 5 < counts[row as usize / 5])).collect();
            assert_eq!(gpu.download::<i32>(to, 20), expected);
        }
    });
}
