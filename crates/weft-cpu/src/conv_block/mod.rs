//! A convolution block in one pass: convolution, bias, max pool, activation and dropout; forward, and
//! backward for the weights and for the input. The CPU twin of `shaders/conv_block.wgsl`.
//!
//! Nothing as large as the convolution's output is ever stored. Of each pool window the forward pass
//! keeps which position won (the *route*), and the backward passes touch only those positions: with a
//! 2x2 pool a quarter of the work of a dense backward pass, and less where ReLU or dropout closed the
//! window. Pooling before the activation gives the same values as the other order, since every
//! [`Activation`] here is monotone.

mod everywhere;
mod forward;
mod input_grad;
mod pack;
mod spec;
mod weight_grad;
mod winograd;

pub use forward::forward;
pub use input_grad::input_grad;
pub use spec::{Activation, Dropout, NO_ROUTE, Spec};
pub use weight_grad::weight_grad;

#[cfg(test)]
mod tests;
