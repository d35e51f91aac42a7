//! A small pool of threads for data-parallel loops: tasks are claimed by an atomic counter, workers spin briefly for
//! the next loop before they sleep, so that a graph of hundreds of short ops does not pay a wake-up for each.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;

type Body<'a> = &'a (dyn Fn(usize, usize) + Sync);

/// Turns of the spin loop before a worker sleeps: about 30 microseconds.
const SPINS: usize = 10_000;

struct Job {
    body: Body<'static>,
    tasks: usize,
}

#[derive(Default)]
struct Shared {
    /// Counts loops; a change tells workers that a new one has begun. Guarded by `job` for sleepers.
    generation: AtomicUsize,
    job: Mutex<Option<Job>>,
    wake: Condvar,
    next: AtomicUsize,
    /// Workers that have not yet left the current loop.
    active: AtomicUsize,
    stop: AtomicBool,
    panic: Mutex<Option<Box<dyn std::any::Any + Send>>>,
}

pub(super) struct ThreadPool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// Held while a loop runs: a second caller (or a nested call) runs its loop in place.
    busy: Mutex<()>,
}

impl ThreadPool {
    pub(super) fn new(threads: usize) -> Self {
        let shared = Arc::new(Shared::default());
        let workers = (1..threads)
            .filter_map(|id| {
                let shared = shared.clone();
                std::thread::Builder::new().name(format!("sarcomere-{id}")).spawn(move || worker(&shared, id)).ok()
            })
            .collect();
        Self { shared, workers, busy: Mutex::new(()) }
    }

    pub(super) fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    pub(super) fn run(&self, tasks: usize, body: Body<'_>) {
        let guard = if tasks > 1 && !self.workers.is_empty() { self.busy.try_lock().ok() } else { None };
        if guard.is_none() {
            // In place: inside a task this is still the same worker, so scratch memory stays its own.
            let worker = WORKER.get();
            return (0..tasks).for_each(|task| body(task, worker));
        }
        let shared = &*self.shared;
        // SAFETY: the lifetime is erased only until the wait below: no worker touches `body` after `active` is zero.
        let body: Body<'static> = unsafe { std::mem::transmute(body) };
        shared.next.store(0, Ordering::Relaxed);
        shared.active.store(self.workers.len(), Ordering::Relaxed);
        {
            let mut job = lock(&shared.job);
            *job = Some(Job { body, tasks });
            shared.generation.fetch_add(1, Ordering::Release);
        }
        shared.wake.notify_all();
        claim(shared, body, tasks, 0);
        let mut turns = 0usize;
        while shared.active.load(Ordering::Acquire) != 0 {
            turns += 1;
            if turns < SPINS { std::hint::spin_loop() } else { std::thread::yield_now() }
        }
        let panic = lock(&shared.panic).take();
        drop(guard);
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        {
            let _job = lock(&self.shared.job);
            self.shared.stop.store(true, Ordering::Release);
            self.shared.generation.fetch_add(1, Ordering::Release);
        }
        self.shared.wake.notify_all();
        self.workers.drain(..).for_each(|handle| drop(handle.join()));
    }
}

thread_local! {
    /// Which worker of its pool this thread is; callers are worker 0.
    static WORKER: Cell<usize> = const { Cell::new(0) };
}

fn worker(shared: &Shared, id: usize) {
    WORKER.set(id);
    let mut seen = 0;
    loop {
        let mut spins = 0;
        while shared.generation.load(Ordering::Acquire) == seen && spins < SPINS {
            spins += 1;
            std::hint::spin_loop();
        }
        let (body, tasks) = {
            let mut job = lock(&shared.job);
            while shared.generation.load(Ordering::Acquire) == seen {
                job = shared.wake.wait(job).unwrap_or_else(|poisoned| poisoned.into_inner());
            }
            seen = shared.generation.load(Ordering::Acquire);
            if shared.stop.load(Ordering::Acquire) {
                return;
            }
            match &*job {
                Some(job) => (job.body, job.tasks),
                None => continue,
            }
        };
        claim(shared, body, tasks, id);
        shared.active.fetch_sub(1, Ordering::Release);
    }
}

/// Takes tasks until none is left; a panic is kept for the caller, and the remaining tasks are dropped.
fn claim(shared: &Shared, body: Body<'_>, tasks: usize, worker: usize) {
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        loop {
            let task = shared.next.fetch_add(1, Ordering::Relaxed);
            if task >= tasks {
                break;
            }
            body(task, worker);
        }
    }));
    if let Err(panic) = outcome {
        shared.next.store(tasks, Ordering::Relaxed);
        lock(&shared.panic).get_or_insert(panic);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once_and_nested_loops_run_in_place() {
        let pool = ThreadPool::new(3);
        for tasks in [0, 1, 2, 7, 1000] {
            let counts: Vec<_> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
            pool.run(tasks, &|task, worker| {
                assert!(worker < 3);
                pool.run(2, &|_, _| {
                    counts[task].fetch_add(1, Ordering::Relaxed);
                });
            });
            assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 2));
        }
    }

    #[test]
    fn a_panic_in_a_task_reaches_the_caller_and_the_pool_survives() {
        let pool = ThreadPool::new(2);
        let outcome = catch_unwind(AssertUnwindSafe(|| pool.run(100, &|task, _| assert!(task != 50))));
        assert!(outcome.is_err());
        let sum = AtomicUsize::new(0);
        pool.run(10, &|task, _| {
            sum.fetch_add(task, Ordering::Relaxed);
        });
        assert_eq!(sum.load(Ordering::Relaxed), 45);
    }
}
