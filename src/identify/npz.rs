//! NumPy's `.npz`: a zip archive of `.npy` files.

use std::fs::File;
use std::io::{BufReader, Seek, Write};
use std::path::Path;

use zip::result::ZipError;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use super::npy::{self, Element};
use super::read::{Array, Content, ReadOptions, choose, in_file, open};
use super::recording::check_shape;
use crate::{Error, Result};

type Archive = ZipArchive<BufReader<File>>;

pub(super) fn read_recording(path: &Path, options: &ReadOptions) -> Result<Content> {
    let mut archive = ZipArchive::new(BufReader::new(open(path)?)).map_err(|e| damaged(path, e))?;
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
    let found = entry(&mut archive, path, &name, |shape| check_shape(shape).map(drop))?;
    let (shape, values) = found.ok_or_else(|| Error::file(path, format!("{name}: it is gone: copy the file again")))?;
    let fs_hz = scalar(&mut archive, path, "fs_hz")?;
    let mm_per_pixel = scalar(&mut archive, path, "mm_per_pixel")?;
    Ok(Content { shape, values, fs_hz, mm_per_pixel })
}

/// An array by its name, if the archive has it.
pub(super) fn read_array(path: &Path, name: &str) -> Result<Option<Array>> {
    let mut archive = ZipArchive::new(BufReader::new(open(path)?)).map_err(|e| damaged(path, e))?;
    entry(&mut archive, path, name, |_| Ok(()))
}

fn damaged(path: &Path, error: ZipError) -> Error {
    let advice = "it is truncated, damaged or not a .npz: copy it again or save it with numpy.savez";
    Error::file(path, format!("archive: expected a zip archive of .npy files ({error}): {advice}"))
}

/// An array of the archive; its shape is checked before its values are read.
fn entry(archive: &mut Archive, path: &Path, name: &str, check: fn(&[usize]) -> Result<()>) -> Result<Option<Array>> {
    let named = |m| Error::file(path, format!("{name}: {m}"));
    let mut file = match archive.by_name(&format!("{name}.npy")) {
        Ok(file) => file,
        Err(ZipError::FileNotFound) => return Ok(None),
        Err(error) => return Err(damaged(path, error)),
    };
    let header = npy::read_header(&mut file).map_err(named)?;
    check(&header.shape).map_err(|e| in_file(path, e))?;
    let values = npy::read_values(&mut file, &header).map_err(named)?;
    // The checksum is compared at the very end.
    std::io::copy(&mut file, &mut std::io::sink()).map_err(|e| {
        named(format!("values: expected a matching checksum ({e}): it is damaged, copy or export it again"))
    })?;
    Ok(Some((header.shape, values)))
}

/// The single number of an array, if the archive has it.
fn scalar(archive: &mut Archive, path: &Path, name: &str) -> Result<Option<f64>> {
    let Some((_, values)) = entry(archive, path, name, |_| Ok(()))? else { return Ok(None) };
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
        let bytes = std::mem::size_of_val(values);
        // Large arrays of floats are mostly noise: packing them costs time and saves nothing.
        let packed = T::DESCR == u8::DESCR || bytes < 1 << 20;
        let method = if packed { CompressionMethod::Deflated } else { CompressionMethod::Stored };
        let large = bytes > u32::MAX as usize / 2;
        let options = SimpleFileOptions::default().compression_method(method).large_file(large);
        self.zip.start_file(format!("{name}.npy"), options).map_err(std::io::Error::from)?;
        npy::write(&mut self.zip, shape, values)
    }

    /// Writes the directory of the archive and hands the writer back.
    ///
    /// # Errors
    /// What the writer reports.
    pub fn finish(self) -> std::io::Result<W> {
        self.zip.finish().map_err(std::io::Error::from)
    }
}
