//! Matrix products. A panel of two vectors of columns of the right matrix is packed once and meets all
//! rows of the left one; each number of the result is summed in one order, whatever the threads.

use crate::simd::{Instructions, Simd, for_each_instruction_set};
use crate::threads::{Parts, for_each};

/// A matrix in somebody's memory.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    pub(crate) numbers: &'a [f32],
    /// From a row to the next.
    pub(crate) row: usize,
    /// From a column to the next.
    pub(crate) column: usize,
}

impl<'a> Matrix<'a> {
    /// Row by row, `columns` numbers each.
    pub(crate) fn new(numbers: &'a [f32], columns: usize) -> Self {
        Self {
            numbers,
            row: columns,
            column: 1,
        }
    }

    pub(crate) fn transposed(self) -> Self {
        Self {
            row: self.column,
            column: self.row,
            ..self
        }
    }
}

/// Rows of the left matrix, columns of the right one, and what is summed over.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) inner: usize,
}

/// What is done to a row's numbers when they are whole.
pub(crate) trait Finish: Sync {
    /// `numbers` are those of `row` from `column` on.
    fn finish(&self, row: usize, column: usize, numbers: &mut [f32]);
}

/// Nothing.
pub(crate) struct Plain;

impl Finish for Plain {
    #[inline(always)]
    fn finish(&self, _row: usize, _column: usize, _numbers: &mut [f32]) {}
}

/// Terms of a sum that are taken at once: their panel stays in the second cache.
const INNER: usize = 1024;

/// Rows that one task takes where there are too few panels for all threads.
const ROWS: usize = 64;

/// `left * right`, `[rows, columns]`, into `result`.
pub(crate) fn product<F: Finish>(
    instructions: Instructions,
    size: Size,
    left: Matrix,
    right: Matrix,
    finish: &F,
    result: &mut [f32],
) {
    assert_eq!(result.len(), size.rows * size.columns);
    if result.is_empty() {
        return;
    }
    let reach = |m: Matrix, rows: usize, columns: usize| {
        (rows - 1) * m.row + (columns - 1) * m.column < m.numbers.len()
    };
    assert!(size.inner == 0 || reach(left, size.rows, size.inner));
    assert!(size.inner == 0 || reach(right, size.inner, size.columns));
    let block = 2 * instructions.lanes();
    let panels = size.columns.div_ceil(block);
    let slices = match panels >= 4 {
        true => 1,
        false => size.rows.div_ceil(ROWS),
    };
    // A left matrix that lies column by column would be read across its rows again for each panel.
    let turned;
    let left = match left.column {
        1 => left,
        _ => {
            turned = turn(size, left);
            Matrix::new(&turned, size.inner)
        }
    };
    let result = Shared(result.as_mut_ptr());
    for_each(panels * slices, &|task| {
        let (panel, slice) = (task % panels, task / panels);
        let rows = size.rows.div_ceil(slices);
        let first = (slice * rows).min(size.rows);
        let task = Task {
            size,
            left,
            right,
            rows: first..(first + rows).min(size.rows),
            column: panel * block,
            result: &result,
        };
        one_panel(instructions, &task, &|row, column, numbers| {
            finish.finish(row, column, numbers);
        });
    });
}

/// The left matrix, row by row.
fn turn(size: Size, left: Matrix) -> Vec<f32> {
    let mut turned = vec![0f32; size.rows * size.inner];
    let slices = Parts::new(&mut turned, 16 * size.inner);
    for_each(slices.count(), &|slice| {
        // SAFETY: each task has a slice of its own.
        let (rows, first) = (unsafe { slices.of(slice) }, slice * 16);
        for k in 0..size.inner {
            let at = first * left.row + k * left.column;
            for (row, to) in rows.chunks_exact_mut(size.inner).enumerate() {
                to[k] = left.numbers[at + row * left.row];
            }
        }
    });
    turned
}

/// The result, of which each task writes rows and columns of its own.
struct Shared(*mut f32);

// SAFETY: no two tasks touch the same number.
unsafe impl Sync for Shared {}

struct Task<'a> {
    size: Size,
    left: Matrix<'a>,
    right: Matrix<'a>,
    rows: std::ops::Range<usize>,
    /// First column of the panel.
    column: usize,
    result: &'a Shared,
}

type Finisher<'a> = dyn Fn(usize, usize, &mut [f32]) + Sync + 'a;

for_each_instruction_set! {
    fn one_panel = panel(task: &Task, finish: &Finisher)
}

#[inline(always)]
unsafe fn panel<S: Simd>(task: &Task, finish: &Finisher) {
    let (size, block) = (task.size, 2 * S::LANES);
    let width = block.min(size.columns - task.column);
    let most = if S::LANES == 16 { 14 } else { 6 };
    let tiles = task.rows.len().div_ceil(most).max(1);
    let mut packed = vec![0f32; size.inner.clamp(1, INNER) * block];
    let mut start = 0;
    loop {
        let inner = (size.inner - start).min(INNER);
        pack(task, start, inner, width, block, &mut packed);
        let mut row = task.rows.start;
        for tile in 0..tiles {
            let rows = (task.rows.end - row).div_ceil(tiles - tile);
            let part = Part {
                row,
                start,
                inner,
                width,
                first: start == 0,
            };
            macro_rules! heights {
                ($($height:literal)*) => {
                    match rows {
                        0 => {}
                        $($height => unsafe { tile_of::<S, $height>(task, &part, &packed) },)*
                        _ => unreachable!("a tile has at most 14 rows"),
                    }
                };
            }
            if S::LANES == 16 {
                heights!(1 2 3 4 5 6 7 8 9 10 11 12 13 14);
            } else {
                heights!(1 2 3 4 5 6);
            }
            if start + inner == size.inner {
                for row in row..row + rows {
                    let at = row * size.columns + task.column;
                    // SAFETY: this task's own part of the result, of which no other slice is alive.
                    let numbers =
                        unsafe { std::slice::from_raw_parts_mut(task.result.0.add(at), width) };
                    finish(row, task.column, numbers);
                }
            }
            row += rows;
        }
        start += inner;
        if start >= size.inner {
            return;
        }
    }
}

/// `packed`: `[inner, lane]`, zeros where there is no column.
#[inline(always)]
fn pack(task: &Task, start: usize, inner: usize, width: usize, block: usize, packed: &mut [f32]) {
    let Matrix {
        numbers,
        row,
        column,
    } = task.right;
    let lines = packed.chunks_exact_mut(block).take(inner).enumerate();
    if column == 1 {
        for (k, line) in lines {
            let from = &numbers[(start + k) * row + task.column..][..width];
            line[..width].copy_from_slice(from);
        }
    } else {
        // Down the columns, which are contiguous where the rows are not.
        // A few rows at a time, so that what is written stays in the nearest cache.
        for first in (0..inner).step_by(16) {
            let rows = first..(first + 16).min(inner);
            for lane in 0..width {
                let from = &numbers[(task.column + lane) * column + start * row..];
                for k in rows.clone() {
                    packed[k * block + lane] = from[k * row];
                }
            }
        }
    }
}

struct Part {
    row: usize,
    start: usize,
    inner: usize,
    width: usize,
    /// Whether the result holds nothing yet.
    first: bool,
}

#[inline(always)]
unsafe fn tile_of<S: Simd, const P: usize>(task: &Task, part: &Part, packed: &[f32]) {
    let (left, block) = (task.left, 2 * S::LANES);
    assert!(packed.len() >= part.inner * block);
    // SAFETY: `product` has checked that both matrices reach this far, and the tile's rows and columns
    // of the result are this task's.
    unsafe {
        let mut sums = [[S::splat(0.0); 2]; P];
        let result = task
            .result
            .0
            .add(part.row * task.size.columns + task.column);
        let mut line = [0f32; 32];
        if !part.first {
            for (p, sums) in sums.iter_mut().enumerate() {
                let from = result.add(p * task.size.columns);
                std::ptr::copy_nonoverlapping(from, line.as_mut_ptr(), part.width);
                *sums = [S::load(line.as_ptr()), S::load(line.as_ptr().add(S::LANES))];
            }
        }
        let mut panel = packed.as_ptr();
        let mut from = left
            .numbers
            .as_ptr()
            .add(part.row * left.row + part.start * left.column);
        for _ in 0..part.inner {
            let (first, second) = (S::load(panel), S::load(panel.add(S::LANES)));
            for (p, sums) in sums.iter_mut().enumerate() {
                let number = S::splat(*from.add(p * left.row));
                sums[0] = S::fma(number, first, sums[0]);
                sums[1] = S::fma(number, second, sums[1]);
            }
            panel = panel.add(block);
            from = from.wrapping_add(left.column);
        }
        for (p, sums) in sums.iter().enumerate() {
            let to = result.add(p * task.size.columns);
            if part.width == block {
                S::store(to, sums[0]);
                S::store(to.add(S::LANES), sums[1]);
            } else {
                S::store(line.as_mut_ptr(), sums[0]);
                S::store(line.as_mut_ptr().add(S::LANES), sums[1]);
                std::ptr::copy_nonoverlapping(line.as_ptr(), to, part.width);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::draw;

    fn numbers(key: u32, n: usize) -> Vec<f32> {
        let unit = |i| draw(key, i, 0) as f32 / u32::MAX as f32 - 0.5;
        (0..n as u32).map(unit).collect()
    }

    #[test]
    fn products_of_any_size_and_layout() {
        let sizes = [
            (1, 1, 1),
            (128, 10, 512),
            (13, 65, 7),
            (100, 33, 2100),
            (29, 16, 1024),
            (5, 200, 1),
            (70, 3, 90),
        ];
        for (rows, columns, inner) in sizes {
            let (a, b) = (numbers(1, rows * inner), numbers(2, inner * columns));
            for (left_t, right_t) in [(false, false), (true, false), (false, true)] {
                let left = match left_t {
                    false => Matrix::new(&a, inner),
                    true => Matrix::new(&a, rows).transposed(),
                };
                let right = match right_t {
                    false => Matrix::new(&b, columns),
                    true => Matrix::new(&b, inner).transposed(),
                };
                for set in Instructions::available() {
                    let mut got = vec![f32::NAN; rows * columns];
                    let size = Size {
                        rows,
                        columns,
                        inner,
                    };
                    product(set, size, left, right, &Plain, &mut got);
                    for (at, got) in got.iter().enumerate() {
                        let (r, c) = (at / columns, at % columns);
                        let term = |k: usize| {
                            f64::from(a[r * left.row + k * left.column])
                                * f64::from(b[k * right.row + c * right.column])
                        };
                        let want: f64 = (0..inner).map(term).sum();
                        let error = (f64::from(*got) - want).abs();
                        assert!(error < 1e-5 * (inner as f64).sqrt(), "{set:?} {got} {want}");
                    }
                }
            }
        }
    }
}
