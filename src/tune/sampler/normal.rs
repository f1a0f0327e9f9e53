//! The exponential and the normal distribution in additions, multiplications and divisions alone.
//! Those are exact to the last bit in IEEE 754, which the system's `exp` and `erf` are not: a
//! proposal takes the largest of many ratios, and what one machine rounds differently could make
//! another search of it.

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI, LOG2_E};

/// e^x for x from -700 to 0, to about a unit in the last place; 0 below.
///
/// x = k ln 2 + r, so e^x = 2^k e^r, with the Taylor series for the small r (Cody and Waite,
/// "Software manual for the elementary functions", 1980, also for the two parts of ln 2).
pub(super) fn exp_of_negative(x: f64) -> f64 {
    const LN_2_HIGH: f64 = 355.0 / 512.0; // few bits, so that k times it is exact
    const LN_2_LOW: f64 = -2.121_944_400_546_905_8e-4;
    if x < -700.0 {
        return 0.0;
    }
    let k = (x * LOG2_E).round();
    let r = (x - k * LN_2_HIGH) - k * LN_2_LOW;
    // |r| is at most 0.35: the 14th term is below 2^-57.
    let series = (1..=14)
        .rev()
        .fold(1.0, |sum, n| 1.0 + r / f64::from(n) * sum);
    let power_of_two = f64::from_bits(((1023 + k as i64) as u64) << 52);
    series * power_of_two
}

/// The normal distribution's density at `z`, without its constant 1 / sqrt(2 pi).
pub(super) fn bell(z: f64) -> f64 {
    exp_of_negative(-0.5 * z * z)
}

/// The probability that a normal variable is below `z`, to about 1e-15.
///
/// (1 + erf(z / sqrt 2)) / 2 by erf x = 2 / sqrt(pi) e^(-x²) sum 2^n x^(2n+1) / (1 · 3 ⋯ (2n+1))
/// (Abramowitz and Stegun, 1964, 7.1.6): all terms have one sign, so none cancel.
pub(super) fn cumulative(z: f64) -> f64 {
    const CERTAIN: f64 = 8.5; // beyond, the rest is below 1e-16
    if z.abs() > CERTAIN {
        return if z > 0.0 { 1.0 } else { 0.0 };
    }
    let x = z * FRAC_1_SQRT_2;
    let (mut term, mut sum, mut odd) = (x, x, 1.0);
    while term.abs() > f64::EPSILON * sum.abs() {
        odd += 2.0;
        term *= 2.0 * x * x / odd;
        sum += term;
    }
    0.5 + 0.5 * FRAC_2_SQRT_PI * bell(z) * sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_is_that_of_the_system_but_for_the_last_bits() {
        for step in 0..7_000 {
            let x = -f64::from(step) * 0.1;
            let relative = exp_of_negative(x) / x.exp() - 1.0;
            assert!(relative.abs() < 4.0 * f64::EPSILON, "{x}: {relative}");
        }
        assert_eq!(exp_of_negative(0.0), 1.0);
        assert_eq!(exp_of_negative(f64::NEG_INFINITY), 0.0);
    }

    /// Values from Abramowitz and Stegun's table 26.1.
    #[test]
    fn the_normal_distribution_is_the_tabulated_one() {
        for (z, below) in [
            (0.0, 0.5),
            (1.0, 0.841_344_746_068_543),
            (2.0, 0.977_249_868_051_821),
            (3.0, 0.998_650_101_968_370),
            (5.0, 0.999_999_713_348_428),
        ] {
            assert!((cumulative(z) - below).abs() < 1e-14, "{z}");
            assert!((cumulative(-z) - (1.0 - below)).abs() < 1e-14, "{z}");
        }
        assert_eq!(cumulative(f64::INFINITY), 1.0);
        assert_eq!(cumulative(-9.0), 0.0);
        let steps: Vec<f64> = (-90..=90).map(|z| cumulative(f64::from(z) * 0.1)).collect();
        assert!(steps.windows(2).all(|pair| pair[0] <= pair[1] + 1e-14));
    }
}
