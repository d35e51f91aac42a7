//! The engine on a GPU, emulated: plans captured and replayed, compiled kernels kept and damaged, everything that can fail.
#![cfg(feature = "cuda")]

mod cache;
#[cfg(feature = "cli")]
mod commands;
mod engine;
mod faults;
mod networks;
mod storage;
mod support;

#[path = "../toy/elementwise.rs"]
mod elementwise;
#[path = "../toy/mod.rs"]
mod toy;

#[path = "../emulator/mod.rs"]
mod emulator;
