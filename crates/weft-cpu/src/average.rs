//! One update of an exponential moving average, in place. The CPU twin of `shaders/average.wgsl`.

use crate::simd::{Instructions, Simd, for_each_instruction_set};
use crate::threads::{Parts, for_each, part_of};

/// Numbers that one task takes.
const CHUNK: usize = 64 * 1024;

/// `average += rate * (value - average)` for each number.
pub fn update(instructions: Instructions, rate: f32, value: &[f32], average: &mut [f32]) {
    let average = Parts::new(average, CHUNK);
    for_each(average.count(), &|index| {
        let value = part_of(value, CHUNK, index);
        // SAFETY: each task has an index of its own.
        let average = unsafe { average.of(index) };
        some(instructions, rate, value, average);
    });
}

for_each_instruction_set! {
    fn some = numbers(rate: f32, value: &[f32], average: &mut [f32])
}

#[inline(always)]
unsafe fn numbers<S: Simd>(rate: f32, value: &[f32], average: &mut [f32]) {
    for (average, &value) in average.iter_mut().zip(value) {
        *average += rate * (value - *average);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All instruction sets, lengths that are no whole vector or part.
    #[test]
    fn an_update_is_the_formula() {
        for n in [1, 1003, CHUNK + 1] {
            let value =
                |key, i| crate::random::draw(key, i as u32, 0) as f32 / u32::MAX as f32 - 0.5;
            let values: Vec<f32> = (0..n).map(|i| value(1, i)).collect();
            let before: Vec<f32> = (0..n).map(|i| value(2, i)).collect();
            for set in Instructions::available() {
                let mut average = before.clone();
                update(set, 0.25, &values, &mut average);
                for i in 0..n {
                    let want = before[i] + 0.25 * (values[i] - before[i]);
                    assert_eq!(average[i], want, "{set:?} {i} of {n}");
                }
            }
        }
    }
}
