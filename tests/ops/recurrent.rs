use std::sync::Arc;

use sarcomere::Result;
use sarcomere::device::cpu::Isa;
use sarcomere::device::{Cpu, Device};
use sarcomere::graph::{Executor, Graph};
use sarcomere::ops::problem::Numbers;
use sarcomere::ops::recurrent::problem::GruProblem;
use sarcomere::ops::recurrent::{GruAttrs, GruWeights};
use sarcomere::tensor::{Tensor, TensorType};

use crate::everywhere::check_everywhere;

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

/// A single sequence whose steps are large enough to be shared among threads.
#[test]
fn threads_do_not_change_bits() -> Result<()> {
    let (features, units) = (3, 450);
    for reset_after in [false, true] {
        let run = |threads: usize| -> Result<Tensor> {
            let mut graph = Graph::new();
            let mut variable = |name: &str, shape: &[usize]| graph.variable(name, TensorType::f32(shape.to_vec()));
            let bias: &[usize] = if reset_after { &[2, 3 * units] } else { &[3 * units] };
            let weights = GruWeights {
                weight: variable("weight", &[features, 3 * units])?,
                recurrent_weight: variable("recurrent_weight", &[units, 3 * units])?,
                bias: variable("bias", bias)?,
            };
            let x = graph.input("x", TensorType::f32([1, 5, features]))?;
            let attrs = GruAttrs { reset_after, ..GruAttrs::default() };
            let y = graph.gru(x, weights, attrs, None, None)?.0;
            let device = Device::Cpu(Arc::new(Cpu::with(threads, Isa::detect())));
            let mut executor = Executor::new(&device, Arc::new(graph), &[y])?;
            let mut numbers = Numbers::new(11);
            for (name, shape) in
                [("weight", &[features, 3 * units][..]), ("recurrent_weight", &[units, 3 * units]), ("bias", bias)]
            {
                executor.set(name, &numbers.tensor(shape))?;
            }
            executor.run(&[(x, &numbers.tensor(&[1, 5, features]))])?;
            executor.output(y)
        };
        let alone = run(1)?;
        assert!(alone.values::<f32>()?.iter().any(|v| *v != 0.0));
        for threads in [2, 3, 7] {
            assert!(run(threads)?.bytes() == alone.bytes(), "{threads} threads, reset after: {reset_after}");
        }
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
