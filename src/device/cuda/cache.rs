//! Compiled kernels kept on disk between runs.
//!
//! One file a module, named by a hash of everything that it was made from. A file says how long it is and what its content
//! hashes to, so a damaged one is seen and made again. Files are written beside and renamed: two processes that compile the
//! same kernel at once both write a complete file.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::tensor::write_beside;
use crate::{Error, Result};

/// First bytes of every file.
const MAGIC: &[u8; 16] = b"sarcomere-cubin1";

/// The most that the folder may hold, unless told otherwise.
const DEFAULT_LIMIT: u64 = 256 << 20;

/// A folder of compiled kernels, or none.
#[derive(Clone, Debug)]
pub struct KernelCache {
    folder: Option<PathBuf>,
    limit: u64,
}

impl KernelCache {
    /// Nothing is kept.
    pub fn disabled() -> Self {
        Self { folder: None, limit: 0 }
    }

    /// Kept in `folder`, which is made when needed; the files used longest ago go when all together exceed `limit` bytes.
    pub fn new(folder: impl Into<PathBuf>, limit: u64) -> Self {
        Self { folder: Some(folder.into()), limit }
    }

    /// As the environment says: `SARCOMERE_KERNEL_CACHE` is a folder or `off`; by default `sarcomere/kernels` in the user's
    /// cache folder. `SARCOMERE_KERNEL_CACHE_MB` is the limit, 256 by default.
    pub fn from_environment() -> Result<Self> {
        const LIMIT: &str = "SARCOMERE_KERNEL_CACHE_MB";
        let limit = match std::env::var_os(LIMIT).filter(|text| !text.is_empty()) {
            None => DEFAULT_LIMIT,
            Some(text) => match text.to_string_lossy().parse::<u64>() {
                Ok(megabytes) => megabytes.saturating_mul(1 << 20),
                Err(error) => {
                    let message = format!("expected a number of MB, got '{}' ({error})", text.to_string_lossy());
                    return Err(Error::value(LIMIT, message));
                }
            },
        };
        Ok(match std::env::var_os("SARCOMERE_KERNEL_CACHE") {
            Some(off) if off == "off" => Self::disabled(),
            Some(folder) if !folder.is_empty() => Self::new(folder, limit),
            _ => user_folder().map_or_else(Self::disabled, |folder| Self::new(folder, limit)),
        })
    }

    /// The folder, if any.
    pub fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    fn path(&self, key: u128) -> Option<PathBuf> {
        self.folder.as_ref().map(|folder| folder.join(format!("{key:032x}.cubin")))
    }

    /// The cubin of a key; `None` if it is not there or damaged (then the file goes).
    pub(super) fn load(&self, key: u128) -> Option<Vec<u8>> {
        let path = self.path(key)?;
        let bytes = std::fs::read(&path).ok()?;
        let image = unwrap(&bytes, key);
        match image {
            // The time of last use, for the limit. That it may fail (a folder without write permission) does no harm.
            Some(_) => {
                drop(std::fs::File::options().append(true).open(&path).map(|f| f.set_modified(SystemTime::now())))
            }
            None => drop(std::fs::remove_file(&path)),
        }
        image.map(<[u8]>::to_vec)
    }

    /// Keeps a cubin. A folder that cannot be written to costs time at the next start and nothing else.
    pub(super) fn store(&self, key: u128, image: &[u8]) {
        let Some(path) = self.path(key) else { return };
        let mut bytes = MAGIC.to_vec();
        bytes.extend(wrap(image, key));
        if let Some(folder) = path.parent() {
            let _ = std::fs::create_dir_all(folder);
        }
        if write_beside(&path, &bytes).is_ok() {
            self.trim();
        }
    }

    /// Removes the files used longest ago until the limit holds.
    fn trim(&self) {
        let Some(entries) = self.folder.as_ref().and_then(|folder| std::fs::read_dir(folder).ok()) else { return };
        let mut files: Vec<(SystemTime, u64, PathBuf)> = entries
            .flatten()
            .filter(|entry| entry.path().extension().is_some_and(|ending| ending == "cubin"))
            .filter_map(|entry| entry.metadata().ok().map(|data| (data, entry.path())))
            .map(|(data, path)| (data.modified().unwrap_or(SystemTime::UNIX_EPOCH), data.len(), path))
            .collect();
        let mut total: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
        files.sort();
        for (_, bytes, path) in files {
            if total <= self.limit {
                break;
            }
            if std::fs::remove_file(path).is_ok() {
                total -= bytes;
            }
        }
    }
}

/// A key from all that a cubin is made from.
pub(super) fn key(parts: &[&str]) -> u128 {
    let mut bytes = Vec::new();
    for part in parts {
        bytes.extend((part.len() as u64).to_le_bytes());
        bytes.extend(part.as_bytes());
    }
    hash(&bytes)
}

/// An image with its key, length and checksum in front.
pub(super) fn wrap(image: &[u8], key: u128) -> Vec<u8> {
    let mut bytes = key.to_le_bytes().to_vec();
    bytes.extend((image.len() as u64).to_le_bytes());
    bytes.extend(hash(image).to_le_bytes());
    bytes.extend(image);
    bytes
}

/// Takes the first wrapped image off `bytes`: its key, itself, and what follows; `None` if it is not whole.
pub(super) fn unwrap_first(bytes: &[u8]) -> Option<(u128, &[u8], &[u8])> {
    let (key, rest) = bytes.split_first_chunk::<16>()?;
    let (len, rest) = rest.split_first_chunk::<8>()?;
    let (sum, rest) = rest.split_first_chunk::<16>()?;
    let (image, rest) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*len)).ok()?)?;
    (*sum == hash(image).to_le_bytes()).then(|| (u128::from_le_bytes(*key), image, rest))
}

/// The image inside a file's bytes, if they are whole and of this key.
fn unwrap(bytes: &[u8], key: u128) -> Option<&[u8]> {
    let (found, image, rest) = unwrap_first(bytes.strip_prefix(MAGIC)?)?;
    (found == key && rest.is_empty()).then_some(image)
}

fn user_folder() -> Option<PathBuf> {
    let base = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| std::env::var_os("LOCALAPPDATA").map(PathBuf::from))
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")))?;
    Some(base.join("sarcomere").join("kernels"))
}

/// FNV-1a of 128 bits.
fn hash(bytes: &[u8]) -> u128 {
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    bytes.iter().fold(BASIS, |hash, byte| (hash ^ u128::from(*byte)).wrapping_mul(PRIME))
}
