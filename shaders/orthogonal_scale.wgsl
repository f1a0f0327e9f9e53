// One over the Frobenius norm of a matrix, from the diagonal of its product with itself, [SMALL, SMALL]. One
// workgroup. CPU twin: crates/weft-cpu/src/orthogonal.rs.

@group(0) @binding(0) var<storage, read_write> gram: array<f32>;
@group(0) @binding(1) var<storage, read_write> scale: array<f32>; // [1]

var<workgroup> sums: array<f32, ${GROUP}>;

@compute @workgroup_size(${GROUP}, 1, 1)
fn main(@builtin(local_invocation_index) local: u32) {
    var sum = 0.0;
    for (var i = local; i < SMALL; i += GROUP) {
        sum += gram[i * (SMALL + 1u)];
    }
    sums[local] = sum;
    for (var half = GROUP / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if local < half {
            sums[local] += sums[local + half];
        }
    }
    if local == 0u {
        scale[0] = 1.0 / (sqrt(sums[0]) + bitcast<f32>(SMALLEST_BITS));
    }
}
