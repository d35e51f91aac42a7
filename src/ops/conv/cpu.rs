//! Plain loops over taps; the inner loop runs over contiguous channels.

use super::Geometry;
use super::attrs::FusedInputs;
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

fn finish(row: usize, fused: FusedInputs<'_>, relu: bool, y: &mut [f32], channels: usize) {
    let start = row * y.len();
    for (i, value) in y.iter_mut().enumerate() {
        *value += fused.bias.map_or(0.0, |bias| bias[i % channels]) + fused.residual.map_or(0.0, |r| r[start + i]);
        if relu {
            *value = value.max(0.0);
        }
    }
}

pub(super) fn fprop(cpu: &Cpu, g: &Geometry, x: &[f32], w: &[f32], fused: FusedInputs<'_>, relu: bool, y: &mut [f32]) {
    let (in_row, out_row) = (g.input_pixels() * g.cin, g.output_pixels() * g.cout);
    cpu.parallel_chunks(y, out_row, |row, y| {
        y.fill(0.0);
        if !is_valid_row(row, g.n, fused.counts) {
            return;
        }
        let x = &x[row * in_row..][..in_row];
        for (pixel, y) in y.chunks_exact_mut(g.cout).enumerate() {
            for_taps(g, pixel, |tap, from| {
                let w = &w[tap * g.cin * g.cout..][..g.cin * g.cout];
                for (x, w) in x[from * g.cin..][..g.cin].iter().zip(w.chunks_exact(g.cout)) {
                    y.iter_mut().zip(w).for_each(|(y, w)| *y += x * w);
                }
            });
        }
        finish(row, fused, relu, y, g.cout);
    });
}

pub(super) fn dgrad(
    cpu: &Cpu,
    g: &Geometry,
    dy: &[f32],
    w: &[f32],
    fused: FusedInputs<'_>,
    relu: bool,
    dx: &mut [f32],
) {
    let (in_row, out_row) = (g.input_pixels() * g.cin, g.output_pixels() * g.cout);
    cpu.parallel_chunks(dx, in_row, |row, dx| {
        dx.fill(0.0);
        if !is_valid_row(row, g.n, fused.counts) {
            return;
        }
        for (pixel, dy) in dy[row * out_row..][..out_row].chunks_exact(g.cout).enumerate() {
            for_taps(g, pixel, |tap, to| {
                let w = &w[tap * g.cin * g.cout..][..g.cin * g.cout];
                for (dx, w) in dx[to * g.cin..][..g.cin].iter_mut().zip(w.chunks_exact(g.cout)) {
                    *dx += dy.iter().zip(w).map(|(dy, w)| dy * w).sum::<f32>();
                }
            });
        }
        finish(row, fused, relu, dx, g.cin);
    });
}

pub(super) fn wgrad(cpu: &Cpu, g: &Geometry, x: &[f32], dy: &[f32], counts: Option<&[i32]>, dw: &mut [f32]) {
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
