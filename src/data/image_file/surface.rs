//! The background of a picture as a surface: a wall is lighter on one side, a lens darkens the corners.

/// Colour of the background as a polynomial of the second degree in x and y, each from -1 to 1 over the
/// picture, for each of red, green and blue.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Surface {
    coefficients: [[f64; TERMS]; 3],
}

const TERMS: usize = 6;

fn terms(x: f64, y: f64) -> [f64; TERMS] {
    [1.0, x, y, x * y, x * x, y * y]
}

impl Surface {
    /// Of one colour all over.
    pub(super) fn even(color: [u8; 3]) -> Self {
        let coefficients = color.map(|value| [f64::from(value), 0.0, 0.0, 0.0, 0.0, 0.0]);
        Self { coefficients }
    }

    /// The one with the least squares of differences to points (x, y, colour).
    pub(super) fn through(points: &[(f64, f64, [u8; 3])]) -> Self {
        let mut products = [[0.0; TERMS]; TERMS];
        let mut sums = [[0.0; TERMS]; 3];
        for &(x, y, color) in points {
            let of = terms(x, y);
            for row in 0..TERMS {
                for column in 0..TERMS {
                    products[row][column] += of[row] * of[column];
                }
                for (sums, value) in sums.iter_mut().zip(color) {
                    sums[row] += of[row] * f64::from(value);
                }
            }
        }
        // What too few points leave open is zero.
        for (at, row) in products.iter_mut().enumerate() {
            row[at] += 1e-3;
        }
        Self {
            coefficients: sums.map(|sums| solve(products, sums)),
        }
    }

    /// The colour at a place, not rounded.
    pub fn at(&self, x: f64, y: f64) -> [f64; 3] {
        let of = terms(x, y);
        self.coefficients
            .map(|coefficients| coefficients.iter().zip(of).map(|(a, b)| a * b).sum())
    }

    /// How far a colour is from that at a place: the largest difference of a channel.
    pub fn distance(&self, x: f64, y: f64, color: [u8; 3]) -> f64 {
        let pairs = self.at(x, y).into_iter().zip(color);
        let differences = pairs.map(|(a, b)| (a - f64::from(b)).abs());
        differences.fold(0.0, f64::max)
    }
}

/// Gauss's elimination. The matrix is symmetric and positive definite, so that no row is exchanged.
fn solve(mut matrix: [[f64; TERMS]; TERMS], mut right: [f64; TERMS]) -> [f64; TERMS] {
    for pivot in 0..TERMS {
        for row in pivot + 1..TERMS {
            let factor = matrix[row][pivot] / matrix[pivot][pivot];
            let of_pivot = matrix[pivot];
            for (value, of_pivot) in matrix[row].iter_mut().zip(of_pivot).skip(pivot) {
                *value -= factor * of_pivot;
            }
            right[row] -= factor * right[pivot];
        }
    }
    let mut solution = [0.0; TERMS];
    for row in (0..TERMS).rev() {
        let known: f64 = (row + 1..TERMS)
            .map(|column| matrix[row][column] * solution[column])
            .sum();
        solution[row] = (right[row] - known) / matrix[row][row];
    }
    solution
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_surface_goes_through_what_is_one() {
        let color = |x: f64, y: f64| [128.0 + 40.0 * x - 20.0 * y * y, 90.0 + 30.0 * x * y, 7.0];
        let points: Vec<(f64, f64, [u8; 3])> = (0..80)
            .map(|n| {
                let along = f64::from(n % 20) / 10.0 - 1.0;
                let (x, y) =
                    [(along, -1.0), (along, 1.0), (-1.0, along), (1.0, along)][n as usize / 20];
                (x, y, color(x, y).map(|it| it.round() as u8))
            })
            .collect();
        let surface = Surface::through(&points);
        for (x, y) in [(0.0, 0.0), (0.5, -0.5), (-0.9, 0.2)] {
            let pairs = surface.at(x, y).into_iter().zip(color(x, y));
            assert!(pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max) < 1.5);
        }
        // A single point, and none, are no reason for wild numbers.
        let one = Surface::through(&[(0.0, 0.0, [9, 9, 9])]);
        assert!(one.distance(1.0, 1.0, [9, 9, 9]) < 1.0);
        assert_eq!(Surface::through(&[]).at(1.0, 1.0), [0.0; 3]);
    }
}
