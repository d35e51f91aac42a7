//! The ops that move values as test problems.

use crate::Result;
use crate::graph::{Graph, Value};
use crate::ops::problem::{Data, Numbers, Problem, Real};
use crate::tensor::Tensor;

/// Which op, with its attributes.
#[derive(Clone, Debug)]
pub enum Move {
    /// Another shape.
    Reshape(Vec<usize>),
    /// A permutation of the axes.
    Transpose(Vec<usize>),
    /// `parts` tensors of growing extent along `axis`.
    Concat {
        /// The axis.
        axis: usize,
        /// Number of tensors; tensor `i` has `i` more entries than the shape says.
        parts: usize,
    },
    /// Entries of an axis: axis, start, number, step.
    Slice(usize, usize, usize, usize),
    /// Border widths and what fills them.
    Pad(Vec<[usize; 2]>, f32),
    /// 2 x 2 copies.
    Upsample,
    /// Stretched to a shape.
    Broadcast(Vec<usize>),
    /// Rows by index.
    Gather(Vec<i32>),
    /// Windows of a size round the centres of boxes.
    Crop([usize; 2], Vec<f32>),
}

/// One op that moves values.
#[derive(Clone, Debug)]
pub struct MoveProblem {
    /// Shape of the (first) input.
    pub shape: Vec<usize>,
    /// The op.
    pub op: Move,
}

impl MoveProblem {
    /// Every op in turn, with attributes that fit.
    pub fn random(numbers: &mut Numbers) -> Self {
        let turn = numbers.turn(12);
        if turn == 11 {
            let shape: Vec<usize> = (0..4).map(|_| numbers.integer(1, 9)).collect();
            // Some reach over the edge, some are empty.
            let boxes = (0..4 * shape[0]).map(|_| numbers.integer(0, 10) as f32).collect();
            return Self { shape, op: Move::Crop([numbers.integer(1, 6), numbers.integer(1, 6)], boxes) };
        }
        let rank = if turn == 8 { 3 } else { numbers.integer(1, 4) };
        let mut shape: Vec<usize> = (0..rank).map(|_| numbers.integer(1, 9)).collect();
        let axis = numbers.integer(0, rank - 1);
        let op = match turn {
            0 => Move::Reshape(vec![1, shape.iter().product()]),
            1 => {
                shape.iter_mut().for_each(|extent| *extent *= numbers.integer(1, 4));
                let mut permutation: Vec<usize> = (0..rank).collect();
                (1..rank).for_each(|i| permutation.swap(i, numbers.integer(0, i)));
                Move::Transpose(permutation)
            }
            // Squares of 32 x 32, some of them cut off.
            8 => {
                shape = vec![numbers.integer(1, 3), numbers.integer(8, 70), numbers.integer(8, 70)];
                Move::Transpose(vec![0, 2, 1])
            }
            2 | 9 => Move::Concat { axis, parts: numbers.integer(1, 3) },
            3 | 10 => {
                let (step, start) = (numbers.integer(1, 3), numbers.integer(0, shape[axis] - 1));
                Move::Slice(axis, start, numbers.integer(0, (shape[axis] - 1 - start) / step + 1), step)
            }
            4 => {
                let padding = (0..rank).map(|_| [numbers.integer(0, 3), numbers.integer(0, 3)]).collect();
                Move::Pad(padding, numbers.uniform(-1.0, 1.0))
            }
            5 => {
                shape.resize(4, 3);
                Move::Upsample
            }
            6 => {
                let to =
                    shape.iter().map(|extent| if *extent == 1 { numbers.integer(1, 4) } else { *extent }).collect();
                Move::Broadcast([vec![2; numbers.integer(0, 1)], to].concat())
            }
            _ => {
                let rows = shape[0] as i32;
                Move::Gather(
                    (0..numbers.integer(1, 12)).map(|_| numbers.integer(0, rows as usize + 1) as i32 - 1).collect(),
                )
            }
        };
        Self { shape, op }
    }

    fn part_shape(&self, part: usize) -> Vec<usize> {
        let mut shape = self.shape.clone();
        if let Move::Concat { axis, .. } = self.op {
            shape[axis] += part;
        }
        shape
    }
}

/// Every index of a shape, in row-major order.
fn indices(shape: &[usize]) -> impl Iterator<Item = Vec<usize>> + '_ {
    (0..shape.iter().product::<usize>()).map(|i| {
        let mut rest = i;
        let mut index: Vec<usize> = shape.iter().rev().map(|d| (rest % d, rest /= d).0).collect();
        index.reverse();
        index
    })
}

fn at(shape: &[usize], index: &[usize]) -> usize {
    shape.iter().zip(index).fold(0, |at, (extent, i)| at * extent + i)
}

impl Problem for MoveProblem {
    fn inputs(&self, seed: u64) -> Vec<Tensor> {
        let mut numbers = Numbers::new(seed);
        let parts = if let Move::Concat { parts, .. } = self.op { parts } else { 1 };
        let mut inputs: Vec<Tensor> = (0..parts).map(|part| numbers.tensor(&self.part_shape(part))).collect();
        if let Move::Gather(indices) = &self.op {
            inputs.push(Numbers::ints(indices));
        }
        if let Move::Crop(_, boxes) = &self.op {
            inputs.push(Tensor::new([boxes.len() / 4, 4], boxes).expect("four numbers a box"));
        }
        inputs
    }

    fn build(&self, graph: &mut Graph, inputs: &[Value]) -> Result<Vec<Value>> {
        let x = inputs[0];
        Ok(vec![match &self.op {
            Move::Reshape(shape) => graph.reshape(x, shape.clone())?,
            Move::Transpose(permutation) => graph.transpose(x, permutation)?,
            Move::Concat { axis, .. } => graph.concat(inputs, *axis)?,
            Move::Slice(axis, start, len, step) => graph.slice(x, *axis, *start, *len, *step)?,
            Move::Pad(padding, value) => graph.pad(x, padding, *value)?,
            Move::Upsample => graph.upsample_nearest_2x(x)?,
            Move::Broadcast(shape) => graph.broadcast_to(x, shape.clone())?,
            Move::Gather(_) => graph.gather_rows(x, inputs[1])?,
            Move::Crop(size, _) => graph.crop_windows(x, inputs[1], *size)?,
        }])
    }

    fn reference<R: Real>(&self, inputs: &[Data<R>]) -> Vec<Vec<R>> {
        let x = inputs[0].real();
        let shape = &self.shape;
        let pick = |to: Vec<usize>, from: &dyn Fn(&[usize]) -> Option<Vec<usize>>, other: R| -> Vec<R> {
            indices(&to).map(|index| from(&index).map_or(other, |index| x[at(shape, &index)])).collect()
        };
        let zero = R::of(0.0);
        vec![match &self.op {
            Move::Reshape(_) => x.to_vec(),
            Move::Transpose(permutation) => {
                let to = permutation.iter().map(|axis| shape[*axis]).collect();
                let source = |index: &[usize]| {
                    let mut from = vec![0; index.len()];
                    permutation.iter().zip(index).for_each(|(axis, i)| from[*axis] = *i);
                    Some(from)
                };
                pick(to, &source, zero)
            }
            Move::Concat { axis, parts } => {
                let mut to = shape.clone();
                to[*axis] = (0..*parts).map(|part| self.part_shape(part)[*axis]).sum();
                let value = |mut index: Vec<usize>| {
                    let mut part = 0;
                    while index[*axis] >= self.part_shape(part)[*axis] {
                        index[*axis] -= self.part_shape(part)[*axis];
                        part += 1;
                    }
                    inputs[part].real()[at(&self.part_shape(part), &index)]
                };
                indices(&to).map(value).collect()
            }
            Move::Slice(axis, start, len, step) => {
                let mut to = shape.clone();
                to[*axis] = *len;
                let source = |index: &[usize]| {
                    let mut from = index.to_vec();
                    from[*axis] = start + step * from[*axis];
                    Some(from)
                };
                pick(to, &source, zero)
            }
            Move::Pad(padding, value) => {
                let to = shape.iter().zip(padding).map(|(extent, [before, after])| extent + before + after).collect();
                let source = |index: &[usize]| {
                    let inside = |axis: usize| {
                        index[axis].checked_sub(padding[axis][0]).filter(|position| *position < shape[axis])
                    };
                    (0..index.len()).map(inside).collect()
                };
                pick(to, &source, R::of(*value as f64))
            }
            Move::Upsample => {
                let to = vec![shape[0], 2 * shape[1], 2 * shape[2], shape[3]];
                pick(to, &|i| Some(vec![i[0], i[1] / 2, i[2] / 2, i[3]]), zero)
            }
            Move::Broadcast(to) => {
                let extra = to.len() - shape.len();
                let source = |i: &[usize]| Some(i[extra..].iter().zip(shape).map(|(i, d)| *i.min(&(d - 1))).collect());
                pick(to.clone(), &source, zero)
            }
            Move::Gather(rows) => {
                let to = [&[rows.len()], &shape[1..]].concat();
                let source = |index: &[usize]| {
                    let row = usize::try_from(rows[index[0]]).ok().filter(|row| *row < shape[0])?;
                    Some([&[row], &index[1..]].concat())
                };
                pick(to, &source, zero)
            }
            Move::Crop(size, boxes) => {
                let to = vec![shape[0], shape[1], size[0], size[1]];
                let source = |i: &[usize]| {
                    let bounds = &boxes[4 * i[0]..4 * i[0] + 4];
                    let place = |axis: usize| {
                        let centre = ((bounds[axis] + bounds[axis + 2]) / 2.0) as usize + i[2 + axis];
                        let place = centre.checked_sub(size[axis] / 2)?;
                        (place < shape[2 + axis] && bounds[axis] < bounds[axis + 2]).then_some(place)
                    };
                    Some(vec![i[0], i[1], place(0)?, place(1)?])
                };
                pick(to, &source, zero)
            }
        }]
    }

    fn differentiable(&self) -> Vec<usize> {
        match self.op {
            Move::Concat { parts, .. } => (0..parts).collect(),
            Move::Crop(..) => vec![],
            _ => vec![0],
        }
    }
}
