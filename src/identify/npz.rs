//! NumPy's `.npz`: a zip archive of `.npy` files.

use std::io::{BufReader, Read, Seek, Write};
use std::path::Path;

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use super::npy::{self, Element};
use super::read::{Content, ReadOptions, choose, in_file, open};
use super::recording::check_shape;
use crate::{Error, Result};

pub(super) fn read_recording(path: &Path, options: &ReadOptions) -> Result<Content> {
    let fail = |message: String| Error::file(path, message);
    let broken = |e| {
        let advice = "it is truncated, damaged or not a .npz: copy it again or save it with numpy.savez";
        fail(format!("archive: expected a zip archive of .npy files ({e}): {advice}"))
    };
    let mut archive = ZipArchive::new(BufReader::new(open(path)?)).map_err(broken)?;
    let mut entries = Vec::new();
    for index in 0..archive.len() {
        let mut file = archive.by_index(index).map_err(broken)?;
        let name = file.name().map_err(broken)?.to_string();
        let Some(name) = name.strip_suffix(".npy").map(str::to_string) else { continue };
        // An array that cannot be read is no hindrance unless it is the one asked for.
        let shape = npy::read_header(&mut file).map(|h| h.shape).unwrap_or_default();
        entries.push((name, shape));
    }
    let name = choose(&entries, options.array.as_deref()).map_err(fail)?;
    let named = |m| fail(format!("{name}: {m}"));
    let (shape, values) = {
        let mut file = archive.by_name(&format!("{name}.npy")).map_err(broken)?;
        let header = npy::read_header(&mut file).map_err(named)?;
        check_shape(&header.shape).map_err(|e| in_file(path, e))?;
        let values = npy::read_values(&mut file, &header).map_err(named)?;
        // The checksum is compared at the very end.
        std::io::copy(&mut file, &mut std::io::sink()).map_err(|e| {
            named(format!("values: expected a matching checksum ({e}): it is damaged, copy or export it again"))
        })?;
        (header.shape, values)
    };
    let fs_hz = scalar(&mut archive, "fs_hz").map_err(fail)?;
    let mm_per_pixel = scalar(&mut archive, "mm_per_pixel").map_err(fail)?;
    Ok(Content { shape, values, fs_hz, mm_per_pixel })
}

/// The single number of an array, if the archive has it.
fn scalar<R: Read + Seek>(archive: &mut ZipArchive<R>, name: &str) -> std::result::Result<Option<f64>, String> {
    let Ok(mut file) = archive.by_name(&format!("{name}.npy")) else { return Ok(None) };
    let header = npy::read_header(&mut file).map_err(|m| format!("{name}: {m}"))?;
    let values = npy::read_values(&mut file, &header).map_err(|m| format!("{name}: {m}"))?;
    match values[..] {
        // Through the shortest decimal of the f32: 0.625 and 0.1 alike come back as written.
        [value] => Ok(value.to_string().parse().ok()),
        _ => Err(format!("{name}: expected one number, found {} values: save a scalar", values.len())),
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
        let large = std::mem::size_of_val(values) > u32::MAX as usize / 2;
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated).large_file(large);
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
