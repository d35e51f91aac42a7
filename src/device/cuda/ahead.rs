//! Kernels compiled ahead of time, so that a machine needs the driver and no compiler: one file of cubins for some
//! architectures, carried inside the program or given at run time.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use super::cache::{unwrap_first, wrap};
use super::{Compiler, Module};
use crate::tensor::write_beside;
use crate::{Error, Result};

/// First bytes of a file.
const MAGIC: &[u8; 16] = b"sarcomere-ahead1";

/// The file that this program was built with; empty if it was built without one.
static EMBEDDED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/cubins"));

/// Cubins by what they are made from.
#[derive(Clone, Debug, Default)]
pub struct Bundle {
    cubins: BTreeMap<u128, Vec<u8>>,
}

impl Bundle {
    /// None.
    pub fn empty() -> Arc<Self> {
        Arc::default()
    }

    /// The file that the environment variable `SARCOMERE_CUBINS` names, else the one that the program was built with (by
    /// building it with that variable set), else none.
    pub fn from_environment() -> Result<Arc<Self>> {
        if let Some(path) = std::env::var_os("SARCOMERE_CUBINS").map(PathBuf::from) {
            return Self::read(&path).map(Arc::new);
        }
        static BUILT_IN: OnceLock<Arc<Bundle>> = OnceLock::new();
        Ok(BUILT_IN.get_or_init(|| Arc::new(Self::parse(EMBEDDED).unwrap_or_default())).clone())
    }

    /// Reads a file written by [`Bundle::write`].
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|error| Error::io(path, "read", error))?;
        let message = "is not a whole file of compiled kernels; make it again with `sarcomere kernels compile`";
        Self::parse(&bytes).ok_or_else(|| Error::file(path, message))
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes.strip_prefix(MAGIC)?;
        let mut cubins = BTreeMap::new();
        while !rest.is_empty() {
            let (key, image, after) = unwrap_first(rest)?;
            cubins.insert(key, image.to_vec());
            rest = after;
        }
        Some(Self { cubins })
    }

    /// Writes all cubins to a file.
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut bytes = MAGIC.to_vec();
        self.cubins.iter().for_each(|(key, image)| bytes.extend(wrap(image, *key)));
        write_beside(path, &bytes)
    }

    /// Compiles modules, as many at once as there are processors, and adds them. Fails with the first that does not compile, in
    /// their order.
    pub fn add(&mut self, compiler: &Compiler, modules: &[Module]) -> Result<()> {
        let next = AtomicUsize::new(0);
        let work = || {
            let mut made = Vec::new();
            while let Some((index, module)) = next_of(modules, &next) {
                made.push((index, compiler.compile(module)));
            }
            made
        };
        let threads = std::thread::available_parallelism().map_or(1, |n| n.get()).min(modules.len());
        let mut made: Vec<_> = std::thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
            let mut made = work();
            made.extend(others.into_iter().flat_map(|other| other.join().unwrap_or_default()));
            made
        });
        made.sort_by_key(|(index, _)| *index);
        for (_, cubin) in made {
            let cubin = cubin?;
            self.cubins.insert(cubin.made_from, cubin.image);
        }
        Ok(())
    }

    /// Number of cubins.
    pub fn len(&self) -> usize {
        self.cubins.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.cubins.is_empty()
    }

    pub(super) fn get(&self, made_from: u128) -> Option<&[u8]> {
        self.cubins.get(&made_from).map(Vec::as_slice)
    }
}

/// The next one that no thread has taken.
fn next_of<'a>(modules: &'a [Module], next: &AtomicUsize) -> Option<(usize, &'a Module)> {
    let index = next.fetch_add(1, Ordering::Relaxed);
    modules.get(index).map(|module| (index, module))
}
