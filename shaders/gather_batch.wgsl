// One training batch from the resident split: packed bytes -> augmented, normalised f32 pixels.
// CPU twin: src/kernels/gather_batch.rs. One invocation writes one channel of one pixel.

@group(0) @binding(0) var<storage, read_write> packed: array<u32>;   // [image][word], four bytes to a word
@group(0) @binding(1) var<storage, read_write> order: array<i32>;    // [position] -> image index
@group(0) @binding(2) var<storage, read_write> table: array<i32>;    // [channel][byte] -> bits of its f32 value
@group(0) @binding(3) var<storage, read_write> images: array<f32>;   // [batch, channel, height, width]
@group(0) @binding(4) var<storage, read> spec: array<u32>;           // GatherSpec::words()

@compute @workgroup_size(256, 1, 1)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let first = spec[0];
    let n_images = spec[1];
    let channels = spec[2];
    let height = i32(spec[3]);
    let width = i32(spec[4]);
    let words = spec[5];
    let key = spec[6];
    let flip_threshold = spec[7];
    let shift = spec[8];
    let erase_threshold = spec[9];
    let erase_min = spec[10];
    let erase_max = spec[11];
    let flip_key = spec[12];
    let other_way = spec[13] != 0u;

    let n_pixels = u32(height * width);
    let n_values = channels * n_pixels;
    let value = id.x + id.y * groups.x * 256u;
    if value >= n_images * n_values {
        return;
    }
    let image_index = u32(order[first + value / n_values]);
    let channel = (value % n_values) / n_pixels;
    let within = i32(value % n_pixels);
    let y = within / width;
    let x = within % width;

    // Where this pixel comes from: shifted back, then mirrored back.
    var source_y = y;
    var source_x = x;
    if shift > 0u {
        let span = 2u * shift + 1u;
        source_y -= i32(draw(key, image_index, 1u) % span) - i32(shift);
        source_x -= i32(draw(key, image_index, 2u) % span) - i32(shift);
    }
    if happens(draw(flip_key, image_index, 0u), flip_threshold) != other_way {
        source_x = width - 1 - source_x;
    }

    var byte = 0u;
    if source_y >= 0 && source_y < height && source_x >= 0 && source_x < width {
        let at = channel * n_pixels + u32(source_y * width + source_x);
        byte = (packed[image_index * words + at / 4u] >> (8u * (at % 4u))) & 0xffu;
    }

    if happens(draw(key, image_index, 3u), erase_threshold) {
        let sides = erase_max - erase_min + 1u;
        let erase_height = i32(erase_min + draw(key, image_index, 4u) % sides);
        let erase_width = i32(erase_min + draw(key, image_index, 5u) % sides);
        // The centre lies anywhere in the image, so a rectangle may hang over its border.
        let top = i32(draw(key, image_index, 6u) % u32(height)) - erase_height / 2;
        let left = i32(draw(key, image_index, 7u) % u32(width)) - erase_width / 2;
        if y >= top && y < top + erase_height && x >= left && x < left + erase_width {
            byte = 0u;
        }
    }
    images[value] = bitcast<f32>(table[channel * 256u + byte]);
}
