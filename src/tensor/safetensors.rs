//! Named tensors in safetensors files: weights, checkpoints, recordings.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::{DType, Tensor, TensorType};
use crate::{Error, Result};

/// Tensors by name, with the file's text metadata.
#[derive(Clone, Debug, Default)]
pub struct TensorFile {
    /// The tensors.
    pub tensors: BTreeMap<String, Tensor>,
    /// The file's metadata: plain text by key.
    pub metadata: BTreeMap<String, String>,
    /// Where it was read from, for error messages.
    pub origin: PathBuf,
}

impl TensorFile {
    /// Reads a file.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(|error| Error::io(path, "read", error))?;
        Self::from_bytes(&bytes, path)
    }

    /// Parses a file's content; `origin` is named in errors. Types that the engine does not have are converted to the nearest
    /// one (f64 to f32, i8, i16 and i64 to i32, bool to u8).
    pub fn from_bytes(bytes: &[u8], origin: impl AsRef<Path>) -> Result<Self> {
        let origin = origin.as_ref().to_path_buf();
        let broken = |error: safetensors::SafeTensorError| {
            Error::file(
                &origin,
                format!("not a readable safetensors file ({error}); it may be truncated or damaged: use a whole copy"),
            )
        };
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(broken)?;
        let metadata = header.metadata().clone().unwrap_or_default().into_iter().collect();
        let file = SafeTensors::deserialize(bytes).map_err(broken)?;
        let mut tensors = BTreeMap::new();
        for (name, view) in file.iter() {
            tensors.insert(name.to_owned(), convert(name, &view, &origin)?);
        }
        Ok(Self { tensors, metadata, origin })
    }

    /// Writes the file beside its final place and renames it, so that a failure leaves what was there before.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<()> {
        write_beside(path.as_ref(), &self.to_bytes()?)
    }

    /// The file's content.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let failed = |error| Error::file(&self.origin, format!("cannot serialise: {error}"));
        let mut views = Vec::new();
        for (name, tensor) in &self.tensors {
            let view = TensorView::new(dtype_out(tensor.dtype()), tensor.shape().dims().to_vec(), tensor.bytes());
            views.push((name.as_str(), view.map_err(failed)?));
        }
        let metadata: HashMap<String, String> = self.metadata.clone().into_iter().collect();
        safetensors::serialize(views, Some(metadata)).map_err(failed)
    }

    /// The tensor of that name.
    pub fn tensor(&self, name: &str) -> Result<&Tensor> {
        self.tensors.get(name).ok_or_else(|| {
            let some: Vec<&str> = self.tensors.keys().take(6).map(String::as_str).collect();
            Error::file(
                &self.origin,
                format!(
                    "has no tensor '{name}'; it holds {} such as {some:?}: use a file of the right network",
                    self.tensors.len()
                ),
            )
        })
    }

    /// The metadata of that key.
    pub fn text(&self, key: &str) -> Result<&str> {
        self.metadata.get(key).map(String::as_str).ok_or_else(|| {
            Error::file(&self.origin, format!("has no metadata '{key}': use a file that this program wrote"))
        })
    }
}

fn dtype_out(dtype: DType) -> Dtype {
    match dtype {
        DType::F32 => Dtype::F32,
        DType::F16 => Dtype::F16,
        DType::Bf16 => Dtype::BF16,
        DType::I32 => Dtype::I32,
        DType::U8 => Dtype::U8,
    }
}

fn convert(name: &str, view: &TensorView<'_>, origin: &Path) -> Result<Tensor> {
    let shape = view.shape();
    if shape.iter().try_fold(1usize, |product, dim| product.checked_mul(*dim)).is_none() {
        return Err(Error::file(origin, format!("tensor '{name}' has an absurd shape {shape:?}")));
    }
    let bytes = view.data();
    let native = |dtype| Tensor::from_bytes(TensorType::new(dtype, shape), bytes);
    match view.dtype() {
        Dtype::F32 => native(DType::F32),
        Dtype::F16 => native(DType::F16),
        Dtype::BF16 => native(DType::Bf16),
        Dtype::I32 => native(DType::I32),
        Dtype::U8 | Dtype::BOOL => native(DType::U8),
        Dtype::F64 => {
            let values: Vec<f32> = bytes.chunks_exact(8).map(|b| f64::from_le_bytes(array(b)) as f32).collect();
            Tensor::new(shape, &values)
        }
        Dtype::I8 => Tensor::new(shape, &bytes.iter().map(|b| i32::from(*b as i8)).collect::<Vec<_>>()),
        Dtype::I16 => {
            let values: Vec<i32> = bytes.chunks_exact(2).map(|b| i32::from(i16::from_le_bytes(array(b)))).collect();
            Tensor::new(shape, &values)
        }
        Dtype::I64 => {
            let wide = bytes.chunks_exact(8).map(|b| i64::from_le_bytes(array(b)));
            let values: std::result::Result<Vec<i32>, _> = wide.map(i32::try_from).collect();
            let too_big = |_| Error::file(origin, format!("tensor '{name}' holds integers beyond 32 bits"));
            Tensor::new(shape, &values.map_err(too_big)?)
        }
        other => {
            Err(Error::file(origin, format!("tensor '{name}' is {other:?}; expected f32, f16, bf16, f64 or integers")))
        }
    }
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(bytes);
    array
}

/// Writes `bytes` to a temporary file in the same folder, flushes it to the disk, and renames it to `path`: at every moment
/// `path` is either what it was or complete.
pub fn write_beside(path: &Path, bytes: &[u8]) -> Result<()> {
    // Of this call alone: threads may write the same file at once.
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let call = CALLS.fetch_add(1, Ordering::Relaxed);
    let mut name = path.file_name().map(|name| name.to_os_string()).unwrap_or_default();
    name.push(format!(".{}.{call}.tmp", std::process::id()));
    let beside = path.with_file_name(name);
    let written = File::create(&beside)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        })
        .and_then(|()| std::fs::rename(&beside, path));
    written.map_err(|error| {
        let _ = std::fs::remove_file(&beside);
        Error::io(path, "write", error)
    })
}
