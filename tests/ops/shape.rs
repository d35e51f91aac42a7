use sarcomere::ops::problem::Numbers;

use crate::everywhere::check_everywhere;
use sarcomere::ops::shape::problem::{Move, MoveProblem};
use sarcomere::{Result, graph::Graph, tensor::TensorType};

#[test]
fn every_op_that_moves_values() -> Result<()> {
    let mut numbers = Numbers::new(11);
    for seed in 0..120 {
        check_everywhere(&MoveProblem::random(&mut numbers), seed)?;
    }
    Ok(())
}

#[test]
fn transpositions_larger_than_a_tile() -> Result<()> {
    for permutation in [vec![1, 0, 2], vec![2, 1, 0], vec![0, 2, 1], vec![2, 0, 1], vec![1, 2, 0]] {
        check_everywhere(&MoveProblem { shape: vec![19, 7, 35], op: Move::Transpose(permutation) }, 5)?;
    }
    Ok(())
}

#[test]
fn rows_gathered_by_many_indices() -> Result<()> {
    // More indices than a block of a GPU looks at together, rows wider than it.
    let indices = (0..700).map(|i| (i * i + 3) % 7 - 1).collect();
    check_everywhere(&MoveProblem { shape: vec![5, 300], op: Move::Gather(indices) }, 6)
}

#[test]
fn wrong_attributes_are_refused() {
    let mut graph = Graph::new();
    let x = graph.input("x", TensorType::f32([2, 6])).expect("fresh name");
    assert!(graph.reshape(x, [13]).is_err());
    assert!(graph.transpose(x, &[0, 0]).is_err());
    assert!(graph.slice(x, 1, 0, 4, 2).is_err());
    assert!(graph.slice(x, 2, 0, 1, 1).is_err());
    assert!(graph.slice(x, 1, 0, 1, 0).is_err());
    assert!(graph.pad(x, &[[1, 1]], 0.0).is_err());
    assert!(graph.concat(&[], 0).is_err());
    assert!(graph.upsample_nearest_2x(x).is_err());
    assert!(graph.gather_rows(x, x).is_err());
    assert!(graph.broadcast_to(x, [4, 6]).is_err());
}
