
// The moments of each column over a slice of the rows; batch_norm_join.wgsl joins those of the slices. CPU
// twin: crates/weft-cpu/src/batch_norm.rs. An invocation takes AHEAD rows at a time, whose mean and
// squares are exact in registers, and joins them to those before.

@group(0) @binding(0) var<storage, read_write> x: array<Value>;     // [row, column]
@group(0) @binding(1) var<storage, read_write> parts: array<Value>; // [slice][mean, then squares][column]
@group(0) @binding(2) var<storage, read> info: array<u32>;          // rows, then rows of a slice

@compute @workgroup_size(${GROUP}, 1, 1)
fn main(@builtin(local_invocation_index) local: u32, @builtin(workgroup_id) id: vec3<u32>) {
    let column = id.z * LANES + local % LANES;
    // An invocation too many computes what another does.
    let from_column = min(column, COLUMNS - 1u);
    let start = id.x * info[1];
    let end = min(start + info[1], info[0]);
    var own = Moments(0.0, Value(), Value());
    for (var row = start + local / LANES; row < end; row += ${AHEAD * SUBS}u) {
        var sum = Value();
@unroll i AHEAD
        let row$i = row + ${i * SUBS}u;
        let inside$i = row$i < end;
        let x$i = select(Value(), x[min(row$i, end - 1u) * COLUMNS + from_column], inside$i);
        sum += x$i;
@end
        let count = f32(min((end - row + ${SUBS - 1}u) / SUBS, AHEAD));
        let mean = sum / count;
        var sum_of_squares = Value();
@unroll i AHEAD
        let difference$i = select(Value(), x$i - mean, inside$i);
        sum_of_squares += difference$i * difference$i;
@end
        own = joined(own, Moments(count, mean, sum_of_squares));
    }
    let all = of_group(local, own);
    if local < LANES && column < COLUMNS {
        let to = id.x * ${2 * COLUMNS}u + column;
        parts[to] = all.mean;
        parts[to + COLUMNS] = all.squares;
    }
}
