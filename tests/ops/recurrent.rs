use sarcomere::ops::problem::Numbers;

use crate::everywhere::check_everywhere;
use sarcomere::ops::recurrent::problem::GruProblem;
use sarcomere::ops::recurrent::{GruAttrs, GruWeights};
use sarcomere::{Result, graph::Graph, tensor::TensorType};

#[test]
fn gru_of_any_variant() -> Result<()> {
    let mut numbers = Numbers::new(29);
    for seed in 0..14 {
        check_everywhere(&GruProblem::random(&mut numbers), seed)?;
    }
    Ok(())
}

#[test]
fn gru_of_many_sequences_and_units() -> Result<()> {
    for reset_after in [false, true] {
        let attrs = GruAttrs { reset_after, ..GruAttrs::default() };
        let counts = Some(vec![9, 0, 8]);
        let wide = GruProblem {
            n: 27,
            t: 2,
            features: 2,
            units: 20,
            attrs,
            bidirectional: true,
            initial_state: false,
            counts,
        };
        check_everywhere(&wide, 1)?;
    }
    Ok(())
}

#[test]
fn a_bias_of_the_other_variant_is_refused() {
    let mut graph = Graph::new();
    let x = graph.input("x", TensorType::f32([2, 6, 3])).expect("fresh name");
    let weight = graph.input("w", TensorType::f32([3, 12])).expect("fresh name");
    let recurrent_weight = graph.input("u", TensorType::f32([4, 12])).expect("fresh name");
    let bias = graph.input("b", TensorType::f32([12])).expect("fresh name");
    let weights = GruWeights { weight, recurrent_weight, bias };
    let error = graph.gru(x, weights, GruAttrs::default(), None, None).expect_err("[12] is not [2,12]").to_string();
    assert!(error.contains("[2,12]"), "{error}");
}
