// The gradient of a convolution block's images. CPU twin: crates/weft-cpu/src/conv_block/input_grad.rs.
//
// An invocation gathers for one channel and a block of BLOCK x BLOCK pixels (a pool window, or 2 x 2
// windows of one pixel), with its sums in registers: it goes through the SPAN x SPAN windows that reach
// into the block and through the filters, and where a filter's gradient goes to a position that covers
// a pixel of the block, it adds the weight between the two. Neighbouring invocations have neighbouring
// channels: they read the same routes and take the same ways. The weights of CHUNK filters at a time lie
// in workgroup memory, [filter][channel][tap] with an odd STRIDE between channels, one for each bank.

@group(0) @binding(0) var<storage, read_write> weight: array<f32>;      // [filter, channel, kernel, kernel]
@group(0) @binding(1) var<storage, read_write> route: array<i32>;       // Spec::output_shape()
@group(0) @binding(2) var<storage, read_write> grad: array<f32>;        // the same: of the output
@group(0) @binding(3) var<storage, read_write> images_grad: array<f32>; // [batch, height, width, channel]
@if ACTIVATION >= 2
@group(0) @binding(4) var<storage, read_write> output: array<f32>;      // Spec::output_shape()
@end

var<workgroup> taps: array<f32, ${CHUNK * LANES * STRIDE}>;

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
    let image = index / (BLOCKS_Y * BLOCKS_X);
    // In the padded image, whose positions are those of the convolution.
    let block_y = i32(FIRST_BLOCK + index / BLOCKS_X % BLOCKS_Y);
    let block_x = i32(FIRST_BLOCK + index % BLOCKS_X);

@unroll y BLOCK
@unroll x BLOCK
    var sum$y_$x = 0.0;
@end
@end
    for (var first = 0u; first < FILTERS; first += CHUNK) {
        workgroupBarrier();
        for (var i = local; i < CHUNK * LANES * AREA; i += GROUP) {
            let source_filter = first + i / (LANES * AREA);
            let in_block = i % (LANES * AREA);
            let in_filter = id.z * (LANES * AREA) + in_block;
            if source_filter < FILTERS && in_filter < CHANNELS * AREA {
                let to = (i / AREA) * STRIDE + in_block % AREA;
                taps[to] = weight[source_filter * (CHANNELS * AREA) + in_filter];
            }
        }
        workgroupBarrier();
        if exists {
            let count = min(CHUNK, FILTERS - first);
@unroll ey SPAN
@unroll ex SPAN
            {
                let window_y = block_y * i32(TILE) - (${ey - (TILE - 1)});
                let window_x = block_x * i32(TILE) - (${ex - (TILE - 1)});
                if window_y >= 0 && window_y < i32(OUT_HEIGHT) && window_x >= 0 && window_x < i32(OUT_WIDTH) {
                    let window = u32(window_y) * OUT_WIDTH + u32(window_x);
                    for (var f = 0u; f < count; f++) {
                        let source = element(image, window, first + f);
                        let place = route[source];
                        if place != i32(NO_ROUTE) {
                            var g = grad[source] * bitcast<f32>(SCALE_BITS);
@if ACTIVATION >= 2
                            g *= derivative(output[source] / bitcast<f32>(SCALE_BITS));
@end
                            let tap = i32((f * LANES + lane) * STRIDE);
                            switch place {
@unroll r POOL * POOL
                                case $r: {
@unroll y BLOCK
@unroll x BLOCK
@if (ey - (TILE - 1)) * POOL + y - r / POOL >= 0 && (ey - (TILE - 1)) * POOL + y - r / POOL < KERNEL
@if (ex - (TILE - 1)) * POOL + x - r % POOL >= 0 && (ex - (TILE - 1)) * POOL + x - r % POOL < KERNEL
                                    sum$y_$x += g * taps[tap + ${((ey - (TILE - 1)) * POOL + y - r / POOL) * KERNEL + (ex - (TILE - 1)) * POOL + x - r % POOL}];
@end
@end
@end
@end
                                }
@end
                                default: {}
                            }
                        }
                    }
                }
            }
@end
@end
        }
    }
    if exists {
@unroll y BLOCK
@unroll x BLOCK
        {
            let row = block_y * i32(BLOCK) + $y - i32(PADDING);
            let column = block_x * i32(BLOCK) + $x - i32(PADDING);
            if row >= 0 && row < i32(HEIGHT) && column >= 0 && column < i32(WIDTH) {
                let to = ((image * HEIGHT + u32(row)) * WIDTH + u32(column)) * CHANNELS + channel;
                images_grad[to] = sum$y_$x;
            }
        }
@end
@end
    }
}
