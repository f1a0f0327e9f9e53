//! Vectors of f32, as wide as the processor has them: one code for all, compiled once for each.

/// A set of vector instructions. All functions are inlined into callers that have it enabled.
///
/// # Safety
/// The processor has the instructions; pointers are good for [`Simd::LANES`] numbers.
pub(crate) unsafe trait Simd {
    /// A vector.
    type V: Copy;
    /// Its numbers.
    const LANES: usize;
    unsafe fn load(from: *const f32) -> Self::V;
    unsafe fn store(to: *mut f32, v: Self::V);
    unsafe fn splat(x: f32) -> Self::V;
    /// `a * b + c`
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    /// As many of a vector's numbers as `to` has, [`Simd::LANES`] at most.
    unsafe fn store_some(to: &mut [f32], v: Self::V);
    /// A choice for each number.
    type M: Copy;
    /// Where `a > b`, or `a` is NaN.
    unsafe fn above(a: Self::V, b: Self::V) -> Self::M;
    /// `a` where chosen, else `b`.
    unsafe fn select(chosen: Self::M, a: Self::V, b: Self::V) -> Self::V;
    /// Whole numbers in 0 ..= 255 as bytes.
    unsafe fn store_bytes(to: *mut u8, v: Self::V);
}

/// Any processor: eight numbers, added and multiplied one by one as far as the compiler sees.
pub(crate) struct Portable;

unsafe impl Simd for Portable {
    type V = [f32; 8];
    const LANES: usize = 8;

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::V {
        unsafe { from.cast::<[f32; 8]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, v: Self::V) {
        unsafe { to.cast::<[f32; 8]>().write_unaligned(v) }
    }

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self::V {
        [x; 8]
    }

    #[inline(always)]
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        let mut sum = c;
        for i in 0..8 {
            // One rounding where that is an instruction; else a call, which two roundings beat.
            sum[i] = if cfg!(any(target_arch = "aarch64", target_feature = "fma")) {
                a[i].mul_add(b[i], c[i])
            } else {
                a[i] * b[i] + c[i]
            };
        }
        sum
    }

    #[inline(always)]
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] + b[i])
    }

    #[inline(always)]
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] - b[i])
    }

    #[inline(always)]
    unsafe fn store_some(to: &mut [f32], v: Self::V) {
        to.copy_from_slice(&v[..to.len()]);
    }

    #[inline(always)]
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] * b[i])
    }

    type M = [bool; 8];

    #[inline(always)]
    unsafe fn above(a: Self::V, b: Self::V) -> Self::M {
        std::array::from_fn(|i| a[i] > b[i] || a[i].is_nan())
    }

    #[inline(always)]
    unsafe fn select(chosen: Self::M, a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| if chosen[i] { a[i] } else { b[i] })
    }

    #[inline(always)]
    unsafe fn store_bytes(to: *mut u8, v: Self::V) {
        for (i, x) in v.into_iter().enumerate() {
            unsafe { to.add(i).write(x as u8) };
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::Simd;

    /// AVX2 with FMA.
    pub(crate) struct Avx2;

    unsafe impl Simd for Avx2 {
        type V = __m256;
        const LANES: usize = 8;

        #[inline(always)]
        unsafe fn load(from: *const f32) -> __m256 {
            unsafe { _mm256_loadu_ps(from) }
        }

        #[inline(always)]
        unsafe fn store(to: *mut f32, v: __m256) {
            unsafe { _mm256_storeu_ps(to, v) }
        }

        #[inline(always)]
        unsafe fn splat(x: f32) -> __m256 {
            unsafe { _mm256_set1_ps(x) }
        }

        #[inline(always)]
        unsafe fn fma(a: __m256, b: __m256, c: __m256) -> __m256 {
            unsafe { _mm256_fmadd_ps(a, b, c) }
        }

        #[inline(always)]
        unsafe fn add(a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_add_ps(a, b) }
        }

        #[inline(always)]
        unsafe fn sub(a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_sub_ps(a, b) }
        }

        #[inline(always)]
        unsafe fn store_some(to: &mut [f32], v: __m256) {
            if to.len() == Self::LANES {
                return unsafe { Self::store(to.as_mut_ptr(), v) };
            }
            let mut numbers = [0f32; Self::LANES];
            unsafe { Self::store(numbers.as_mut_ptr(), v) };
            to.copy_from_slice(&numbers[..to.len()]);
        }

        #[inline(always)]
        unsafe fn mul(a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_mul_ps(a, b) }
        }

        type M = __m256;

        #[inline(always)]
        unsafe fn above(a: __m256, b: __m256) -> __m256 {
            unsafe {
                let above = _mm256_cmp_ps::<_CMP_GT_OQ>(a, b);
                _mm256_or_ps(above, _mm256_cmp_ps::<_CMP_UNORD_Q>(a, a))
            }
        }

        #[inline(always)]
        unsafe fn select(chosen: __m256, a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_blendv_ps(b, a, chosen) }
        }

        #[inline(always)]
        unsafe fn store_bytes(to: *mut u8, v: __m256) {
            let mut numbers = [0f32; 8];
            unsafe {
                _mm256_storeu_ps(numbers.as_mut_ptr(), v);
                for (i, x) in numbers.into_iter().enumerate() {
                    to.add(i).write(x.to_int_unchecked::<i32>() as u8);
                }
            }
        }
    }

    /// AVX-512.
    pub(crate) struct Avx512;

    unsafe impl Simd for Avx512 {
        type V = __m512;
        const LANES: usize = 16;

        #[inline(always)]
        unsafe fn load(from: *const f32) -> __m512 {
            unsafe { _mm512_loadu_ps(from) }
        }

        #[inline(always)]
        unsafe fn store(to: *mut f32, v: __m512) {
            unsafe { _mm512_storeu_ps(to, v) }
        }

        #[inline(always)]
        unsafe fn splat(x: f32) -> __m512 {
            unsafe { _mm512_set1_ps(x) }
        }

        #[inline(always)]
        unsafe fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
            unsafe { _mm512_fmadd_ps(a, b, c) }
        }

        #[inline(always)]
        unsafe fn add(a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_add_ps(a, b) }
        }

        #[inline(always)]
        unsafe fn sub(a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_sub_ps(a, b) }
        }

        #[inline(always)]
        unsafe fn store_some(to: &mut [f32], v: __m512) {
            assert!(to.len() <= Self::LANES);
            let first = ((1u32 << to.len()) - 1) as __mmask16;
            unsafe { _mm512_mask_storeu_ps(to.as_mut_ptr(), first, v) }
        }

        #[inline(always)]
        unsafe fn mul(a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_mul_ps(a, b) }
        }

        type M = __mmask16;

        #[inline(always)]
        unsafe fn above(a: __m512, b: __m512) -> __mmask16 {
            unsafe {
                let above = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(a, b);
                above | _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(a, a)
            }
        }

        #[inline(always)]
        unsafe fn select(chosen: __mmask16, a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_mask_blend_ps(chosen, b, a) }
        }

        #[inline(always)]
        unsafe fn store_bytes(to: *mut u8, v: __m512) {
            unsafe {
                let bytes = _mm512_cvtepi32_epi8(_mm512_cvttps_epi32(v));
                _mm_storeu_si128(to.cast(), bytes);
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2, Avx512};

/// Which instructions the kernels use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instructions {
    /// AVX-512 (foundation).
    Avx512,
    /// AVX2 and FMA.
    Avx2,
    /// What the compiler makes of plain code.
    Portable,
}

impl Instructions {
    /// The widest that this processor has.
    pub fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") {
                return Self::Avx512;
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                return Self::Avx2;
            }
        }
        Self::Portable
    }

    /// All that this processor has, the widest first.
    pub fn available() -> Vec<Self> {
        let all = [Self::Avx512, Self::Avx2, Self::Portable];
        let best = Self::best();
        all.into_iter().skip_while(|&one| one != best).collect()
    }

    /// For people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Avx512 => "AVX-512",
            Self::Avx2 => "AVX2",
            Self::Portable => "portable",
        }
    }

    /// Numbers of a vector.
    pub(crate) fn lanes(self) -> usize {
        match self {
            Self::Avx512 => 16,
            Self::Avx2 | Self::Portable => 8,
        }
    }
}

/// Defines `$name`, which runs `$generic::<S>` compiled for the [`Instructions`] that are its first argument.
macro_rules! for_each_instruction_set {
    ($(#[$doc:meta])* fn $name:ident = $generic:ident($($arg:ident: $type:ty),* $(,)?)) => {
        $(#[$doc])*
        fn $name(instructions: $crate::simd::Instructions, $($arg: $type),*) {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f")]
            unsafe fn avx512($($arg: $type),*) {
                unsafe { $generic::<$crate::simd::Avx512>($($arg),*) }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            unsafe fn avx2($($arg: $type),*) {
                unsafe { $generic::<$crate::simd::Avx2>($($arg),*) }
            }
            // SAFETY: `Instructions` are only made for what the processor was found to have.
            match instructions {
                #[cfg(target_arch = "x86_64")]
                $crate::simd::Instructions::Avx512 => unsafe { avx512($($arg),*) },
                #[cfg(target_arch = "x86_64")]
                $crate::simd::Instructions::Avx2 => unsafe { avx2($($arg),*) },
                _ => unsafe { $generic::<$crate::simd::Portable>($($arg),*) },
            }
        }
    };
}
pub(crate) use for_each_instruction_set;
