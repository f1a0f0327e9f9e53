//! Tiles into the form in which a convolution is a product for each place, and back (the matrices of F(2 x 2, 3 x 3) and
//! F(3 x 3, 2 x 2) with the points 0, 1, -1 and infinity).

use super::PLACES;
use crate::simd::Simd;

// Functions that are always inlined, not closures with vectors in them: these may be compiled on their own, without the
// instructions that the vectors need.

/// `G w`
#[inline(always)]
unsafe fn of_weights<S: Simd>([a, b, c]: [S::V; 3]) -> [S::V; 4] {
    unsafe {
        let half = S::splat(0.5);
        let (outer, inner) = (S::mul(half, S::add(a, c)), S::mul(half, b));
        [a, S::add(outer, inner), S::sub(outer, inner), c]
    }
}

/// `Bᵀ d`
#[inline(always)]
unsafe fn of_pixels<S: Simd>([a, b, c, d]: [S::V; 4]) -> [S::V; 4] {
    unsafe { [S::sub(a, c), S::add(b, c), S::sub(c, b), S::sub(b, d)] }
}

/// `G g`
#[inline(always)]
unsafe fn of_grads<S: Simd>([a, b]: [S::V; 2]) -> [S::V; 4] {
    unsafe {
        let half = S::splat(0.5);
        let (first, second) = (S::mul(half, a), S::mul(half, b));
        [a, S::add(first, second), S::sub(first, second), b]
    }
}

/// `Aᵀ m`
#[inline(always)]
unsafe fn to_outputs<S: Simd>([a, b, c, d]: [S::V; 4]) -> [S::V; 2] {
    unsafe { [S::add(S::add(a, b), c), S::sub(S::sub(b, c), d)] }
}

/// `Aᵀ m` of a gradient.
#[inline(always)]
unsafe fn to_kernel<S: Simd>([a, b, c, d]: [S::V; 4]) -> [S::V; 3] {
    unsafe {
        let sum = S::add(b, c);
        [S::add(a, sum), S::sub(b, c), S::sub(sum, d)]
    }
}

/// A column of a tile's places.
#[inline(always)]
unsafe fn column<S: Simd>(from: *const f32, place: usize) -> [S::V; 4] {
    unsafe {
        let at = |y: usize| from.add(4 * y * place);
        [
            S::load(at(0)),
            S::load(at(1)),
            S::load(at(2)),
            S::load(at(3)),
        ]
    }
}

/// `G w Gᵀ` of each kernel: `[block, tap, lane]` to `[place, block, channel, lane]`.
#[inline(always)]
pub(super) unsafe fn transform_weights<S: Simd>(
    channels: usize,
    by_tap: &[f32],
    weight: &mut [f32],
) {
    let block = 2 * S::LANES;
    let blocks = by_tap.len() / (9 * channels * block);
    let of_a_place = blocks * channels * block;
    assert!(by_tap.len() == 9 * of_a_place && weight.len() == PLACES * of_a_place);
    for at in 0..2 * blocks * channels {
        let (index, channel, half) = (at / 2 / channels, at / 2 % channels, at % 2);
        let from = (index * 9 * channels + channel) * block + half * S::LANES;
        let to = (index * channels + channel) * block + half * S::LANES;
        // SAFETY: the lengths are as asserted.
        unsafe {
            let (from, to) = (by_tap.as_ptr().add(from), weight.as_mut_ptr().add(to));
            let mut rows = [[S::splat(0.0); 3]; 4];
            for x in 0..3 {
                let at = |y: usize| from.add((y * 3 + x) * channels * block);
                let column = of_weights::<S>([S::load(at(0)), S::load(at(1)), S::load(at(2))]);
                for (row, value) in rows.iter_mut().zip(column) {
                    row[x] = value;
                }
            }
            for (y, row) in rows.into_iter().enumerate() {
                for (x, value) in of_weights::<S>(row).into_iter().enumerate() {
                    S::store(to.add((y * 4 + x) * of_a_place), value);
                }
            }
        }
    }
}

/// `Bᵀ d B` of a tile's pixels, for one vector of channels.
#[inline(always)]
pub(super) unsafe fn transform_pixels<S: Simd>(
    from: *const f32,
    row: usize,
    channels: usize,
    to: *mut f32,
    place: usize,
) {
    unsafe {
        let mut rows = [[S::splat(0.0); 4]; 4];
        for x in 0..4 {
            let at = |y: usize| from.add(y * row + x * channels);
            let column = [
                S::load(at(0)),
                S::load(at(1)),
                S::load(at(2)),
                S::load(at(3)),
            ];
            let column = of_pixels::<S>(column);
            for (row, value) in rows.iter_mut().zip(column) {
                row[x] = value;
            }
        }
        for (y, row) in rows.into_iter().enumerate() {
            for (x, value) in of_pixels::<S>(row).into_iter().enumerate() {
                S::store(to.add((y * 4 + x) * place), value);
            }
        }
    }
}

/// `G g Gᵀ` of two by two gradients, for one vector of filters.
#[inline(always)]
pub(super) unsafe fn transform_grads<S: Simd>(
    from: *const f32,
    row: usize,
    filters: usize,
    to: *mut f32,
    place: usize,
) {
    unsafe {
        let mut rows = [[S::splat(0.0); 2]; 4];
        for x in 0..2 {
            let at = |y: usize| from.add(y * row + x * filters);
            let column = of_grads::<S>([S::load(at(0)), S::load(at(1))]);
            for (row, value) in rows.iter_mut().zip(column) {
                row[x] = value;
            }
        }
        for (y, row) in rows.into_iter().enumerate() {
            for (x, value) in of_grads::<S>(row).into_iter().enumerate() {
                S::store(to.add((y * 4 + x) * place), value);
            }
        }
    }
}

/// `Aᵀ m A`: the two by two outputs of a tile, for one vector of filters.
#[inline(always)]
pub(super) unsafe fn outputs<S: Simd>(from: *const f32, place: usize) -> [[S::V; 2]; 2] {
    unsafe {
        let mut rows = [[S::splat(0.0); 4]; 2];
        for x in 0..4 {
            let column = to_outputs::<S>(column::<S>(from.add(x * place), place));
            for (row, value) in rows.iter_mut().zip(column) {
                row[x] = value;
            }
        }
        [to_outputs::<S>(rows[0]), to_outputs::<S>(rows[1])]
    }
}

/// `Aᵀ m A` of a kernel's gradient, for one vector of filters, added.
#[inline(always)]
pub(super) unsafe fn kernel_out<S: Simd>(from: *const f32, place: usize, to: *mut f32, tap: usize) {
    unsafe {
        let mut rows = [[S::splat(0.0); 4]; 3];
        for x in 0..4 {
            let column = to_kernel::<S>(column::<S>(from.add(x * place), place));
            for (row, value) in rows.iter_mut().zip(column) {
                row[x] = value;
            }
        }
        for (y, row) in rows.into_iter().enumerate() {
            for (x, value) in to_kernel::<S>(row).into_iter().enumerate() {
                let to = to.add((y * 3 + x) * tap);
                S::store(to, S::add(S::load(to), value));
            }
        }
    }
}
