//! Convolutions of every kind as problems: forward, data gradient (transposed convolution) and weight gradient, with stride,
//! dilation, padding and counts together.

use super::{Conv, ConvAttrs, ConvDgrad, ConvWgrad, Fused, Geometry};
use crate::Result;
use crate::graph::{Graph, Value};
use crate::ops::is_valid_row;
use crate::ops::problem::{Data, Numbers, Problem, Real};
use crate::tensor::{Shape, Tensor};

/// Which of the three products is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// `y` from `x` and `w`.
    Forward,
    /// `dx` from `dy` and `w`.
    Data,
    /// `dw` from `x` and `dy`.
    Weights,
}

/// One convolution. Without spatial extents it is a dense layer with `rows` rows.
#[derive(Clone, Debug)]
pub struct ConvProblem {
    /// What is computed.
    pub pass: Pass,
    /// Leading axis.
    pub rows: usize,
    /// Spatial extents of `x`.
    pub input: Vec<usize>,
    /// Taps.
    pub kernel: Vec<usize>,
    /// Channels of `x`.
    pub cin: usize,
    /// Channels of `y`.
    pub cout: usize,
    /// Stride, dilation, padding, ReLU.
    pub attrs: ConvAttrs,
    /// Which optional inputs there are (only counts for the weight gradient).
    pub fused: Fused,
    /// Valid rows of each group, if `fused.counts`.
    pub counts: Vec<i32>,
}

impl ConvProblem {
    /// A forward convolution with nothing fused.
    pub fn new(rows: usize, input: &[usize], kernel: &[usize], cin: usize, cout: usize, attrs: ConvAttrs) -> Self {
        let (input, kernel) = (input.to_vec(), kernel.to_vec());
        Self { pass: Pass::Forward, rows, input, kernel, cin, cout, attrs, fused: Fused::default(), counts: vec![] }
    }

    /// The same for another product.
    pub fn with_pass(mut self, pass: Pass) -> Self {
        self.pass = pass;
        if pass == Pass::Weights {
            self.fused = Fused::counts(self.fused.counts);
            self.attrs.relu = false;
        }
        self
    }

    /// With counts of valid rows.
    pub fn with_counts(mut self, counts: &[i32]) -> Self {
        self.fused.counts = true;
        self.counts = counts.to_vec();
        self
    }

    /// A small one of any kind; two in twelve are large enough for a GPU to cut their sums and to fill more than one tile.
    pub fn random(numbers: &mut Numbers) -> Self {
        match numbers.turn(12) {
            3 => return Self::filling(numbers, 64),
            8 => return Self::filling(numbers, 20),
            _ => {}
        }
        let spatial = numbers.integer(0, 3);
        let pick = |numbers: &mut Numbers, from: &[usize]| from[numbers.integer(0, from.len() - 1)];
        let groups = numbers.integer(1, 3);
        let rows = groups * pick(numbers, &[1, 1, 2, 3, 7]);
        let (mut input, mut kernel, mut attrs) = (vec![], vec![], ConvAttrs::valid(spatial));
        for i in 0..spatial {
            let largest = [40, 12, 6][spatial - 1];
            kernel.push(numbers.integer(1, 4.min(largest)));
            attrs.stride[i] = pick(numbers, &[1, 1, 1, 2, 3]);
            attrs.dilation[i] = pick(numbers, &[1, 1, 2]);
            attrs.padding[i] = [numbers.integer(0, 3), numbers.integer(0, 3)];
            let window = attrs.dilation[i] * (kernel[i] - 1) + 1;
            let least = window.saturating_sub(attrs.padding[i][0] + attrs.padding[i][1]).max(1);
            input.push(numbers.integer(least, largest.max(least)));
        }
        attrs.relu = numbers.integer(0, 2) == 0;
        let fused = Fused {
            bias: numbers.integer(0, 1) == 0,
            residual: numbers.integer(0, 2) == 0,
            mask: false,
            counts: numbers.integer(0, 1) == 0,
        };
        let counts = (0..groups).map(|_| numbers.integer(0, rows / groups + 1) as i32).collect();
        let channels = [1, 2, 3, 5, 8, 16, 17, 33];
        let pass = [Pass::Forward, Pass::Forward, Pass::Data, Pass::Weights][numbers.integer(0, 3)];
        let (cin, cout) = (pick(numbers, &channels), pick(numbers, &channels));
        let fused = Fused { mask: numbers.integer(0, 2) == 0, ..fused };
        Self { pass: Pass::Forward, rows, input, kernel, cin, cout, attrs, fused, counts }.with_pass(pass)
    }

    /// Windows of 3 x 3 over maps that give some hundred rows of a matrix product, with as many channels in as out.
    fn filling(numbers: &mut Numbers, channels: usize) -> Self {
        let attrs = ConvAttrs { padding: vec![[1, 1]; 2], relu: true, ..ConvAttrs::valid(2) };
        let residual = numbers.integer(0, 1) == 0;
        let (rows, side) = (3, numbers.integer(8, 9));
        let counts = vec![numbers.integer(2, 3) as i32];
        let fused = Fused { bias: true, residual, mask: numbers.integer(0, 1) == 0, counts: true };
        Self {
            pass: Pass::Forward,
            rows,
            input: vec![side, side],
            kernel: vec![3, 3],
            cin: channels,
            cout: channels,
            attrs,
            fused,
            counts,
        }
    }

    /// Extents and attributes. Panics if they do not fit: a mistake in the problem.
    pub fn geometry(&self) -> Geometry {
        Geometry::new("problem", &self.attrs, &self.x(), &self.w()).expect("a convolution that fits")
    }

    fn x(&self) -> Shape {
        [&[self.rows][..], &self.input, &[self.cin]].concat().into()
    }

    fn w(&self) -> Shape {
        [&self.kernel[..], &[self.cin, self.cout]].concat().into()
    }

    fn y(&self) -> Shape {
        self.geometry().output_shape(&self.attrs, &self.x())
    }

    /// Calls `body(x, w, y)` with the indices of all factors and sums, invalid rows left out.
    fn for_products(&self, mut body: impl FnMut(usize, usize, usize)) {
        let g = self.geometry();
        let counts = self.fused.counts.then_some(&self.counts[..]);
        let source = |i: usize, q: usize, k: usize| {
            let at = (q * g.stride[i] + k * g.dilation[i]).wrapping_sub(g.before[i]);
            (at < g.input[i]).then_some(at)
        };
        for row in (0..g.n).filter(|row| is_valid_row(*row, g.n, counts)) {
            for pixel in 0..g.output_pixels() {
                let at = [pixel / (g.output[1] * g.output[2]), pixel / g.output[2] % g.output[1], pixel % g.output[2]];
                for tap in 0..g.taps() {
                    let k = [tap / (g.kernel[1] * g.kernel[2]), tap / g.kernel[2] % g.kernel[1], tap % g.kernel[2]];
                    let from = [0, 1, 2].map(|i| source(i, at[i], k[i]));
                    let [Some(t), Some(y), Some(x)] = from else { continue };
                    let from = row * g.input_pixels() + (t * g.input[1] + y) * g.input[2] + x;
                    for ci in 0..g.cin {
                        for co in 0..g.cout {
                            let to = (row * g.output_pixels() + pixel) * g.cout + co;
                            body(from * g.cin + ci, (tap * g.cin + ci) * g.cout + co, to);
                        }
                    }
                }
            }
        }
    }
}

impl Problem for ConvProblem {
    fn inputs(&self, seed: u64) -> Vec<Tensor> {
        let mut numbers = Numbers::new(seed);
        let (x, w, y) = (self.x(), self.w(), self.y());
        let (first, second, result) = match self.pass {
            Pass::Forward => (x, w, y),
            Pass::Data => (y, w, x),
            Pass::Weights => (x, y, w),
        };
        let mut inputs = vec![numbers.tensor(first.dims()), numbers.tensor(second.dims())];
        if self.fused.bias {
            inputs.push(numbers.tensor(&[result.last()]));
        }
        for _ in 0..usize::from(self.fused.residual) + usize::from(self.fused.mask) {
            inputs.push(numbers.tensor(result.dims()));
        }
        if self.fused.counts {
            inputs.push(Numbers::ints(&self.counts));
        }
        inputs
    }

    fn build(&self, graph: &mut Graph, inputs: &[Value]) -> Result<Vec<Value>> {
        let (attrs, fused) = (self.attrs.clone(), self.fused);
        match self.pass {
            Pass::Forward => graph.apply(Conv { attrs, fused }, inputs),
            Pass::Data => graph.apply(ConvDgrad { attrs, input: self.input.clone(), fused }, inputs),
            Pass::Weights => {
                graph.apply(ConvWgrad { attrs, kernel: self.kernel.clone(), counts: fused.counts }, inputs)
            }
        }
    }

    fn reference<R: Real>(&self, inputs: &[Data<R>]) -> Vec<Vec<R>> {
        let (a, b) = (inputs[0].real(), inputs[1].real());
        let shape = match self.pass {
            Pass::Forward => self.y(),
            Pass::Data => self.x(),
            Pass::Weights => self.w(),
        };
        let mut result = vec![R::of(0.0); shape.len()];
        match self.pass {
            Pass::Forward => self.for_products(|x, w, y| result[y] += a[x] * b[w]),
            Pass::Data => self.for_products(|x, w, y| result[x] += a[y] * b[w]),
            Pass::Weights => self.for_products(|x, w, y| result[w] += a[x] * b[y]),
        }
        if self.pass == Pass::Weights {
            return vec![result];
        }
        let per_row = shape.len() / self.rows;
        let counts = self.fused.counts.then_some(&self.counts[..]);
        for (i, value) in result.iter_mut().enumerate() {
            if !is_valid_row(i / per_row, self.rows, counts) {
                continue;
            }
            if let Some(bias) = self.fused.bias_index() {
                *value += inputs[bias].real()[i % shape.last()];
            }
            if let Some(residual) = self.fused.residual_index() {
                *value += inputs[residual].real()[i];
            }
            if self.attrs.relu {
                *value = value.max(R::of(0.0));
            }
            // A NaN is not positive.
            if let Some(mask) = self.fused.mask_index()
                && inputs[mask].real()[i].partial_cmp(&R::of(0.0)) != Some(std::cmp::Ordering::Greater)
            {
                *value = R::of(0.0);
            }
        }
        vec![result]
    }

    fn differentiable(&self) -> Vec<usize> {
        // Finite differences evaluate the reference hundreds of times.
        let small = self.geometry().macs() < 30_000;
        let optional = [self.fused.bias_index(), self.fused.residual_index()];
        if small { [Some(0), Some(1)].into_iter().chain(optional).flatten().collect() } else { vec![] }
    }
}
