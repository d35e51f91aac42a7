use sarcomere::ops::norm::problem::{BatchNormProblem, FoldProblem};
use sarcomere::ops::problem::Numbers;

use crate::everywhere::check_everywhere;
use sarcomere::{Result, graph::Graph, tensor::TensorType};

#[test]
fn batch_norm_in_every_mode() -> Result<()> {
    let mut numbers = Numbers::new(17);
    for seed in 0..60 {
        check_everywhere(&BatchNormProblem::random(&mut numbers), seed)?;
    }
    Ok(())
}

#[test]
fn batch_norm_over_several_blocks() -> Result<()> {
    for frozen in [false, true] {
        for (shape, counts) in [
            (vec![3, 90, 13, 8], None),
            (vec![2, 40, 300], None),
            (vec![300, 3, 16], Some(vec![17, 0, 90])),
            (vec![2, 600, 33], Some(vec![1])),
        ] {
            check_everywhere(&BatchNormProblem { shape, frozen, relu: true, counts, shift: 2.0 }, 5)?;
        }
    }
    Ok(())
}

#[test]
fn parameters_of_another_width_are_refused() {
    let mut graph = Graph::new();
    let x = graph.input("x", TensorType::f32([2, 6])).expect("fresh name");
    let c = graph.input("c", TensorType::f32([5])).expect("fresh name");
    let error = graph.batch_norm_frozen(x, c, c, c, c, 1e-3, false).expect_err("5 is not 6").to_string();
    assert!(error.contains("f32[6]") && error.contains("f32[5]"), "{error}");
}

#[test]
fn batch_norm_folded_into_weights() -> Result<()> {
    let mut numbers = Numbers::new(23);
    for seed in 0..30 {
        check_everywhere(&FoldProblem::random(&mut numbers), seed)?;
    }
    // Several tasks of the processor, several segments of a GPU.
    for (shape, bias) in [(vec![3, 3, 40, 100], true), (vec![1, 1, 900, 33], false), (vec![5000, 4], true)] {
        check_everywhere(&FoldProblem { shape, bias }, 8)?;
    }
    Ok(())
}
