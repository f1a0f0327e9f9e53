// Convolution, bias, max pool, activation and dropout in one pass; nothing as large as the convolution's
// output is written. CPU twin: crates/weft-cpu/src/conv_block/forward.rs.
//
// An invocation computes four filters (a quad) of a tile of TILE_Y x TILE_X pool windows: SIDE_Y x SIDE_X
// positions of the convolution, in registers. QUADS neighbouring invocations have the same tile, so
// that pixels are read once for all of them and the output is written in runs of filters. The weights
// of CHUNK channels at a time lie in workgroup memory, [channel][tap][quad]. Without a bias BIAS is 0;
// where the gradient's way back is known without it, there is no route, and ROUTED is 0.

@if VECTOR
alias Pixel = vec4<f32>; // four channels
@else
alias Pixel = f32;
@end
@group(0) @binding(0) var<storage, read_write> images: array<Pixel>;     // [batch, height, width, channel]
@group(0) @binding(1) var<storage, read_write> weight: array<f32>;       // [filter, channel, kernel, kernel]
@if WIDE
@group(0) @binding(2) var<storage, read_write> output: array<vec4<f32>>; // Spec::output_shape()
@else
@group(0) @binding(2) var<storage, read_write> output: array<f32>;       // Spec::output_shape()
@end
@if BIAS
@group(0) @binding(3) var<storage, read_write> bias: array<f32>;         // [filter]
@end
@if ROUTED
@if WIDE
@group(0) @binding(${3 + BIAS}) var<storage, read_write> route: array<vec4<i32>>;  // as the output: place in the window or NO_ROUTE
@else
@group(0) @binding(${3 + BIAS}) var<storage, read_write> route: array<i32>;        // as the output: place in the window or NO_ROUTE
@end
@end
@if DROPOUT
@group(0) @binding(${4 + BIAS}) var<storage, read> info: array<u32>;               // the dropout's key
@end

var<workgroup> taps: array<vec4<f32>, ${CHUNK * AREA * STRIDE}>;

// The gradient's way back, and what is written, of four filters of a window.
fn finish(largest: vec4<f32>, winner: vec4<i32>, image: u32, window: u32, quad: u32) {
    let filters = vec4<u32>(quad * 4u, quad * 4u + 1u, quad * 4u + 2u, quad * 4u + 3u);
    var value = largest;
    var place = winner;
@if BIAS
    let last = vec4<u32>(FILTERS - 1u);
    let read = min(filters, last);
    value += vec4<f32>(bias[read.x], bias[read.y], bias[read.z], bias[read.w]);
@end
    if ACTIVATION == RELU {
        let open = above(value, vec4<f32>(0.0));
        value = select(vec4<f32>(0.0), value, open);
        place = select(vec4<i32>(i32(NO_ROUTE)), place, open);
    } else {
        value = activation(value);
    }
@if DROPOUT
    let elements = (image * FILTERS + filters) * WINDOWS + window;
    let kept = vec4<bool>(
        !happens(draw(info[0], elements.x, DROPOUT_LAYER), DROPOUT_THRESHOLD),
        !happens(draw(info[0], elements.y, DROPOUT_LAYER), DROPOUT_THRESHOLD),
        !happens(draw(info[0], elements.z, DROPOUT_LAYER), DROPOUT_THRESHOLD),
        !happens(draw(info[0], elements.w, DROPOUT_LAYER), DROPOUT_THRESHOLD),
    );
    value = select(vec4<f32>(0.0), value * bitcast<f32>(SCALE_BITS), kept);
    place = select(vec4<i32>(i32(NO_ROUTE)), place, kept);
@end
@if WIDE
    if quad < FILTERS / 4u {
        let at = (image * WINDOWS + window) * (FILTERS / 4u) + quad;
        output[at] = value;
@if ROUTED
        route[at] = place;
@end
    }
@else
@unroll f 4
    if filters[$f] < FILTERS {
        let at$f = element(image, window, filters[$f]);
        output[at$f] = value[$f];
@if ROUTED
        route[at$f] = place[$f];
@end
    }
@end
@end
}

@compute @workgroup_size(${GROUP}, 1, 1)
fn main(
    @builtin(local_invocation_index) local: u32,
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let lane = local % QUADS;
    let tile = (id.x + id.y * groups.x) * GROUP_TILES + local / QUADS;
    let exists = tile < BATCH * TILES && local < GROUP_TILES * QUADS;
    // An invocation too many computes what another does.
    let image = min(tile, BATCH * TILES - 1u) / TILES;
    let tile_y = min(tile, BATCH * TILES - 1u) % TILES / TILES_X;
    let tile_x = min(tile, BATCH * TILES - 1u) % TILES_X;

    // Where the rows and columns of the patch under the tile are in `images`.
@unroll i PATCH_Y
    let y$i = i32(tile_y * ${SIDE_Y * CONV_STRIDE}u + ${i}u) - i32(PADDING);
@if CLAMPED
    let row$i = (image * HEIGHT + u32(clamp(y$i, 0, i32(HEIGHT) - 1))) * WIDTH * ${CHANNELS / STEP}u;
    let row_inside$i = y$i >= 0 && y$i < i32(HEIGHT);
@else
    let row$i = (image * HEIGHT + u32(y$i)) * WIDTH * ${CHANNELS / STEP}u;
@end
@end
@unroll i PATCH_X
    let x$i = i32(tile_x * ${SIDE_X * CONV_STRIDE}u + ${i}u) - i32(PADDING);
@if CLAMPED
    let column$i = u32(clamp(x$i, 0, i32(WIDTH) - 1)) * ${CHANNELS / STEP}u;
    let column_inside$i = x$i >= 0 && x$i < i32(WIDTH);
@else
    let column$i = u32(x$i) * ${CHANNELS / STEP}u;
@end
@end

@unroll y SIDE_Y
@unroll x SIDE_X
    var sum$y_$x = vec4<f32>(0.0);
@end
@end
    for (var first = 0u; first < CHANNELS; first += CHUNK) {
        workgroupBarrier();
        for (var i = local; i < CHUNK * AREA * QUADS; i += GROUP) {
            let tap = i % (CHUNK * AREA);
            let quad = i / (CHUNK * AREA);
            let filter_index = (id.z * QUADS + quad) * 4u;
            let in_filter = first * AREA + tap;
            let source = filter_index * (CHANNELS * AREA) + in_filter;
            var four = vec4<f32>(0.0);
@unroll f 4
            if filter_index + ${f}u < FILTERS && in_filter < CHANNELS * AREA {
                four[$f] = weight[source + ${f * CHANNELS * AREA}u];
            }
@end
            taps[tap * STRIDE + quad] = four;
        }
        workgroupBarrier();
        let count = min(CHUNK, CHANNELS - first);
        for (var c = 0u; c < count; c += STEP) {
            let channel = (first + c) / STEP;
@unroll y PATCH_Y
@unroll x PATCH_X
@if PADDING > 0
            let p$y_$x = select(Pixel(), images[row$y + column$x + channel], row_inside$y && column_inside$x);
@else
            let p$y_$x = images[row$y + column$x + channel];
@end
@end
@end
@unroll v STEP
@unroll ky KERNEL
@unroll kx KERNEL
            let w$v_$ky_$kx = taps[(c * AREA + ${v * AREA + ky * KERNEL + kx}u) * STRIDE + lane];
@unroll y SIDE_Y
@unroll x SIDE_X
@if VECTOR
            sum$y_$x += p${y * CONV_STRIDE + ky}_${x * CONV_STRIDE + kx}[$v] * w$v_$ky_$kx;
@else
            sum$y_$x += p${y * CONV_STRIDE + ky}_${x * CONV_STRIDE + kx} * w$v_$ky_$kx;
@end
@end
@end
@end
@end
@end
        }
    }

@unroll ty TILE_Y
@unroll tx TILE_X
    {
        let window_y = tile_y * TILE_Y + ${ty}u;
        let window_x = tile_x * TILE_X + ${tx}u;
        if exists && window_y < OUT_HEIGHT && window_x < OUT_WIDTH {
            var best = sum${ty * POOL}_${tx * POOL};
            var place = vec4<i32>(0);
@unroll r POOL * POOL
@if r > 0
            let candidate$r = sum${ty * POOL + r / POOL}_${tx * POOL + r % POOL};
            let better$r = above(candidate$r, best);
            best = select(best, candidate$r, better$r);
            place = select(place, vec4<i32>($r), better$r);
@end
@end
            finish(best, place, image, window_y * OUT_WIDTH + window_x, id.z * QUADS + lane);
        }
    }
@end
@end
}
