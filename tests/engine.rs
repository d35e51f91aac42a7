//! The graph, its plan and its executor: gradients, memory, rewrites, errors.

use std::sync::Arc;

use sarcomere::device::{Cpu, Device, cpu::Isa};
use sarcomere::graph::{Dump, Executor, Graph, Value};
use sarcomere::nn::{self, After, Norm, Statistics};
use sarcomere::ops::problem::Numbers;
use sarcomere::tensor::{DType, Tensor, TensorType};
use sarcomere::{Error, Result};

fn device() -> Device {
    Device::Cpu(Arc::new(Cpu::with(2, Isa::detect())))
}

fn message(result: Result<impl Sized>) -> String {
    match result {
        Ok(_) => panic!("this should have failed"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn memory_of_dead_values_is_used_again() -> Result<()> {
    let mut g = Graph::new();
    let x = g.input("x", TensorType::f32([1000]))?;
    let mut y = x;
    for _ in 0..20 {
        y = g.offset(y, 1.0)?;
    }
    let mut executor = Executor::new(&device(), Arc::new(g), &[y])?;
    // Two values are alive at a time, in 64-byte units.
    assert!(executor.plan().arena_bytes <= 3 * 4032, "{} bytes", executor.plan().arena_bytes);
    executor.run(&[(x, &Tensor::zeros(DType::F32, [1000]))])?;
    assert!(executor.values::<f32>(y)?.iter().all(|v| *v == 20.0));
    Ok(())
}

#[test]
fn gradients_of_shared_values_add_up() -> Result<()> {
    let mut g = Graph::new();
    let x = g.input("x", TensorType::f32([3]))?;
    let unused = g.input("unused", TensorType::f32([2]))?;
    let square = g.mul(x, x)?;
    let sum = g.add(square, x)?;
    let loss = g.reduce_sum(sum, &[0], true)?;
    let gradients = g.gradients(loss, &[x, unused])?;
    let mut executor = Executor::new(&device(), Arc::new(g), &gradients)?;
    executor.run(&[(x, &Tensor::new([3], &[1.0f32, -2.0, 0.5])?)])?;
    assert_eq!(executor.values::<f32>(gradients[0])?, [3.0, -3.0, 2.0]);
    assert_eq!(executor.values::<f32>(gradients[1])?, [0.0, 0.0]);
    Ok(())
}

#[test]
fn what_depends_on_variables_alone_runs_once_until_they_change() -> Result<()> {
    let mut g = Graph::new();
    let x = g.input("x", TensorType::f32([2]))?;
    let w = g.variable("w", TensorType::f32([2]))?;
    let doubled = g.scale(w, 2.0)?;
    let y = g.add(x, doubled)?;
    let mut executor = Executor::new(&device(), Arc::new(g), &[y])?;
    assert_eq!((executor.plan().prologue.len(), executor.plan().steps.len()), (1, 1));
    let zero = Tensor::zeros(DType::F32, [2]);
    for value in [1.0f32, 3.0] {
        executor.set("w", &Tensor::new([2], &[value; 2])?)?;
        executor.run(&[(x, &zero)])?;
        assert_eq!(executor.values::<f32>(y)?, [2.0 * value; 2]);
    }
    Ok(())
}

/// Convolution, frozen batch norm, ReLU, and a residual block: what rewriting works on.
fn small_network(g: &mut Graph) -> Result<(Value, Value)> {
    let norm = Norm { statistics: Statistics::Frozen, epsilon: 1e-3, momentum: 0.99 };
    let x = g.input("x", TensorType::f32([2, 6, 5, 3]))?;
    let attrs = nn::same_2d(g, x, 3, 1);
    let after = After { norm: Some(("bn", norm)), relu: true, ..After::default() };
    let y = nn::conv(g, "conv", x, &[3, 3], 4, &attrs, after)?;
    let y = g.scoped("block", |g| nn::residual_block(g, nn::BlockKind::Basic, y, &[4, 4], 1, false, norm))?;
    let y = g.scoped("last", |g| nn::residual_block(g, nn::BlockKind::Bottleneck, y, &[2, 2, 6], 2, true, norm))?;
    Ok((x, y))
}

#[test]
fn rewriting_keeps_the_result_and_leaves_only_convolutions() -> Result<()> {
    let mut plain = Graph::new();
    let (x, y) = small_network(&mut plain)?;
    let mut fused = plain.clone();
    assert!(fused.fuse(&[y])? > 0);
    let device = device();
    let mut executors = [plain, fused].map(|g| Executor::new(&device, Arc::new(g), &[y]).expect("it plans"));
    let mut numbers = Numbers::new(3);
    let names: Vec<(String, TensorType)> = {
        let g = executors[0].graph();
        g.variables().iter().map(|(name, v)| ((*name).to_owned(), g.ty(*v).clone())).collect()
    };
    let input = numbers.tensor(&[2, 6, 5, 3]);
    for (name, ty) in &names {
        let mut tensor = numbers.tensor(ty.shape.dims());
        if name.ends_with("variance") {
            tensor.values_mut::<f32>()?.iter_mut().for_each(|v| *v = v.abs() + 0.1);
        }
        executors.iter_mut().try_for_each(|executor| executor.set(name, &tensor))?;
    }
    executors.iter_mut().try_for_each(|executor| executor.run(&[(x, &input)]))?;
    let [plain, fused] = &executors;
    let (a, b) = (plain.values::<f32>(y)?, fused.values::<f32>(y)?);
    let largest = a.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    assert!(largest > 0.1);
    assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 2e-5 * largest), "{a:?}\n{b:?}");
    // conv, two of the basic block, three and a shortcut of the bottleneck.
    assert_eq!(fused.plan().steps.len(), 7);
    assert!(plain.plan().steps.len() > 15);
    Ok(())
}

#[test]
fn wrong_use_is_told_by_name() -> Result<()> {
    let mut g = Graph::new();
    let x = g.input("x", TensorType::f32([2, 2]))?;
    let w = g.variable("w", TensorType::f32([2, 2]))?;
    assert!(message(g.input("x", TensorType::f32([1]))).contains("'x' is taken"));
    assert!(message(g.variable("w", TensorType::f32([3]))).contains("f32[2,2]"));
    let bad = g.input("bad", TensorType::f32([3]))?;
    let text = message(g.scoped("head", |g| g.add(x, bad)));
    assert!(text.contains("head") && text.contains("[2,2]") && text.contains("[3]"), "{text}");
    assert!(message(g.gradients(x, &[w])).contains("single value"));
    let y = g.matmul(x, w, false, false)?;
    let mut executor = Executor::new(&device(), Arc::new(g), &[y])?;
    assert!(message(executor.run_fed()).contains("input 'x' was not given"));
    let wrong = Tensor::zeros(DType::F32, [4]);
    let text = message(executor.feed(x, &wrong));
    assert!(text.contains("f32[2,2]") && text.contains("f32[4]"), "{text}");
    assert!(message(executor.set("v", &wrong)).contains("no variable 'v'"));
    assert!(message(executor.set("w", &wrong)).contains("f32[4]"));
    assert!(message(executor.output(bad)).contains("not in the plan"));
    executor.feed(x, &Tensor::new([2, 2], &[f32::NAN; 4])?)?;
    executor.check_finite(true);
    let text = message(executor.run_fed());
    assert!(matches!(executor.values::<i32>(y), Err(Error::Graph { .. })));
    assert!(text.contains("NaN at element 0"), "{text}");
    Ok(())
}

#[test]
fn a_variable_is_not_read_after_it_was_overwritten() -> Result<()> {
    use sarcomere::ops::optim::SgdAttrs;
    let mut g = Graph::new();
    let w = g.variable("w", TensorType::f32([2]))?;
    let v = g.variable("v", TensorType::f32([2]))?;
    let rate = g.input("rate", TensorType::f32([1]))?;
    let gradient = g.input("gradient", TensorType::f32([2]))?;
    let updates = g.sgd_momentum(&[w], &[gradient], &[v], rate, rate, SgdAttrs { momentum: 0.5 })?;
    let late = g.scale(w, 2.0)?;
    let text = message(Executor::new(&device(), Arc::new(g.clone()), &[updates[0], late]));
    assert!(text.contains("overwritten"), "{text}");
    let mut executor = Executor::new(&device(), Arc::new(g), &updates)?;
    executor.run(&[(rate, &Tensor::scalar(1.0)), (gradient, &Tensor::new([2], &[1.0f32, -4.0])?)])?;
    assert_eq!(executor.get("w")?.values::<f32>()?, [-1.0, 4.0]);
    Ok(())
}

#[test]
fn a_dump_states_work_and_memory() -> Result<()> {
    let mut g = Graph::new();
    let (_, y) = small_network(&mut g)?;
    g.fuse(&[y])?;
    let dump = Dump::new(&g, &[y], &device())?;
    let (text, json) = (dump.text(), dump.json());
    assert!(text.contains("conv_fprop") && text.contains("peak") && text.contains("conv.weight"), "{text}");
    let nodes = json["nodes"].as_array().map_or(0, Vec::len);
    assert!(nodes > 7 && json["peak_bytes"].as_u64() > Some(0));
    // The first convolution alone: 2 x 6 x 5 outputs of 4 channels, 27 products each, two operations a product.
    assert!(dump.cost().flops > 2 * 60 * 4 * 27);
    Ok(())
}
