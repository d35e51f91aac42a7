//! Running.
/// Runs a plan.
#[derive(Debug)]
pub struct Executor;
