//! Recordings from files: `.npy`, `.safetensors` and, with the `cli` feature, `.npz`.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::Metadata;

use super::npy::{self, Kind};
use super::recording::{Recording, check_shape, show};
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
}

/// What a file held.
pub(super) struct Content {
    pub(super) shape: Vec<usize>,
    pub(super) values: Vec<f32>,
    pub(super) fs_hz: Option<f64>,
    pub(super) mm_per_pixel: Option<f64>,
}

impl Recording {
    /// Reads a recording `[T, H, W]` from a `.npy`, `.npz` or `.safetensors` file.
    ///
    /// Integer and half or double precision values are converted to `f32`. A `.npz` may hold the scalars `fs_hz` and
    /// `mm_per_pixel`, a `.safetensors` metadata of these names.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be read, [`Error::File`] naming file and field if its content cannot be a recording.
    pub fn read(path: impl AsRef<Path>, options: &ReadOptions) -> Result<Self> {
        let path = path.as_ref();
        let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default();
        let content = match extension.as_str() {
            "npy" => read_npy(path)?,
            "safetensors" => read_safetensors(path, options)?,
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
        let recording = Recording::new(name, content.values, shape, fs_hz).map_err(named)?;
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

fn read_npy(path: &Path) -> Result<Content> {
    let mut reader = BufReader::new(open(path)?);
    let fail = |message| Error::file(path, message);
    let header = npy::read_header(&mut reader).map_err(fail)?;
    // Wrong extents are told before gigabytes are read.
    check_shape(&header.shape).map_err(|e| in_file(path, e))?;
    let values = npy::read_values(&mut reader, &header).map_err(fail)?;
    Ok(Content { shape: header.shape, values, fs_hz: None, mm_per_pixel: None })
}

fn read_safetensors(path: &Path, options: &ReadOptions) -> Result<Content> {
    let fail = |message: String| Error::file(path, message);
    let mut file = Tensors::open(path)?;
    let list = file.header.tensors();
    let entries: Vec<(String, Vec<usize>)> = list.iter().map(|(n, t)| (n.clone(), t.shape.clone())).collect();
    let name = choose(&entries, options.array.as_deref()).map_err(fail)?;
    if let Some((_, shape)) = entries.iter().find(|(n, _)| *n == name) {
        // Wrong extents are told before gigabytes are read.
        check_shape(shape).map_err(|e| in_file(path, e))?;
    }
    let number = |key: &str| -> Result<Option<f64>> {
        let Some(text) = file.header.metadata().as_ref().and_then(|m| m.get(key)) else { return Ok(None) };
        let advice = || fail(format!("{key}: expected a number in the metadata, found '{text}': correct it"));
        text.parse().map(Some).map_err(|_| advice())
    };
    let (fs_hz, mm_per_pixel) = (number("fs_hz")?, number("mm_per_pixel")?);
    let (shape, values) =
        file.values(path, &name)?.ok_or_else(|| fail(format!("{name}: it is gone: copy the file again")))?;
    Ok(Content { fs_hz, mm_per_pixel, shape, values })
}

/// A safetensors file whose tensors are read one by one, so that none is in memory twice.
struct Tensors {
    reader: BufReader<File>,
    header: Metadata,
    /// Where the values begin, in bytes.
    data: u64,
}

impl Tensors {
    fn open(path: &Path) -> Result<Self> {
        let mut reader = BufReader::new(open(path)?);
        let whole = reader.get_ref().metadata().map_err(|e| Error::io(path, "read", e))?.len();
        let mut length = [0u8; 8];
        reader.read_exact(&mut length).map_err(|e| damaged(path, e))?;
        let data = u64::from_le_bytes(length).checked_add(8).filter(|data| *data <= whole);
        let data = data.ok_or_else(|| damaged(path, "the header is longer than the file"))?;
        let mut header = Vec::new();
        (&mut reader).take(data - 8).read_to_end(&mut header).map_err(|e| Error::io(path, "read", e))?;
        let header: Metadata = serde_json::from_slice(&header).map_err(|e| damaged(path, e))?;
        let announced = data.checked_add(header.data_len() as u64);
        if announced != Some(whole) {
            return Err(damaged(path, "the values do not end with the file"));
        }
        Ok(Self { reader, header, data })
    }

    /// A tensor's shape and values as `f32`, if there is one of that name.
    fn values(&mut self, path: &Path, name: &str) -> Result<Option<(Vec<usize>, Vec<f32>)>> {
        let Some(info) = self.header.info(name) else { return Ok(None) };
        let fail = |message: String| Error::file(path, format!("{name}: {message}"));
        let (begin, end) = info.data_offsets;
        let kind = kind_of(info.dtype).map_err(fail)?;
        let header = npy::Header { kind, big_endian: false, fortran: false, shape: info.shape.clone() };
        self.reader.seek(SeekFrom::Start(self.data + begin as u64)).map_err(|e| Error::io(path, "read", e))?;
        let mut bytes = (&mut self.reader).take(end.saturating_sub(begin) as u64);
        let values = npy::read_values(&mut bytes, &header).map_err(fail)?;
        Ok(Some((header.shape, values)))
    }
}

fn damaged(path: &Path, what: impl std::fmt::Display) -> Error {
    let advice = "it is truncated or damaged, copy or export it again";
    Error::file(path, format!("header: expected a whole safetensors file ({what}): {advice}"))
}

fn kind_of(dtype: Dtype) -> std::result::Result<Kind, String> {
    Ok(match dtype {
        Dtype::BOOL => Kind::Bool,
        Dtype::U8 => Kind::U8,
        Dtype::I8 => Kind::I8,
        Dtype::U16 => Kind::U16,
        Dtype::I16 => Kind::I16,
        Dtype::U32 => Kind::U32,
        Dtype::I32 => Kind::I32,
        Dtype::I64 => Kind::I64,
        Dtype::F16 => Kind::F16,
        Dtype::F32 => Kind::F32,
        Dtype::F64 => Kind::F64,
        other => return Err(format!("dtype: expected a float or integer type, found {other:?}: convert it to F32")),
    })
}

/// Shape and values of an array.
#[cfg(feature = "cli")]
pub(crate) type Array = (Vec<usize>, Vec<f32>);

/// An array of a `.npz` or `.safetensors` file by its name, if the file has it; other files have none.
#[cfg(feature = "cli")]
pub(crate) fn read_array(path: &Path, name: &str) -> Result<Option<Array>> {
    match path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_lowercase().as_str() {
        "npz" => super::npz::read_array(path, name),
        "safetensors" => Tensors::open(path)?.values(path, name),
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
