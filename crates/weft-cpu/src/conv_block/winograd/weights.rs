//! The weights' gradient.

use super::product::Product;
use super::transform::{kernel_out, transform_grads, transform_pixels};
use super::{GAP, GROUP_OF_WEIGHTS, PLACES, Room, Sides, group, padded, scratch};
use crate::conv_block::spec::Spec;
use crate::simd::Simd;

/// The gradient of the weights over some images, added to `sums`, `[tap, filter]` with whole vectors of filters.
///
/// * `images`: `[image, row, column, channel]`
/// * `grad`: `[image, row, column, filter]`
#[inline(always)]
pub(in crate::conv_block) unsafe fn add_weight_grad<S: Simd>(
    spec: &Spec,
    images: &[f32],
    grad: &[f32],
    sums: &mut [f32],
) {
    let sides = Sides::of(spec);
    let block = 2 * S::LANES;
    let all = grad.len() / sides.output_len() * sides.of_an_image();
    assert!(images.len() / sides.image_len() == grad.len() / sides.output_len());
    if all == 0 {
        return;
    }
    let group = group(all, GROUP_OF_WEIGHTS);
    let channels = padded(sides.channels, S::LANES);
    let blocks = sides.filters.div_ceil(block);
    let place = group * channels + GAP;
    let out_place = blocks * group * block + GAP;
    let sum_place = blocks * sides.channels * block + GAP;
    let mut room_of_tiles = scratch(PLACES * place);
    let mut room_of_grads = scratch(PLACES * out_place);
    let mut room_of_products = scratch(PLACES * sum_place);
    let tiles = room_of_tiles.as_mut_ptr().cast::<f32>();
    let grads = room_of_grads.as_mut_ptr().cast::<f32>();
    let products = room_of_products.as_mut_ptr().cast::<f32>();
    let mut room = Room::new(sides.channels, sides.zeros, sides.tiles(), 2);
    let mut grad_room = Room::new(sides.filters, 0, sides.tiles(), 0);
    let mut first = 0;
    while first < all {
        let count = group.min(all - first);
        let mut places = sides.tiles_from(first);
        for tile in 0..count {
            let (image, at) = places.next();
            if at == [0, 0] {
                let from = &images[image * sides.image_len()..][..sides.image_len()];
                room.fill(sides.from[1], from);
                let from = &grad[image * sides.output_len()..][..sides.output_len()];
                grad_room.fill(sides.to[1], from);
            }
            let (from, grad) = (room.tile(at), grad_room.tile(at));
            // SAFETY: a tile lies in its room, which has slack for the last vector; both buffers have a row
            // of whole vectors for each tile of the group.
            unsafe {
                for channel in (0..sides.channels).step_by(S::LANES) {
                    let to = tiles.add(tile * channels + channel);
                    transform_pixels::<S>(from.add(channel), room.row, sides.channels, to, place);
                }
                for filter in (0..sides.filters).step_by(S::LANES) {
                    let to = filter / block * group * block + tile * block + filter % block;
                    let to = grads.add(to);
                    let from = grad.add(filter);
                    transform_grads::<S>(from, grad_room.row, sides.filters, to, out_place);
                }
            }
        }
        for index in 0..PLACES * blocks {
            let (at, index) = (index / blocks, index % blocks);
            let narrow = sides.filters - index * block <= S::LANES;
            // SAFETY: the buffers were made for it.
            unsafe {
                let product = Product {
                    rows: sides.channels,
                    inner: count,
                    left: tiles.add(at * place),
                    left_row: 1,
                    left_inner: channels,
                    right: grads.add(at * out_place + index * group * block),
                    result: products.add(at * sum_place + index * sides.channels * block),
                };
                match first {
                    0 => product.run::<S, false>(narrow),
                    _ => product.run::<S, true>(narrow),
                }
            }
        }
        first += count;
    }
    let filters = padded(sides.filters, S::LANES);
    assert!(sums.len() == 9 * sides.channels * filters);
    for channel in 0..sides.channels {
        for filter in (0..sides.filters).step_by(S::LANES) {
            let from = sides.panel(sides.channels, channel, filter, S::LANES);
            // SAFETY: the lengths are as asserted.
            unsafe {
                let from = products.add(from);
                let to = sums.as_mut_ptr().add(channel * filters + filter);
                kernel_out::<S>(from, sum_place, to, sides.channels * filters);
            }
        }
    }
}
