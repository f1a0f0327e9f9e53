
// What the shaders of a batch norm share. CPU twin: crates/weft-cpu/src/batch_norm.rs.
//
// Numbers are [row, channel]; a column is a channel, or four of them. A workgroup has LANES neighbouring
// columns and SUBS rows side by side: neighbouring invocations read what lies side by side.

@if WIDE
alias Value = vec4<f32>; // of four channels
@else
alias Value = f32;
@end

// What differs from the mean is multiplied by it.
fn rate_of(variance: Value) -> Value {
    return 1.0 / sqrt(variance + bitcast<f32>(EPSILON_BITS));
}

fn activated(z: Value) -> Value {
@if WIDE
    if ACTIVATION == RELU {
        return select(Value(), z, above(z, Value()));
    }
    return activation(z);
@else
    let four = vec4<f32>(z);
    if ACTIVATION == RELU {
        return select(Value(), z, above(four, vec4<f32>()).x);
    }
    return activation(four).x;
@end
}

// The gradient before the activation, from that behind it.
fn before(z: Value, grad: Value) -> Value {
    if ACTIVATION == IDENTITY {
        return grad;
    }
    if ACTIVATION == RELU {
        return select(Value(), grad, z > Value());
    }
    let y = activated(z);
@if WIDE
    return grad * vec4<f32>(derivative(y.x), derivative(y.y), derivative(y.z), derivative(y.w));
@else
    return grad * derivative(y);
@end
}
