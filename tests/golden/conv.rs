//! Convolutions, transposed convolutions, dense layers: outputs and all gradients.

use sarcomere::Result;
use sarcomere::graph::{Graph, Value};
use sarcomere::ops::conv::{ConvAttrs, Extras};

use crate::case::{Case, each_case, run};

/// Runs `build(graph, x, w, bias)` and compares the result and the gradients of x, w and bias for the upstream `dy`.
fn expect(case: &Case, build: impl FnOnce(&mut Graph, Value, Value, Value) -> Result<Value>) {
    let inputs = ["x", "w", "b", "dy"].map(|name| case.tensor(name));
    let found = run(&inputs, |g, v| {
        let y = build(g, v[0], v[1], v[2])?;
        let gradients = g.gradients_from(&[(y, v[3])], &v[..3])?;
        Ok([vec![y], gradients].concat())
    });
    for (name, found) in ["y", "dx", "dw", "db"].iter().zip(&found) {
        case.expect(name, found);
    }
}

fn strides(case: &Case) -> Vec<usize> {
    case.list("strides").iter().map(|stride| *stride as usize).collect()
}

fn convolution(case: &Case) {
    let stride = strides(case);
    let (x, w) = (case.tensor("x"), case.tensor("w"));
    let dims = stride.len();
    let attrs = match case.str("padding") {
        "SAME" => ConvAttrs::same(&x.shape().dims()[1..=dims], &w.shape().dims()[..dims], &stride),
        "VALID" => ConvAttrs::valid(dims).with_stride(&stride),
        other => panic!("{}: unknown padding '{other}'", case.name),
    };
    let pads = case.get("pads").as_array().unwrap_or_else(|| panic!("{}: pads is no list", case.name));
    for (expected, found) in pads.iter().zip(&attrs.padding) {
        assert_eq!(expected, &serde_json::json!(found), "{} padding", case.name);
    }
    expect(case, |g, x, w, b| g.conv(x, w, &attrs, Extras::bias(b)));
}

#[test]
fn conv2d() {
    each_case("conv2d", convolution);
}

#[test]
fn conv3d() {
    each_case("conv3d", convolution);
}

#[test]
fn conv2d_transpose() {
    each_case("conv2d_transpose", |case| {
        let stride = strides(case);
        let (w, y) = (case.tensor("w"), case.tensor("y"));
        let (kernel, output) = (&w.shape().dims()[..2], &y.shape().dims()[1..3]);
        let attrs = match case.str("padding") {
            "SAME" => ConvAttrs::same(output, kernel, &stride),
            "VALID" => ConvAttrs::valid(2).with_stride(&stride),
            other => panic!("{}: unknown padding '{other}'", case.name),
        };
        if (kernel, &stride[..]) == (&[2, 2], &[2, 2]) {
            expect(case, |g, x, w, b| g.conv_transpose_2x2(x, w, false, Extras::bias(b)));
        }
        expect(case, |g, x, w, b| g.conv_transpose(x, w, output, &attrs, Extras::bias(b)));
    });
}

#[test]
fn dense() {
    each_case("dense", |case| {
        let relu = match case.str("activation") {
            "relu" => true,
            "linear" => false,
            other => panic!("{}: unknown activation '{other}'", case.name),
        };
        expect(case, |g, x, w, b| g.dense(x, w, relu, Extras::bias(b)));
    });
}
