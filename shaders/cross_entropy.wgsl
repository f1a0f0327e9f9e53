// Softmax cross-entropy and how many were right. CPU twin: src/kernels/cross_entropy.rs.
//
// An invocation takes every so many-th row, then a workgroup's sums are added in a tree: the order is
// fixed. One workgroup gives the result; of several, cross_entropy_sum.wgsl adds up the parts.

@group(0) @binding(0) var<storage, read_write> logits: array<f32>;  // [batch, class]
@group(0) @binding(1) var<storage, read_write> labels: array<i32>;  // [batch]
@if GROUPS > 1
@group(0) @binding(2) var<storage, read_write> sum: array<f32>;     // [group]
@group(0) @binding(3) var<storage, read_write> correct: array<i32>; // [group]
@else
@group(0) @binding(2) var<storage, read_write> sum: array<f32>;     // [1]
@group(0) @binding(3) var<storage, read_write> correct: array<i32>; // [1]
@group(0) @binding(4) var<storage, read_write> mean: array<f32>;    // [1]
@end

var<workgroup> losses: array<f32, ${GROUP}>;
var<workgroup> rights: array<i32, ${GROUP}>;

@compute @workgroup_size(${GROUP}, 1, 1)
fn main(
    @builtin(local_invocation_index) local: u32,
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let group = id.x + id.y * groups.x;
    let smoothing = bitcast<f32>(SMOOTHING_BITS);
    var loss = 0.0;
    var right = 0;
    for (var image = group * GROUP + local; image < IMAGES; image += GROUP * GROUPS) {
        let row = row_of(image * CLASSES);
        let label = u32(labels[image]);
        loss -= (1.0 - smoothing) * (logits[image * CLASSES + label] - row.largest - row.log_sum);
        if smoothing > 0.0 {
            var total = 0.0;
            for (var class_index = 0u; class_index < CLASSES; class_index++) {
                total += logits[image * CLASSES + class_index] - row.largest - row.log_sum;
            }
            loss -= smoothing * total / f32(CLASSES);
        }
        right += i32(row.place == label);
    }
    losses[local] = loss;
    rights[local] = right;
    for (var half = GROUP / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if local < half {
            losses[local] += losses[local + half];
            rights[local] += rights[local + half];
        }
    }
    if local == 0u && group < GROUPS {
        sum[group] = losses[0];
        correct[group] = rights[0];
@if GROUPS == 1
        mean[0] = losses[0] / f32(IMAGES);
@end
    }
}
