//! The command line: `sarcomere --help`.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
