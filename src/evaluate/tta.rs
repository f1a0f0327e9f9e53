//! Test-time augmentation: the logits of several views of an image are averaged. Which views, and what is
//! said of a number that is their mean; no tensors.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// The `[evaluation]` section: how a trained model is asked. It changes nothing about the training.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EvaluationConfig {
    /// The views of an image whose logits are averaged, in `weft evaluate`, in the result of a training and
    /// in `weft predict`. Validation during the training takes the image alone.
    pub tta: Tta,
}

/// The views of an image that are averaged.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ValueEnum,
)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Tta {
    /// The image alone
    #[default]
    None,
    /// The image and its mirror
    Flip,
    /// These, and both shifted by a pixel to the upper left and to the lower right, with half the weight
    FlipShift,
}

/// An image as the model is shown it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct View {
    /// Pixels that it is shifted by, down and to the right alike; what enters is black.
    pub shift: i8,
    /// Whether left and right change places, after the shift.
    pub mirrored: bool,
    /// Its part of the mean.
    pub weight: f32,
}

const fn view(shift: i8, mirrored: bool, weight: f32) -> View {
    View {
        shift,
        mirrored,
        weight,
    }
}

impl Tta {
    /// The views, the image itself first.
    pub fn views(self) -> &'static [View] {
        match self {
            Self::None => const { &[view(0, false, 1.0)] },
            Self::Flip => const { &[view(0, false, 0.5), view(0, true, 0.5)] },
            // As the six views of https://github.com/KellerJordan/cifar10-airbench.
            Self::FlipShift => {
                const {
                    &[
                        view(0, false, 0.25),
                        view(0, true, 0.25),
                        view(-1, false, 0.125),
                        view(-1, true, 0.125),
                        view(1, false, 0.125),
                        view(1, true, 0.125),
                    ]
                }
            }
        }
    }

    /// As the config and `--tta` call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Flip => "flip",
            Self::FlipShift => "flip_shift",
        }
    }

    /// "mean of 2 views: flip"; None for the image alone.
    pub fn told(self) -> Option<String> {
        let n = self.views().len();
        (self != Self::None).then(|| format!("mean of {n} views: {}", self.name()))
    }

    /// What stands behind a number: " (mean of 2 views: flip; 0.9398 without)", and nothing for the image
    /// alone. `without` is the number of the image alone.
    pub fn note(self, without: Option<String>) -> String {
        match (self.told(), without) {
            (None, _) => String::new(),
            (Some(told), None) => format!(" ({told})"),
            (Some(told), Some(without)) => format!(" ({told}; {without} without)"),
        }
    }

    /// The weighted mean of the views' logits, in the order of the views.
    ///
    /// * `logits`: for each view `[image, class]`
    pub fn mean(self, logits: &[Vec<f32>]) -> Vec<f32> {
        let mut mean = vec![0.0; logits.first().map_or(0, Vec::len)];
        for (view, logits) in self.views().iter().zip(logits) {
            for (mean, logit) in mean.iter_mut().zip(logits) {
                *mean += view.weight * logit;
            }
        }
        mean
    }
}

#[cfg(test)]
mod tests {
    use super::Tta;

    #[test]
    fn weights_add_up_and_the_image_itself_comes_first() {
        for (tta, n, shifted) in [
            (Tta::None, 1, 0.0),
            (Tta::Flip, 2, 0.0),
            (Tta::FlipShift, 6, 0.25),
        ] {
            let views = tta.views();
            assert_eq!(views.len(), n);
            assert_eq!(views.iter().map(|view| view.weight).sum::<f32>(), 1.0);
            assert_eq!((views[0].shift, views[0].mirrored), (0, false));
            for shift in [-1, 1] {
                let of_shift = views.iter().filter(|view| view.shift == shift);
                assert_eq!(of_shift.map(|view| view.weight).sum::<f32>(), shifted);
            }
        }
    }

    #[test]
    fn the_mean_is_weighted() {
        let logits: Vec<Vec<f32>> = (0..6u8).map(|n| vec![f32::from(n), 8.0]).collect();
        // (0 + 1) / 4 + (2 + 3 + 4 + 5) / 8
        assert_eq!(Tta::FlipShift.mean(&logits), [2.0, 8.0]);
        assert_eq!(Tta::None.mean(&logits[3..4]), logits[3]);
        assert_eq!(Tta::None.told(), None);
        assert_eq!(Tta::None.note(Some("0.5".to_owned())), "");
        assert_eq!(Tta::Flip.note(None), " (mean of 2 views: flip)");
        assert_eq!(
            Tta::FlipShift.note(Some("0.5".to_owned())),
            " (mean of 6 views: flip_shift; 0.5 without)"
        );
    }
}
