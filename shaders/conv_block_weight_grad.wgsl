// The gradient of a convolution block's weights and bias, in parts: conv_block_weight_sum.wgsl adds them
// up. CPU twin: crates/weft-cpu/src/conv_block/weight_grad.rs.
//
// An invocation has EACH filters, one channel and ROWS rows of the kernel, their sums in registers, and
// walks through LENGTH pool windows of the batch. It reads the patch under a window once; each filter's
// gradient counts at the position that won, at the others it is taken as zero. Neighbouring invocations
// have neighbouring channels, then filters. SUBS walks of a workgroup are added in a tree, PIECE sums at
// a time: the order is fixed.

@group(0) @binding(0) var<storage, read_write> images: array<f32>; // [batch, height, width, channel]
@if WIDE
alias Place = vec4<i32>; // of four filters
alias Value = vec4<f32>;
@else
alias Place = i32;
alias Value = f32;
@end
@group(0) @binding(1) var<storage, read_write> grad: array<Value>;   // Spec::output_shape()
@group(0) @binding(2) var<storage, read_write> parts: array<f32>;    // [slice][filter of an invocation][tap, then bias][lane]
@if ROUTED
@group(0) @binding(3) var<storage, read_write> route: array<Place>;  // as the gradient
@end
@if ACTIVATION >= 2
@group(0) @binding(4) var<storage, read_write> output: array<Value>; // Spec::output_shape()
@end

var<workgroup> sums: array<f32, ${LANES * SUBS / 2 * PIECE}>;

@compute @workgroup_size(${GROUP}, 1, 1)
fn main(
    @builtin(local_invocation_index) local: u32,
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let sub = local / LANES;
    let lane = (id.x + id.y * groups.x) * LANES + local % LANES;
    // [group of filters][group of rows][channel]; a lane too many does what another does.
    let within = min(lane, ALL_LANES - 1u);
    let channel = within % CHANNELS;
    let first_row = within / CHANNELS % ROW_GROUPS * ROWS;
    let first_filter = within / (CHANNELS * ROW_GROUPS) * EACH;
    let slice = id.z;

@unroll n EACH * (TAPS + BIAS)
    var sum$n = 0.0;
@end
    let start = (slice * SUBS + sub) * LENGTH;
    let end = min(start + LENGTH, BATCH * WINDOWS);
    for (var at = start; at < end; at++) {
        let image = at / WINDOWS;
        let window = at % WINDOWS;
        let top = i32(window / OUT_WIDTH * ${POOL * CONV_STRIDE}u + first_row) - i32(PADDING);
        let left = i32(window % OUT_WIDTH * ${POOL * CONV_STRIDE}u) - i32(PADDING);
@unroll y PATCH_Y
@if PADDING > 0
        let row$y = (i32(image * HEIGHT) + clamp(top + $y, 0, i32(HEIGHT) - 1)) * i32(WIDTH * CHANNELS);
        let row_inside$y = top + $y >= 0 && top + $y < i32(HEIGHT);
@else
        let row$y = (i32(image * HEIGHT) + top + $y) * i32(WIDTH * CHANNELS) + i32(channel);
@end
@end
@unroll x PATCH_X
@if PADDING > 0
        let column$x = clamp(left + $x, 0, i32(WIDTH) - 1) * i32(CHANNELS) + i32(channel);
        let column_inside$x = left + $x >= 0 && left + $x < i32(WIDTH);
@end
@end
@unroll y PATCH_Y
@unroll x PATCH_X
@if PADDING > 0
        let p$y_$x = select(0.0, images[row$y + column$x], row_inside$y && column_inside$x);
@else
        let p$y_$x = images[row$y + (left + $x) * i32(CHANNELS)];
@end
@end
@end
@if WIDE
@unroll q EACH / 4
        let from$q = (at * FILTERS + min(first_filter + ${4 * q}u, FILTERS - 4u)) / 4u;
@if ROUTED
        let places$q = route[from$q];
@end
        let values$q = grad[from$q];
@if ACTIVATION >= 2
        let outputs$q = output[from$q];
@end
@end
@end
@unroll f EACH
@if WIDE && ROUTED
        let place$f = places${f / 4}[${f % 4}];
@end
@if WIDE
        var g$f = values${f / 4}[${f % 4}];
@else
        let from$f = element(image, window, min(first_filter + ${f}u, FILTERS - 1u));
@if ROUTED
        let place$f = route[from$f];
@end
        var g$f = grad[from$f];
@end
        g$f *= bitcast<f32>(SCALE_BITS);
@if ACTIVATION >= 2 && WIDE
        g$f *= derivative(outputs${f / 4}[${f % 4}] / bitcast<f32>(SCALE_BITS));
@end
@if ACTIVATION >= 2 && WIDE == 0
        g$f *= derivative(output[from$f] / bitcast<f32>(SCALE_BITS));
@end
@if BIAS && ROUTED
        sum${f * (TAPS + BIAS) + TAPS} += select(0.0, g$f, place$f != i32(NO_ROUTE));
@end
@if BIAS > ROUTED
        sum${f * (TAPS + BIAS) + TAPS} += g$f;
@end
@unroll ry POOL
@unroll rx POOL
@if ROUTED
        let v$f_$ry_$rx = select(0.0, g$f, place$f == ${ry * POOL + rx});
@else
        let v$f_$ry_$rx = g$f;
@end
@unroll ky ROWS
@unroll kx KERNEL
        sum${f * (TAPS + BIAS) + ky * KERNEL + kx} += v$f_$ry_$rx * p${ry * CONV_STRIDE + ky}_${rx * CONV_STRIDE + kx};
@end
@end
@end
@end
@end
    }

    // Piece by piece: all sums at once do not fit.
@unroll piece PIECES
    for (var half = SUBS / 2u; half > 0u; half /= 2u) {
        if sub >= half && sub < 2u * half {
@unroll t PIECE
@if piece * PIECE + t < EACH * (TAPS + BIAS)
            sums[(${t}u * (SUBS / 2u) + sub - half) * LANES + local % LANES] = sum${piece * PIECE + t};
@end
@end
        }
        workgroupBarrier();
        if sub < half {
@unroll t PIECE
@if piece * PIECE + t < EACH * (TAPS + BIAS)
            sum${piece * PIECE + t} += sums[(${t}u * (SUBS / 2u) + sub) * LANES + local % LANES];
@end
@end
        }
        workgroupBarrier();
    }
@end
    if sub == 0u && lane < ALL_LANES {
@unroll n EACH * (TAPS + BIAS)
        parts[(slice * ${EACH * (TAPS + BIAS)}u + ${n}u) * ALL_LANES + lane] = sum$n;
@end
    }
}
