//! Network 1, the detector: a recording -> which motor units are active, and each one's territory.

pub mod anchors;
mod config;
mod model;
mod network;
mod runner;

pub use anchors::AnchorSizes;
pub use config::{DetectorConfig, MaskHead, Paste, Stem};
pub use model::{DetectorInference, DetectorTraining, TrainingOptions, inference, training};
pub use network::{CLASSES, Stages};
pub use runner::{DetectedUnit, Detector, KIND};
