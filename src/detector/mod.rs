//! The detector: which motor units are active in a recording, and each one's territory.

pub mod anchors;
