//! Vectors of sixteen `f32` on every instruction set: one register of AVX-512, two of AVX2, an array elsewhere.
//!
//! Kernels are written once, generic over [`Simd`] and `#[inline(always)]`, and instantiated inside functions with the
//! matching `#[target_feature]`, so that each compiles to the instructions of its own set.

/// Lanes of a vector.
pub const LANES: usize = 16;

/// Operations on vectors of [`LANES`] values.
///
/// # Safety
/// Every method must be called only where the instruction set is present; pointers must be valid for the lanes touched.
#[allow(clippy::missing_safety_doc, reason = "one contract for all methods, stated above")]
pub trait Simd: Copy {
    /// A vector.
    type Vector: Copy;

    /// All lanes `value`.
    unsafe fn splat(value: f32) -> Self::Vector;
    /// Sixteen values from memory, any alignment.
    unsafe fn load(from: *const f32) -> Self::Vector;
    /// Sixteen values to memory, any alignment.
    unsafe fn store(to: *mut f32, value: Self::Vector);
    /// The first `count` values from memory, zero in the other lanes.
    unsafe fn load_first(from: *const f32, count: usize) -> Self::Vector;
    /// The first `count` values to memory.
    unsafe fn store_first(to: *mut f32, value: Self::Vector, count: usize);
    /// `a * b + c`, rounded once where the processor can.
    unsafe fn mul_add(a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
    /// `a + b`.
    unsafe fn add(a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// The larger of both, lane by lane.
    unsafe fn max(a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `value` where `mask` is positive, else zero.
    unsafe fn where_positive(mask: Self::Vector, value: Self::Vector) -> Self::Vector;

    /// `to[column * pitch + row] = rows[row][column]` for all given rows (at most sixteen) and `columns` (at most
    /// sixteen); a null row counts as zeros.
    #[inline(always)]
    unsafe fn transpose(rows: &[*const f32], columns: usize, to: *mut f32, pitch: usize) {
        for (row, from) in rows.iter().enumerate() {
            for column in 0..columns {
                // SAFETY: the caller's contract.
                unsafe {
                    *to.add(column * pitch + row) = if from.is_null() { 0.0 } else { *from.add(column) };
                }
            }
        }
    }
}

/// Arrays; the compiler makes of them what the baseline of the target offers.
#[derive(Clone, Copy)]
pub struct Portable;

#[allow(unsafe_op_in_unsafe_fn, reason = "every line touches memory under the trait's contract")]
impl Simd for Portable {
    type Vector = [f32; LANES];

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self::Vector {
        [value; LANES]
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::Vector {
        from.cast::<Self::Vector>().read_unaligned()
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, value: Self::Vector) {
        to.cast::<Self::Vector>().write_unaligned(value);
    }
    #[inline(always)]
    unsafe fn load_first(from: *const f32, count: usize) -> Self::Vector {
        let mut value = [0.0; LANES];
        std::ptr::copy_nonoverlapping(from, value.as_mut_ptr(), count);
        value
    }
    #[inline(always)]
    unsafe fn store_first(to: *mut f32, value: Self::Vector, count: usize) {
        std::ptr::copy_nonoverlapping(value.as_ptr(), to, count);
    }
    #[inline(always)]
    unsafe fn mul_add(a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector {
        std::array::from_fn(|i| a[i] * b[i] + c[i])
    }
    #[inline(always)]
    unsafe fn add(a: Self::Vector, b: Self::Vector) -> Self::Vector {
        std::array::from_fn(|i| a[i] + b[i])
    }
    #[inline(always)]
    unsafe fn max(a: Self::Vector, b: Self::Vector) -> Self::Vector {
        std::array::from_fn(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    unsafe fn where_positive(mask: Self::Vector, value: Self::Vector) -> Self::Vector {
        std::array::from_fn(|i| if mask[i] > 0.0 { value[i] } else { 0.0 })
    }
}

#[cfg(target_arch = "x86_64")]
pub use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{LANES, Simd};
    use std::arch::x86_64::*;

    /// AVX2 with FMA: a pair of registers.
    #[derive(Clone, Copy)]
    pub struct Avx2;

    #[allow(unsafe_op_in_unsafe_fn, reason = "every line is an intrinsic under the trait's contract")]
    impl Simd for Avx2 {
        type Vector = (__m256, __m256);

        #[inline(always)]
        unsafe fn splat(value: f32) -> Self::Vector {
            (_mm256_set1_ps(value), _mm256_set1_ps(value))
        }
        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self::Vector {
            (_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8)))
        }
        #[inline(always)]
        unsafe fn store(to: *mut f32, value: Self::Vector) {
            _mm256_storeu_ps(to, value.0);
            _mm256_storeu_ps(to.add(8), value.1);
        }
        #[inline(always)]
        unsafe fn load_first(from: *const f32, count: usize) -> Self::Vector {
            let mut value = [0.0; LANES];
            std::ptr::copy_nonoverlapping(from, value.as_mut_ptr(), count);
            Self::load(value.as_ptr())
        }
        #[inline(always)]
        unsafe fn store_first(to: *mut f32, value: Self::Vector, count: usize) {
            let mut buffer = [0.0; LANES];
            Self::store(buffer.as_mut_ptr(), value);
            std::ptr::copy_nonoverlapping(buffer.as_ptr(), to, count);
        }
        #[inline(always)]
        unsafe fn mul_add(a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector {
            (_mm256_fmadd_ps(a.0, b.0, c.0), _mm256_fmadd_ps(a.1, b.1, c.1))
        }
        #[inline(always)]
        unsafe fn add(a: Self::Vector, b: Self::Vector) -> Self::Vector {
            (_mm256_add_ps(a.0, b.0), _mm256_add_ps(a.1, b.1))
        }
        #[inline(always)]
        unsafe fn max(a: Self::Vector, b: Self::Vector) -> Self::Vector {
            (_mm256_max_ps(a.0, b.0), _mm256_max_ps(a.1, b.1))
        }
        #[inline(always)]
        unsafe fn where_positive(mask: Self::Vector, value: Self::Vector) -> Self::Vector {
            let positive = |mask| _mm256_cmp_ps::<_CMP_GT_OQ>(mask, _mm256_setzero_ps());
            (_mm256_and_ps(positive(mask.0), value.0), _mm256_and_ps(positive(mask.1), value.1))
        }
    }

    /// AVX-512: one register, masks for what is left over.
    #[derive(Clone, Copy)]
    pub struct Avx512;

    #[inline(always)]
    fn first(count: usize) -> __mmask16 {
        ((1u32 << count) - 1) as __mmask16
    }

    #[allow(unsafe_op_in_unsafe_fn, reason = "every line is an intrinsic under the trait's contract")]
    impl Simd for Avx512 {
        type Vector = __m512;

        #[inline(always)]
        unsafe fn splat(value: f32) -> __m512 {
            _mm512_set1_ps(value)
        }
        #[inline(always)]
        unsafe fn load(from: *const f32) -> __m512 {
            _mm512_loadu_ps(from)
        }
        #[inline(always)]
        unsafe fn store(to: *mut f32, value: __m512) {
            _mm512_storeu_ps(to, value);
        }
        #[inline(always)]
        unsafe fn load_first(from: *const f32, count: usize) -> __m512 {
            _mm512_maskz_loadu_ps(first(count), from)
        }
        #[inline(always)]
        unsafe fn store_first(to: *mut f32, value: __m512, count: usize) {
            _mm512_mask_storeu_ps(to, first(count), value);
        }
        #[inline(always)]
        unsafe fn mul_add(a: __m512, b: __m512, c: __m512) -> __m512 {
            _mm512_fmadd_ps(a, b, c)
        }
        #[inline(always)]
        unsafe fn add(a: __m512, b: __m512) -> __m512 {
            _mm512_add_ps(a, b)
        }
        #[inline(always)]
        unsafe fn max(a: __m512, b: __m512) -> __m512 {
            _mm512_max_ps(a, b)
        }
        #[inline(always)]
        unsafe fn where_positive(mask: __m512, value: __m512) -> __m512 {
            _mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(mask, _mm512_setzero_ps()), value)
        }

        #[inline(always)]
        unsafe fn transpose(rows: &[*const f32], columns: usize, to: *mut f32, pitch: usize) {
            let mask = first(columns);
            let mut r = [_mm512_setzero_ps(); LANES];
            for (r, from) in r.iter_mut().zip(rows) {
                if !from.is_null() {
                    *r = _mm512_maskz_loadu_ps(mask, *from);
                }
            }
            // Four rounds: pairs, quads, then the 128-bit quarters twice.
            let mut t = r;
            for i in 0..8 {
                t[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
                t[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
            }
            for i in 0..4 {
                let (a, b) = (_mm512_castps_pd(t[4 * i]), _mm512_castps_pd(t[4 * i + 1]));
                let (c, d) = (_mm512_castps_pd(t[4 * i + 2]), _mm512_castps_pd(t[4 * i + 3]));
                r[4 * i] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, c));
                r[4 * i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, c));
                r[4 * i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(b, d));
                r[4 * i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(b, d));
            }
            // Now r[4 i + j] holds, in quarter q, column 4 q + j of rows 4 i .. 4 i + 4.
            for j in 0..4 {
                let (a, b, c, d) = (r[j], r[4 + j], r[8 + j], r[12 + j]);
                let ab_even = _mm512_shuffle_f32x4::<0x88>(a, b);
                let ab_odd = _mm512_shuffle_f32x4::<0xdd>(a, b);
                let cd_even = _mm512_shuffle_f32x4::<0x88>(c, d);
                let cd_odd = _mm512_shuffle_f32x4::<0xdd>(c, d);
                t[j] = _mm512_shuffle_f32x4::<0x88>(ab_even, cd_even);
                t[8 + j] = _mm512_shuffle_f32x4::<0xdd>(ab_even, cd_even);
                t[4 + j] = _mm512_shuffle_f32x4::<0x88>(ab_odd, cd_odd);
                t[12 + j] = _mm512_shuffle_f32x4::<0xdd>(ab_odd, cd_odd);
            }
            let mask = first(rows.len());
            for (column, t) in t.iter().enumerate() {
                if column < columns {
                    _mm512_mask_storeu_ps(to.add(column * pitch), mask, *t);
                }
            }
        }
    }
}
