//! A byte buffer aligned to a cache line, so that vector loads never straddle one.

use std::ops::{Deref, DerefMut};

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// Bytes aligned to 64.
#[derive(Clone)]
pub struct AlignedBytes {
    lines: Vec<Line>,
    len: usize,
}

impl AlignedBytes {
    /// `len` zero bytes.
    pub fn zeroed(len: usize) -> Self {
        Self::try_zeroed(len).unwrap_or_else(|| panic!("{len} bytes of memory cannot be had"))
    }

    /// As [`AlignedBytes::zeroed`]; `None` if there is not that much memory.
    pub fn try_zeroed(len: usize) -> Option<Self> {
        let lines = len.div_ceil(64);
        let layout = std::alloc::Layout::array::<Line>(lines).ok()?;
        if lines == 0 {
            return Some(Self { lines: Vec::new(), len });
        }
        // The allocator's zeroed pages are not touched until used: a large arena costs nothing up front.
        // SAFETY: the layout is that of a Vec<Line> of this capacity, and zero bytes are a valid Line.
        let lines = unsafe {
            let pointer = std::alloc::alloc_zeroed(layout);
            if pointer.is_null() {
                return None;
            }
            Vec::from_raw_parts(pointer.cast::<Line>(), lines, lines)
        };
        Some(Self { lines, len })
    }
}

impl Deref for AlignedBytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        // SAFETY: `lines` holds at least `len` initialised bytes.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }
}

impl DerefMut for AlignedBytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}

impl std::fmt::Debug for AlignedBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.len)
    }
}
