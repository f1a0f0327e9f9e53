// Activations, and their derivatives from their values; ACTIVATION is one of the four.
// CPU twin: crates/weft-cpu/src/elementwise.rs.

const IDENTITY: u32 = 0u;
const RELU: u32 = 1u;
const TANH: u32 = 2u;
const SELU: u32 = 3u;
const SELU_ALPHA: f32 = 1.6732632;
const SELU_SCALE: f32 = 1.050701;

// Shaders may assume that there is no NaN, so it is looked for in the bits.
fn is_nan(value: vec4<f32>) -> vec4<bool> {
    return (bitcast<vec4<u32>>(value) & vec4<u32>(0x7fffffffu)) > vec4<u32>(0x7f800000u);
}

// Where a > b, or a is NaN.
fn above(a: vec4<f32>, b: vec4<f32>) -> vec4<bool> {
    return (a > b) | is_nan(a);
}

// Of tanh and SELU; NaN stays NaN.
fn activation(x: vec4<f32>) -> vec4<f32> {
    var y = x;
    if ACTIVATION == TANH {
        y = tanh(clamp(x, vec4<f32>(-15.0), vec4<f32>(15.0)));
    } else if ACTIVATION == SELU {
        // exp(x) - 1 loses its digits near zero.
        let near = x * (1.0 + x * (0.5 + x * (1.0 / 6.0)));
        let below = select(exp(min(x, vec4<f32>(0.0))) - 1.0, near, x > vec4<f32>(-0.01));
        y = SELU_SCALE * select(SELU_ALPHA * below, x, x > vec4<f32>(0.0));
    }
    return select(y, x, is_nan(x));
}

// The activation's derivative, from its value.
fn derivative(y: f32) -> f32 {
    if ACTIVATION == TANH {
        return 1.0 - y * y;
    }
    if ACTIVATION == SELU {
        return select(y + SELU_SCALE * SELU_ALPHA, SELU_SCALE, y > 0.0);
    }
    return 1.0; // a closed ReLU has no route
}
