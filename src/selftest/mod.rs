//! Finds out whether a device computes what it should: what the kernels are, every op against plain loops, both networks
//! against the processor.

mod catalogue;

pub use catalogue::catalogue;
