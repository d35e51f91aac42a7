//! CUDA launches of the elementwise ops; the kernels are in `kernels/elementwise.cu`.

use bytemuck::NoUninit;

use super::UnaryKind;
use super::cpu::{Axis, merged_axes};
use crate::device::cuda::{Arg, Launch, Types, Work};
use crate::ops::ensure;
use crate::tensor::Shape;
use crate::{Error, Result};

const SOURCE: &str = "elementwise";
/// Neighbouring values that a thread handles.
const WIDTH: usize = 4;
/// Tensors that one launch adds up.
pub(super) const TERMS: usize = 8;
const MAX_OUTER: usize = 7;

/// Axes of a broadcast as the kernels take them: an inner one, along which inputs step by 1 or 0, and outer ones, innermost
/// first.
#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct Broadcast {
    outer: i32,
    inner: i32,
    inner_a: i32,
    inner_b: i32,
    extent: [i32; MAX_OUTER],
    a: [i32; MAX_OUTER],
    b: [i32; MAX_OUTER],
}

/// A launch of the variant for the element type of output 0, which the inputs share.
fn stored(kernel: &str, types: &Types<'_>) -> Launch {
    Launch::stored(SOURCE, kernel, types.outputs[0].dtype)
}

/// Rounds to bf16.
pub(super) fn round_bf16(types: &Types<'_>) -> Work {
    let n = types.outputs[0].len();
    let launch = Launch::new("convert", "round_bf16").element("SOURCE", types.inputs[0].dtype);
    let launch = launch.element("RESULT", types.outputs[0].dtype).over(n);
    Work::of(launch.input(0).output(0).long(n))
}

pub(super) fn unary(name: &str, kind: UnaryKind, types: &Types<'_>) -> Work {
    let n = types.outputs[0].len();
    let launch = stored(name, types).over(n.div_ceil(WIDTH)).input(0).output(0).long(n);
    Work::of(match kind {
        UnaryKind::Affine { scale, offset } => launch.float(scale).float(offset),
        _ => launch,
    })
}

pub(super) fn unary_grad(name: &str, types: &Types<'_>) -> Work {
    let n = types.outputs[0].len();
    Work::of(stored(name, types).over(n.div_ceil(WIDTH)).input(0).input(1).output(0).long(n))
}

pub(super) fn binary(name: &str, types: &Types<'_>) -> Result<Work> {
    let (a, b, n) = (&types.inputs[0], &types.inputs[1], types.outputs[0].len());
    if a == b {
        return Ok(Work::of(stored(name, types).over(n.div_ceil(WIDTH)).input(0).input(1).output(0).long(n)));
    }
    let axes = merged_axes(&a.shape, &b.shape, &types.outputs[0].shape);
    broadcast(name, &format!("{name}_broadcast"), &axes, n, 1)
}

/// `x` repeated to a larger shape.
pub(crate) fn stretch(name: &str, x: &Shape, y: &Shape) -> Result<Work> {
    broadcast(name, name, &merged_axes(x, x, y), y.len(), 0)
}

/// Two inputs, the second being input `second`, over axes that step as given.
fn broadcast(op: &str, kernel: &str, axes: &[Axis], n: usize, second: usize) -> Result<Work> {
    if n == 0 {
        return Ok(Work::new());
    }
    let Some((inner, outer)) = axes.split_last() else { return Err(Error::op(op, "has no axes")) };
    ensure(op, outer.len() <= MAX_OUTER && i32::try_from(n).is_ok(), || {
        format!("the GPU broadcasts over at most {MAX_OUTER} separate axes and 2^31 - 1 values, asked for {axes:?}")
    })?;
    // Every step is less than the tensor's size, and so fits.
    let of = |step: fn(&Axis) -> usize| {
        let mut steps = [0; MAX_OUTER];
        steps.iter_mut().zip(outer.iter().rev()).for_each(|(to, axis)| *to = step(axis) as i32);
        steps
    };
    let structure = Broadcast {
        outer: outer.len() as i32,
        inner: inner.extent as i32,
        inner_a: inner.a as i32,
        inner_b: inner.b as i32,
        extent: of(|axis| axis.extent),
        a: of(|axis| axis.a),
        b: of(|axis| axis.b),
    };
    let (variant, width) = if inner.extent % WIDTH == 0 { ("_vec4", WIDTH) } else { ("", 1) };
    let launch = Launch::new(SOURCE, format!("{kernel}{variant}_f32")).over(n / width);
    Ok(Work::of(launch.input(0).input(second).output(0).int(n).structure(&structure)))
}

/// Adds from first to last: the first `TERMS` tensors, then what follows to what is there.
pub(super) fn sum_of(types: &Types<'_>) -> Work {
    let n = types.outputs[0].len();
    let mut work = Work::new();
    let mut next = 0;
    while next < types.inputs.len() {
        let begun = (next > 0).then_some(Arg::Output(0));
        let taken = (types.inputs.len() - next).min(TERMS - usize::from(begun.is_some()));
        let terms: Vec<Arg> = begun.into_iter().chain((next..next + taken).map(Arg::Input)).collect();
        let launch = stored("sum_of", types).over(n);
        let launch = (0..TERMS).fold(launch, |launch, i| launch.arg(terms.get(i).cloned().unwrap_or(Arg::Null)));
        work.launch(launch.int(terms.len()).output(0).long(n));
        next += taken;
    }
    work
}
