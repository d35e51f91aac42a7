//! The kernels' source texts: embedded, or from a folder of edited ones.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::{Error, Result};

macro_rules! embedded {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../../kernels/", $name)))),*]
    };
}

/// Name (relative to `kernels/`) and text of every source that this build carries.
pub const SOURCES: &[(&str, &str)] = embedded![
    // Headers that every kernel may include.
    "device/copy.cuh",
    "device/divide.cuh",
    "device/element.cuh",
    "device/exact.cuh",
    "device/gemm.cuh",
    "device/gru.cuh",
    "device/mma.cuh",
    "device/philox.cuh",
    "device/prelude.cuh",
    "device/reduce.cuh",
    "device/window.cuh",
    // Kernels.
    "boxes.cu",
    "boxes.cuh",
    "cholesky.cuh",
    "conformance.cu",
    "conv_data.cu",
    "conv_weights.cu",
    "convert.cu",
    "correlation.cu",
    "detection_targets.cu",
    "detections.cu",
    "elementwise.cu",
    "elementwise.cuh",
    "elementwise_chain.cu",
    "gru.cu",
    "gru_grad.cu",
    "loss.cu",
    "masked_svd.cu",
    "matmul.cu",
    "noise_whitening.cu",
    "norm.cu",
    "norm.cuh",
    "norm_fold.cu",
    "optim.cu",
    "order.cu",
    "order.cuh",
    "paste.cu",
    "pool.cu",
    "profile_unmix.cu",
    "proposals.cu",
    "random.cu",
    "reduce.cu",
    "resize.cuh",
    "roi.cu",
    "rows.cu",
    "rpn_targets.cu",
    "sample.cuh",
    "select.cu",
    "shape.cu",
    "simulate.cuh",
    "simulate_frames.cu",
    "simulate_noise.cu",
    "simulate_scene.cu",
    "split.cu",
    "standardise.cu",
    "suppress.cu",
    "targets.cuh",
    "unmix.cu",
];

/// Where source texts come from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    folder: Option<PathBuf>,
}

impl Sources {
    /// The embedded texts.
    pub fn embedded() -> Self {
        Self::default()
    }

    /// The texts in a folder laid out as `kernels/`; files that it lacks are taken from the embedded ones.
    pub fn folder(folder: impl Into<PathBuf>) -> Self {
        Self { folder: Some(folder.into()) }
    }

    /// The folder that the environment variable `SARCOMERE_KERNELS` names, else the embedded texts.
    pub fn from_environment() -> Result<Self> {
        match std::env::var_os("SARCOMERE_KERNELS").map(PathBuf::from) {
            None => Ok(Self::embedded()),
            Some(folder) if folder.is_dir() => {
                if SOURCES.iter().any(|(name, _)| folder.join(name).is_file()) {
                    return Ok(Self::folder(folder));
                }
                let message = "holds no kernel of this program; name a folder laid out as the project's kernels/";
                Err(Error::value("SARCOMERE_KERNELS", format!("{} {message}", folder.display())))
            }
            Some(folder) => Err(Error::value(
                "SARCOMERE_KERNELS",
                format!("{} is not a folder; name one laid out as the project's kernels/", folder.display()),
            )),
        }
    }

    /// The text of a source by its name relative to `kernels/`.
    pub fn text(&self, name: &str) -> Result<String> {
        if let Some(path) = self.folder.as_ref().map(|folder| folder.join(name)).filter(|path| path.is_file()) {
            return std::fs::read_to_string(&path).map_err(|error| Error::io(&path, "read", error));
        }
        let found = SOURCES.iter().find(|(embedded, _)| *embedded == name);
        found.map(|(_, text)| (*text).to_owned()).ok_or_else(|| {
            Error::graph(format!(
                "there is no kernel source '{name}': add it to the list in src/device/cuda/sources.rs"
            ))
        })
    }

    /// Names and texts of the headers that kernels may include: the embedded ones, and what else the folder holds.
    pub fn headers(&self) -> Result<Vec<(String, String)>> {
        let embedded = SOURCES.iter().map(|(name, _)| *name);
        let mut added = BTreeSet::new();
        for (inside, before) in [("", ""), ("device", "device/")] {
            let entries = self.folder.as_ref().and_then(|folder| std::fs::read_dir(folder.join(inside)).ok());
            let files = entries.into_iter().flatten().flatten().filter(|entry| entry.path().is_file());
            let names = files.filter_map(|entry| entry.file_name().into_string().ok());
            added.extend(
                names.map(|name| format!("{before}{name}")).filter(|name| !embedded.clone().any(|e| e == name)),
            );
        }
        let names = embedded.clone().map(str::to_owned).chain(added).filter(|name| name.ends_with(".cuh"));
        names.map(|name| self.text(&name).map(|text| (name, text))).collect()
    }
}
