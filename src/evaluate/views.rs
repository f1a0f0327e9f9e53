//! The views of a batch, as tensors.

use anyhow::Result;
use burn::tensor::{DType, Device, Tensor, TensorData};

use super::tta::{Tta, View};
use crate::model::{Classifier, Mode};

/// The logits of each view, `[image, class]`, in the order of [`Tta::views`]. One view at a time is in the
/// device's memory.
///
/// * `images`: `[batch, channel, height, width]`
/// * `black`: what byte 0 became, for each channel
pub fn logits(
    model: &Classifier,
    images: &Tensor<4>,
    tta: Tta,
    black: &[f32],
) -> Result<Vec<Vec<f32>>> {
    let of_view = |&view: &View| {
        let seen = seen(images.clone(), view, black);
        let logits = model.forward(seen, Mode::Inference);
        Ok(logits.try_into_data_as::<f32>()?.iter::<f32>().collect())
    };
    tta.views().iter().map(of_view).collect()
}

/// The images as a view shows them.
fn seen(images: Tensor<4>, view: View, black: &[f32]) -> Tensor<4> {
    let images = match view.shift {
        0 => images,
        shift => shifted(images, shift, black),
    };
    match view.mirrored {
        true => images.flip([3]),
        false => images,
    }
}

fn shifted(images: Tensor<4>, shift: i8, black: &[f32]) -> Tensor<4> {
    let [n, channels, height, width] = images.dims();
    let black = black_pixel(black, &images.device());
    let by = usize::from(shift.unsigned_abs());
    if by >= height.min(width) {
        return black.expand([n, channels, height, width]);
    }
    let (rows, columns) = (height - by, width - by);
    let beside = black.clone().expand([n, channels, rows, by]);
    let below = black.expand([n, channels, by, width]);
    if shift < 0 {
        let kept = images.slice([0..n, 0..channels, by..height, by..width]);
        Tensor::cat(vec![Tensor::cat(vec![kept, beside], 3), below], 2)
    } else {
        let kept = images.slice([0..n, 0..channels, 0..rows, 0..columns]);
        Tensor::cat(vec![below, Tensor::cat(vec![beside, kept], 3)], 2)
    }
}

/// `[1, channel, 1, 1]`
fn black_pixel(black: &[f32], device: &Device) -> Tensor<4> {
    let data = TensorData::new(black.to_vec(), [1, black.len(), 1, 1]);
    Tensor::from_data(data, (device, DType::F32))
}
