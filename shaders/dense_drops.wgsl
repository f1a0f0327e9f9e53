// Which of four outputs a fully connected layer's dropout zeroes.
fn drops(key: u32, elements: vec4<u32>) -> vec4<bool> {
    return vec4<bool>(
        happens(draw(key, elements.x, DROPOUT_LAYER), DROPOUT_THRESHOLD),
        happens(draw(key, elements.y, DROPOUT_LAYER), DROPOUT_THRESHOLD),
        happens(draw(key, elements.z, DROPOUT_LAYER), DROPOUT_THRESHOLD),
        happens(draw(key, elements.w, DROPOUT_LAYER), DROPOUT_THRESHOLD),
    );
}
