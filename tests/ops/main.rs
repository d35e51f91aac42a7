//! Every op against its plain reference, on every instruction set of the machine, and every gradient against finite
//! differences.

mod conv;
mod correlation;
mod elementwise;
mod matmul;
mod norm;
mod pool;
mod reduce;
mod shape;
mod unmix;
