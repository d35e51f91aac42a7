//! Graphs of elementwise nodes, whose values some nodes read and some share, to be joined to chains.

use std::sync::Arc;

use sarcomere::graph::{Executor, Graph, Value};
use sarcomere::ops::elementwise::{BinaryKind, UnaryGrad, UnaryKind};
use sarcomere::ops::problem::Numbers;
use sarcomere::tensor::{Tensor, TensorType};
use sarcomere::{Device, Result};

/// Some forty nodes on inputs of which one is stretched; several values to be read.
fn graph(numbers: &mut Numbers) -> Result<(Graph, Vec<Value>, Vec<Value>)> {
    let mut g = Graph::new();
    let width = numbers.integer(1, 40);
    let ty = TensorType::f32([numbers.integer(1, 30), width]);
    let mut inputs: Vec<Value> = (0..3).map(|i| g.input(&format!("x{i}"), ty.clone())).collect::<Result<_>>()?;
    inputs.push(g.input("stretched", TensorType::f32([width]))?);
    let mut values = inputs[..3].to_vec();
    for _ in 0..40 {
        // Mostly what was made last: long runs.
        let pick = |numbers: &mut Numbers, values: &[Value]| match numbers.integer(0, 3) {
            0 => values[numbers.integer(0, values.len() - 1)],
            _ => values[values.len() - 1 - numbers.integer(0, 1)],
        };
        let (a, b) = (pick(numbers, &values), pick(numbers, &values));
        values.push(match numbers.integer(0, 5) {
            0 => g.unary(UnaryKind::ALL[numbers.integer(0, UnaryKind::ALL.len() - 1)], a)?,
            1 => g.apply1(UnaryGrad { kind: UnaryKind::ALL[numbers.integer(0, 7)] }, &[a, b])?,
            2 => g.sum_of(&[a, b, values[0]])?,
            3 => g.binary(BinaryKind::ALL[numbers.integer(0, 7)], a, inputs[3])?,
            4 => g.binary(BinaryKind::ALL[numbers.integer(0, 7)], inputs[3], a)?,
            _ => g.binary(BinaryKind::ALL[numbers.integer(0, 7)], a, b)?,
        });
    }
    let mut targets = vec![values[values.len() - 1]];
    targets.extend((0..2).map(|_| values[numbers.integer(3, values.len() - 1)]));
    Ok((g, inputs, targets))
}

/// Joins the nodes of a random graph and runs both: the same bits must come. Returns how many nodes were absorbed.
pub fn joined_nodes_give_the_same_bits(device: &Device, seed: u64) -> Result<usize> {
    let mut numbers = Numbers::new(seed);
    let (plain, inputs, targets) = graph(&mut numbers)?;
    let mut joined = plain.clone();
    let absorbed = joined.fuse_elementwise(&targets);
    let feeds: Vec<Tensor> = inputs.iter().map(|input| numbers.tensor(plain.shape(*input).dims())).collect();
    let mut runs = Vec::new();
    for graph in [plain, joined] {
        let mut executor = Executor::new(device, Arc::new(graph), &targets)?;
        let needed: Vec<_> = inputs.iter().copied().zip(&feeds).collect();
        executor.run(&needed)?;
        let bits: Vec<_> =
            targets.iter().map(|target| Ok(executor.output(*target)?.bytes().to_vec())).collect::<Result<_>>()?;
        runs.push((executor.plan().steps.len(), bits));
    }
    assert_eq!(runs[0].0 - runs[1].0, absorbed, "seed {seed}: every absorbed node is a step less");
    for (target, (plain, joined)) in runs[0].1.iter().zip(&runs[1].1).enumerate() {
        // Where something is not a number its bits are not defined.
        let values = |bytes: &[u8]| -> Vec<f32> {
            bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
        };
        let same = |(a, b): (&f32, &f32)| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
        assert!(values(plain).iter().zip(&values(joined)).all(same), "seed {seed}: target {target} has other bits");
    }
    Ok(absorbed)
}
