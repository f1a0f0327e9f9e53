// The gradient of a convolution block's weights and bias, in parts: conv_block_weight_sum.wgsl adds them
// up. CPU twin: crates/weft-cpu/src/conv_block/weight_grad.rs.
//
// An invocation has one filter, one channel and ROWS rows of the kernel, their sums in registers, and
// walks through LENGTH pool windows of the batch; under each window only the position that won counts.
// Neighbouring invocations have neighbouring channels, then filters, so that with 32 channels or more a
// whole subgroup takes the same way. SUBS walks of a workgroup are added in a tree: the order is fixed.

@group(0) @binding(0) var<storage, read_write> images: array<f32>; // [batch, height, width, channel]
@group(0) @binding(1) var<storage, read_write> route: array<i32>;  // Spec::output_shape()
@group(0) @binding(2) var<storage, read_write> grad: array<f32>;   // the same: of the output
@group(0) @binding(3) var<storage, read_write> parts: array<f32>;  // [slice][tap, then bias][lane]
@if ACTIVATION >= 2
@group(0) @binding(4) var<storage, read_write> output: array<f32>; // Spec::output_shape()
@end

var<workgroup> sums: array<f32, ${LANES * SUBS / 2 * (TAPS + 1)}>;

@compute @workgroup_size(${GROUP}, 1, 1)
fn main(@builtin(local_invocation_index) local: u32, @builtin(workgroup_id) id: vec3<u32>) {
    let sub = local / LANES;
    let lane = id.x * LANES + local % LANES;
    // [filter][group of rows][channel]
    let within = min(lane, ALL_LANES - 1u);
    let channel = within % CHANNELS;
    let first_row = within / CHANNELS % ROW_GROUPS * ROWS;
    let filter_index = within / (CHANNELS * ROW_GROUPS);
    let slice = id.z;

@unroll t TAPS + 1
    var sum$t = 0.0;
@end
    let start = (slice * SUBS + sub) * LENGTH;
    let end = min(start + LENGTH, BATCH * WINDOWS);
    for (var at = start; at < end; at++) {
        let image = at / WINDOWS;
        let window = at % WINDOWS;
        let source = element(image, window, filter_index);
        let place = u32(route[source]);
        if place != NO_ROUTE {
            var g = grad[source] * bitcast<f32>(SCALE_BITS);
@if ACTIVATION >= 2
            g *= derivative(output[source] / bitcast<f32>(SCALE_BITS));
@end
            let top = i32(window / OUT_WIDTH * POOL + place / POOL + first_row) - i32(PADDING);
            let left = i32(window % OUT_WIDTH * POOL + place % POOL) - i32(PADDING);
            let corner = ((i32(image * HEIGHT) + top) * i32(WIDTH) + left) * i32(CHANNELS) + i32(channel);
@unroll ky ROWS
@unroll kx KERNEL
@if PADDING > 0
            if top + $ky >= 0 && top + $ky < i32(HEIGHT) && left + $kx >= 0 && left + $kx < i32(WIDTH) {
                sum${ky * KERNEL + kx} += g * images[corner + ${(ky * WIDTH + kx) * CHANNELS}];
            }
@else
            sum${ky * KERNEL + kx} += g * images[corner + ${(ky * WIDTH + kx) * CHANNELS}];
@end
@end
@end
            sum${TAPS} += g;
        }
    }

    for (var half = SUBS / 2u; half > 0u; half /= 2u) {
        if sub >= half && sub < 2u * half {
@unroll t TAPS + 1
            sums[(${t}u * (SUBS / 2u) + sub - half) * LANES + local % LANES] = sum$t;
@end
        }
        workgroupBarrier();
        if sub < half {
@unroll t TAPS + 1
            sum$t += sums[(${t}u * (SUBS / 2u) + sub) * LANES + local % LANES];
@end
        }
        workgroupBarrier();
    }
    if sub == 0u && lane < ALL_LANES {
@unroll t TAPS + 1
        parts[(slice * ${TAPS + 1}u + ${t}u) * ALL_LANES + lane] = sum$t;
@end
    }
}
