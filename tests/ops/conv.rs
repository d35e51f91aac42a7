//! Convolutions against plain loops, gradients against finite differences.

use std::sync::Arc;

use sarcomere::Result;
use sarcomere::device::cpu::Isa;
use sarcomere::device::{Cpu, Device};
use sarcomere::graph::{Executor, Graph, Value};
use sarcomere::ops::conv::ConvAttrs;
use sarcomere::ops::conv::problem::{ConvProblem, Pass};
use sarcomere::ops::problem::{Numbers, Problem};

use crate::everywhere::check_everywhere;
use sarcomere::tensor::Tensor;

#[test]
fn random_convolutions() {
    for seed in 0..80 {
        let problem = ConvProblem::random(&mut Numbers::new(seed));
        check_everywhere(&problem, seed).unwrap_or_else(|error| panic!("{error}"));
    }
}

/// Shapes of the networks, shrunk where that keeps the way they are cut: tiles of maps, along time, along rows, several
/// units, several groups of pixels, more packed input than is kept at a time.
#[test]
fn shapes_of_the_networks() {
    let same = |input: &[usize], kernel: &[usize], stride: &[usize]| ConvAttrs::same(input, kernel, stride);
    let dense = ConvAttrs::valid(0);
    let problems = [
        ConvProblem::new(2, &[40, 4, 8], &[15, 3, 3], 16, 16, same(&[40, 4, 8], &[15, 3, 3], &[1, 1, 1])),
        ConvProblem::new(1, &[70, 8, 8], &[15, 5, 5], 1, 16, same(&[70, 8, 8], &[15, 5, 5], &[1, 2, 2])),
        ConvProblem::new(1, &[40, 16, 16], &[7, 7, 7], 1, 8, same(&[40, 16, 16], &[7, 7, 7], &[5, 2, 2])),
        ConvProblem::new(30, &[4, 5], &[3, 3], 40, 48, same(&[4, 5], &[3, 3], &[1, 1])),
        ConvProblem::new(30, &[4, 5], &[3, 3], 40, 48, same(&[4, 5], &[3, 3], &[1, 1])).with_counts(&[4, 0, 10]),
        ConvProblem::new(1, &[8, 8], &[3, 3], 32, 80, same(&[8, 8], &[3, 3], &[1, 1])),
        ConvProblem::new(2, &[16, 16], &[1, 1], 64, 128, ConvAttrs::valid(2).with_stride(&[2, 2])),
        ConvProblem::new(300, &[], &[], 100, 70, dense.clone()),
        ConvProblem::new(300, &[], &[], 100, 70, dense.clone()).with_counts(&[7, 0, 100]),
        ConvProblem::new(1, &[], &[], 700, 300, dense.clone()),
        ConvProblem::new(1500, &[], &[], 1600, 2, dense),
        ConvProblem::new(3, &[50], &[5], 100, 12, same(&[50], &[5], &[1])),
        ConvProblem::new(12, &[14, 14], &[2, 2], 20, 64, ConvAttrs::valid(2).with_stride(&[2, 2])),
        // A window that covers its input: a dense layer.
        ConvProblem::new(20, &[7, 7], &[7, 7], 6, 70, ConvAttrs::valid(2)).with_counts(&[4, 9]),
    ];
    for problem in problems {
        for pass in [Pass::Forward, Pass::Data, Pass::Weights] {
            check_everywhere(&problem.clone().with_pass(pass), 1).unwrap_or_else(|error| panic!("{error}"));
        }
    }
}

/// The same bits with any number of threads, for every pass, with and without counts.
#[test]
fn threads_do_not_change_bits() {
    let problem = ConvProblem::new(12, &[9, 7], &[3, 3], 40, 50, ConvAttrs::same(&[9, 7], &[3, 3], &[1, 1]));
    let strided = ConvProblem::new(3, &[30, 9, 9], &[5, 3, 3], 3, 20, ConvAttrs::valid(3).with_stride(&[2, 2, 1]));
    let dense = ConvProblem::new(90, &[], &[], 300, 260, ConvAttrs::valid(0));
    for problem in [problem.clone(), problem.with_counts(&[2, 6]), strided, dense] {
        for pass in [Pass::Forward, Pass::Data, Pass::Weights] {
            let problem = problem.clone().with_pass(pass);
            let run = |threads: usize| {
                let device = Device::Cpu(Arc::new(Cpu::with(threads, Isa::detect())));
                let inputs = problem.inputs(7);
                let mut graph = Graph::new();
                let declare = |(i, tensor): (usize, &Tensor)| graph.input(&format!("input{i}"), tensor.ty().clone());
                let values: Vec<Value> = inputs.iter().enumerate().map(declare).collect::<Result<_>>()?;
                let output = problem.build(&mut graph, &values)?;
                let mut executor = Executor::new(&device, Arc::new(graph), &output)?;
                executor.run(&values.into_iter().zip(&inputs).collect::<Vec<_>>())?;
                Ok(executor.output(output[0])?.bytes().to_vec())
            };
            let outcomes: Result<Vec<Vec<u8>>> = [1, 2, 3, 7].into_iter().map(run).collect();
            let outcomes = outcomes.unwrap_or_else(|error| panic!("{error}"));
            assert!(outcomes.iter().all(|bits| *bits == outcomes[0]), "{problem:?}");
        }
    }
}
