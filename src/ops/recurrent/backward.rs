//! The backward pass: the same groups as forward, from the last step to the first.

use super::cell;
use super::grad::GruScanGrad;
use super::work::{Extents, Packed};
use crate::Result;
use crate::device::Cpu;
use crate::ops::disjoint::Disjoint;
use crate::ops::matmul::gemm;
use crate::ops::{CpuArgs, Output, Scratch};

/// Every output of one kind, cut into rows of `len`.
fn rows_of<'a>(outputs: &'a mut [Output<'_>], len: usize) -> Vec<Disjoint<'a, f32>> {
    outputs.iter_mut().map(|output| Disjoint::new(output.f32(), len)).collect()
}

/// Floats of a worker: the state's gradient, gradients of the gates, the gradient of r h, an earlier state, and what the
/// product needs.
fn worker_len(extents: &Extents) -> usize {
    let (group, u) = (extents.group(), extents.units);
    (5 * group * u + u + gemm::scratch_len(group, 3 * u)).next_multiple_of(16)
}

pub(super) fn scratch_bytes(cpu: &Cpu, extents: &Extents) -> usize {
    Scratch::bytes::<f32>(cpu.threads() * worker_len(extents))
}

pub(super) fn run(cpu: &Cpu, op: &GruScanGrad, args: &mut CpuArgs<'_>) -> Result<()> {
    let (inputs, places, scan) = (args.inputs, op.places(), &op.scan);
    let d = scan.directions();
    let extents = op.extents(inputs[0].ty(), inputs[places.states].ty());
    let Extents { n, t: steps, units: u, .. } = extents;
    let (states, saved) = (inputs[places.states].f32(), inputs[places.saved].f32());
    let dstates = inputs[places.dstates].f32();
    let dlast = places.dlast.map(|at| inputs[at].f32());
    let initial = places.initial.map(|at| inputs[at].f32());
    let counts = inputs.get(places.counts).map(|counts| counts.i32());
    let layout = Packed::backward(u, scan.reset_after);
    let (packed, reset_after) = (args.packed, scan.reset_after);
    let hard = cell::is_hard(scan.recurrent_activation);
    let len = worker_len(&extents);
    let workers = Disjoint::new(Scratch::new(args.scratch).take::<f32>(cpu.threads() * len), len);
    for output in &mut *args.outputs {
        extents.clear_invalid(counts, output.f32(), 1);
    }
    let (da_out, rest) = args.outputs.split_at_mut(d);
    let (third_out, dinitial_out) = rest.split_at_mut(d);
    let da_runs = rows_of(da_out, 3 * u);
    let third_runs = rows_of(third_out, u);
    let dinitial_runs = rows_of(dinitial_out, u);
    extents.for_groups(cpu, counts, |direction, rows, worker| {
        let m = rows.len();
        // SAFETY: a worker runs one task at a time.
        let (dh, rest) = unsafe { workers.run(worker) }.split_at_mut(m * u);
        let (dq, rest) = rest.split_at_mut(3 * m * u);
        let (drh, rest) = rest.split_at_mut(m * u);
        let (zero, scratch) = rest.split_at_mut(u);
        zero.fill(0.0);
        let [first, second] = layout.parts(packed, direction);
        for (dh, row) in dh.chunks_exact_mut(u.max(1)).zip(rows) {
            match dlast {
                Some(dlast) => dh.copy_from_slice(&dlast[(row * d + direction) * u..][..u]),
                None => dh.fill(0.0),
            }
        }
        for step in (0..steps).rev() {
            let reverse = scan.reverse[direction];
            let t = if reverse { steps - 1 - step } else { step };
            let backwards = step % 2 == 1;
            let at = |i: usize| rows[i] * steps + t;
            let gates = |i: usize| &saved[(direction * n * steps + at(i)) * scan.saved() * u..][..scan.saved() * u];
            let earlier = |i: usize| match (step, initial) {
                (0, None) => &*zero,
                (0, Some(initial)) => &initial[(rows[i] * d + direction) * u..][..u],
                _ => {
                    let before = if reverse { at(i) + 1 } else { at(i) - 1 };
                    &states[(before * d + direction) * u..][..u]
                }
            };
            for i in 0..m {
                let dh = &mut dh[i * u..][..u];
                dh.iter_mut().zip(&dstates[(at(i) * d + direction) * u..]).for_each(|(dh, d)| *dh += *d);
                let da = &mut dq[3 * i * u..][..3 * u];
                cell::step_back(cpu.isa(), hard, reset_after, gates(i), earlier(i), dh, da);
            }
            if !reset_after {
                second.run(cpu, backwards, false, m, (&dq[2 * u..], 3 * u), (drh, u), scratch);
                for i in 0..m {
                    let (dh, da) = (&mut dh[i * u..][..u], &mut dq[3 * i * u..][..3 * u]);
                    cell::reset_back(cpu.isa(), hard, gates(i), earlier(i), &drh[i * u..][..u], dh, da);
                }
            }
            for i in 0..m {
                let dq = &mut dq[3 * i * u..][..3 * u];
                let r = &gates(i)[u..2 * u];
                // SAFETY: a sequence and direction belong to one task.
                unsafe { da_runs[direction].run(at(i)) }.copy_from_slice(dq);
                if reset_after {
                    dq[2 * u..].iter_mut().zip(r).for_each(|(dq, r)| *dq *= *r);
                }
                if !third_runs[direction].is_empty() {
                    // SAFETY: as above.
                    let third = unsafe { third_runs[direction].run(at(i)) };
                    if reset_after {
                        third.copy_from_slice(&dq[2 * u..]);
                    } else {
                        third.iter_mut().zip(r).zip(earlier(i)).for_each(|((to, r), h)| *to = *r * *h);
                    }
                }
            }
            first.run(cpu, backwards, true, m, (dq, 3 * u), (dh, u), scratch);
        }
        if !dinitial_runs[0].is_empty() {
            for (dh, row) in dh.chunks_exact(u.max(1)).zip(rows) {
                // SAFETY: as above.
                unsafe { dinitial_runs[0].run(row * d + direction) }.copy_from_slice(dh);
            }
        }
    });
    Ok(())
}
