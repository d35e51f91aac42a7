//! Crops from feature maps.

use sarcomere::graph::Value;
use sarcomere::ops::roi::{LevelRule, RoiAlignAttrs};
use sarcomere::tensor::Tensor;

use crate::case::{Case, each_case, run};

/// The boxes (and upstream gradients) of each image together, padded to the largest number of them.
struct ByImage {
    rows: Vec<Vec<usize>>,
    each: usize,
}

impl ByImage {
    fn new(case: &Case, images: usize) -> Self {
        let index = case.ints("box_index");
        let rows: Vec<Vec<usize>> =
            (0..images).map(|n| (0..index.len()).filter(|i| index[*i] == n as i32).collect()).collect();
        let each = rows.iter().map(Vec::len).max().unwrap();
        Self { rows, each }
    }

    /// Rows of `from` in this order; padding is filled with a value that would show.
    fn gather(&self, from: &[f32], row: usize) -> Vec<f32> {
        let mut to = vec![0.37; self.rows.len() * self.each * row];
        for (n, rows) in self.rows.iter().enumerate() {
            for (slot, i) in rows.iter().enumerate() {
                let at = (n * self.each + slot) * row;
                to[at..at + row].copy_from_slice(&from[i * row..(i + 1) * row]);
            }
        }
        to
    }
}

#[test]
fn crop_and_resize() {
    each_case("crop_and_resize", |case| {
        let x = case.tensor("x");
        let order = ByImage::new(case, x.shape()[0]);
        let (images, each) = (order.rows.len(), order.each);
        let pool = case.usizes::<2>("crop_size");
        let row = pool[0] * pool[1] * x.shape().last();
        let attrs = RoiAlignAttrs { pool, level_rule: LevelRule::Fixed(0), clamp_edge: false };
        let counts: Vec<i32> = order.rows.iter().map(|rows| rows.len() as i32).collect();
        let boxes = Tensor::new([images, each, 4], &order.gather(&case.values("boxes"), 4)).unwrap();
        let crops = [images * each, pool[0], pool[1], x.shape().last()];
        let dy = Tensor::new(crops, &order.gather(&case.values("dy"), row)).unwrap();
        let out = run(&[boxes, x, Tensor::new([images], &counts).unwrap(), dy], |g, v| {
            let y = g.roi_align(v[0], &[v[1]], &attrs, Some(v[2]))?;
            let dx = g.gradients_from(&[(y, v[3])], &[v[1]])?;
            Ok(vec![y, dx[0]])
        });
        let expected = case.values("y");
        let (found, largest) = (out[0].values::<f32>().unwrap(), expected.iter().fold(0.0f32, |m, v| m.max(v.abs())));
        for n in 0..images {
            for slot in 0..each {
                let found = &found[(n * each + slot) * row..][..row];
                match order.rows[n].get(slot) {
                    Some(i) => found.iter().zip(&expected[i * row..(i + 1) * row]).for_each(|(f, e)| {
                        // Outside the map is exactly zero in both, or in neither.
                        assert!((f - e).abs() <= 1e-5 * largest, "{} box {i}: {f}, expected {e}", case.name);
                        assert_eq!(*f == 0.0, *e == 0.0, "{} box {i}: {f}, expected {e}", case.name);
                    }),
                    None => assert!(found.iter().all(|v| *v == 0.0), "{}: padding is not zero", case.name),
                }
            }
        }
        case.expect("dx", &out[1]);
    });
}

#[test]
fn pyramid_roi_align() {
    each_case("pyramid_roi_align", |case| {
        let levels = ["P2", "P3", "P4", "P5"];
        let rule = LevelRule::reference(case.usizes("image"));
        let attrs = RoiAlignAttrs::new(case.usize("pool"), rule);
        let boxes = case.values("boxes");
        let found: Vec<i32> =
            boxes.chunks(4).map(|b| 2 + rule.level([b[0], b[1], b[2], b[3]], levels.len()) as i32).collect();
        assert_eq!(found, case.ints("level"), "{}", case.name);
        let y = case.tensor("y");
        let rows: usize = y.shape()[0] * y.shape()[1];
        let crops = [rows, y.shape()[2], y.shape()[3], y.shape()[4]];
        let mut inputs = vec![case.tensor("boxes"), case.tensor("dy").reshaped(crops).unwrap()];
        inputs.extend(levels.map(|level| case.tensor(level)));
        let out = run(&inputs, |g, v| {
            let maps: &[Value] = &v[2..];
            let y = g.roi_align(v[0], maps, &attrs, None)?;
            let mut out = vec![y];
            out.extend(g.gradients_from(&[(y, v[1])], maps)?);
            Ok(out)
        });
        case.expect("y", &out[0]);
        levels.iter().zip(&out[1..]).for_each(|(level, out)| case.expect(&format!("d{level}"), out));
    });
}
