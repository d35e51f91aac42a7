//! The metrics.
