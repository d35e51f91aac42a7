//! What the benches share: the machine's own measured limits, graphs that run on random inputs, and one line of text (and of
//! JSON, if asked for) for each bench.
//!
//! `SARCOMERE_THREADS` sets the number of threads; `SARCOMERE_BENCH_JSON` names a file that lines of JSON are appended to.

#![allow(dead_code, reason = "each bench uses its part")]

use std::fs::OpenOptions;
use std::hint::black_box;
use std::io::Write;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use criterion::{Criterion, SamplingMode};
use sarcomere::device::cpu::Isa;
use sarcomere::graph::{Dump, Executor, Graph, Value};
use sarcomere::nn;
use sarcomere::ops::Cost;
use sarcomere::ops::problem::{Numbers, Problem};
use sarcomere::tensor::{DType, Tensor, TensorType};
use sarcomere::{Device, Result};

/// Seed of all inputs.
pub const SEED: u64 = 7;

/// The machine's own limits, measured once in each process with all threads.
pub struct Machine {
    /// Billions of floating-point operations a second, a multiply-accumulate counted as two.
    pub gflops: f64,
    /// Billions of bytes a second read and written by a copy far larger than the caches.
    pub gbytes: f64,
}

/// The device all benches run on.
pub fn device() -> &'static Device {
    static DEVICE: OnceLock<Device> = OnceLock::new();
    DEVICE.get_or_init(Device::cpu)
}

/// The machine's limits; measured and printed when first asked for.
pub fn machine() -> &'static Machine {
    static MACHINE: OnceLock<Machine> = OnceLock::new();
    MACHINE.get_or_init(|| {
        let cpu = device().host();
        let (threads, isa) = (cpu.threads(), cpu.isa());
        const ROUNDS: usize = 2_000_000;
        let gflops = best_of(5, || {
            let mut flops = vec![0u64; threads];
            cpu.parallel_chunks(&mut flops, 1, |_, flops| flops[0] = multiply_adds(isa, ROUNDS));
            flops.iter().sum::<u64>() as f64
        });
        let len = 64 << 20;
        let (from, mut to) = (vec![1.5f32; len / 4], vec![0.5f32; len / 4]);
        let chunk = (len / 4).div_ceil(threads);
        let gbytes = best_of(5, || {
            cpu.parallel_chunks(&mut to, chunk, |part, to| to.copy_from_slice(&from[part * chunk..][..to.len()]));
            2.0 * len as f64
        });
        black_box(&to);
        eprintln!("machine: {}, {gflops:.0} GFLOP/s, copy {gbytes:.1} GB/s (read + write)", device().describe());
        json_line(
            &serde_json::json!({"name": "machine", "device": device().describe(), "gflops": gflops, "gbytes": gbytes}),
        );
        Machine { gflops, gbytes }
    })
}

/// The highest rate in billions a second; `work` returns how much it did.
fn best_of(times: usize, mut work: impl FnMut() -> f64) -> f64 {
    let one = |_| {
        let begin = Instant::now();
        let done = work();
        done / begin.elapsed().as_secs_f64() / 1e9
    };
    (0..times).map(one).fold(0.0, f64::max)
}

/// Independent chains of multiply-adds in registers; returns the floating-point operations.
fn multiply_adds(isa: Isa, rounds: usize) -> u64 {
    #[inline(always)]
    fn body<const LANES: usize>(rounds: usize, fma: impl Fn(f32, f32, f32) -> f32) -> u64 {
        let (a, b) = (black_box(0.999f32), black_box(0.001f32));
        let mut chains = [[0.5f32; LANES]; 12];
        for _ in 0..rounds {
            for chain in &mut chains {
                for lane in chain {
                    *lane = fma(*lane, a, b);
                }
            }
        }
        black_box(chains);
        (rounds * 12 * LANES * 2) as u64
    }
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx512f,fma")]
        fn avx512(rounds: usize) -> u64 {
            use std::arch::x86_64::{_mm512_fmadd_ps, _mm512_set1_ps};
            let (a, b) = (_mm512_set1_ps(black_box(0.999)), _mm512_set1_ps(black_box(0.001)));
            let mut chains = [_mm512_set1_ps(0.5); 12];
            for _ in 0..rounds {
                for chain in &mut chains {
                    *chain = _mm512_fmadd_ps(*chain, a, b);
                }
            }
            black_box(chains);
            (rounds * 12 * 16 * 2) as u64
        }
        #[target_feature(enable = "avx2,fma")]
        fn avx2(rounds: usize) -> u64 {
            use std::arch::x86_64::{_mm256_fmadd_ps, _mm256_set1_ps};
            let (a, b) = (_mm256_set1_ps(black_box(0.999)), _mm256_set1_ps(black_box(0.001)));
            let mut chains = [_mm256_set1_ps(0.5); 12];
            for _ in 0..rounds {
                for chain in &mut chains {
                    *chain = _mm256_fmadd_ps(*chain, a, b);
                }
            }
            black_box(chains);
            (rounds * 12 * 8 * 2) as u64
        }
        match isa {
            // SAFETY: `Isa::detect` found these instructions.
            Isa::Avx512 => return unsafe { avx512(rounds) },
            // SAFETY: as above.
            Isa::Avx2 => return unsafe { avx2(rounds) },
            Isa::Portable => {}
        }
    }
    let _ = isa;
    body::<4>(rounds, |x, a, b| x * a + b)
}

/// What one run took.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    /// On the clock.
    pub wall: Duration,
    /// Of all threads together, as the system counts it: what else runs on the machine matters less here. Zero where it is not told.
    pub cpu: Duration,
}

/// Something that can be timed. Making its inputs is not counted.
pub trait Timed {
    /// Runs once.
    fn once(&mut self) -> Result<Time>;
    /// Work of one run.
    fn cost(&self) -> Cost {
        Cost::default()
    }
}

fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<Time> {
    let (begin, cpu) = (Instant::now(), cpu_time());
    work()?;
    Ok(Time { wall: begin.elapsed(), cpu: cpu_time().saturating_sub(cpu) })
}

/// Time that all threads of this process have run. Not from /proc: there it moves on in ticks, longer than some runs.
fn cpu_time() -> Duration {
    #[cfg(unix)]
    {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: writes to the place that it is given.
        if unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) } == 0 {
            return Duration::new(time.tv_sec as u64, time.tv_nsec as u32);
        }
    }
    Duration::ZERO
}

/// Most memory that this process has held so far, in MB of 2^20 bytes (Linux).
fn resident_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.split_whitespace().next()?.parse::<f64>().ok()? / 1024.0)
}

/// A graph with its inputs.
pub struct Runner {
    executor: Executor,
    feeds: Vec<(Value, Tensor)>,
    cost: Cost,
}

impl Runner {
    /// Plans `graph`; every variable that no tensor is given for is initialised as at the start of a training, every such input
    /// is random.
    pub fn new(graph: Graph, targets: &[Value], given: Vec<(Value, Tensor)>) -> Result<Self> {
        let cost = Dump::new(&graph, targets, device())?.cost();
        let mut numbers = Numbers::new(SEED);
        let mut executor = Executor::new(device(), Arc::new(graph), targets)?;
        let graph = executor.graph().clone();
        let mut set = Vec::new();
        for (name, value) in graph.variables() {
            match given.iter().find(|(v, _)| *v == value) {
                Some((_, tensor)) if executor.plan().place(value).is_some() => executor.set(name, tensor)?,
                Some(_) => {}
                None if executor.plan().place(value).is_some() => set.push(name.to_owned()),
                None => {}
            }
        }
        nn::initialise(&mut executor, &set, SEED)?;
        let mut feeds = Vec::new();
        for (_, value) in graph.inputs() {
            let tensor = match given.iter().find(|(v, _)| *v == value) {
                Some((_, tensor)) => tensor.clone(),
                None => random(&mut numbers, graph.ty(value))?,
            };
            feeds.push((value, tensor));
        }
        Ok(Self { executor, feeds, cost })
    }

    /// One instance of an op. Inputs whose positions lie in `weights` become variables, so that they are packed once.
    /// With `gradients`, what runs is the gradients of everything differentiable (and as much of the rest as they need).
    pub fn problem<P: Problem>(problem: &P, weights: std::ops::Range<usize>, gradients: bool) -> Result<Self> {
        let mut g = Graph::new();
        let mut given = Vec::new();
        for (i, tensor) in problem.inputs(SEED).into_iter().enumerate() {
            let (name, ty) = (format!("input{i}"), tensor.ty().clone());
            let value = if weights.contains(&i) { g.variable(&name, ty)? } else { g.input(&name, ty)? };
            given.push((value, tensor));
        }
        let inputs: Vec<Value> = given.iter().map(|(value, _)| *value).collect();
        let mut targets = problem.build(&mut g, &inputs)?;
        if gradients {
            let mut seeds = Vec::new();
            for (i, output) in targets.iter().enumerate() {
                if g.ty(*output).dtype == DType::F32 {
                    let ty = g.ty(*output).clone();
                    seeds.push((*output, g.input(&format!("gradient{i}"), ty)?));
                }
            }
            let wrt: Vec<Value> = problem.differentiable().iter().map(|i| inputs[*i]).collect();
            targets = g.gradients_from(&seeds, &wrt)?;
        }
        Self::new(g, &targets, given)
    }
}

/// Numbers between -1 and 1, or zeros of an integer type.
fn random(numbers: &mut Numbers, ty: &TensorType) -> Result<Tensor> {
    if ty.dtype != DType::F32 {
        return Ok(Tensor::zeros(ty.dtype, ty.shape.clone()));
    }
    Ok(numbers.tensor(ty.shape.dims()))
}

impl Timed for Runner {
    fn once(&mut self) -> Result<Time> {
        for (value, tensor) in &self.feeds {
            self.executor.feed(*value, tensor)?;
        }
        timed(|| self.executor.run_fed())
    }

    fn cost(&self) -> Cost {
        self.cost
    }
}

/// A closure; the time is all it takes, the cost is not known.
pub struct Closure<F>(pub F);

impl<F: FnMut() -> Result<()>> Timed for Closure<F> {
    fn once(&mut self) -> Result<Time> {
        timed(&mut self.0)
    }
}

/// Criterion with few samples: what is measured takes long, and medians are steady.
pub fn criterion() -> Criterion {
    Criterion::default().nresamples(2000).without_plots().configure_from_args()
}

/// What one run handles: how many of what.
#[derive(Clone, Copy)]
pub struct Items(pub usize, pub &'static str);

/// Benches `group/name`; it is built only if the filter wants it. `items` is what one run handles.
pub fn bench<T: Timed>(c: &mut Criterion, group: &str, name: &str, items: Items, build: impl Fn() -> Result<T>) {
    run(c, group, name, items, 10, build);
}

/// As [`bench`], for what takes many seconds: three runs, by a clock of our own, and the peak of memory. That is the process's own:
/// run such a bench alone.
pub fn bench_long<T: Timed>(c: &mut Criterion, group: &str, name: &str, items: Items, build: impl Fn() -> Result<T>) {
    run(c, group, name, items, 3, build);
}

fn run<T: Timed>(
    c: &mut Criterion,
    group: &str,
    name: &str,
    items: Items,
    samples: usize,
    build: impl Fn() -> Result<T>,
) {
    const LEAST: usize = 10;
    let mut built: Option<T> = None;
    let mut times = Vec::new();
    let mut criterion_group = c.benchmark_group(group);
    criterion_group.sampling_mode(SamplingMode::Flat).sample_size(LEAST);
    criterion_group.warm_up_time(Duration::from_millis(100)).measurement_time(Duration::from_millis(1000));
    criterion_group.bench_function(name, |bencher| {
        bencher.iter_custom(|iterations| {
            machine();
            let fail = |error: sarcomere::Error| -> ! { panic!("{group}/{name}: {error}") };
            let timed = built.get_or_insert_with(|| {
                // The first run packs weights and touches memory.
                let first = build().and_then(|mut timed| timed.once().map(|_| timed));
                first.unwrap_or_else(|error| fail(error))
            });
            if samples < LEAST && times.len() >= samples {
                // Criterion insists on more than is needed: it is told the last time again.
                return iterations as u32 * times.last().map_or(Duration::ZERO, |time: &Time| time.wall);
            }
            let mut once = || {
                let time = timed.once().unwrap_or_else(|error| fail(error));
                times.push(time);
                time.wall
            };
            match samples < LEAST {
                true => iterations as u32 * once(),
                false => (0..iterations).map(|_| once()).sum(),
            }
        });
    });
    criterion_group.finish();
    if let Some(timed) = built {
        let memory = (samples < LEAST).then(resident_mb).flatten();
        report(&format!("{group}/{name}"), &mut times, timed.cost(), items, memory);
    }
}

fn report(name: &str, times: &mut [Time], cost: Cost, items: Items, rss_mb: Option<f64>) {
    times.sort();
    let Some(median) = times.get(times.len() / 2).map(|time| time.wall.as_secs_f64()) else { return };
    times.sort_by_key(|time| time.cpu);
    let cpu = times[times.len() / 2].cpu.as_secs_f64();
    let machine = machine();
    let (gflops, gbytes) = (cost.flops as f64 / median / 1e9, cost.bytes as f64 / median / 1e9);
    let mut line = format!("{name:<44} {:>10.3} ms {:>10.3} ms of processor", median * 1e3, cpu * 1e3);
    if cost.flops > 0 {
        line += &format!("{gflops:>9.1} GFLOP/s {:>5.1} % of peak", 100.0 * gflops / machine.gflops);
        line += &format!("{gbytes:>8.2} GB/s {:>5.1} % of copy", 100.0 * gbytes / machine.gbytes);
    }
    let Items(count, what) = items;
    if count > 1 {
        line += &format!("{:>9.1} {what} a second", count as f64 / median);
    }
    if let Some(rss_mb) = rss_mb {
        line += &format!("{rss_mb:>9.0} MB at most");
    }
    println!("{line}");
    let mut json = serde_json::json!({
        "name": name, "ms": median * 1e3, "cpu_ms": cpu * 1e3, "gflops": gflops, "gflop": cost.flops as f64 / 1e9,
        "share": gflops / machine.gflops, "runs": times.len(),
    });
    if let Some(rss_mb) = rss_mb {
        json["rss_mb"] = rss_mb.into();
    }
    json_line(&json);
}

fn json_line(json: &serde_json::Value) {
    let Some(path) = std::env::var_os("SARCOMERE_BENCH_JSON") else { return };
    let written =
        OpenOptions::new().create(true).append(true).open(&path).and_then(|mut file| writeln!(file, "{json}"));
    if let Err(error) = written {
        eprintln!("SARCOMERE_BENCH_JSON: {}: {error}", path.display());
    }
}
