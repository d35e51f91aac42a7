//! The metrics of the field: how well motor units (MUs) are found, outlined, and their firings recovered.
//!
//! Masks are `u8`, 0 outside; signals `f32` at 400 Hz. [`detect`] matches masks, [`firings`] and [`Agreement`] compare trains,
//! [`SignalScore`] holds all figures of one signal, [`Cell`] gathers recordings into a [`CellReport`]. [`baselines`] and [`Stica`] are
//! the rivals that need no training.
//!
//! ```
//! use sarcomere::metrics::Agreement;
//! // The worked example of the paper's appendix C.
//! let rate = Agreement { matched: 7, only_first: 3, only_second: 2 }.rate();
//! assert_eq!(rate, Some(7.0 / 12.0));
//! ```

pub mod baselines;
mod firings;
mod linear;
mod masks;
mod report;
mod signals;
mod stica;

pub use firings::{
    Agreement, FiringPair, MAX_LAG_SAMPLES, MEAN_SAMPLES, TOLERANCE_SAMPLES, agreement, common_lag, firings,
    firings_apart, matched_pairs, running_mean, signal_agreement,
};
pub use masks::{Detection, Masks, Overlap, Pair, detect};
pub use report::{Cell, CellReport, DetectionReport, DiameterBin, EndToEndReport, GOOD_RATE, SignalReport, Statistic};
pub use signals::{SignalScore, normalised_mse, pearson, scaled_mse};
pub use stica::{BlindUnit, Stica};
