// Adds up the parts of conv_block_weight_grad.wgsl and puts the sums in their places. A workgroup takes
// 32 sums, each by 8 invocations that go through the slices in steps of 8; then a tree.

@group(0) @binding(0) var<storage, read_write> parts: array<f32>;       // as that shader has it
@group(0) @binding(1) var<storage, read_write> weight_grad: array<f32>; // [filter, channel, kernel, kernel]
@if BIAS
@group(0) @binding(2) var<storage, read_write> bias_grad: array<f32>;   // [filter]
@end

var<workgroup> sums: array<f32, 256>;

@compute @workgroup_size(256, 1, 1)
fn main(
    @builtin(local_invocation_index) local: u32,
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let sub = local / 32u;
    let item = (id.x + id.y * groups.x) * 32u + local % 32u;
    let items = EACH * (TAPS + BIAS) * ALL_LANES;
    var sum = 0.0;
    if item < items {
        for (var slice = sub; slice < SLICES; slice += 8u) {
            sum += parts[slice * items + item];
        }
    }
    sums[local] = sum;
    for (var half = 4u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if sub < half {
            sums[local] += sums[local + 32u * half];
        }
    }
    workgroupBarrier();
    if sub > 0u || item >= items {
        return;
    }
    // [filter of an invocation][tap, then bias][group of filters][group of rows][channel]
    let number = item / ALL_LANES;
    let tap = number % (TAPS + BIAS);
    let lane = item % ALL_LANES;
    let channel = lane % CHANNELS;
    let first_row = lane / CHANNELS % ROW_GROUPS * ROWS;
    let filter_index = lane / (CHANNELS * ROW_GROUPS) * EACH + number / (TAPS + BIAS);
    if filter_index >= FILTERS {
        return;
    }
@if BIAS
    if tap == TAPS {
        if channel == 0u && first_row == 0u {
            bias_grad[filter_index] = sums[local];
        }
        return;
    }
@end
    let row = first_row + tap / KERNEL;
    if row < KERNEL {
        let to = ((filter_index * CHANNELS + channel) * KERNEL + row) * KERNEL + tap % KERNEL;
        weight_grad[to] = sums[local];
    }
}
