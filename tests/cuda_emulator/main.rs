//! The emulated GPU itself: that kernels compile and run, that every kind of bug it claims to find is found (and nothing else),
//! that ordered failures come, and that the primitives do what plain loops do. Straight through cudarc's calls, without the engine.
#![cfg(feature = "cuda")]

#[path = "../emulator/mod.rs"]
mod emulator;
mod gpu;

mod driver;
mod order;
mod planted;
mod primitives;
mod profile;
