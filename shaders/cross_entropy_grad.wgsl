// The gradient of the mean cross-entropy by the logits. CPU twin: src/kernels/cross_entropy.rs. One
// invocation for a row.

@group(0) @binding(0) var<storage, read_write> logits: array<f32>;      // [batch, class]
@group(0) @binding(1) var<storage, read_write> labels: array<i32>;      // [batch]
@group(0) @binding(2) var<storage, read_write> grad: array<f32>;        // [1]: of the mean
@group(0) @binding(3) var<storage, read_write> logits_grad: array<f32>; // [batch, class]

@compute @workgroup_size(${GROUP}, 1, 1)
fn main(
    @builtin(local_invocation_index) local: u32,
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let image = (id.x + id.y * groups.x) * GROUP + local;
    if image >= IMAGES {
        return;
    }
    let smoothing = bitcast<f32>(SMOOTHING_BITS);
    let row = row_of(image * CLASSES);
    let label = u32(labels[image]);
    let scale = grad[0] / f32(IMAGES);
    for (var class_index = 0u; class_index < CLASSES; class_index++) {
        let at = image * CLASSES + class_index;
        let probability = exp(logits[at] - row.largest - row.log_sum);
        let here = select(0.0, 1.0 - smoothing, class_index == label);
        logits_grad[at] = (probability - (smoothing / f32(CLASSES) + here)) * scale;
    }
}
