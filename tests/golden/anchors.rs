//! Anchors.

use sarcomere::detector::anchors::{AnchorSizes, anchors_normalised, anchors_px};
use sarcomere::tensor::Tensor;

use crate::case::{Case, each_case};

/// The anchors of a case: pixels and normalised, `[A, 4]`.
pub fn of_case(case: &Case, image: [usize; 2]) -> [Tensor; 2] {
    let sizes = AnchorSizes::ScalesAndRatios { scales: case.list("scales"), ratios: case.list("ratios") };
    let strides: Vec<usize> = case.list("strides").iter().map(|v| *v as usize).collect();
    let cells: Vec<[usize; 2]> = strides.iter().map(|stride| image.map(|n| n.div_ceil(*stride))).collect();
    let px = anchors_px(&sizes, &strides, &cells).unwrap();
    let norm = anchors_normalised(&px, image);
    [px, norm].map(|boxes| Tensor::new([boxes.len(), 4], boxes.as_flattened()).unwrap())
}

#[test]
fn anchors() {
    each_case("anchors", |case| {
        let [px, norm] = of_case(case, case.usizes("image"));
        case.expect("px", &px);
        case.expect("norm", &norm);
    });
}
