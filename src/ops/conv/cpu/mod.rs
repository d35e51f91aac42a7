//! Convolution on the CPU. Forward and data gradient are one computation, a [`correlation`], cut by a [`plan`] into register
//! tiles of the kernel that matrix products use; the weight gradient feeds the same kernel from rows of pixels.

mod correlation;
mod cut;
mod input;
mod plan;
mod run;
mod weights;

use super::Geometry;
use super::attrs::FusedInputs;
use crate::device::Cpu;
use crate::ops::matmul::finish::{Beside, Finish};
use crate::ops::matmul::kernel::PANEL;
use crate::ops::matmul::pack::{pack_panel, pack_panel_transposed, panel_len};
use crate::ops::{Scratch, Workspace};

pub(crate) use plan::Direction;

use plan::{Plan, TileAxis, weights_len};

/// Memory for packed weights and packed input.
pub(super) fn workspace(cpu: &Cpu, g: &Geometry, direction: Direction, counts: bool) -> Workspace {
    let c = direction.correlation(g, counts);
    Workspace {
        packed: Scratch::bytes::<f32>(weights_len(&c)),
        scratch: Scratch::bytes::<f32>(Plan::max_packed(cpu.isa(), &c, counts)),
    }
}

/// The variant: rows x columns of its tiles and the axis that their rows run along.
pub(super) fn kernel_name(cpu: &Cpu, op: &str, g: &Geometry, direction: Direction, counts: bool) -> String {
    let plan = Plan::new(cpu.isa(), &direction.correlation(g, counts), g.n);
    let axis = match plan.axis {
        TileAxis::Maps => "maps",
        TileAxis::Spatial(axis) => ["t", "y", "x"][axis],
    };
    let (rows, columns) = (plan.tiling.max_rows(), plan.tiling.panels * PANEL);
    format!("{op}_f32_{}_{rows}x{columns}_along_{axis}", cpu.isa())
}

/// Packs `w [kernel.., Cin, Cout]` for the direction.
pub(super) fn pack(cpu: &Cpu, g: &Geometry, direction: Direction, w: &[f32], packed: &mut [f32]) {
    let (isa, taps) = (cpu.isa(), g.taps());
    let size = g.cin * g.cout;
    match direction {
        Direction::Forward => {
            let k = taps * g.cin;
            cpu.parallel_chunks(packed, panel_len(k), |panel, to| pack_panel(w, g.cout, k, g.cout, panel * PANEL, to));
        }
        Direction::Backward => cpu.parallel_chunks(packed, panel_len(taps * g.cout), |panel, to| {
            for (w, to) in w.chunks_exact(size).zip(to.chunks_exact_mut(g.cout * PANEL)) {
                pack_panel_transposed(isa, w, g.cout, g.cout, g.cin, panel * PANEL, to);
            }
        }),
    }
}

/// `to = relu?(correlation(from, weights) + bias + residual)`, zero where the mask is not positive. A residual or mask that is
/// empty lies in `to`.
#[allow(clippy::too_many_arguments, reason = "operands, extents and what is fused: all of them are needed")]
pub(super) fn correlate(
    cpu: &Cpu,
    g: &Geometry,
    direction: Direction,
    from: &[f32],
    packed: &[u8],
    fused: FusedInputs<'_>,
    relu: bool,
    to: &mut [f32],
    scratch: &mut [u8],
) {
    let c = direction.correlation(g, fused.counts.is_some());
    let beside = |operand| Beside::new(operand, to.len());
    let (residual, mask) = (beside(fused.residual), beside(fused.mask));
    let finish = Finish { bias: fused.bias, residual, relu, mask, columns: c.channels_out };
    let len = scratch.len() / size_of::<f32>();
    let scratch = Scratch::new(scratch).take::<f32>(len);
    run::run(cpu, &c, from, bytemuck::cast_slice(packed), finish, fused.counts, to, scratch);
}

/// Memory for the weight gradient.
pub(super) fn wgrad_workspace(cpu: &Cpu, g: &Geometry, counts: bool) -> Workspace {
    Workspace { packed: 0, scratch: cut::Cut::new(g, counts).scratch(cpu.threads()) }
}

/// `dw = sum over pixels of x^T dy`.
pub(super) fn wgrad(
    cpu: &Cpu,
    g: &Geometry,
    x: &[f32],
    dy: &[f32],
    counts: Option<&[i32]>,
    dw: &mut [f32],
    scratch: &mut [u8],
) {
    weights::wgrad(cpu, g, x, dy, counts, dw, scratch);
}
