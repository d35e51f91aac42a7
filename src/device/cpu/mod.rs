//! The processor: instruction set, threads.

mod pool;
pub mod simd;

use std::fmt;

use pool::ThreadPool;

/// Instruction sets that the kernels are compiled for; the best one present is chosen at run time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    /// Plain Rust: any processor.
    Portable,
    /// x86-64 with AVX2 and FMA: 8 lanes, 16 registers.
    Avx2,
    /// x86-64 with AVX-512 F, BW, DQ and VL: 16 lanes, 32 registers, masks.
    Avx512,
}

impl Isa {
    /// The best one of this machine.
    pub fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            let avx512 = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl");
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            if avx512 && avx2 {
                return Isa::Avx512;
            }
            if avx2 {
                return Isa::Avx2;
            }
        }
        Isa::Portable
    }

    /// Every one that this machine can run, plainest first: what tests go through.
    pub fn available() -> Vec<Self> {
        [Isa::Portable, Isa::Avx2, Isa::Avx512].into_iter().filter(|isa| *isa <= Self::detect()).collect()
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Isa::Portable => "portable",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
        })
    }
}

/// The processor as a device: an instruction set and a pool of threads.
pub struct Cpu {
    isa: Isa,
    pool: ThreadPool,
}

impl Cpu {
    /// All cores (or as many as the environment variable `SARCOMERE_THREADS` says), best instruction set.
    pub fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
        let threads = std::env::var("SARCOMERE_THREADS").ok().and_then(|s| s.parse().ok()).filter(|n| *n > 0);
        Self::with(threads.unwrap_or(cores), Isa::detect())
    }

    /// A given number of threads (at least one) and an instruction set, lowered to what the machine has.
    pub fn with(threads: usize, isa: Isa) -> Self {
        Self { isa: isa.min(Isa::detect()), pool: ThreadPool::new(threads.max(1)) }
    }

    /// The instruction set in use.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Number of threads, the caller's own included.
    pub fn threads(&self) -> usize {
        self.pool.threads()
    }

    /// Calls `body(task, worker)` for every task in `0..tasks`, spread over the threads; `worker < threads()` tells
    /// which one runs it, for scratch memory of its own. Returns when all are done. A call from inside a task runs in
    /// place. Results must not depend on which worker takes which task: split by shape, never by thread count.
    pub fn parallel(&self, tasks: usize, body: impl Fn(usize, usize) + Sync) {
        self.pool.run(tasks, &body);
    }

    /// Splits `data` into runs of `chunk` elements (the last may be shorter) and calls `body(index, run)` for each.
    pub fn parallel_chunks<T: Send>(&self, data: &mut [T], chunk: usize, body: impl Fn(usize, &mut [T]) + Sync) {
        let len = data.len();
        if len == 0 || chunk == 0 {
            return;
        }
        let base = SendPtr(data.as_mut_ptr());
        self.parallel(len.div_ceil(chunk), |task, _| {
            let start = task * chunk;
            // SAFETY: runs of distinct tasks are disjoint and inside `data`, which is borrowed for the whole call.
            let run = unsafe { std::slice::from_raw_parts_mut(base.get().add(start), chunk.min(len - start)) };
            body(task, run);
        });
    }
}

impl Default for Cpu {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cpu({} threads, {})", self.threads(), self.isa)
    }
}

/// A pointer that tasks may share; whoever dereferences it answers for disjointness.
pub struct SendPtr<T>(pub *mut T);

impl<T> SendPtr<T> {
    /// The pointer. (A method, so that closures capture the wrapper and not its field.)
    pub fn get(&self) -> *mut T {
        self.0
    }
}

impl<T> Clone for SendPtr<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for SendPtr<T> {}

// SAFETY: sharing the address is harmless; the unsafe code that writes through it keeps tasks disjoint.
unsafe impl<T: Send> Send for SendPtr<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for SendPtr<T> {}
