// Inverted-dropout mask: 0 with probability p, else 1 / (1 - p).
// CPU twin: src/kernels/dropout_mask.rs. One invocation writes one element.

@group(0) @binding(0) var<storage, read_write> mask: array<f32>;
@group(0) @binding(1) var<storage, read> spec: array<u32>;           // DropoutSpec::words()

@compute @workgroup_size(256, 1, 1)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let element = id.x + id.y * groups.x * 256u;
    if element >= spec[0] {
        return;
    }
    let dropped = happens(draw(spec[1], element, spec[2]), spec[3]);
    mask[element] = select(bitcast<f32>(spec[4]), 0.0, dropped);
}
