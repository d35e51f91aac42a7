//! Device memory and pinned host memory, freed when dropped.

use std::sync::Arc;

use cudarc::driver::{result, sys};

use super::Cuda;
use crate::Result;

/// A range of device memory.
#[derive(Debug)]
pub struct DeviceBuffer {
    cuda: Arc<Cuda>,
    pointer: sys::CUdeviceptr,
    bytes: usize,
}

impl DeviceBuffer {
    /// `bytes` of device memory, content arbitrary. When there is not enough: an error that says how much is free.
    pub fn new(cuda: &Arc<Cuda>, bytes: usize) -> Result<Self> {
        cuda.usable()?;
        // SAFETY: the context is current; the range is freed once, when dropped.
        let allocated = unsafe { result::malloc_sync(bytes.max(1)) };
        let pointer = allocated.map_err(|error| cuda.failed("allocating device memory", error))?;
        Ok(Self { cuda: cuda.clone(), pointer, bytes })
    }

    /// Address of byte `offset`.
    pub fn address(&self, offset: usize) -> u64 {
        self.pointer + offset as u64
    }

    /// Number of bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Sets `bytes` bytes from `offset` on to `byte`, in stream order.
    pub fn fill(&self, offset: usize, bytes: usize, byte: u8) -> Result<()> {
        assert!(offset + bytes <= self.bytes, "fill outside of a device buffer");
        self.cuda.fill(self.cuda.queue(), self.address(offset), bytes, byte)
    }

    /// Copies host bytes to `offset`; when it returns, `host` may change.
    pub fn write(&self, offset: usize, host: &[u8]) -> Result<()> {
        assert!(offset + host.len() <= self.bytes, "write outside of a device buffer");
        self.cuda.usable()?;
        // On our stream: what runs on another one is not ordered with it, not even where the call waits for the host's part.
        // SAFETY: the range lies inside the buffer; `host` is borrowed until the stream has passed.
        let copied = unsafe { result::memcpy_htod_async(self.address(offset), host, self.cuda.queue().0) };
        copied.map_err(|error| self.cuda.failed("copying to the device", error))?;
        self.cuda.synchronize()
    }

    /// Copies pinned bytes to `offset` in stream order: `host` must not change until the stream has passed this point.
    pub(crate) fn write_pinned(&self, offset: usize, host: &PinnedBuffer) -> Result<()> {
        assert!(offset + host.bytes <= self.bytes, "write outside of a device buffer");
        self.cuda.usable()?;
        // SAFETY: both ranges exist as long as the caller keeps the buffers, which it does until the stream has passed.
        let copied = unsafe { result::memcpy_htod_async(self.address(offset), host.get(), self.cuda.queue().0) };
        copied.map_err(|error| self.cuda.failed("copying to the device", error))
    }

    /// Waits for all work of the stream, then copies from `offset` into `host`.
    pub fn read(&self, offset: usize, host: &mut [u8]) -> Result<()> {
        assert!(offset + host.len() <= self.bytes, "read outside of a device buffer");
        self.cuda.synchronize()?;
        // SAFETY: the range lies inside the buffer; the copy is done when the call returns.
        let copied = unsafe { result::memcpy_dtoh_sync(host, self.address(offset)) };
        copied.map_err(|error| self.cuda.failed("copying from the device", error))
    }
}

impl Drop for DeviceBuffer {
    fn drop(&mut self) {
        // A lost device frees nothing more; nothing can be done about it here.
        if self.cuda.synchronize().is_ok() {
            // SAFETY: allocated by us, freed once, and nothing on the stream uses it any more.
            let _ = unsafe { result::free_sync(self.pointer) };
        }
    }
}

/// Page-locked host memory: what the device copies from without the host waiting.
#[derive(Debug)]
pub struct PinnedBuffer {
    cuda: Arc<Cuda>,
    pointer: *mut u8,
    bytes: usize,
}

// SAFETY: plain memory; whoever holds the buffer holds it alone.
unsafe impl Send for PinnedBuffer {}
// SAFETY: shared access only reads.
unsafe impl Sync for PinnedBuffer {}

impl PinnedBuffer {
    /// `bytes` zeros.
    pub fn new(cuda: &Arc<Cuda>, bytes: usize) -> Result<Self> {
        cuda.usable()?;
        // SAFETY: the context is current; freed once, when dropped. Not write-combined: it is read back too.
        let allocated = unsafe { result::malloc_host(bytes.max(1), 0) };
        let pointer = allocated.map_err(|error| cuda.failed("allocating pinned host memory", error))?.cast::<u8>();
        // SAFETY: the range was just allocated.
        unsafe { pointer.write_bytes(0, bytes.max(1)) };
        Ok(Self { cuda: cuda.clone(), pointer, bytes })
    }

    /// The bytes.
    pub fn get(&self) -> &[u8] {
        // SAFETY: allocated and initialised with this size.
        unsafe { std::slice::from_raw_parts(self.pointer, self.bytes) }
    }

    /// The bytes, to be written. The stream must not be reading them.
    pub fn get_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and borrowed alone.
        unsafe { std::slice::from_raw_parts_mut(self.pointer, self.bytes) }
    }
}

impl Drop for PinnedBuffer {
    fn drop(&mut self) {
        if self.cuda.synchronize().is_ok() {
            // SAFETY: allocated by us, freed once, and nothing on the stream reads it any more.
            let _ = unsafe { result::free_host(self.pointer.cast()) };
        }
    }
}
