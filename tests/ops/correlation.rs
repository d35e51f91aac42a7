//! Neighbour correlation against plain loops, and what must hold of it whatever the numbers.

use std::sync::Arc;

use sarcomere::device::{Cpu, Device};
use sarcomere::graph::{Executor, Graph};
use sarcomere::ops::correlation::NeighbourCorrelationAttrs;
use sarcomere::ops::correlation::problem::NeighbourCorrelationProblem;
use sarcomere::ops::problem::Numbers;

use crate::everywhere::check_everywhere;
use sarcomere::tensor::{Tensor, TensorType};
use sarcomere::{Error, Result};

fn attrs(offsets: &[(i32, i32)]) -> NeighbourCorrelationAttrs {
    NeighbourCorrelationAttrs { offsets: offsets.to_vec(), smooth_frames: 5, floor: 0.02 }
}

fn maps(x: &Tensor, attrs: NeighbourCorrelationAttrs) -> Result<Vec<f32>> {
    let mut graph = Graph::new();
    let input = graph.input("x", x.ty().clone())?;
    let maps = graph.neighbour_correlation(input, attrs)?;
    let mut executor = Executor::new(&Device::Cpu(Arc::new(Cpu::new())), Arc::new(graph), &[maps])?;
    executor.run(&[(input, x)])?;
    Ok(executor.output(maps)?.values::<f32>()?.to_vec())
}

#[test]
fn random_recordings() -> Result<()> {
    let mut numbers = Numbers::new(41);
    for seed in 0..20 {
        check_everywhere(&NeighbourCorrelationProblem::random(&mut numbers), seed)?;
    }
    Ok(())
}

/// Several strips of a row, several blocks of rows and frames.
#[test]
fn wide_field() -> Result<()> {
    let offsets = [(0, 1), (0, -1), (1, 0), (5, -17), (-5, 17), (3, 3), (-3, 3), (0, 40), (2, 0)];
    let problem = NeighbourCorrelationProblem { shape: [1, 35, 19, 85], attrs: attrs(&offsets), silent: 0.2 };
    check_everywhere(&problem, 1)
}

/// Signals that are multiples of one another correlate fully, but for the floor; the sign follows.
#[test]
fn proportional_signals() -> Result<()> {
    let mut numbers = Numbers::new(3);
    let signal = numbers.values(60);
    let values: Vec<f32> = signal.iter().flat_map(|s| [3.0 * s, -3.0 * s, 0.0]).collect();
    let maps = maps(&Tensor::new([1, 60, 1, 3, 1], &values)?, attrs(&[(0, 1), (0, -1), (9, 0)]))?;
    let full = 1.0 / (1.0 + 0.02 * 2.0 / 3.0);
    let loud = (1.5f32 + 1e-3).ln();
    let expected = [-full, 0.0, 0.0, loud, 0.0, -full, 0.0, loud, 0.0, 0.0, 0.0, 1e-3f32.ln()];
    for (found, expected) in maps.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-5, "{maps:?}");
    }
    Ok(())
}

#[test]
fn silence_and_faint_sound_are_finite() -> Result<()> {
    for (level, floor) in [(0.0, 0.02), (0.0, 0.0), (1e-22, 0.02), (1e-22, 0.0), (1e-30, 0.02), (1e15, 0.0)] {
        let mut attrs = attrs(&[(0, 1), (1, 0), (0, 0)]);
        attrs.floor = floor;
        let values: Vec<f32> = Numbers::new(8).values(30 * 4 * 6).iter().map(|v| v * level).collect();
        let maps = maps(&Tensor::new([1, 30, 4, 6, 1], &values)?, attrs)?;
        assert!(maps.iter().all(|v| v.is_finite() && v.abs() < 8.0), "{level} {floor}: {maps:?}");
        if level == 0.0 {
            assert!(maps.chunks(4).all(|p| p[..3] == [0.0; 3] && p[3] == 1e-3f32.ln()), "{maps:?}");
        }
    }
    Ok(())
}

/// A silent recording beside a loud one gets a gradient of zeros.
#[test]
fn silence_has_no_gradient() -> Result<()> {
    let mut values = Numbers::new(5).values(2 * 20 * 4 * 4);
    values[..20 * 4 * 4].fill(0.0);
    let mut graph = Graph::new();
    let x = graph.input("x", TensorType::f32([2, 20, 4, 4, 1]))?;
    let maps = graph.neighbour_correlation(x, attrs(&[(0, 1), (1, 1)]))?;
    let direction = graph.constant(Numbers::new(6).tensor(&[2, 4, 4, 3]));
    let dx = graph.gradients_from(&[(maps, direction)], &[x])?[0];
    let mut executor = Executor::new(&Device::Cpu(Arc::new(Cpu::new())), Arc::new(graph), &[dx])?;
    executor.run(&[(x, &Tensor::new([2, 20, 4, 4, 1], &values)?)])?;
    let dx = executor.output(dx)?;
    let (silent, loud) = dx.values::<f32>()?.split_at(20 * 4 * 4);
    assert!(silent.iter().all(|v| *v == 0.0));
    assert!(loud.iter().all(|v| v.is_finite()) && loud.iter().any(|v| *v != 0.0));
    Ok(())
}

#[test]
fn wrong_attributes_are_refused() -> Result<()> {
    let refusal = |ty: TensorType, attrs| -> Result<String> {
        let mut graph = Graph::new();
        let x = graph.input("x", ty)?;
        match graph.neighbour_correlation(x, attrs) {
            Ok(_) => Err(Error::graph("accepted")),
            Err(error) => Ok(error.to_string()),
        }
    };
    let ty = TensorType::f32([1, 9, 4, 4, 1]);
    let even = NeighbourCorrelationAttrs { smooth_frames: 4, ..attrs(&[(0, 1)]) };
    assert!(refusal(ty.clone(), even)?.contains("smooth_frames must be odd"));
    let negative = NeighbourCorrelationAttrs { floor: -0.5, ..attrs(&[(0, 1)]) };
    assert!(refusal(ty, negative)?.contains("-0.5"));
    assert!(refusal(TensorType::f32([1, 9, 4, 4]), attrs(&[]))?.contains("[N, T, H, W, 1]"));
    Ok(())
}
