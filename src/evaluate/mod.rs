//! The networks against simulated recordings whose truth is known: the figures of the metrics' cells.

mod detection;

pub use detection::{add_detection, detect_cell};
