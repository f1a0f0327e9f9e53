//! A scene as PNG: two pixels to one of the page, in the colours of a light page. It is opaque and
//! framed, so that it stands on a dark page too.

use anyhow::{Result, anyhow, ensure};
use image::ExtendedColorType;
use image::codecs::png::CompressionType;
use plotters::backend::{BitMapBackend, DrawingBackend};
use plotters::style::{Color, RGBColor, ShapeStyle};

use super::palette::{self, Rgb};
use super::picture::encode;
use super::scene::{Item, Point, Scene, Text};
use super::text;

/// Most pixels that are drawn on; beyond, the picture gets coarser. Three bytes each.
const MOST: f64 = 40e6;
/// Beyond that there is none.
const MOST_COARSE: f64 = 200e6;

/// The bytes of a PNG file.
pub(super) fn png(scene: &Scene) -> Result<Vec<u8>> {
    // Four times is drawn and halved: plotters does not smooth the edges of shapes.
    let area = scene.width * scene.height;
    let (scale, halved) = [(4.0, true), (2.0, false), (1.0, false)]
        .into_iter()
        .find(|(scale, _)| area * scale * scale <= MOST)
        .unwrap_or((1.0, false));
    ensure!(
        area <= MOST_COARSE,
        "it would have {} x {} pixels",
        scene.width,
        scene.height
    );
    let (width, height) = ((scene.width * scale) as u32, (scene.height * scale) as u32);
    let mut pixels = vec![0; width as usize * height as usize * 3];
    let mut raster = Raster {
        backend: BitMapBackend::with_buffer(&mut pixels, (width, height)),
        scale,
    };
    let whole = (scene.width, scene.height);
    raster.rectangle((0.0, 0.0), whole, palette::FRAME.light)?;
    let inside = (whole.0 - 2.0, whole.1 - 2.0);
    raster.rectangle((1.0, 1.0), inside, palette::PAGE.light)?;
    for item in &scene.items {
        raster.draw(item)?;
    }
    drop(raster);
    let (pixels, width, height) = match halved {
        true => (halve(&pixels, width as usize), width / 2, height / 2),
        false => (pixels, width, height),
    };
    let kind = ExtendedColorType::Rgb8;
    encode(&pixels, width, height, kind, CompressionType::Fast)
}

struct Raster<'a> {
    backend: BitMapBackend<'a>,
    /// Pixels that are drawn to one of the page.
    scale: f64,
}

impl Raster<'_> {
    fn draw(&mut self, item: &Item) -> Result<()> {
        match item {
            &Item::Rectangle { at, size, fill } => self.rectangle(at, size, fill.light),
            Item::Line {
                points,
                width,
                colour,
            } => self.line(points, *width, colour.light),
            &Item::Disc {
                centre,
                radius,
                fill,
            } => self.disc(centre, radius, fill.light),
            Item::Text(text) => self.text(text),
            Item::Picture { at, size, picture } => {
                let ((left, top), (right, bottom)) = self.corners(*at, *size);
                let (width, height) = ((right - left) as u32, (bottom - top) as u32);
                let pixels = picture.stretched(width, height);
                let drawn = self
                    .backend
                    .blit_bitmap((left, top), (width, height), &pixels);
                drawn.map_err(told)
            }
        }
    }

    fn at(&self, (x, y): Point) -> (i32, i32) {
        (
            (x * self.scale).round() as i32,
            (y * self.scale).round() as i32,
        )
    }

    fn corners(&self, at: Point, size: Point) -> ((i32, i32), (i32, i32)) {
        (self.at(at), self.at((at.0 + size.0, at.1 + size.1)))
    }

    fn rectangle(&mut self, at: Point, size: Point, fill: Rgb) -> Result<()> {
        let (upper_left, lower_right) = self.corners(at, size);
        let drawn = self
            .backend
            .draw_rect(upper_left, lower_right, &style(fill), true);
        drawn.map_err(told)
    }

    /// Segment by segment, with round joints: plotters makes one polygon of a line, and where a line
    /// turns back on itself that polygon has holes.
    fn line(&mut self, points: &[Point], width: f64, colour: Rgb) -> Result<()> {
        let half = width / 2.0;
        for pair in points.windows(2) {
            let ((x0, y0), (x1, y1)) = (pair[0], pair[1]);
            let length = (x1 - x0).hypot(y1 - y0);
            if length > 0.0 {
                let (nx, ny) = (-(y1 - y0) / length * half, (x1 - x0) / length * half);
                let corners = [
                    (x0 + nx, y0 + ny),
                    (x1 + nx, y1 + ny),
                    (x1 - nx, y1 - ny),
                    (x0 - nx, y0 - ny),
                ];
                let corners = corners.map(|corner| self.at(corner));
                let drawn = self.backend.fill_polygon(corners, &style(colour));
                drawn.map_err(told)?;
            }
        }
        let inner = points.get(1..points.len().saturating_sub(1));
        for &joint in inner.unwrap_or_default() {
            self.disc(joint, half, colour)?;
        }
        Ok(())
    }

    fn disc(&mut self, centre: Point, radius: f64, fill: Rgb) -> Result<()> {
        let radius = (radius * self.scale).round() as u32;
        let drawn = self
            .backend
            .draw_circle(self.at(centre), radius, &style(fill), true);
        drawn.map_err(told)
    }

    /// Glyph by glyph: plotters puts each on a whole pixel, and drops the room at its left.
    fn text(&mut self, text: &Text) -> Result<()> {
        let (x, y) = text.at;
        let (x, y) = (x * self.scale, y * self.scale);
        let (r, g, b) = text.colour.light;
        let mut drawn = Ok(());
        let backend = &mut self.backend;
        text::glyphs(text, self.scale, |along, down, part| {
            let (dx, dy) = match text.upwards {
                true => (down, -along),
                false => (along, down),
            };
            let at = ((x.round() as i32) + dx, (y.round() as i32) + dy);
            let colour = RGBColor(r, g, b).mix(f64::from(part));
            if let Err(error) = backend.draw_pixel(at, colour.to_backend_color()) {
                drawn = Err(told(error));
            }
        });
        drawn
    }
}

fn style((r, g, b): Rgb) -> ShapeStyle {
    RGBColor(r, g, b).filled()
}

/// plotters' errors are not `'static`.
pub(super) fn told(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("{error}")
}

/// Half as large: each pixel the mean of four.
fn halve(pixels: &[u8], width: usize) -> Vec<u8> {
    let row = width * 3;
    let mut half = Vec::with_capacity(pixels.len() / 4);
    for rows in pixels.chunks_exact(2 * row) {
        let (upper, lower) = rows.split_at(row);
        for (upper, lower) in upper.chunks_exact(6).zip(lower.chunks_exact(6)) {
            for channel in 0..3 {
                let four = [
                    upper[channel],
                    upper[channel + 3],
                    lower[channel],
                    lower[channel + 3],
                ];
                let sum: u16 = four.into_iter().map(u16::from).sum();
                half.push(((sum + 2) / 4) as u8);
            }
        }
    }
    half
}

#[cfg(test)]
mod tests {
    use super::halve;

    #[test]
    fn a_pixel_is_the_mean_of_four() {
        let upper = [[0, 0, 0], [4, 8, 255], [1, 1, 1], [1, 1, 1]].concat();
        let lower = [[0, 0, 0], [4, 8, 255], [3, 3, 3], [3, 3, 3]].concat();
        let half = halve(&[upper, lower].concat(), 4);
        assert_eq!(half, [2, 4, 128, 2, 2, 2]);
    }
}
