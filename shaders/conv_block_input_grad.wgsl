// The gradient of a convolution block's images. CPU twin: crates/weft-cpu/src/conv_block/input_grad.rs.
//
// An invocation gathers for one channel and a block of BLOCK_Y x BLOCK_X pixels, with its sums in
// registers: for each filter it goes through the SPAN_Y x SPAN_X windows that reach into the block, and
// where the filter's gradient goes to a position that covers a pixel of the block, it adds the weight
// between the two. Neighbouring invocations have neighbouring channels: they read the same routes and
// take the same ways. So a GPU jumps to the taps of the one position that won; a processor that takes
// all ways anyway (DENSE) does better to multiply all positions of a larger block, most of them by zero.
// With a stride a tap meets only those pixels that are a whole number of strides from it.
// The weights of CHUNK filters at a time lie in workgroup memory, [filter][channel][tap] with an odd
// STRIDE between channels, one for each bank.

@group(0) @binding(0) var<storage, read_write> weight: array<f32>;      // [filter, channel, kernel, kernel]
@group(0) @binding(1) var<storage, read_write> grad: array<f32>;        // Spec::output_shape()
@group(0) @binding(2) var<storage, read_write> images_grad: array<f32>; // [batch, height, width, channel]
@if ROUTED
@group(0) @binding(3) var<storage, read_write> route: array<i32>;       // as the gradient
@end
@if ACTIVATION >= 2
@group(0) @binding(4) var<storage, read_write> output: array<f32>;      // Spec::output_shape()
@end

var<workgroup> taps: array<f32, ${CHUNK * LANES * STRIDE}>;

// The gradient before dropout and activation.
fn gradient(at: u32) -> f32 {
    let g = grad[at] * bitcast<f32>(SCALE_BITS);
@if ACTIVATION >= 2
    return g * derivative(output[at] / bitcast<f32>(SCALE_BITS));
@else
    return g;
@end
}

@compute @workgroup_size(${GROUP}, 1, 1)
fn main(
    @builtin(local_invocation_index) local: u32,
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let lane = local % LANES;
    let channel = id.z * LANES + lane;
    let index = (id.x + id.y * groups.x) * GROUP_BLOCKS + local / LANES;
    let exists = index < BATCH * BLOCKS_Y * BLOCKS_X && local < GROUP_BLOCKS * LANES && channel < CHANNELS;
    let image = min(index / (BLOCKS_Y * BLOCKS_X), BATCH - 1u);
    // In the padded image, whose positions are those of the convolution.
    let block_y = i32(FIRST_BLOCK_Y + index / BLOCKS_X % BLOCKS_Y);
    let block_x = i32(FIRST_BLOCK_X + index % BLOCKS_X);

    // The windows: whether they exist, and where their first filter is.
@unroll ey SPAN_Y
    let window_y$ey = block_y * i32(TILE_Y) + ${ey - REACH};
    let row_inside$ey = window_y$ey >= 0 && window_y$ey < i32(OUT_HEIGHT);
@end
@unroll ex SPAN_X
    let window_x$ex = block_x * i32(TILE_X) + ${ex - REACH};
    let column_inside$ex = window_x$ex >= 0 && window_x$ex < i32(OUT_WIDTH);
@end
@unroll ey SPAN_Y
@unroll ex SPAN_X
    let inside$ey_$ex = row_inside$ey && column_inside$ex;
    let window$ey_$ex = select(0u, u32(window_y$ey) * OUT_WIDTH + u32(window_x$ex), inside$ey_$ex);
    let start$ey_$ex = element(image, window$ey_$ex, 0u);
@end
@end

@unroll y BLOCK_Y
@unroll x BLOCK_X
    var sum$y_$x = 0.0;
@end
@end
    for (var first = 0u; first < FILTERS; first += CHUNK) {
        workgroupBarrier();
        for (var i = local; i < CHUNK * LANES * AREA; i += GROUP) {
            let from_filter = first + i / (LANES * AREA);
            let in_block = i % (LANES * AREA);
            let in_filter = id.z * (LANES * AREA) + in_block;
            if from_filter < FILTERS && in_filter < CHANNELS * AREA {
                let to = (i / AREA) * STRIDE + in_block % AREA;
                taps[to] = weight[from_filter * (CHANNELS * AREA) + in_filter];
            }
        }
        workgroupBarrier();
        let count = min(CHUNK, FILTERS - first);
        if exists {
@if DENSE
            for (var f = 0u; f < count; f++) {
                let tap = (f * LANES + lane) * STRIDE;
@unroll ey SPAN_Y
@unroll ex SPAN_X
                let at$ey_$ex = start$ey_$ex + (first + f) * NEXT_FILTER;
                let g$ey_$ex = select(0.0, gradient(at$ey_$ex), inside$ey_$ex);
@if ROUTED
                let place$ey_$ex = route[at$ey_$ex];
@unroll ry POOL
@unroll rx POOL
                let v${ey * POOL + ry}_${ex * POOL + rx} = select(0.0, g$ey_$ex, place$ey_$ex == ${ry * POOL + rx});
@end
@end
@else
                let v$ey_$ex = g$ey_$ex;
@end
@end
@end
@unroll ky KERNEL
@unroll kx KERNEL
                let w$ky_$kx = taps[tap + ${ky * KERNEL + kx}u];
@unroll y BLOCK_Y
@if (y - ky + BEFORE) % CONV_STRIDE == 0
@unroll x BLOCK_X
@if (x - kx + BEFORE) % CONV_STRIDE == 0
                sum$y_$x += v${(y - ky + BEFORE) / CONV_STRIDE}_${(x - kx + BEFORE) / CONV_STRIDE} * w$ky_$kx;
@end
@end
@end
@end
@end
@end
            }
@else
@unroll ey SPAN_Y
@unroll ex SPAN_X
            if inside$ey_$ex {
                for (var f = 0u; f < count; f++) {
                    let at = start$ey_$ex + (first + f) * NEXT_FILTER;
@if ROUTED
                    let place = route[at];
@else
                    let place = 0;
@end
                    let tap = (f * LANES + lane) * STRIDE;
                    switch place {
@unroll ry POOL
@unroll rx POOL
                        case ${ry * POOL + rx}: {
                            let g = gradient(at);
@unroll y BLOCK_Y
@if y + ((REACH - ey) * POOL - ry) * CONV_STRIDE >= 0 && y + ((REACH - ey) * POOL - ry) * CONV_STRIDE < KERNEL
@unroll x BLOCK_X
@if x + ((REACH - ex) * POOL - rx) * CONV_STRIDE >= 0 && x + ((REACH - ex) * POOL - rx) * CONV_STRIDE < KERNEL
                            sum$y_$x += g * taps[tap + ${(y + ((REACH - ey) * POOL - ry) * CONV_STRIDE) * KERNEL + x + ((REACH - ex) * POOL - rx) * CONV_STRIDE}u];
@end
@end
@end
@end
                        }
@end
@end
                        default: {}
                    }
                }
            }
@end
@end
@end
        }
    }
    if exists {
@unroll y BLOCK_Y
@unroll x BLOCK_X
        {
            let row = block_y * i32(BLOCK_Y) + $y - i32(PADDING);
            let column = block_x * i32(BLOCK_X) + $x - i32(PADDING);
            if row >= 0 && row < i32(HEIGHT) && column >= 0 && column < i32(WIDTH) {
                let to = ((image * HEIGHT + u32(row)) * WIDTH + u32(column)) * CHANNELS + channel;
                images_grad[to] = sum$y_$x;
            }
        }
@end
@end
    }
}
