use sarcomere::ops::problem::Numbers;

use crate::everywhere::check_everywhere;
use sarcomere::ops::reduce::ReduceKind;
use sarcomere::ops::reduce::problem::{ReduceProblem, SoftmaxProblem, StandardiseProblem};
use sarcomere::{Result, graph::Graph, tensor::TensorType};

#[test]
fn reductions_over_any_axes() -> Result<()> {
    let mut numbers = Numbers::new(13);
    for seed in 0..80 {
        check_everywhere(&ReduceProblem::random(&mut numbers), seed)?;
    }
    Ok(())
}

#[test]
fn long_reductions_in_blocks() -> Result<()> {
    let cases: [(&[usize], &[usize]); 7] = [
        (&[17_000], &[0]),
        (&[2, 16_500], &[1]),
        (&[2_100, 3], &[0]),
        (&[2, 17_000], &[0]),
        (&[4, 120, 40], &[0, 1]),
        (&[5, 3, 1200], &[0, 2]),
        (&[2, 2_100, 2], &[1]),
    ];
    for (shape, axes) in cases {
        for kind in [ReduceKind::Sum, ReduceKind::Mean, ReduceKind::Max] {
            check_everywhere(&ReduceProblem { kind, shape: shape.to_vec(), axes: axes.to_vec(), keep_dims: false }, 3)?;
        }
    }
    Ok(())
}

#[test]
fn softmax_of_any_width() -> Result<()> {
    for (rows, classes, range) in [(1, 1, 1.0), (6, 2, 3.0), (2100, 2, 10.0), (7, 81, 30.0), (2, 300, 1.0)] {
        check_everywhere(&SoftmaxProblem { rows, classes, range }, 2)?;
    }
    Ok(())
}

#[test]
fn standardised_samples() -> Result<()> {
    for (shape, shift) in [(vec![3, 7], 0.5), (vec![2, 5, 4, 4, 1], 10.0), (vec![2, 16_500], -1.0), (vec![1, 33], 0.0)]
    {
        check_everywhere(&StandardiseProblem { shape, shift }, 2)?;
    }
    Ok(())
}

#[test]
fn a_constant_sample_becomes_zeros() -> Result<()> {
    use sarcomere::{device::Device, graph::Executor, tensor::Tensor};
    let mut graph = Graph::new();
    let x = graph.input("x", TensorType::f32([2, 50]))?;
    let y = graph.standardise(x)?;
    let mut executor = Executor::new(&Device::cpu(), graph.into(), &[y])?;
    let mut values = vec![0.1f32; 100];
    values[50..].iter_mut().enumerate().for_each(|(i, v)| *v = i as f32);
    executor.run(&[(x, &Tensor::new([2, 50], &values)?)])?;
    let y = executor.output(y)?;
    let y = y.values::<f32>()?;
    assert!(y[..50].iter().all(|v| *v == 0.0), "{y:?}");
    assert!(y[50] < -1.0 && y[99] > 1.0, "{y:?}");
    Ok(())
}

#[test]
fn axes_must_be_distinct_and_exist() {
    let mut graph = Graph::new();
    let x = graph.input("x", TensorType::f32([2, 6])).expect("fresh name");
    assert!(graph.reduce_sum(x, &[2], false).is_err());
    assert!(graph.reduce_sum(x, &[1, 1], false).is_err());
}
