//! The command line as its users meet it: the built program, its files, its words and exit codes.
#![cfg(feature = "cli")]

mod bad_input;
mod finding;
mod memory;
mod program;
mod simulate;
mod writing;
