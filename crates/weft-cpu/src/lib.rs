//! weft's CPU kernels, over plain slices: the twins of `shaders/`, blocked for the caches, vectorised
//! by hand for AVX-512 and AVX2 (portable code elsewhere), spread over rayon's threads.
//!
//! A crate of its own so that it alone is compiled for speed; it knows no tensors. Sums are taken in
//! an order that does not depend on the number of threads, so a result is the same bytes on any
//! machine with the same vector instructions.

pub mod adam;
pub mod average;
pub mod batch_norm;
pub mod conv_block;
pub mod dense;
pub mod dropout_mask;
pub mod elementwise;
pub mod gather_batch;
pub mod memory;
pub mod orthogonal;
mod product;
pub mod random;
pub mod simd;
mod threads;
