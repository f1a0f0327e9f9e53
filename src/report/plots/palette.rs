//! Colours. Categories are of the palette by Okabe and Ito, "Color Universal Design" (2008), which
//! people with any common colour blindness can tell apart; nothing is told by colour alone.

pub(super) type Rgb = (u8, u8, u8);

/// A colour on a light page and on a dark one. PNG files have the light one, SVG files both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Colour {
    pub(super) light: Rgb,
    pub(super) dark: Rgb,
}

const fn pair(light: u32, dark: u32) -> Colour {
    Colour {
        light: rgb(light),
        dark: rgb(dark),
    }
}

const fn rgb(hex: u32) -> Rgb {
    ((hex >> 16) as u8, (hex >> 8) as u8, hex as u8)
}

pub(super) const PAGE: Colour = pair(0xff_ffff, 0x16_191e);
pub(super) const TEXT: Colour = pair(0x1a_1d21, 0xe8_eaed);
pub(super) const MUTED: Colour = pair(0x5a_6069, 0xa3_aab4);
pub(super) const GRID: Colour = pair(0xe4_e7eb, 0x2d_323a);
pub(super) const AXIS: Colour = pair(0x8a_9099, 0x70_7780);
pub(super) const FRAME: Colour = pair(0xcf_d4da, 0x3a_404a);
/// Okabe and Ito's vermillion and orange; as on the page.
pub(super) const TRAIN: Colour = pair(0xd5_5e00, 0xe6_9f00);
/// Blue and sky blue.
pub(super) const VALIDATION: Colour = pair(0x00_72b2, 0x56_b4e9);
/// Bluish green.
pub(super) const TEST: Colour = pair(0x00_9e73, 0x2f_c79a);
/// Reddish purple.
pub(super) const RATE: Colour = pair(0xa8_5586, 0xcc_79a7);
/// Green of the actual class, red of a wrong prediction, as in the seed's figure.
pub(super) const ACTUAL: Colour = pair(0x00_8a64, 0x2f_c79a);
pub(super) const PREDICTED: Colour = pair(0xd5_5e00, 0xf2_7d2e);
pub(super) const OTHER: Colour = pair(0xb4_bac2, 0x5d_656f);

/// Light stops of the heat map, from none to all: one hue, darker with more.
const HEAT: [Rgb; 4] = [
    rgb(0xf3_f7fa),
    rgb(0x9c_cbe6),
    rgb(0x2f_86c0),
    rgb(0x06_345c),
];
/// Dark ones: lighter with more.
const HEAT_DARK: [Rgb; 4] = [
    rgb(0x1f_242b),
    rgb(0x1c_5482),
    rgb(0x4a_9fd8),
    rgb(0xd9_eefb),
];

/// Of a part of all, in [0, 1]. The scale is that of the square root: mistakes are a few per cent.
pub(super) fn heat(part: f64) -> Colour {
    let at = part.clamp(0.0, 1.0).sqrt();
    Colour {
        light: between(&HEAT, at),
        dark: between(&HEAT_DARK, at),
    }
}

fn between(stops: &[Rgb], at: f64) -> Rgb {
    let place = at * (stops.len() - 1) as f64;
    let first = (place as usize).min(stops.len() - 2);
    let part = place - first as f64;
    let mix = |a: u8, b: u8| (f64::from(a) + (f64::from(b) - f64::from(a)) * part).round() as u8;
    let (a, b) = (stops[first], stops[first + 1]);
    (mix(a.0, b.0), mix(a.1, b.1), mix(a.2, b.2))
}

/// Black or white, whichever is read better on a colour.
pub(super) fn text_on(below: Colour) -> Colour {
    let on = |below: Rgb| {
        let black = contrast(rgb(0), below);
        let white = contrast(rgb(0xff_ffff), below);
        if black >= white {
            rgb(0)
        } else {
            rgb(0xff_ffff)
        }
    };
    Colour {
        light: on(below.light),
        dark: on(below.dark),
    }
}

/// Contrast ratio of WCAG 2.2, from 1 to 21.
pub(super) fn contrast(a: Rgb, b: Rgb) -> f64 {
    let (a, b) = (luminance(a), luminance(b));
    (a.max(b) + 0.05) / (a.min(b) + 0.05)
}

/// Relative luminance of WCAG 2.2, in [0, 1].
fn luminance((r, g, b): Rgb) -> f64 {
    let linear = |channel: u8| {
        let channel = f64::from(channel) / 255.0;
        match channel <= 0.04045 {
            true => channel / 12.92,
            false => ((channel + 0.055) / 1.055).powf(2.4),
        }
    };
    0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_readable_on_every_cell_and_page() {
        for percent in 0..=1000 {
            let below = heat(f64::from(percent) / 1000.0);
            let on = text_on(below);
            assert!(contrast(on.light, below.light) >= 4.5, "{percent}");
            assert!(contrast(on.dark, below.dark) >= 4.5, "{percent}");
        }
        for text in [TEXT, MUTED] {
            assert!(contrast(text.light, PAGE.light) >= 4.5, "{text:?}");
            assert!(contrast(text.dark, PAGE.dark) >= 4.5, "{text:?}");
        }
    }

    /// WCAG asks 3 of lines and bars.
    #[test]
    fn lines_and_bars_stand_out() {
        for mark in [TRAIN, VALIDATION, TEST, RATE, ACTUAL, PREDICTED] {
            assert!(contrast(mark.light, PAGE.light) >= 3.0, "{mark:?}");
            assert!(contrast(mark.dark, PAGE.dark) >= 3.0, "{mark:?}");
        }
    }

    #[test]
    fn more_is_always_darker_on_a_light_page_and_lighter_on_a_dark_one() {
        let steps: Vec<Colour> = (0..=50).map(|n| heat(f64::from(n) / 50.0)).collect();
        for pair in steps.windows(2) {
            assert!(luminance(pair[0].light) > luminance(pair[1].light));
            assert!(luminance(pair[0].dark) < luminance(pair[1].dark));
        }
    }
}
