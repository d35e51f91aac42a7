//! One step of a GRU for one sequence: elementwise, so that it vectorises over units.

use super::RecurrentActivation;
use crate::ops::elementwise::math;
use crate::ops::per_isa::per_isa;

#[inline(always)]
fn squash(x: f32, hard: bool) -> f32 {
    if hard { math::hard_sigmoid(x) } else { math::sigmoid(x) }
}

/// Derivative of the squashing from its value.
#[inline(always)]
fn slope(y: f32, hard: bool) -> f32 {
    if !hard {
        y * (1.0 - y)
    } else if y > 0.0 && y < 1.0 {
        0.2
    } else {
        0.0
    }
}

pub(super) fn is_hard(activation: RecurrentActivation) -> bool {
    activation == RecurrentActivation::HardSigmoid
}

/// Splits into parts of `u`.
macro_rules! split {
    ($from:expr, $u:expr => $($part:ident),+) => {
        let mut rest = $from;
        $(let $part; ($part, rest) = rest.split_at($u);)+
        let _ = rest;
    };
    (mut $from:expr, $u:expr => $($part:ident),+) => {
        let mut rest = $from;
        $(let $part; ($part, rest) = rest.split_at_mut($u);)+
        let _ = rest;
    };
}

per_isa! {
    /// Reset after the product: `a` projection, `q` recurrent product (gets the bias added), `h` the state.
    pub(super) fn step_after[](hard: bool, a: &[f32], bias: &[f32], q: &mut [f32], h: &mut [f32]) {
        let u = h.len();
        for (q, b) in q.iter_mut().zip(bias) {
            *q += *b;
        }
        split!(a, u => az, ar, ah);
        split!(mut q, u => qz, qr, qh);
        // z and r take the place of their products: they are what the gradient needs.
        for i in 0..u {
            qz[i] = squash(az[i] + qz[i], hard);
        }
        for i in 0..u {
            qr[i] = squash(ar[i] + qr[i], hard);
        }
        for i in 0..u {
            let g = math::tanh(ah[i] + qr[i] * qh[i]);
            h[i] = qz[i] * h[i] + (1.0 - qz[i]) * g;
        }
    }
}

per_isa! {
    /// As [`step_after`], and writes z, r, g, q_h into `saved [4u]`.
    pub(super) fn step_after_saving[](
        hard: bool,
        a: &[f32],
        bias: &[f32],
        q: &mut [f32],
        h: &mut [f32],
        saved: &mut [f32],
    ) {
        let u = h.len();
        for (q, b) in q.iter_mut().zip(bias) {
            *q += *b;
        }
        split!(a, u => az, ar, ah);
        split!(&*q, u => qz, qr, qh);
        split!(mut saved, u => z, r, g, kept);
        for i in 0..u {
            z[i] = squash(az[i] + qz[i], hard);
        }
        for i in 0..u {
            r[i] = squash(ar[i] + qr[i], hard);
        }
        for i in 0..u {
            kept[i] = qh[i];
            g[i] = math::tanh(ah[i] + r[i] * qh[i]);
            h[i] = z[i] * h[i] + (1.0 - z[i]) * g[i];
        }
    }
}

per_isa! {
    /// Reset before the product, first half: z and r into `q [2u..]`, r h into `rh`.
    pub(super) fn gates_before[](hard: bool, a: &[f32], q: &mut [f32], h: &[f32], rh: &mut [f32]) {
        let u = h.len();
        split!(a, u => az, ar);
        split!(mut q, u => qz, qr);
        for i in 0..u {
            qz[i] = squash(az[i] + qz[i], hard);
        }
        for i in 0..u {
            qr[i] = squash(ar[i] + qr[i], hard);
            rh[i] = qr[i] * h[i];
        }
    }
}

per_isa! {
    /// Reset before the product, second half: `q` is z, r, and (r h) U_h, which g replaces.
    pub(super) fn step_before[](a: &[f32], q: &mut [f32], h: &mut [f32]) {
        let u = h.len();
        let ah = &a[2 * u..];
        split!(mut q, u => z, _r, qh);
        for i in 0..u {
            qh[i] = math::tanh(ah[i] + qh[i]);
            h[i] = z[i] * h[i] + (1.0 - z[i]) * qh[i];
        }
    }
}

per_isa! {
    /// Backward, all that needs no product. `dh` (the state's gradient) becomes what reaches the earlier state directly;
    /// `da` gets the gradients of a_z, a_h, and with `reset_after` of a_r.
    pub(super) fn step_back[](
        hard: bool,
        reset_after: bool,
        saved: &[f32],
        earlier: &[f32],
        dh: &mut [f32],
        da: &mut [f32],
    ) {
        let u = dh.len();
        split!(saved, u => z, r, g);
        split!(mut da, u => daz, dar, dah);
        for i in 0..u {
            daz[i] = dh[i] * (earlier[i] - g[i]) * slope(z[i], hard);
            dah[i] = dh[i] * (1.0 - z[i]) * (1.0 - g[i] * g[i]);
            dh[i] *= z[i];
        }
        if reset_after {
            let qh = &saved[3 * u..];
            for i in 0..u {
                dar[i] = dah[i] * qh[i] * slope(r[i], hard);
            }
        }
    }
}

per_isa! {
    /// Backward with the reset before the product: from `drh`, the gradient of r h, that of a_r, and the earlier state's
    /// share.
    pub(super) fn reset_back[](
        hard: bool,
        saved: &[f32],
        earlier: &[f32],
        drh: &[f32],
        dh: &mut [f32],
        da: &mut [f32],
    ) {
        let u = dh.len();
        let r = &saved[u..2 * u];
        let dar = &mut da[u..2 * u];
        for i in 0..u {
            dar[i] = drh[i] * earlier[i] * slope(r[i], hard);
            dh[i] += drh[i] * r[i];
        }
    }
}
