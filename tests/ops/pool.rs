use sarcomere::ops::pool::problem::MaxPoolProblem;
use sarcomere::ops::problem::Numbers;

use crate::everywhere::check_everywhere;
use sarcomere::{Result, graph::Graph, tensor::TensorType};

#[test]
fn max_pooling_of_any_kind() -> Result<()> {
    let mut numbers = Numbers::new(19);
    for seed in 0..60 {
        check_everywhere(&MaxPoolProblem::random(&mut numbers), seed)?;
    }
    Ok(())
}

#[test]
fn pooling_of_time_with_long_runs() -> Result<()> {
    let (window, stride, padding) = (vec![5, 1, 1], vec![5, 1, 1], vec![[0, 0]; 3]);
    check_everywhere(&MaxPoolProblem { shape: vec![1, 10, 5, 9, 100], window, stride, padding }, 3)
}

#[test]
fn windows_that_do_not_fit_are_refused() {
    let mut graph = Graph::new();
    let x = graph.input("x", TensorType::f32([2, 6, 3])).expect("fresh name");
    assert!(graph.max_pool(x, &[7], &[1], &[[0, 0]]).is_err());
    assert!(graph.max_pool(x, &[2], &[0], &[[0, 0]]).is_err());
    assert!(graph.max_pool(x, &[2], &[1], &[[2, 0]]).is_err());
    assert!(graph.max_pool(x, &[2, 2], &[1, 1], &[[0, 0], [0, 0]]).is_err());
}
