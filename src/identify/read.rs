//! Recordings from files: `.npy`, `.safetensors` and, with the `cli` feature, `.npz`.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use super::frames::{Frames, Stored};
use super::npy::{self, Header};
use super::recording::{Recording, check_shape, show};
use super::spool::spool;
use super::tensors;
use crate::{Error, Result};

/// Frame rate assumed where neither the caller nor the file says one.
pub const DEFAULT_FS_HZ: f64 = 400.0;

/// Names under which a recording is looked for in a file of several arrays, in this order.
pub const ARRAY_NAMES: [&str; 6] = ["recording", "velocity", "data", "tvi", "x", "arr_0"];

/// What the caller knows better than the file. Each field that is `None` comes from the file or its default.
#[derive(Clone, Debug, Default)]
pub struct ReadOptions {
    /// Frame rate in Hz; else the file's `fs_hz`; else [`DEFAULT_FS_HZ`].
    pub fs_hz: Option<f64>,
    /// Pixel size in mm; else the file's `mm_per_pixel`; else unknown.
    pub mm_per_pixel: Option<f64>,
    /// Which array of a file of several; else the one named as in [`ARRAY_NAMES`], else the only one of three axes.
    pub array: Option<String>,
    /// Most bytes of frames (as `f32`) that are held in memory; else [`MEMORY_BYTES`]. Those of a longer recording are read from its
    /// file as they are needed.
    pub memory_bytes: Option<usize>,
}

/// Most bytes of frames that are held in memory unless told otherwise: 64 MiB, 10 s of 64 x 64 pixels at 400 Hz.
pub const MEMORY_BYTES: usize = 64 << 20;

/// What a file held.
pub(super) struct Content {
    pub(super) shape: Vec<usize>,
    pub(super) frames: Frames,
    pub(super) fs_hz: Option<f64>,
    pub(super) mm_per_pixel: Option<f64>,
}

/// Values of a recording that are about to be read. What goes wrong is told without the file's name.
pub(super) struct Values<'a> {
    pub(super) path: &'a Path,
    pub(super) header: &'a Header,
    pub(super) options: &'a ReadOptions,
}

impl Values<'_> {
    /// Whether they are few enough to be held in memory.
    pub(super) fn fit(&self) -> std::result::Result<bool, String> {
        let most = self.options.memory_bytes.unwrap_or(MEMORY_BYTES);
        Ok(npy::count(self.header)? <= most / size_of::<f32>())
    }

    /// Those that a reader yields next.
    pub(super) fn stream(&self, reader: &mut impl Read) -> std::result::Result<Frames, String> {
        if self.fit()? {
            return npy::read_values(reader, self.header).map(Frames::Memory);
        }
        spool(self.path, reader, self.header).map(Frames::from)
    }

    /// Those that lie in a file from byte `start` on, `bytes` of them.
    pub(super) fn at(
        &self,
        reader: &mut BufReader<File>,
        start: u64,
        bytes: u64,
    ) -> std::result::Result<Frames, String> {
        let unreadable = |e| format!("values: cannot read: {e}");
        if self.fit()? || self.header.fortran {
            reader.seek(SeekFrom::Start(start)).map_err(unreadable)?;
            return self.stream(&mut reader.take(bytes));
        }
        let file = reader.get_ref().try_clone().map_err(unreadable)?;
        Stored::new(self.path, file, self.header, start, bytes).map(Frames::from)
    }
}

impl Recording {
    /// Reads a recording `[T, H, W]` from a `.npy`, `.npz` or `.safetensors` file.
    ///
    /// Integer and half or double precision values are converted to `f32`. Every value is looked at once; then the frames are held in
    /// memory, or stay in the file if they are more than [`ReadOptions::memory_bytes`]. What a file does not give from any place on (a
    /// packed `.npz`, first axis fastest) is brought into a temporary file (in `TMPDIR`) for as long as the recording lives. A `.npz` may hold the scalars `fs_hz` and
    /// `mm_per_pixel`, a `.safetensors` metadata of these names.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be read, [`Error::File`] naming file and field if its content cannot be a recording.
    pub fn read(path: impl AsRef<Path>, options: &ReadOptions) -> Result<Self> {
        let path = path.as_ref();
        let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default();
        let content = match extension.as_str() {
            "npy" => read_npy(path, options)?,
            "safetensors" => tensors::read_recording(path, options)?,
            #[cfg(feature = "cli")]
            "npz" => super::npz::read_recording(path, options)?,
            #[cfg(not(feature = "cli"))]
            "npz" => {
                return Err(Error::file(path, "format: .npz needs the crate's feature `cli`: save it as .npy instead"));
            }
            other => {
                return Err(Error::file(
                    path,
                    format!(
                        "format: expected .npy, .npz or .safetensors, found '.{other}': export [T, H, W] as one of these"
                    ),
                ));
            }
        };
        let named = |error| in_file(path, error);
        check_shape(&content.shape).map_err(named)?;
        let shape = [content.shape[0], content.shape[1], content.shape[2]];
        let name = path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
        let fs_hz = options.fs_hz.or(content.fs_hz).unwrap_or(DEFAULT_FS_HZ);
        let recording = Recording::of_frames(name, content.frames, shape, fs_hz).map_err(named)?;
        match options.mm_per_pixel.or(content.mm_per_pixel) {
            Some(mm) => recording.with_mm_per_pixel(mm).map_err(named),
            None => Ok(recording),
        }
    }
}

/// The same complaint about a value, naming the file it came from.
pub(crate) fn in_file(path: &Path, error: Error) -> Error {
    match error {
        Error::Value { field, message } => Error::file(path, format!("{field}: {message}")),
        other => other,
    }
}

/// Opens a file, refusing folders with words.
pub(crate) fn open(path: &Path) -> Result<File> {
    let file = File::open(path).map_err(|e| Error::io(path, "read", e))?;
    let meta = file.metadata().map_err(|e| Error::io(path, "read", e))?;
    if meta.is_dir() {
        return Err(Error::file(path, "format: expected a file, found a folder: name the recordings in it"));
    }
    if meta.is_file() && meta.len() == 0 {
        return Err(Error::file(path, "header: expected a recording, found an empty file: copy or export it again"));
    }
    Ok(file)
}

fn read_npy(path: &Path, options: &ReadOptions) -> Result<Content> {
    let mut reader = BufReader::new(open(path)?);
    let fail = |message| Error::file(path, message);
    let header = npy::read_header(&mut reader).map_err(fail)?;
    // Wrong extents are told before gigabytes are read.
    check_shape(&header.shape).map_err(|e| in_file(path, e))?;
    let meta = reader.get_ref().metadata().map_err(|e| Error::io(path, "read", e))?;
    let values = Values { path, header: &header, options };
    let start = header.length as u64;
    let frames = if meta.is_file() {
        values.at(&mut reader, start, meta.len().saturating_sub(start))
    } else {
        values.stream(&mut reader)
    };
    let frames = frames.map_err(fail)?;
    Ok(Content { shape: header.shape, frames, fs_hz: None, mm_per_pixel: None })
}

/// Shape and values of an array.
#[cfg(feature = "cli")]
pub(crate) type Array = (Vec<usize>, Vec<f32>);

/// An array of a `.npz` or `.safetensors` file by its name, if the file has it; other files have none.
#[cfg(feature = "cli")]
pub(crate) fn read_array(path: &Path, name: &str) -> Result<Option<Array>> {
    match path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_lowercase().as_str() {
        "npz" => super::npz::read_array(path, name),
        "safetensors" => tensors::read_array(path, name),
        _ => Ok(None),
    }
}

/// Which array of a file is the recording.
pub(crate) fn choose(entries: &[(String, Vec<usize>)], wanted: Option<&str>) -> std::result::Result<String, String> {
    let list: Vec<String> = entries.iter().map(|(name, shape)| format!("{name} {}", show(shape))).collect();
    let list = if list.is_empty() { "none".to_string() } else { list.join(", ") };
    let has = |name: &str| entries.iter().any(|(n, _)| n == name);
    if let Some(name) = wanted {
        return if has(name) {
            Ok(name.to_string())
        } else {
            Err(format!("array: expected one named '{name}', found {list}: choose one of these with --array"))
        };
    }
    if let Some(name) = ARRAY_NAMES.iter().find(|name| has(name)) {
        return Ok(name.to_string());
    }
    let mut cubes = entries.iter().filter(|(_, shape)| shape.len() == 3);
    match (cubes.next(), cubes.next(), entries) {
        (Some((name, _)), None, _) => Ok(name.clone()),
        // A single array of the wrong rank: the complaint about its shape says more.
        (None, _, [(name, _)]) => Ok(name.clone()),
        _ => Err(format!("array: expected one array [T, H, W], found {list}: choose one with --array NAME")),
    }
}
