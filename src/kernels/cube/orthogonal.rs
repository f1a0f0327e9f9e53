//! Launching `shaders/orthogonal*.wgsl`: three products an iteration.

use burn::backend::tensor::FloatTensor;
use burn::tensor::DType;
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use weft_cpu::orthogonal::{A, B, C, N_ITERATIONS, SMALLEST_NORM};

use super::product::{self, Product, cores};
use super::template::{Numbers, expand};
use super::{Program, WORKGROUP, empty, launch};
use crate::kernels::orthogonal::Spec;

type Float = FloatTensor<CubeBackend>;

pub(super) fn fits(spec: &Spec) -> bool {
    let small = spec.small();
    product::fits([spec.rows, spec.columns, small])
        && product::fits([small, small, spec.rows.max(spec.columns)])
}

/// Which of an iteration's launches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Part {
    /// The smaller of the two products of the matrix with itself.
    Gram,
    /// One over the norm, from the first of them.
    Scale,
    /// Of that product.
    Polynomial,
    /// The matrix after an iteration.
    Step,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Orthogonal {
    part: Part,
    spec: Spec,
    /// Whether the matrix is still as it was given, not yet divided by its norm.
    first: bool,
    /// Workgroups that the device computes at a time.
    cores: usize,
}

impl Orthogonal {
    fn product(&self) -> Product {
        let Spec { rows, columns } = self.spec;
        let (small, tall) = (self.spec.small(), self.spec.is_tall());
        let (size, along) = match self.part {
            Part::Gram => ([small, small, rows.max(columns)], [!tall, !tall]),
            Part::Scale | Part::Polynomial => ([small, small, small], [true, false]),
            Part::Step => ([rows, columns, small], [true, false]),
        };
        Product::new(size, along, self.cores)
    }

    fn groups(&self) -> usize {
        match self.part {
            Part::Scale => 1,
            _ => self.product().groups(),
        }
    }
}

impl Program for Orthogonal {
    fn text(&self) -> String {
        let mut numbers = match self.part {
            Part::Scale => {
                let mut numbers = Numbers::default();
                numbers.set("GROUP", WORKGROUP);
                numbers
            }
            _ => self.product().numbers(),
        };
        numbers.set_all(&[
            ("SMALL", self.spec.small()),
            ("TALL", usize::from(self.spec.is_tall())),
            ("FIRST", usize::from(self.first)),
        ]);
        for (name, value) in [("A", A), ("B", B), ("C", C), ("SMALLEST", SMALLEST_NORM)] {
            numbers.set(&format!("{name}_BITS"), value.to_bits());
        }
        let shader = match self.part {
            Part::Gram => include_str!("../../../shaders/orthogonal_gram.wgsl"),
            Part::Scale => include_str!("../../../shaders/orthogonal_scale.wgsl"),
            Part::Polynomial => include_str!("../../../shaders/orthogonal_polynomial.wgsl"),
            Part::Step => include_str!("../../../shaders/orthogonal_step.wgsl"),
        };
        match self.part {
            Part::Scale => expand(shader, &numbers),
            _ => {
                let product = include_str!("../../../shaders/dense_product.wgsl");
                expand(&[product, shader].concat(), &numbers)
            }
        }
    }
}

pub(super) fn orthogonal(matrix: Float, spec: &Spec) -> Float {
    let matrix = into_contiguous(matrix);
    let (small, cores) = (spec.small(), cores(&matrix));
    let buffer = |rows, columns| empty(&matrix, [rows, columns], DType::F32);
    let (gram, polynomial) = (buffer(small, small), buffer(small, small));
    let scale = empty(&matrix, [1], DType::F32);
    let run = |part, first, tensors: &[&Float]| {
        // One for all matrices of a side.
        let of_side = Spec {
            rows: small,
            columns: small,
        };
        let spec = match part {
            Part::Scale | Part::Polynomial => of_side,
            Part::Gram | Part::Step => *spec,
        };
        let program = Orthogonal {
            part,
            spec,
            first,
            cores,
        };
        launch(program, [program.groups(), 1], tensors, &[]);
    };
    let mut x = matrix.clone();
    // Two in turn; the one that was given stays as it is.
    let mut next = [
        buffer(spec.rows, spec.columns),
        buffer(spec.rows, spec.columns),
    ];
    for iteration in 0..N_ITERATIONS {
        let first = iteration == 0;
        run(Part::Gram, false, &[&x, &gram]);
        if first {
            run(Part::Scale, false, &[&gram, &scale]);
            run(Part::Polynomial, true, &[&gram, &polynomial, &scale]);
            run(Part::Step, true, &[&x, &polynomial, &next[0], &scale]);
        } else {
            run(Part::Polynomial, false, &[&gram, &polynomial]);
            run(Part::Step, false, &[&x, &polynomial, &next[0]]);
        }
        x = next[0].clone();
        next.swap(0, 1);
    }
    x
}
