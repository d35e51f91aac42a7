//! NumPy's `.npz`: a zip archive of `.npy` files.

use std::fs::File;
use std::io::{BufReader, Read, Seek, Write};
use std::path::Path;

use zip::result::ZipError;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use super::frames::{Frames, Stored};
use super::npy::{self, Element};
use super::read::{Array, Content, ReadOptions, Values, choose, in_file, open};
use super::recording::check_shape;
use crate::{Error, Result};

type Archive = ZipArchive<BufReader<File>>;

pub(super) fn read_recording(path: &Path, options: &ReadOptions) -> Result<Content> {
    let whole = open(path)?;
    let reader = BufReader::new(whole.try_clone().map_err(|e| Error::io(path, "read", e))?);
    let mut archive = ZipArchive::new(reader).map_err(|e| damaged(path, e))?;
    let mut entries = Vec::new();
    for index in 0..archive.len() {
        let mut file = archive.by_index(index).map_err(|e| damaged(path, e))?;
        let name = file.name().map_err(|e| damaged(path, e))?.to_string();
        let Some(name) = name.strip_suffix(".npy").map(str::to_string) else { continue };
        // An array that cannot be read is no hindrance unless it is the one asked for.
        let shape = npy::read_header(&mut file).map(|h| h.shape).unwrap_or_default();
        entries.push((name, shape));
    }
    let name = choose(&entries, options.array.as_deref()).map_err(|m| Error::file(path, m))?;
    let (shape, frames) = recording(&mut archive, whole, path, &name, options)?;
    let fs_hz = scalar(&mut archive, path, "fs_hz")?;
    let mm_per_pixel = scalar(&mut archive, path, "mm_per_pixel")?;
    Ok(Content { shape, frames, fs_hz, mm_per_pixel })
}

/// The recording's shape and frames. Its shape is checked before its values are read.
fn recording(
    archive: &mut Archive,
    whole: File,
    path: &Path,
    name: &str,
    options: &ReadOptions,
) -> Result<(Vec<usize>, Frames)> {
    let named = |m| Error::file(path, format!("{name}: {m}"));
    let mut file = archive.by_name(&format!("{name}.npy")).map_err(|error| damaged(path, error))?;
    let header = npy::read_header(&mut file).map_err(named)?;
    check_shape(&header.shape).map_err(|e| in_file(path, e))?;
    let values = Values { path, header: &header, options };
    let unpacked = file.data_start().filter(|_| file.compression() == CompressionMethod::Stored);
    let frames = match unpacked {
        Some(start) if !header.fortran && !values.fit().map_err(named)? => {
            let length = header.length as u64;
            let bytes = file.size().min(file.compressed_size()).saturating_sub(length);
            Stored::new(path, whole, &header, start + length, bytes).map(Frames::from)
        }
        _ => values.stream(&mut file),
    };
    let frames = frames.map_err(named)?;
    check_sum(&mut file).map_err(named)?;
    Ok((header.shape, frames))
}

/// An array by its name, if the archive has it.
pub(super) fn read_array(path: &Path, name: &str) -> Result<Option<Array>> {
    let mut archive = ZipArchive::new(BufReader::new(open(path)?)).map_err(|e| damaged(path, e))?;
    entry(&mut archive, path, name)
}

fn damaged(path: &Path, error: ZipError) -> Error {
    let advice = "it is truncated, damaged or not a .npz: copy it again or save it with numpy.savez";
    Error::file(path, format!("archive: expected a zip archive of .npy files ({error}): {advice}"))
}

/// Shape and values of an array, if the archive has it.
fn entry(archive: &mut Archive, path: &Path, name: &str) -> Result<Option<Array>> {
    let named = |m| Error::file(path, format!("{name}: {m}"));
    let mut file = match archive.by_name(&format!("{name}.npy")) {
        Ok(file) => file,
        Err(ZipError::FileNotFound) => return Ok(None),
        Err(error) => return Err(damaged(path, error)),
    };
    let header = npy::read_header(&mut file).map_err(named)?;
    let values = npy::read_values(&mut file, &header).map_err(named)?;
    check_sum(&mut file).map_err(named)?;
    Ok(Some((header.shape, values)))
}

/// Reads what is left of an array: its checksum is compared at the very end.
fn check_sum(rest: &mut impl Read) -> std::result::Result<(), String> {
    let advice = "it is damaged, copy or export it again";
    let end = std::io::copy(rest, &mut std::io::sink());
    end.map(drop).map_err(|e| format!("values: expected a matching checksum ({e}): {advice}"))
}

/// The single number of an array, if the archive has it.
fn scalar(archive: &mut Archive, path: &Path, name: &str) -> Result<Option<f64>> {
    let Some((_, values)) = entry(archive, path, name)? else { return Ok(None) };
    match values[..] {
        // Through the shortest decimal of the f32: 0.625 and 0.1 alike come back as written.
        [value] => Ok(value.to_string().parse().ok()),
        _ => {
            Err(Error::file(path, format!("{name}: expected one number, found {} values: save a scalar", values.len())))
        }
    }
}

/// Writes arrays one after the other into a `.npz`.
pub struct NpzWriter<W: Write + Seek> {
    zip: ZipWriter<W>,
}

impl<W: Write + Seek> NpzWriter<W> {
    /// An archive with no array yet.
    pub fn new(writer: W) -> Self {
        Self { zip: ZipWriter::new(writer) }
    }

    /// Adds an array, row-major.
    ///
    /// # Errors
    /// What the writer reports.
    pub fn add<T: Element>(&mut self, name: &str, shape: &[usize], values: &[T]) -> std::io::Result<()> {
        self.add_parts(name, shape, &[values])
    }

    /// Adds an array whose values come in parts, one after the other, row-major.
    ///
    /// # Errors
    /// What the writer reports.
    pub fn add_parts<T: Element>(&mut self, name: &str, shape: &[usize], parts: &[&[T]]) -> std::io::Result<()> {
        let bytes = parts.iter().map(|part| size_of_val(*part)).sum::<usize>();
        // Large arrays of floats are mostly noise: packing them costs time and saves nothing.
        let packed = T::DESCR == u8::DESCR || bytes < 1 << 20;
        let method = if packed { CompressionMethod::Deflated } else { CompressionMethod::Stored };
        let large = bytes > u32::MAX as usize / 2;
        let options = SimpleFileOptions::default().compression_method(method).large_file(large);
        self.zip.start_file(format!("{name}.npy"), options).map_err(std::io::Error::from)?;
        npy::write_parts(&mut self.zip, shape, parts)
    }

    /// Writes the directory of the archive and hands the writer back.
    ///
    /// # Errors
    /// What the writer reports.
    pub fn finish(self) -> std::io::Result<W> {
        self.zip.finish().map_err(std::io::Error::from)
    }
}
