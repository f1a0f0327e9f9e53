
// The weights of the convolution that takes the gradient of a convolution's output to that of its images:
// filters and channels change places, and each kernel is turned by half a circle. CPU twin:
// crates/weft-cpu/src/conv_block/everywhere.rs. One invocation for a weight.

@group(0) @binding(0) var<storage, read_write> weight: array<f32>; // [filter, channel, kernel, kernel]
@group(0) @binding(1) var<storage, read_write> turned: array<f32>; // [channel, filter, kernel, kernel]

@compute @workgroup_size(${GROUP}, 1, 1)
fn main(
    @builtin(local_invocation_index) local: u32,
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let at = (id.x + id.y * groups.x) * GROUP + local;
    if at >= FILTERS * CHANNELS * AREA {
        return;
    }
    let filter_index = at / AREA % FILTERS;
    let channel = at / (AREA * FILTERS);
    turned[at] = weight[(filter_index * CHANNELS + channel) * AREA + (AREA - 1u - at % AREA)];
}
