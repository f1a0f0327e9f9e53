// What the shaders of a convolution block share. CPU twins: crates/weft-cpu/src/conv_block/.

const NO_ROUTE: u32 = 255u;

// Where a filter's number for a window is in the output, its gradient and the route.
fn element(image: u32, window: u32, filter_index: u32) -> u32 {
    if CHANNELS_FIRST == 1u {
        return (image * FILTERS + filter_index) * WINDOWS + window;
    }
    return (image * WINDOWS + window) * FILTERS + filter_index;
}
