//! The networks against simulated recordings whose truth is known: the figures of the metrics' cells.

mod detection;
mod signals;
mod whole;

pub use detection::{add_detection, detect_cell};
pub use signals::{CHANCE, LEAST_SQUARES, MASK_MEAN, NETWORK, add_end_to_end, add_given, score_all, signal_cell};
pub use whole::{TestSet, evaluate};
