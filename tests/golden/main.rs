//! Golden vectors: outputs of other software, case by case.
//!
//! Every folder below the directory that `SARCOMERE_GOLDEN` names (default `tests/golden`) whose name starts with `ops` is
//! searched for `<op>.json` (cases) and `<op>.safetensors` (their tensors, `c00.x`, ...). Each test prints how many cases
//! it compared and fails when it found none. Folders whose name starts with `detector` or `twitch` hold whole networks, of
//! any widths and depths: see their README. `SARCOMERE_GOLDEN_DEVICE` names the device (`cpu`, `cuda`), by default the processor
//! and then an emulated GPU.

mod anchors;
mod boxes;
mod case;
mod conv;
mod detections;
mod detector;
mod detector_inference;
mod detector_training;
#[cfg(feature = "cuda")]
mod emulated;
#[cfg(feature = "cuda")]
#[path = "../emulator/mod.rs"]
mod emulator;
mod losses;
mod norm;
mod optim;
mod pool;
mod recurrent;
mod reference;
mod roi;
mod selection;
mod targets;
mod twitch;
