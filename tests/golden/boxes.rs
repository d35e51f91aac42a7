//! Box arithmetic.

use sarcomere::ops::boxes::BoxNorm;

use crate::case::{each_case, run};

#[test]
fn boxes() {
    each_case("boxes", |case| {
        let image = case.usizes::<2>("image");
        let window = case.values("window").try_into().unwrap();
        let names = ["px", "b", "deltas", "gt", "unclipped"];
        let inputs = names.map(|name| case.tensor(name).to_f32());
        let none = [1.0; 4];
        let out = run(&inputs, |g, v| {
            Ok(vec![
                g.box_normalise(v[0], image, BoxNorm::Inclusive, None)?,
                g.box_to_pixels(v[1], image, BoxNorm::Inclusive, true, None)?,
                g.box_decode(v[1], v[2], none, None, None)?,
                g.box_encode(v[1], v[3], none, None)?,
                g.box_clip(v[4], window, None)?,
                g.box_iou(v[1], v[3])?,
            ])
        });
        for (name, out) in ["norm", "denorm", "applied", "refine", "clipped", "iou"].iter().zip(&out) {
            case.expect(name, out);
        }
        let pixels: Vec<i32> = out[1].values::<f32>().unwrap().iter().map(|v| *v as i32).collect();
        assert_eq!(pixels, case.ints("denorm"), "{}", case.name);
    });
}
