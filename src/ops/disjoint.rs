//! Lets parallel tasks write disjoint parts of one buffer.

use std::marker::PhantomData;

use crate::device::Cpu;
use crate::device::cpu::SendPtr;

/// A buffer cut into runs of equal length that parallel tasks write, each its own.
pub(crate) struct Disjoint<'a, T> {
    base: SendPtr<T>,
    len: usize,
    run: usize,
    buffer: PhantomData<&'a mut [T]>,
}

impl<'a, T> Disjoint<'a, T> {
    /// Cuts `data` into runs of `run` elements.
    pub fn new(data: &'a mut [T], run: usize) -> Self {
        Self { base: SendPtr(data.as_mut_ptr()), len: data.len(), run, buffer: PhantomData }
    }

    /// Whether there is nothing to write: an optional output that nobody reads.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Run number `index`. Panics if it leaves the buffer.
    ///
    /// # Safety
    /// No two live results may have the same index.
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn run(&self, index: usize) -> &mut [T] {
        // SAFETY: the caller keeps indices apart.
        unsafe { self.runs(index, 1) }
    }

    /// `count` neighbouring runs from number `index`. Panics if they leave the buffer.
    ///
    /// # Safety
    /// No two live results may share a run.
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn runs(&self, index: usize, count: usize) -> &mut [T] {
        assert!((index + count) * self.run <= self.len, "a task writes outside its buffer");
        // SAFETY: inside the buffer, which is borrowed for 'a; the caller keeps indices apart.
        unsafe { std::slice::from_raw_parts_mut(self.base.get().add(index * self.run), count * self.run) }
    }
}

impl<'a> Disjoint<'a, u8> {
    /// Cuts scratch into one 64-byte aligned run per worker.
    pub fn per_worker(scratch: &'a mut [u8], cpu: &Cpu) -> Self {
        let run = scratch.len() / cpu.threads() / 64 * 64;
        Self::new(scratch, run)
    }
}
