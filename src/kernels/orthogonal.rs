//! The orthogonal matrix nearest to one, or nearly so: what Muon makes of a momentum. The CPU twin of
//! `shaders/orthogonal*.wgsl` is [`weft_cpu::orthogonal`], which has the formula.

use burn::backend::Dispatch;
use burn::backend::fusion::custom::TensorSpec;
use burn::tensor::{Device, Tensor};
pub use weft_cpu::orthogonal::Spec;
use weft_cpu::orthogonal::{A, B, C, N_ITERATIONS, SMALLEST_NORM};

use super::{Kernels, cube, is_cpu};

/// `[row, column]`, its singular values brought to about 1: within 0.7 and 1.2, but for those far below the
/// largest.
pub fn orthogonal(matrix: Tensor<2>) -> Tensor<2> {
    let [rows, columns] = matrix.dims();
    let spec = Spec { rows, columns };
    match runs_on(&spec, &matrix.device()) {
        true => {
            let matrix = matrix.into_dispatch();
            Tensor::from_dispatch(<Dispatch as Kernels>::orthogonal(matrix, spec))
        }
        false => by_operations(matrix),
    }
}

/// On a CPU always, on a GPU in any size that the shaders can count.
fn runs_on(spec: &Spec, device: &Device) -> bool {
    is_cpu(device) || cube::does_orthogonal(spec)
}

/// The same by burn's operations.
#[doc(hidden)]
pub fn by_operations(matrix: Tensor<2>) -> Tensor<2> {
    let [rows, columns] = matrix.dims();
    // In two parts: Mesa's software adapter adds no more than 65,535 numbers.
    let squares = matrix.clone().square().sum_dim(1).sum_dim(0);
    let mut x = matrix / squares.sqrt().add_scalar(SMALLEST_NORM);
    for _ in 0..N_ITERATIONS {
        let gram = match rows > columns {
            true => x.clone().transpose().matmul(x.clone()),
            false => x.clone().matmul(x.clone().transpose()),
        };
        let polynomial = gram.clone().mul_scalar(B) + gram.clone().matmul(gram).mul_scalar(C);
        let product = match rows > columns {
            true => x.clone().matmul(polynomial),
            false => polynomial.matmul(x.clone()),
        };
        x = x.mul_scalar(A) + product;
    }
    x
}

pub(super) fn output(matrix: &TensorSpec, _spec: &Spec) -> TensorSpec {
    matrix.clone()
}
