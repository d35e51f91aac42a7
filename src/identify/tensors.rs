//! Safetensors files, one tensor at a time.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::Metadata;

use super::npy::{Header, Kind};
use super::read::{Content, ReadOptions, Values, choose, in_file, open};
use super::recording::check_shape;
use crate::{Error, Result};

pub(super) fn read_recording(path: &Path, options: &ReadOptions) -> Result<Content> {
    let fail = |message: String| Error::file(path, message);
    let mut file = Tensors::open(path)?;
    let list = file.metadata.tensors();
    let entries: Vec<(String, Vec<usize>)> = list.iter().map(|(n, t)| (n.clone(), t.shape.clone())).collect();
    let name = choose(&entries, options.array.as_deref()).map_err(fail)?;
    if let Some((_, shape)) = entries.iter().find(|(n, _)| *n == name) {
        // Wrong extents are told before gigabytes are read.
        check_shape(shape).map_err(|e| in_file(path, e))?;
    }
    let number = |key: &str| -> Result<Option<f64>> {
        let Some(text) = file.metadata.metadata().as_ref().and_then(|m| m.get(key)) else { return Ok(None) };
        let advice = || fail(format!("{key}: expected a number in the metadata, found '{text}': correct it"));
        text.parse().map(Some).map_err(|_| advice())
    };
    let (fs_hz, mm_per_pixel) = (number("fs_hz")?, number("mm_per_pixel")?);
    let found = file.find(path, &name)?;
    let (header, start, end) = found.ok_or_else(|| fail(format!("{name}: it is gone: copy the file again")))?;
    let values = Values { path, header: &header, options };
    let frames = values.at(&mut file.reader, start, end - start);
    let frames = frames.map_err(|message| fail(format!("{name}: {message}")))?;
    Ok(Content { shape: header.shape, frames, fs_hz, mm_per_pixel })
}

/// A tensor by its name, if the file has it.
#[cfg(feature = "cli")]
pub(super) fn read_array(path: &Path, name: &str) -> Result<Option<super::read::Array>> {
    use std::io::{Seek, SeekFrom};
    let mut file = Tensors::open(path)?;
    let Some((header, start, end)) = file.find(path, name)? else { return Ok(None) };
    file.reader.seek(SeekFrom::Start(start)).map_err(|e| Error::io(path, "read", e))?;
    let values = super::npy::read_values(&mut file.reader.take(end - start), &header);
    let values = values.map_err(|message| Error::file(path, format!("{name}: {message}")))?;
    Ok(Some((header.shape, values)))
}

/// An open safetensors file.
struct Tensors {
    reader: BufReader<File>,
    metadata: Metadata,
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
        let metadata: Metadata = serde_json::from_slice(&header).map_err(|e| damaged(path, e))?;
        let announced = data.checked_add(metadata.data_len() as u64);
        if announced != Some(whole) {
            return Err(damaged(path, "the values do not end with the file"));
        }
        Ok(Self { reader, metadata, data })
    }

    /// A tensor's shape and type, and where it begins and ends in bytes, if there is one of that name.
    fn find(&self, path: &Path, name: &str) -> Result<Option<(Header, u64, u64)>> {
        let Some(info) = self.metadata.info(name) else { return Ok(None) };
        let kind = kind_of(info.dtype).map_err(|message| Error::file(path, format!("{name}: {message}")))?;
        let (begin, end) = info.data_offsets;
        let header = Header { kind, big_endian: false, fortran: false, shape: info.shape.clone(), length: 0 };
        Ok(Some((header, self.data + begin as u64, self.data + end.max(begin) as u64)))
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
