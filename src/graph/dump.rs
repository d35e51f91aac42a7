//! A graph in words: what runs, on what shapes, by which kernel, at what cost, in how much memory.

use std::fmt::Write;

use serde_json::{Value as Json, json};

use super::{Graph, Node, Plan, Source, Value};
use crate::Result;
use crate::device::Device;
use crate::device::cuda::Types;
use crate::ops::Cost;
use crate::tensor::TensorType;

/// How many values to list at the fullest step.
const HOLDERS: usize = 12;

/// What stands for the kernel of a node that only shows a value under another shape.
const VIEW: &str = "view";

/// A planned graph, ready to be printed.
#[derive(Debug)]
pub struct Dump {
    rows: Vec<Row>,
    plan: Plan,
    device: String,
    variables: usize,
    variable_values: usize,
    /// The step at which a run's memory is fullest, and the largest values then, with their bytes.
    fullest: (String, Vec<(String, usize)>),
}

#[derive(Debug)]
struct Row {
    node: usize,
    once: bool,
    name: String,
    op: &'static str,
    attributes: String,
    inputs: Vec<String>,
    outputs: Vec<String>,
    output_bytes: usize,
    cost: Cost,
    kernel: String,
    /// Launches on a GPU, where the op has kernels.
    launches: usize,
    /// What an op made of others computes.
    formula: Option<String>,
    scratch: usize,
}

impl Dump {
    /// Plans the computation of `targets` and describes it.
    pub fn new(graph: &Graph, targets: &[Value], device: &Device) -> Result<Self> {
        let plan = Plan::new(graph, targets, device)?;
        let types = |values: &[Value]| -> Vec<TensorType> { values.iter().map(|v| plan.stored(graph, *v)).collect() };
        let once = plan.prologue.iter().map(|step| (true, step));
        let rows = once
            .chain(plan.steps.iter().map(|step| (false, step)))
            .map(|(once, step)| {
                let node = &graph.nodes()[step.node];
                let (inputs, outputs) = (types(&node.inputs), types(&node.outputs));
                let view = node.op.is_view();
                Row {
                    node: step.node,
                    once,
                    name: node.name.clone(),
                    op: node.op.name(),
                    attributes: format!("{:?}", node.op),
                    output_bytes: outputs.iter().map(TensorType::bytes).sum(),
                    cost: if view { Cost::default() } else { node.op.cost(&inputs, &outputs) },
                    kernel: if view { VIEW.to_owned() } else { device.kernels(&*node.op, &inputs, &outputs) },
                    launches: if view { 0 } else { launches(&plan, node, device, &inputs, &outputs) },
                    formula: node.op.formula(),
                    inputs: node.inputs.iter().map(|v| describe(graph, *v)).collect(),
                    outputs: outputs.iter().map(TensorType::to_string).collect(),
                    scratch: step.scratch.bytes + step.packed.bytes,
                }
            })
            .collect();
        let variables: Vec<_> = graph.variables().iter().map(|(_, v)| graph.ty(*v).len()).collect();
        let (count, values) = (variables.len(), variables.iter().sum());
        let (step, holders) = plan.fullest_step();
        let name = |value: &Option<Value>| match value.map(|value| (value, graph.source(value))) {
            None => "scratch".to_owned(),
            Some((value, Source::Node { node, .. })) => {
                format!("{} {}", graph.nodes()[*node].name, describe(graph, value))
            }
            Some((value, _)) => describe(graph, value),
        };
        let at = plan.steps.get(step).map_or(String::new(), |step| {
            let node = &graph.nodes()[step.node];
            format!("%{} {} ({})", step.node, node.name, node.op.name())
        });
        let fullest = (at, holders.iter().take(HOLDERS).map(|(value, bytes)| (name(value), *bytes)).collect());
        let device = device.describe();
        Ok(Self { rows, plan, device, variables: count, variable_values: values, fullest })
    }

    /// Operations and bytes of one run.
    pub fn cost(&self) -> Cost {
        self.rows.iter().filter(|row| !row.once).fold(Cost::default(), |sum, row| Cost {
            flops: sum.flops + row.cost.flops,
            bytes: sum.bytes + row.cost.bytes,
        })
    }

    /// What one run asks of a GPU: launches, fills and copies.
    pub fn launches(&self) -> usize {
        self.rows.iter().filter(|row| !row.once).map(|row| row.launches).sum()
    }

    /// Bodies that one run calls: nodes that are not views and do not run once.
    pub fn bodies(&self) -> usize {
        self.rows.iter().filter(|row| !row.once && row.kernel != VIEW).count()
    }

    /// A table, one node a line, with totals and the peak of memory above it.
    pub fn text(&self) -> String {
        let cost = self.cost();
        let mut text = String::new();
        let mib = |bytes: usize| bytes as f64 / (1 << 20) as f64;
        let (persistent, arena) = (mib(self.plan.persistent_bytes), mib(self.plan.arena_bytes));
        let _ = writeln!(text, "device     {}", self.device);
        let _ = writeln!(text, "nodes      {} ({} run once)", self.rows.len(), self.plan.prologue.len());
        let _ = writeln!(text, "a run      {} bodies on the CPU, {} launches on a GPU", self.bodies(), self.launches());
        let _ = writeln!(text, "variables  {} ({} values)", self.variables, self.variable_values);
        let _ = writeln!(
            text,
            "work       {:.3} GFLOP, {:.1} MB moved at least",
            cost.flops as f64 / 1e9,
            cost.bytes as f64 / 1e6
        );
        let _ = writeln!(text, "peak       {:.1} MiB = {persistent:.1} kept + {arena:.1} arena", persistent + arena);
        let (at, holders) = &self.fullest;
        let _ = writeln!(text, "fullest    at {at}, where the largest are");
        for (name, bytes) in holders {
            let _ = writeln!(text, "{:>10.1} MiB  {name}", mib(*bytes));
        }
        let _ =
            writeln!(text, "\n{:>5} {:<36} {:<28} {:>10} {:>10}  shapes", "node", "name", "kernel", "MFLOP", "KiB out");
        for row in &self.rows {
            let _ = writeln!(
                text,
                "{:>5}{}{:<36} {:<28} {:>10.3} {:>10.1}  {} -> {}{}",
                row.node,
                if row.once { '*' } else { ' ' },
                row.name,
                row.kernel,
                row.cost.flops as f64 / 1e6,
                row.output_bytes as f64 / 1024.0,
                first_few(&row.inputs),
                first_few(&row.outputs),
                row.formula.as_ref().map_or(String::new(), |formula| format!(" = {formula}"))
            );
        }
        text.push_str("\n* runs once, when the weights are set\n");
        text
    }

    /// The same as JSON.
    pub fn json(&self) -> Json {
        let cost = self.cost();
        let nodes: Vec<Json> = self
            .rows
            .iter()
            .map(|row| {
                json!({
                    "node": row.node, "name": row.name, "op": row.op, "attributes": row.attributes, "kernel": row.kernel,
                    "inputs": row.inputs, "outputs": row.outputs, "output_bytes": row.output_bytes, "once": row.once,
                    "launches": row.launches, "formula": row.formula,
                    "flops": row.cost.flops, "bytes": row.cost.bytes, "workspace_bytes": row.scratch,
                })
            })
            .collect();
        json!({
            "device": self.device, "variables": self.variables, "variable_values": self.variable_values,
            "bodies": self.bodies(), "launches": self.launches(), "flops": cost.flops, "bytes": cost.bytes, "persistent_bytes": self.plan.persistent_bytes,
            "fullest_step": self.fullest.0,
            "largest_values": self.fullest.1.iter().map(|(name, bytes)| json!({"name": name, "bytes": bytes})).collect::<Vec<_>>(),
            "arena_bytes": self.plan.arena_bytes, "peak_bytes": self.plan.peak_bytes(), "nodes": nodes,
        })
    }
}

/// Launches, fills and copies of a node on the device, or on a typical GPU if it is none.
fn launches(plan: &Plan, node: &Node, device: &Device, inputs: &[TensorType], outputs: &[TensorType]) -> usize {
    let needed: Vec<bool> = node.outputs.iter().map(|output| plan.place(*output).is_some()).collect();
    let work = node.op.cuda(&device.target(), &Types { inputs, outputs, needed: &needed });
    work.map_or(0, |work| work.tasks.len())
}

/// For a line: the first values of a list, and how many more there are (an optimizer has hundreds).
fn first_few(values: &[String]) -> String {
    const FEW: usize = 8;
    let more = values.len().saturating_sub(FEW);
    let few = values[..values.len() - more].join(" ");
    if more > 0 { format!("{few} and {more} more") } else { few }
}

fn describe(graph: &Graph, value: Value) -> String {
    let ty = graph.ty(value);
    match graph.source(value) {
        Source::Input(name) | Source::Variable(name) => format!("{name}:{ty}"),
        Source::Constant(_) => format!("const:{ty}"),
        Source::Node { node, output: 0 } => format!("%{node}:{ty}"),
        Source::Node { node, output } => format!("%{node}.{output}:{ty}"),
    }
}
