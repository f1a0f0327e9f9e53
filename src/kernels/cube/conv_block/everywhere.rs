//! The images' gradient where there is one at every position. Without a pool or a stride it is a
//! convolution again, of the gradient with turned kernels: `shaders/conv_block_turn.wgsl`, then
//! `shaders/conv_block.wgsl`, with `shaders/conv_block_unrouted.wgsl` between where a gradient may not pass.

use burn::tensor::DType;

use super::super::{empty, groups, launch};
use super::forward::Forward;
use super::{Block, Float, Int, Machine, Part, used};
use crate::kernels::conv_block::{Activation, Spec, images_shape};

/// Whether it can be had so.
pub(super) fn applies(spec: &Spec) -> bool {
    spec.pool == 1 && spec.stride == 1 && spec.padding < spec.kernel
}

/// The convolution that takes the gradient of the output to that of the images.
pub(super) fn backward(spec: &Spec) -> Spec {
    Spec {
        height: spec.out_height(),
        width: spec.out_width(),
        in_channels: spec.out_channels,
        out_channels: spec.in_channels,
        padding: spec.kernel - 1 - spec.padding,
        bias: false,
        activation: Activation::Identity,
        dropout: None,
        channels_first: false,
        ..*spec
    }
}

/// Two launches, or three.
pub(super) fn images_grad([weight, output, grad]: [Float; 3], route: &Int, spec: &Spec) -> Float {
    let backward = backward(spec);
    let turned = empty(&weight, [spec.weight_len()], DType::F32);
    let program = Block::new(Part::Turn, spec, Machine::Gpu);
    launch(program, groups(&turned), &[&weight, &turned], &[]);

    let grad = match !spec.has_route() && !spec.channels_first {
        true => grad,
        false => {
            let unrouted = empty(&grad, images_shape(&backward), DType::F32);
            let tensors = [&grad, &unrouted, route, &output];
            let program = Block::new(Part::Unrouted, spec, Machine::Gpu);
            launch(program, groups(&unrouted), used(&tensors, spec), &[]);
            unrouted
        }
    };
    let images = empty(&weight, images_shape(spec), DType::F32);
    let program = Block::new(Part::Forward, &backward, Machine::Gpu);
    let groups = Forward::of(&backward).groups(&backward);
    launch(program, groups, &[&grad, &turned, &images], &[]);
    images
}
