//! Plain loops over taps; the inner loop runs over contiguous channels.

use super::super::Geometry;
use crate::device::Cpu;
use crate::ops::is_valid_row;

/// Calls `body(tap, input pixel)` for every tap of the window at output pixel `pixel` that lies inside the map.
fn for_taps(g: &Geometry, pixel: usize, mut body: impl FnMut(usize, usize)) {
    let at = [pixel / (g.output[1] * g.output[2]), pixel / g.output[2] % g.output[1], pixel % g.output[2]];
    let source = |i: usize, k: usize| {
        let at = (at[i] * g.stride[i] + k * g.dilation[i]).wrapping_sub(g.before[i]);
        (at < g.input[i]).then_some(at)
    };
    for a in 0..g.kernel[0] {
        let Some(t) = source(0, a) else { continue };
        for b in 0..g.kernel[1] {
            let Some(y) = source(1, b) else { continue };
            for c in 0..g.kernel[2] {
                if let Some(x) = source(2, c) {
                    let tap = (a * g.kernel[1] + b) * g.kernel[2] + c;
                    body(tap, (t * g.input[1] + y) * g.input[2] + x);
                }
            }
        }
    }
}

pub(in crate::ops::conv) fn wgrad(
    cpu: &Cpu,
    g: &Geometry,
    x: &[f32],
    dy: &[f32],
    counts: Option<&[i32]>,
    dw: &mut [f32],
) {
    let (in_row, out_row) = (g.input_pixels() * g.cin, g.output_pixels() * g.cout);
    cpu.parallel_chunks(dw, g.cin * g.cout, |tap, dw| {
        dw.fill(0.0);
        for row in (0..g.n).filter(|row| is_valid_row(*row, g.n, counts)) {
            let x = &x[row * in_row..][..in_row];
            for (pixel, dy) in dy[row * out_row..][..out_row].chunks_exact(g.cout).enumerate() {
                for_taps(g, pixel, |this, from| {
                    if this == tap {
                        for (x, dw) in x[from * g.cin..][..g.cin].iter().zip(dw.chunks_exact_mut(g.cout)) {
                            dw.iter_mut().zip(dy).for_each(|(dw, dy)| *dw += x * dy);
                        }
                    }
                });
            }
        }
    });
}
