//! Products of matrices that lie in the nearest caches.

use crate::simd::Simd;

/// A product of matrices in registers.
pub(super) struct Product {
    pub(super) rows: usize,
    /// What is summed over.
    pub(super) inner: usize,
    pub(super) left: *const f32,
    /// From a row of the left matrix to the next, and from a column to the next.
    pub(super) left_row: usize,
    pub(super) left_inner: usize,
    /// `[inner, lane]`, two vectors each.
    pub(super) right: *const f32,
    /// `[row, lane]`, two vectors each, or one of a `narrow` product.
    pub(super) result: *mut f32,
}

impl Product {
    /// Writes the product, or adds it. If `narrow`, the second vectors are left alone.
    ///
    /// # Safety
    /// All numbers are there.
    #[inline(always)]
    pub(super) unsafe fn run<S: Simd, const ADD: bool>(&self, narrow: bool) {
        let most = match (S::LANES, narrow) {
            (16, false) => 14,
            (16, true) => 28,
            (_, false) => 6,
            (_, true) => 12,
        };
        let tiles = self.rows.div_ceil(most);
        let mut row = 0;
        for tile in 0..tiles {
            let rows = (self.rows - row).div_ceil(tiles - tile);
            macro_rules! heights {
                ($vectors:literal: $($height:literal)*) => {
                    match rows {
                        $($height => unsafe { self.tile::<S, ADD, $height, $vectors>(row) },)*
                        _ => unreachable!("a tile has at most 28 rows"),
                    }
                };
            }
            match (S::LANES, narrow) {
                (16, false) => heights!(2: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
                (16, true) => {
                    heights!(1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28)
                }
                (_, false) => heights!(2: 1 2 3 4 5 6),
                (_, true) => heights!(1: 1 2 3 4 5 6 7 8 9 10 11 12),
            }
            row += rows;
        }
    }

    #[inline(always)]
    unsafe fn tile<S: Simd, const ADD: bool, const P: usize, const V: usize>(&self, row: usize) {
        let block = 2 * S::LANES;
        unsafe {
            let result = self.result.add(row * V * S::LANES);
            let mut left = self.left.add(row * self.left_row);
            let mut right = self.right;
            let mut sums = [[S::splat(0.0); V]; P];
            if ADD {
                for (p, sums) in sums.iter_mut().enumerate() {
                    for (v, sum) in sums.iter_mut().enumerate() {
                        *sum = S::load(result.add((p * V + v) * S::LANES));
                    }
                }
            }
            for _ in 0..self.inner {
                let mut vectors = [S::splat(0.0); V];
                for (v, vector) in vectors.iter_mut().enumerate() {
                    *vector = S::load(right.add(v * S::LANES));
                }
                for (p, sums) in sums.iter_mut().enumerate() {
                    let number = S::splat(*left.add(p * self.left_row));
                    for (sum, &vector) in sums.iter_mut().zip(&vectors) {
                        *sum = S::fma(number, vector, *sum);
                    }
                }
                left = left.wrapping_add(self.left_inner);
                right = right.wrapping_add(block);
            }
            for (p, sums) in sums.iter().enumerate() {
                for (v, &sum) in sums.iter().enumerate() {
                    S::store(result.add((p * V + v) * S::LANES), sum);
                }
            }
        }
    }
}
