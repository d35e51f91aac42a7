//! A graph of one's own: build, differentiate, run, dump. Fits y = x w by gradient descent.

use std::sync::Arc;

use sarcomere::Result;
use sarcomere::device::Device;
use sarcomere::graph::{Dump, Executor, Graph};
use sarcomere::ops::conv::Extras;
use sarcomere::tensor::{Tensor, TensorType};

fn main() -> Result<()> {
    let mut g = Graph::new();
    let x = g.input("x", TensorType::f32([4, 2]))?;
    let y = g.input("y", TensorType::f32([4, 1]))?;
    let w = g.variable("w", TensorType::f32([2, 1]))?;
    let prediction = g.dense(x, w, false, Extras::default())?;
    let loss = g.mse_loss(prediction, y, None)?;
    let gradient = g.gradients(loss, &[w])?[0];

    let device = Device::cpu();
    println!("{}", Dump::new(&g, &[loss, gradient], &device)?.text());
    let mut executor = Executor::new(&device, Arc::new(g), &[loss, gradient])?;
    let inputs = Tensor::new([4, 2], &[1.0f32, 0.0, 0.0, 1.0, 1.0, 1.0, 2.0, -1.0])?;
    let wanted = Tensor::new([4, 1], &[2.0f32, -3.0, -1.0, 7.0])?;
    let mut weights = [0.0f32; 2];
    for step in 0..60 {
        executor.set("w", &Tensor::new([2, 1], &weights)?)?;
        executor.run(&[(x, &inputs), (y, &wanted)])?;
        let slope = executor.values::<f32>(gradient)?;
        weights.iter_mut().zip(slope).for_each(|(w, d)| *w -= 0.2 * d);
        if step % 20 == 0 {
            println!("step {step:2}: loss {:.5}", executor.scalar(loss)?);
        }
    }
    println!("w = {weights:.3?} (2, -3 made the data)");
    Ok(())
}
