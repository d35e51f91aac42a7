use sarcomere::ops::elementwise::problem::{BinaryProblem, SumOfProblem, UnaryProblem};
use sarcomere::ops::elementwise::{BinaryKind, UnaryKind};
use sarcomere::ops::problem::Numbers;

use crate::everywhere::check_everywhere;
use sarcomere::{Result, graph::Graph, tensor::TensorType};

#[test]
fn every_function_of_one_tensor() -> Result<()> {
    for kind in UnaryKind::ALL {
        for shape in [vec![], vec![1], vec![3, 17], vec![16_500]] {
            check_everywhere(&UnaryProblem { kind, shape }, 1)?;
        }
    }
    Ok(())
}

#[test]
fn every_arithmetic_of_two_tensors_under_every_broadcast() -> Result<()> {
    let mut numbers = Numbers::new(7);
    for seed in 0..60 {
        check_everywhere(&BinaryProblem::random(&mut numbers), seed)?;
    }
    for (a, b) in [
        (vec![9, 4, 500], vec![500]),
        (vec![9, 1, 500], vec![4, 1]),
        (vec![16_500], vec![16_500]),
        (vec![300], vec![1]),
    ] {
        for kind in [BinaryKind::Add, BinaryKind::Div] {
            check_everywhere(&BinaryProblem { kind, a: a.clone(), b: b.clone() }, 3)?;
        }
    }
    Ok(())
}

#[test]
fn the_sum_of_several() -> Result<()> {
    // The last ones take a GPU several launches.
    for terms in [1, 2, 3, 5, 9, 17] {
        check_everywhere(&SumOfProblem { terms, shape: vec![5, 7] }, 4)?;
        check_everywhere(&SumOfProblem { terms, shape: vec![16_500] }, 4)?;
    }
    Ok(())
}

#[test]
fn shapes_that_do_not_broadcast_are_named() {
    let mut graph = Graph::new();
    let a = graph.input("a", TensorType::f32([2, 3])).expect("fresh name");
    let b = graph.input("b", TensorType::f32([2])).expect("fresh name");
    let error = graph.add(a, b).expect_err("3 and 2 differ").to_string();
    assert!(error.contains("f32[2,3]") && error.contains("f32[2]"), "{error}");
    let integers = graph.input("i", TensorType::i32([2])).expect("fresh name");
    assert!(graph.relu(integers).is_err() && graph.mul(integers, b).is_err());
}
