//! The graph, its plan and its executor: gradients, memory, rewrites, errors.

#[path = "toy/elementwise.rs"]
mod elementwise;

use std::sync::Arc;

use sarcomere::device::{Cpu, Device, cpu::Isa};
use sarcomere::graph::{Dump, Executor, Graph, Plan, Value};
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

/// Losses, gradients and weights of three training steps of a small network.
fn trained_bits(reuse: bool, recompute: bool, join: bool) -> Result<Vec<Vec<u8>>> {
    let mut g = Graph::new();
    let norm = Norm { statistics: Statistics::Batch, epsilon: 1e-3, momentum: 0.9 };
    let x = g.input("x", TensorType::f32([4, 24, 20, 8]))?;
    let rate = g.input("rate", TensorType::f32([1]))?;
    let attrs = nn::same_2d(&g, x, 3, 1);
    let after = After { norm: Some(("bn", norm)), relu: true, ..After::default() };
    let y = nn::conv(&mut g, "conv", x, &[3, 3], 12, &attrs, after)?;
    let y = g.scoped("block", |g| nn::residual_block(g, nn::BlockKind::Basic, y, &[12, 12], 1, false, norm))?;
    let y = g.max_pool(y, &[2, 2], &[2, 2], &[[0; 2]; 2])?;
    let shape = [g.shape(y)[0], g.shape(y).len() / g.shape(y)[0]];
    let flat = g.reshape(y, shape)?;
    let flat = nn::dense(&mut g, "shared", flat, 48, true, None)?;
    let z = nn::dense(&mut g, "dense", flat, 40, true, None)?;
    let other = nn::dense(&mut g, "other", flat, 40, false, None)?;
    let z = g.add(z, other)?;
    let z = g.tanh(z)?;
    let z = g.add(z, z)?;
    let offset = g.variable("offset.beta", TensorType::f32([4, 40]))?;
    let z = g.sub(offset, z)?;
    let zeros = g.constant(Tensor::zeros(DType::F32, [4, 40]));
    let loss = g.mse_loss(z, zeros, None)?;
    let names = nn::trainable(&g);
    let weights: Vec<Value> = names.iter().filter_map(|name| g.find(name)).collect();
    let forward = g.nodes().len();
    let gradients = g.gradients(loss, &weights)?;
    if recompute {
        assert!(g.recompute(forward)? >= 2);
    }
    let one = g.constant(Tensor::new([1], &[1.0f32])?);
    let velocities: Vec<Value> = (names.iter().zip(&weights))
        .map(|(name, value)| {
            let ty = g.ty(*value).clone();
            g.variable(&format!("velocity.{name}"), ty)
        })
        .collect::<Result<_>>()?;
    let attrs = sarcomere::ops::optim::SgdAttrs { momentum: 0.9 };
    let updates = g.sgd_momentum(&weights, &gradients, &velocities, rate, one, attrs)?;
    let targets = [&[loss][..], &gradients, &updates].concat();
    if join {
        assert!(g.fuse_gradients(&targets) >= 2);
        assert!(g.fuse_elementwise(&targets) >= 2);
    }
    let (device, variables) = (device(), g.variables().len());
    let graph = Arc::new(g);
    let make = if reuse { Plan::new } else { Plan::without_reuse };
    let plan = make(&graph, &targets, &device)?;
    assert_eq!(plan.steps.iter().any(|step| step.in_place.is_some()), reuse);
    let mut executor = Executor::with_plan(&device, graph.clone(), plan)?;
    nn::initialise(&mut executor, &names, 5)?;
    let mut numbers = Numbers::new(11);
    let mut bits = Vec::new();
    for _ in 0..3 {
        executor.run(&[(x, &numbers.tensor(&[4, 24, 20, 8])), (rate, &Tensor::new([1], &[0.05f32])?)])?;
        for value in [&[loss][..], &gradients].concat() {
            bits.push(executor.output(value)?.bytes().to_vec());
        }
    }
    for (name, _) in graph.variables() {
        bits.push(executor.get(name)?.bytes().to_vec());
    }
    assert!(bits.len() > variables && bits.iter().flatten().any(|byte| *byte != 0));
    Ok(bits)
}

#[test]
fn reusing_memory_and_computing_again_change_no_bit() -> Result<()> {
    let expected = trained_bits(false, false, false)?;
    for (reuse, recompute) in [(true, false), (false, true), (true, true)] {
        assert!(trained_bits(reuse, recompute, false)? == expected, "reuse {reuse}, recompute {recompute}");
        assert!(trained_bits(reuse, recompute, true)? == expected, "joined; reuse {reuse}, recompute {recompute}");
    }
    Ok(())
}

#[test]
fn joined_nodes_give_the_same_bits() -> Result<()> {
    let absorbed = (0..100).map(|seed| elementwise::joined_nodes_give_the_same_bits(&device(), seed));
    let absorbed: usize = absorbed.sum::<Result<usize>>()?;
    assert!(absorbed > 500, "{absorbed} of some 4000 nodes");
    Ok(())
}

#[test]
fn what_others_read_is_not_computed_twice() -> Result<()> {
    let mut g = Graph::new();
    let ty = TensorType::f32([4, 8]);
    let (a, b) = (g.input("a", ty.clone())?, g.input("b", ty.clone())?);
    let shared = g.add(a, b)?;
    let square = g.mul(shared, shared)?;
    let narrow = g.input("narrow", TensorType::f32([8]))?;
    let narrow = g.relu(narrow)?;
    let wide = g.mul(square, narrow)?;
    let read = g.tanh(wide)?;
    let last = g.neg(read)?;
    let dump = |g: &Graph| Dump::new(g, &[read, last], &device()).map(|dump| (dump.bodies(), dump.text()));
    assert_eq!(dump(&g)?.0, 6);
    // `shared` is read twice, `narrow` has another shape, `read` is a target: only the square and the product go.
    assert_eq!(g.fuse_elementwise(&[read, last]), 2);
    let (bodies, text) = dump(&g)?;
    assert_eq!(bodies, 4, "{text}");
    assert!(text.contains("= tanh(mul(mul(x0, x0), x1))"), "{text}");
    assert!(text.contains("4 bodies on the CPU, 4 launches on a GPU"), "{text}");
    assert_eq!(g.fuse_elementwise(&[read, last]), 0, "there is nothing more");
    Ok(())
}

#[test]
fn nothing_is_moved_behind_what_overwrites_it() -> Result<()> {
    use sarcomere::ops::optim::SgdAttrs;
    let mut g = Graph::new();
    let w = g.variable("w", TensorType::f32([2]))?;
    let v = g.variable("v", TensorType::f32([2]))?;
    let rate = g.input("rate", TensorType::f32([1]))?;
    let gradient = g.input("gradient", TensorType::f32([2]))?;
    let early = g.scale(w, 2.0)?;
    let mut targets = g.sgd_momentum(&[w], &[gradient], &[v], rate, rate, SgdAttrs { momentum: 0.5 })?;
    targets.push(g.neg(early)?);
    assert_eq!(g.fuse_elementwise(&targets), 0);
    Executor::new(&device(), Arc::new(g), &targets).map(drop)
}

#[test]
fn what_runs_once_stays_apart_from_what_runs_every_time() -> Result<()> {
    let mut g = Graph::new();
    let x = g.input("x", TensorType::f32([2]))?;
    let w = g.variable("w", TensorType::f32([2]))?;
    let root = g.sqrt(w)?;
    let scale = g.neg(root)?;
    let product = g.mul(x, scale)?;
    let y = g.relu(product)?;
    assert_eq!(g.fuse_elementwise(&[y]), 2);
    let plan = Plan::new(&g, &[y], &device())?;
    assert_eq!((plan.prologue.len(), plan.steps.len()), (1, 1));
    Ok(())
}

#[test]
fn a_graph_fused_before_differentiation_has_the_same_gradients() -> Result<()> {
    let mut graphs = Vec::new();
    for fuse in [false, true] {
        let mut g = Graph::new();
        let (x, y) = small_network(&mut g)?;
        if fuse {
            assert!(g.fuse(&[y])? > 0);
        }
        let seed = g.input("seed", g.ty(y).clone())?;
        let weights: Vec<Value> = nn::trainable(&g).iter().filter_map(|name| g.find(name)).collect();
        let gradients = g.gradients_from(&[(y, seed)], &[&weights[..], &[x]].concat())?;
        graphs.push((g, x, seed, gradients));
    }
    let mut results: Vec<Vec<Tensor>> = Vec::new();
    for (g, x, seed, gradients) in graphs {
        let (names, ty) =
            (g.variables().iter().map(|(name, _)| (*name).to_owned()).collect::<Vec<_>>(), g.ty(seed).clone());
        let mut executor = Executor::new(&device(), Arc::new(g), &gradients)?;
        let mut numbers = Numbers::new(3);
        for name in &names {
            let value = executor.graph().find(name).expect("it is a variable");
            let mut tensor = numbers.tensor(executor.graph().shape(value).dims());
            if name.ends_with("variance") {
                tensor.values_mut::<f32>()?.iter_mut().for_each(|v| *v = v.abs() + 0.1);
            }
            // Not all of them are in the plan of the gradients.
            if executor.plan().place(value).is_some() {
                executor.set(name, &tensor)?;
            }
        }
        executor.run(&[(x, &numbers.tensor(&[2, 6, 5, 3])), (seed, &numbers.tensor(ty.shape.dims()))])?;
        results.push(gradients.iter().map(|value| executor.output(*value)).collect::<Result<_>>()?);
    }
    for (plain, fused) in results[0].iter().zip(&results[1]) {
        let (plain, fused) = (plain.values::<f32>()?, fused.values::<f32>()?);
        let largest = plain.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        assert!(largest > 1e-3, "{plain:?}");
        assert!(plain.iter().zip(fused).all(|(a, b)| (a - b).abs() <= 1e-4 * largest), "{plain:?}\n{fused:?}");
    }
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
fn a_dump_fits_a_screen_however_many_values_a_node_takes() -> Result<()> {
    let mut g = Graph::new();
    let parts: Vec<Value> =
        (0..100).map(|i| g.variable(&format!("part{i}"), TensorType::f32([2]))).collect::<Result<_>>()?;
    let whole = g.concat(&parts, 0)?;
    let dump = Dump::new(&g, &[whole], &device())?;
    let text = dump.text();
    assert!(text.contains("part7:f32[2] and 92 more"), "{text}");
    assert!(text.lines().all(|line| line.len() < 300), "{text}");
    assert_eq!(dump.json()["nodes"][0]["inputs"].as_array().map_or(0, Vec::len), 100);
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
    assert!(json["nodes"].as_array().is_some_and(|nodes| nodes.iter().all(|node| node["name"] != "")), "{json}");
    assert!(nodes > 7 && json["peak_bytes"].as_u64() > Some(0));
    // The first convolution alone: 2 x 6 x 5 outputs of 4 channels, 27 products each, two operations a product.
    assert!(dump.cost().flops > 2 * 60 * 4 * 27);
    Ok(())
}
