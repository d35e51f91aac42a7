//! The frames of a recording: in memory, or in a file that is read part by part.

use std::borrow::Cow;
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use super::npy::{self, Header, Kind};
use crate::{Error, Result};

/// Where the values of a recording are.
#[derive(Clone, Debug)]
pub(super) enum Frames {
    /// Row-major `[T, H, W]`.
    Memory(Vec<f32>),
    /// In a file.
    File(Arc<Stored>),
}

impl Frames {
    /// Some frames `[frames, H, W]` of a recording of this shape.
    pub(super) fn read(&self, shape: [usize; 3], frames: Range<usize>) -> Result<Cow<'_, [f32]>> {
        match self {
            Frames::Memory(values) => {
                let pixels = shape[1] * shape[2];
                Ok(values[frames.start * pixels..frames.end * pixels].into())
            }
            Frames::File(stored) => stored.read(shape, frames).map(Cow::from),
        }
    }
}

impl From<Stored> for Frames {
    fn from(stored: Stored) -> Self {
        Frames::File(Arc::new(stored))
    }
}

/// Frames `range`, cut into parts of at most `most` values where a frame has `pixels`, of one frame at least.
pub(super) fn parts(range: Range<usize>, pixels: usize, most: usize) -> impl Iterator<Item = Range<usize>> {
    let step = (most / pixels).max(1);
    range.clone().step_by(step).map(move |start| start..(start + step).min(range.end))
}

/// The order of the values in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// `[T, H, W]`.
    Rows,
    /// Pixels counted down the columns and cut into slabs of so many, each `[T, pixels]`; the last has what is left.
    Slabs(usize),
}

/// Values in a file that can be read from any place on.
#[derive(Debug)]
pub(super) struct Stored {
    /// The recording's file, for messages.
    path: PathBuf,
    file: Mutex<File>,
    /// As it was when it was opened; `None` if nobody else can write to it.
    stamp: Option<Stamp>,
    /// Where the values begin, in bytes.
    data: u64,
    kind: Kind,
    big_endian: bool,
    layout: Layout,
}

impl Stored {
    /// The values that `header` announces, from byte `data` of a file on, of which `bytes` bytes are there.
    pub(super) fn new(
        path: &Path,
        file: File,
        header: &Header,
        data: u64,
        bytes: u64,
    ) -> std::result::Result<Self, String> {
        let count = npy::count(header)?;
        let there = bytes / header.kind.size() as u64;
        if there < count as u64 {
            return Err(npy::truncated(header, there as usize));
        }
        let stamp = Some(Stamp::of(&file).map_err(|e| format!("values: cannot read: {e}"))?);
        let (kind, big_endian) = (header.kind, header.big_endian);
        Ok(Self { path: path.into(), file: Mutex::new(file), stamp, data, kind, big_endian, layout: Layout::Rows })
    }

    /// Values of this machine's `f32` in a file that nobody else can write to.
    pub(super) fn unnamed(path: &Path, file: File, layout: Layout) -> Self {
        let big_endian = cfg!(target_endian = "big");
        Self { path: path.into(), file: Mutex::new(file), stamp: None, data: 0, kind: Kind::F32, big_endian, layout }
    }

    fn read(&self, [total, height, width]: [usize; 3], frames: Range<usize>) -> Result<Vec<f32>> {
        let pixels = height * width;
        let mut out = vec![0f32; frames.len() * pixels];
        let Layout::Slabs(slab) = self.layout else {
            self.values(frames.start * pixels, &mut out)?;
            return Ok(out);
        };
        for first in (0..pixels).step_by(slab) {
            let slab = slab.min(pixels - first);
            let mut part = vec![0f32; frames.len() * slab];
            self.values(first * total + frames.start * slab, &mut part)?;
            for (frame, part) in out.chunks_exact_mut(pixels).zip(part.chunks_exact(slab)) {
                let places = (first..).map(|pixel| pixel % height * width + pixel / height);
                part.iter().zip(places).for_each(|(v, place)| frame[place] = *v);
            }
        }
        Ok(out)
    }

    /// The values from number `first` on, in the order of the file.
    fn values(&self, first: usize, out: &mut [f32]) -> Result<()> {
        let size = self.kind.size();
        let start = self.data + (first * size) as u64;
        if self.kind == Kind::F32 && self.big_endian == cfg!(target_endian = "big") {
            return self.bytes(start, bytemuck::cast_slice_mut(out));
        }
        let mut block = vec![0u8; npy::BLOCK * size];
        for (i, out) in out.chunks_mut(npy::BLOCK).enumerate() {
            let bytes = &mut block[..out.len() * size];
            self.bytes(start + (i * npy::BLOCK * size) as u64, bytes)?;
            self.kind.decode_all(bytes, self.big_endian, out);
        }
        Ok(())
    }

    fn bytes(&self, start: u64, out: &mut [u8]) -> Result<()> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let read = file.seek(SeekFrom::Start(start)).and_then(|_| file.read_exact(out));
        let changed = || self.stamp.as_ref().is_some_and(|stamp| Stamp::of(&file).ok().as_ref() != Some(stamp));
        match read {
            // What fails on a disk that is gone is not a change: the system knows better.
            Err(error) if error.kind() != ErrorKind::UnexpectedEof => Err(Error::io(&self.path, "read", error)),
            Ok(()) if !changed() => Ok(()),
            _ => {
                let message = "values: expected a file that stays as it is while it is searched, found that it has changed: \
                               search it again once nothing writes to it";
                Err(Error::file(&self.path, message))
            }
        }
    }
}

/// What changes when a file is written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    length: u64,
    /// `None` on file systems that do not keep it.
    modified: Option<SystemTime>,
}

impl Stamp {
    fn of(file: &File) -> std::io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self { length: metadata.len(), modified: metadata.modified().ok() })
    }
}
