//! Matrix products against plain loops, gradients against finite differences.

use sarcomere::device::cpu::Isa;
use sarcomere::ops::matmul::gemm::{self, Gemm};
use sarcomere::ops::matmul::problem::MatMulProblem;
use sarcomere::ops::problem::Numbers;

use crate::everywhere::check_everywhere;

#[test]
fn random_products() {
    for seed in 0..60 {
        let problem = MatMulProblem::random(&mut Numbers::new(seed));
        check_everywhere(&problem, seed).unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn large_products() {
    for (batch, m, n, k) in
        [(vec![], 200, 300, 150), (vec![9], 100, 120, 80), (vec![], 1, 900, 300), (vec![], 900, 1, 70)]
    {
        for transposed in 0..4 {
            let (transpose_a, transpose_b) = (transposed & 1 == 1, transposed & 2 == 2);
            let problem = MatMulProblem { batch: batch.clone(), m, n, k, transpose_a, transpose_b };
            check_everywhere(&problem, 3).unwrap_or_else(|error| panic!("{error}"));
        }
    }
}

/// The product that other bodies call: any part of the columns, strided operands, on top of what is there.
#[test]
fn packed_product_of_one_thread() {
    let mut numbers = Numbers::new(5);
    for isa in Isa::available() {
        for (m, n, k) in [(1, 40, 33), (1, 16, 1), (5, 3, 7), (31, 100, 20), (64, 48, 65)] {
            for transposed in [false, true] {
                let (lda, ldb, ldc) = (k + 3, if transposed { k } else { n } + 2, n + 5);
                let a = numbers.values(m * lda);
                let b = numbers.values(ldb * if transposed { n } else { k });
                let before = numbers.values(m * ldc);
                let mut packed = vec![f32::NAN; gemm::packed_len(k, n)];
                gemm::pack_b(isa, &b, ldb, transposed, k, n, &mut packed);
                let mut scratch = vec![f32::NAN; gemm::scratch_len(m, k)];
                let mut c = before.clone();
                let panels = n.div_ceil(16);
                for part in [0..panels / 2, panels / 2..panels] {
                    let gemm = Gemm { m, k, n, panels: part, accumulate: true };
                    gemm::run(isa, &gemm, &a, lda, &packed, &mut c, ldc, &mut scratch);
                }
                for i in 0..m {
                    for j in 0..ldc {
                        let term = |p: usize| {
                            a[i * lda + p] as f64 * b[if transposed { j * ldb + p } else { p * ldb + j }] as f64
                        };
                        let sum = if j < n { (0..k).map(term).sum::<f64>() } else { 0.0 };
                        let (found, expected) = (c[i * ldc + j] as f64, before[i * ldc + j] as f64 + sum);
                        let bound = (k + 1) as f64 * f32::EPSILON as f64;
                        assert!(
                            (found - expected).abs() <= bound,
                            "{isa} {m}x{n}x{k} [{i},{j}]: {found}, not {expected}"
                        );
                    }
                }
            }
        }
    }
}
