// Adds up the parts of cross_entropy.wgsl: one workgroup, in a fixed order.

@group(0) @binding(0) var<storage, read_write> losses: array<f32>;  // [group]
@group(0) @binding(1) var<storage, read_write> rights: array<i32>;  // [group]
@group(0) @binding(2) var<storage, read_write> sum: array<f32>;     // [1]
@group(0) @binding(3) var<storage, read_write> correct: array<i32>; // [1]
@group(0) @binding(4) var<storage, read_write> mean: array<f32>;    // [1]

var<workgroup> loss_sums: array<f32, ${GROUP}>;
var<workgroup> right_sums: array<i32, ${GROUP}>;

@compute @workgroup_size(${GROUP}, 1, 1)
fn main(@builtin(local_invocation_index) local: u32) {
    var loss = 0.0;
    var right = 0;
    for (var group = local; group < GROUPS; group += GROUP) {
        loss += losses[group];
        right += rights[group];
    }
    loss_sums[local] = loss;
    right_sums[local] = right;
    for (var half = GROUP / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if local < half {
            loss_sums[local] += loss_sums[local + half];
            right_sums[local] += right_sums[local + half];
        }
    }
    if local == 0u {
        sum[0] = loss_sums[0];
        correct[0] = right_sums[0];
        mean[0] = loss_sums[0] / f32(IMAGES);
    }
}
