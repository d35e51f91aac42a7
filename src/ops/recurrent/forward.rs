//! The forward pass: every task carries a group of sequences through one direction.

use super::cell;
use super::scan::GruScan;
use super::work::{Extents, Packed};
use crate::device::Cpu;
use crate::ops::disjoint::Disjoint;
use crate::ops::matmul::gemm;
use crate::ops::{CpuArgs, Scratch};
use crate::{Error, Result};

/// Floats of a worker: states, products, r h, and what the product needs.
fn worker_len(extents: &Extents) -> usize {
    let (group, u) = (extents.group(), extents.units);
    (5 * group * u + gemm::scratch_len(group, u)).next_multiple_of(16)
}

pub(super) fn scratch_bytes(cpu: &Cpu, extents: &Extents) -> usize {
    Scratch::bytes::<f32>(cpu.threads() * worker_len(extents))
}

pub(super) fn run(cpu: &Cpu, op: &GruScan, args: &mut CpuArgs<'_>) -> Result<()> {
    let inputs = args.inputs;
    let d = op.directions();
    let [y, last, saved] = &mut *args.outputs else { return Err(Error::op("gru_scan", "has 3 outputs")) };
    let extents = op.extents(inputs[0].ty(), inputs[d].ty());
    let Extents { t: steps, units: u, .. } = extents;
    let first_optional = op.first_optional();
    let initial = op.initial_state.then(|| inputs[first_optional].f32());
    let counts = inputs.get(first_optional + usize::from(op.initial_state)).map(|counts| counts.i32());
    let (y, last, saved) = (y.f32(), last.f32(), saved.f32());
    for (to, blocks) in [(&mut *y, 1), (&mut *last, 1), (&mut *saved, d)] {
        extents.clear_invalid(counts, to, blocks);
    }
    let layout = Packed::forward(u, op.reset_after);
    let packed = args.packed;
    let hard = cell::is_hard(op.recurrent_activation);
    let workers = Disjoint::new(
        Scratch::new(args.scratch).take::<f32>(cpu.threads() * worker_len(&extents)),
        worker_len(&extents),
    );
    let (y_runs, last_runs, saved_runs) =
        (Disjoint::new(y, u), Disjoint::new(&mut *last, u), Disjoint::new(&mut *saved, op.saved() * u));
    let (keep_last, keep_saved) = (!last_runs.is_empty(), !saved_runs.is_empty());
    extents.for_groups(cpu, counts, |direction, rows, worker| {
        let m = rows.len();
        // SAFETY: a worker runs one task at a time.
        let (h, rest) = unsafe { workers.run(worker) }.split_at_mut(m * u);
        let (q, rest) = rest.split_at_mut(3 * m * u);
        let (rh, scratch) = rest.split_at_mut(m * u);
        let projection = inputs[direction].f32();
        let bias = if op.reset_after { inputs[2 * d + direction].f32() } else { &[] };
        let [first, second] = layout.parts(packed, direction);
        for (h, row) in h.chunks_exact_mut(u.max(1)).zip(rows) {
            match initial {
                Some(initial) => h.copy_from_slice(&initial[(row * d + direction) * u..][..u]),
                None => h.fill(0.0),
            }
        }
        for step in 0..steps {
            let t = if op.reverse[direction] { steps - 1 - step } else { step };
            let backwards = step % 2 == 1;
            let a = |i: usize| &projection[(rows[i] * steps + t) * 3 * u..][..3 * u];
            // SAFETY: a sequence and direction belong to one task.
            let keep = |i: usize| unsafe { saved_runs.run((direction * extents.n + rows[i]) * steps + t) };
            match extents.is_single() {
                true => first.run_spread(cpu, backwards, h, q),
                false => first.run(cpu, backwards, false, m, (h, u), (q, 3 * u), scratch),
            }
            if !op.reset_after {
                for i in 0..m {
                    let (q, h, rh) = (&mut q[3 * i * u..][..3 * u], &h[i * u..][..u], &mut rh[i * u..][..u]);
                    cell::gates_before(cpu.isa(), hard, a(i), q, h, rh);
                }
                match extents.is_single() {
                    true => second.run_spread(cpu, backwards, rh, &mut q[2 * u..]),
                    false => second.run(cpu, backwards, false, m, (rh, u), (&mut q[2 * u..], 3 * u), scratch),
                }
            }
            for i in 0..m {
                let (q, h) = (&mut q[3 * i * u..][..3 * u], &mut h[i * u..][..u]);
                if !op.reset_after {
                    cell::step_before(cpu.isa(), a(i), q, h);
                    if keep_saved {
                        keep(i).copy_from_slice(q);
                    }
                } else if keep_saved {
                    cell::step_after_saving(cpu.isa(), hard, a(i), bias, q, h, keep(i));
                } else {
                    cell::step_after(cpu.isa(), hard, a(i), bias, q, h);
                }
                // SAFETY: as above.
                unsafe { y_runs.run((rows[i] * steps + t) * d + direction) }.copy_from_slice(h);
            }
        }
        if keep_last {
            for (h, row) in h.chunks_exact(u.max(1)).zip(rows) {
                // SAFETY: as above.
                unsafe { last_runs.run(row * d + direction) }.copy_from_slice(h);
            }
        }
    });
    Ok(())
}
