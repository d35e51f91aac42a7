//! Elementwise ops.

use crate::Result;
use crate::graph::{Graph, Value};

impl Graph {
    /// The sum of values of one shape.
    pub fn sum_of(&mut self, values: &[Value]) -> Result<Value> {
        let _ = values;
        Err(crate::Error::graph("not yet"))
    }
}
