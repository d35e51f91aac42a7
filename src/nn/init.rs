//! First values of variables, by name and shape.

use crate::Result;
use crate::graph::{Executor, Graph};
use crate::ops::random::philox::{Stream, key_of};
use crate::tensor::{DType, Tensor};

/// First value of the variable `name`: Glorot uniform for weights (limit sqrt(6 / (fan_in + fan_out)), fan = kernel volume x
/// channels), orthogonal for recurrent weights, 1 for `gamma` and `moving_variance`, 0 for all else. Each variable draws from a
/// stream of its own, named by `index` among the variables.
pub fn initial_value(name: &str, index: u32, shape: &crate::tensor::Shape, seed: u64) -> Result<Tensor> {
    let mut stream = Stream::new(key_of(seed), [0x1417, index, 0]);
    let field = name.rsplit('.').next().unwrap_or(name);
    match field {
        "gamma" | "moving_variance" => Tensor::new(shape.clone(), &vec![1.0f32; shape.len()]),
        "weight" if shape.rank() >= 2 => {
            let (inputs, outputs) = (shape[shape.rank() - 2], shape.last());
            let volume = shape.len() / (inputs * outputs).max(1);
            let limit = (6.0 / (volume * (inputs + outputs)) as f32).sqrt();
            let values: Vec<f32> = (0..shape.len()).map(|_| limit * (2.0 * stream.uniform() - 1.0)).collect();
            Tensor::new(shape.clone(), &values)
        }
        "recurrent_weight" => Tensor::new(shape.clone(), &orthogonal(shape[0], shape[1], &mut stream)),
        _ => Ok(Tensor::zeros(DType::F32, shape.clone())),
    }
}

/// Sets the named variables of the executor (a network's, not an optimizer's) to their first values.
pub fn initialise(executor: &mut Executor, names: &[String], seed: u64) -> Result<()> {
    let graph = executor.graph().clone();
    for (index, name) in names.iter().enumerate() {
        if let Some(value) = graph.find(name) {
            executor.set(name, &initial_value(name, index as u32, graph.shape(value), seed)?)?;
        }
    }
    Ok(())
}

/// Names of the variables that training changes by gradients: all but moving statistics.
pub fn trainable(graph: &Graph) -> Vec<String> {
    let is_statistic = |name: &str| name.ends_with(".moving_mean") || name.ends_with(".moving_variance");
    graph.variables().iter().filter(|(name, _)| !is_statistic(name)).map(|(name, _)| (*name).to_owned()).collect()
}

/// A matrix of `rows <= columns` orthonormal rows: Gram-Schmidt on normal numbers, twice for accuracy.
fn orthogonal(rows: usize, columns: usize, stream: &mut Stream) -> Vec<f32> {
    let mut matrix: Vec<Vec<f64>> = Vec::with_capacity(rows);
    while matrix.len() < rows {
        let mut row: Vec<f64> = (0..columns).map(|_| f64::from(stream.normal())).collect();
        for _ in 0..2 {
            // More rows than columns cannot all be orthogonal: start again after every full set.
            let set = matrix.len() / columns * columns;
            for other in &matrix[set..] {
                let dot: f64 = row.iter().zip(other).map(|(a, b)| a * b).sum();
                row.iter_mut().zip(other).for_each(|(a, b)| *a -= dot * b);
            }
        }
        let norm = row.iter().map(|v| v * v).sum::<f64>().sqrt();
        if norm > 1e-6 {
            row.iter_mut().for_each(|v| *v /= norm);
            matrix.push(row);
        }
    }
    matrix.concat().into_iter().map(|v| v as f32).collect()
}
