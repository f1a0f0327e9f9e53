// Softmax cross-entropy and how many were right. CPU twin: src/kernels/cross_entropy.rs.
//
// One workgroup: an invocation takes every GROUP-th row, then the sums are added in a tree, in a fixed
// order.

@group(0) @binding(0) var<storage, read_write> logits: array<f32>;  // [batch, class]
@group(0) @binding(1) var<storage, read_write> labels: array<i32>;  // [batch]
@group(0) @binding(2) var<storage, read_write> mean: array<f32>;    // [1]
@group(0) @binding(3) var<storage, read_write> sum: array<f32>;     // [1]
@group(0) @binding(4) var<storage, read_write> correct: array<i32>; // [1]

var<workgroup> losses: array<f32, ${GROUP}>;
var<workgroup> rights: array<i32, ${GROUP}>;

@compute @workgroup_size(${GROUP}, 1, 1)
fn main(@builtin(local_invocation_index) local: u32) {
    var loss = 0.0;
    var right = 0;
    for (var image = local; image < IMAGES; image += GROUP) {
        let row = row_of(image * CLASSES);
        let label = u32(labels[image]);
        let smoothing = bitcast<f32>(SMOOTHING_BITS);
        loss -= (1.0 - smoothing) * (logits[image * CLASSES + label] - row.largest - row.log_sum);
        if smoothing > 0.0 {
            var all = 0.0;
            for (var class_index = 0u; class_index < CLASSES; class_index++) {
                all += logits[image * CLASSES + class_index] - row.largest - row.log_sum;
            }
            loss -= smoothing * all / f32(CLASSES);
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
    if local == 0u {
        mean[0] = losses[0] / f32(IMAGES);
        sum[0] = losses[0];
        correct[0] = rights[0];
    }
}
