//! Every op against its plain reference, on every instruction set of the machine.

mod conv;
mod matmul;
