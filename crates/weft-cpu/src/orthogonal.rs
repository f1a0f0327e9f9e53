//! The orthogonal matrix nearest to one, or nearly so, by Newton and Schulz's iteration with Jordan's quintic
//! (<https://kellerjordan.github.io/posts/muon/>), in f32:
//!
//! ```text
//! x = x / |x|,  then five times  x = A x + (B g + C g g) x  with  g = x x^T
//! ```
//!
//! |x| is the Frobenius norm. Of a matrix that is taller than wide `g` is x^T x, and the polynomial is multiplied
//! from the right, which comes to the same and is less.

use crate::memory::written;
use crate::product::{Finish, Matrix, Plain, Size, product};
use crate::simd::Instructions;

/// Coefficients of the iteration, which take small singular values up fast and leave all of them within
/// 0.7 and 1.2.
pub const A: f32 = 3.4445;
/// See [`A`].
pub const B: f32 = -4.7750;
/// See [`A`].
pub const C: f32 = 2.0315;
/// Iterations.
pub const N_ITERATIONS: usize = 5;
/// Added to the norm, against a division by 0.
pub const SMALLEST_NORM: f32 = 1e-7;

/// A matrix's shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Spec {
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
}

impl Spec {
    /// Whether it is taller than wide: then its columns are multiplied with each other, not its rows.
    pub fn is_tall(&self) -> bool {
        self.rows > self.columns
    }

    /// Side of the product of the matrix with itself.
    pub fn small(&self) -> usize {
        self.rows.min(self.columns)
    }
}

/// Makes of a product `scale * (factor * before + of_product * product)`.
struct Sum<'a> {
    before: &'a [f32],
    columns: usize,
    factor: f32,
    of_product: f32,
    scale: f32,
}

impl Finish for Sum<'_> {
    #[inline(always)]
    fn finish(&self, row: usize, column: usize, numbers: &mut [f32]) {
        let before = &self.before[row * self.columns + column..][..numbers.len()];
        for (number, before) in numbers.iter_mut().zip(before) {
            *number = (self.factor * before + self.of_product * *number) * self.scale;
        }
    }
}

/// `[row, column]` to the same shape.
pub fn orthogonal(instructions: Instructions, spec: &Spec, matrix: &[f32]) -> Vec<f32> {
    let Spec { rows, columns } = *spec;
    let small = spec.small();
    let mut x = Vec::new();
    for iteration in 0..N_ITERATIONS {
        // Divided by the norm on the way: the first of these products has its square on the diagonal.
        let is_first = iteration == 0;
        let before: &[f32] = if is_first { matrix } else { &x };
        let as_it_is = Matrix::new(before, columns);
        let (left, right) = match spec.is_tall() {
            true => (as_it_is.transposed(), as_it_is),
            false => (as_it_is, as_it_is.transposed()),
        };
        let size = Size {
            rows: small,
            columns: small,
            inner: rows.max(columns),
        };
        let mut gram = new(size, |gram| {
            product(instructions, size, left, right, &Plain, gram);
        });
        let once = match is_first {
            true => {
                let squares: f32 = gram.iter().step_by(small + 1).sum();
                1.0 / (squares.sqrt() + SMALLEST_NORM)
            }
            false => 1.0,
        };
        if is_first {
            for number in &mut gram {
                *number = once * (once * *number);
            }
        }
        let finish = Sum {
            before: &gram,
            columns: small,
            factor: B,
            of_product: C,
            scale: 1.0,
        };
        let size = Size {
            inner: small,
            ..size
        };
        let square = Matrix::new(&gram, small);
        let polynomial = new(size, |polynomial| {
            product(instructions, size, square, square, &finish, polynomial);
        });
        let finish = Sum {
            before,
            columns,
            factor: A,
            of_product: 1.0,
            scale: once,
        };
        let size = Size {
            rows,
            columns,
            inner: small,
        };
        let polynomial = Matrix::new(&polynomial, small);
        let (left, right) = match spec.is_tall() {
            true => (as_it_is, polynomial),
            false => (polynomial, as_it_is),
        };
        let next = new(size, |next| {
            product(instructions, size, left, right, &finish, next);
        });
        x = next;
    }
    x
}

fn new(size: Size, write: impl FnOnce(&mut [f32])) -> Vec<f32> {
    // SAFETY: a product writes each number of its result before it reads it.
    unsafe { written(size.rows * size.columns, write) }
}
