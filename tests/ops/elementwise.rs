use sarcomere::ops::elementwise::chain::problem::ChainProblem;
use sarcomere::ops::elementwise::chain::{Expression, Pair};
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

#[test]
fn chains_of_any_functions_under_every_broadcast() -> Result<()> {
    let mut numbers = Numbers::new(11);
    for seed in 0..60 {
        check_everywhere(&ChainProblem::random(&mut numbers), seed)?;
    }
    Ok(())
}

#[test]
fn every_function_in_a_chain() -> Result<()> {
    let x = Expression::Input;
    let pairs = BinaryKind::ALL.map(Pair::Binary).into_iter();
    let differentiated =
        UnaryKind::ALL.into_iter().filter(|kind| !matches!(kind, UnaryKind::Neg | UnaryKind::Affine { .. }));
    let pairs = pairs.chain(differentiated.map(Pair::Gradient)).map(|pair| Expression::pair(pair, x(0), x(1)));
    let functions = UnaryKind::ALL.into_iter().map(|kind| Expression::unary(kind, x(0))).chain(pairs);
    // The result of the function put aside, taken again as the second operand.
    let add = |a, b| Expression::pair(Pair::Binary(BinaryKind::Sub), a, b);
    for (index, function) in functions.enumerate() {
        let expression = add(add(x(1), x(0)), add(function, x(1)));
        for (shape, stretched) in
            [(vec![3, 1000], (1, 0)), (vec![4, 6, 7], (4, 0)), (vec![16_501], (0, 1)), (vec![9, 1, 8], (0, 2))]
        {
            let stretched = vec![(0, 0), stretched];
            let problem = ChainProblem { expression: expression.clone(), shape, stretched };
            check_everywhere(&problem, 8 + index as u64 % 2)?;
        }
    }
    Ok(())
}

#[test]
fn chains_that_are_too_long_or_differentiated_are_refused() -> Result<()> {
    let mut graph = Graph::new();
    let x = graph.input("x", TensorType::f32([2]))?;
    let nested = |depth| (0..depth).fold(Expression::Input(0), |e, _| Expression::unary(UnaryKind::Neg, e));
    let error = graph.elementwise_chain(nested(16), &[x]).expect_err("a load and 16 functions").to_string();
    assert!(error.contains("at most 16 functions"), "{error}");
    assert!(graph.elementwise_chain(Expression::Input(1), &[x, x]).is_err(), "input 0 is left out");
    let y = graph.elementwise_chain(nested(15), &[x])?;
    let ones = graph.constant(sarcomere::tensor::Tensor::new([2], &[1.0f32; 2])?);
    let error = graph.gradients_from(&[(y, ones)], &[x]).expect_err("chains come after gradients").to_string();
    assert!(error.contains("neg(") && error.contains("differentiate first"), "{error}");
    Ok(())
}
