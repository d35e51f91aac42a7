//! Planning.
/// A memory plan.
#[derive(Debug)]
pub struct Plan;
