//! Every op against its plain reference, on every instruction set of the machine, and every gradient against finite
//! differences.

mod boxes;
mod conv;
mod correlation;
mod detections;
mod elementwise;
#[cfg(feature = "cuda")]
#[path = "../emulator/mod.rs"]
mod emulator;
mod everywhere;
mod loss;
mod matmul;
mod norm;
mod optim;
mod pool;
mod proposals;
mod random;
mod recurrent;
mod reduce;
mod roi;
mod select;
mod selftest;
mod shape;
mod simulate;
mod targets;
mod unmix;
