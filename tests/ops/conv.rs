//! Convolutions against plain loops, gradients against finite differences.

use sarcomere::ops::conv::ConvAttrs;
use sarcomere::ops::conv::problem::{ConvProblem, Pass};
use sarcomere::ops::problem::{Numbers, check_everywhere};

#[test]
fn random_convolutions() {
    for seed in 0..100 {
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
    ];
    for problem in problems {
        for pass in [Pass::Forward, Pass::Data, Pass::Weights] {
            check_everywhere(&problem.clone().with_pass(pass), 1).unwrap_or_else(|error| panic!("{error}"));
        }
    }
}
