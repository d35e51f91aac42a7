//! Where the time of a run goes, by kernel.

use std::collections::HashMap;
use std::time::Duration;

use crate::graph::Executor;
use crate::ops::Cost;

/// All nodes of a graph that run the same kernels.
#[derive(Clone, Debug)]
pub struct KernelTime {
    /// Names of the kernels of one node, in order.
    pub kernels: String,
    /// How many nodes run them.
    pub nodes: usize,
    /// Their time in one run.
    pub time: Duration,
    /// Their work in one run, all padded rows counted.
    pub cost: Cost,
    /// The node among them that takes longest, with its shapes, and its time.
    pub longest: (String, Duration),
}

/// What [`Executor::profile`] holds of `runs` runs, by kernel, the longest first. Times are means over the runs.
pub fn kernel_times(executor: &Executor, runs: u32) -> Vec<KernelTime> {
    let (graph, device) = (executor.graph(), executor.device());
    let mut found: HashMap<String, KernelTime> = HashMap::new();
    for (index, time) in executor.profile() {
        let node = &graph.nodes()[index];
        if node.op.is_view() {
            continue;
        }
        let types = |values: &[_]| values.iter().map(|value| executor.plan().stored(graph, *value)).collect::<Vec<_>>();
        let (inputs, outputs) = (types(&node.inputs), types(&node.outputs));
        let (time, cost) = (time / runs.max(1), node.op.cost(&inputs, &outputs));
        let kernels = device.kernels(&*node.op, &inputs, &outputs);
        let row = found.entry(kernels.clone()).or_insert_with(|| KernelTime {
            kernels,
            nodes: 0,
            time: Duration::ZERO,
            cost: Cost::default(),
            longest: (String::new(), Duration::ZERO),
        });
        row.nodes += 1;
        row.time += time;
        row.cost.flops += cost.flops;
        row.cost.bytes += cost.bytes;
        if time > row.longest.1 {
            let shapes = inputs.iter().take(2).map(ToString::to_string).collect::<Vec<_>>().join(" ");
            row.longest = (format!("{} {shapes}", node.name), time);
        }
    }
    let mut rows: Vec<KernelTime> = found.into_values().collect();
    rows.sort_by(|a, b| b.time.cmp(&a.time).then_with(|| a.kernels.cmp(&b.kernels)));
    rows
}
