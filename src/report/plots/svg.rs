//! A scene as SVG: it follows the page's `prefers-color-scheme`, and tells a screen reader what it is.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use plotters::backend::{DrawingBackend, SVGBackend};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{
    Color, FontDesc, FontFamily, FontStyle, FontTransform, RGBColor, ShapeStyle, TextStyle,
};

use super::palette::{self, Colour, Rgb};
use super::raster::told;
use super::scene::{Anchor, Item, Point, Scene, Text};

/// plotters counts in whole numbers, so a pixel of the page is four of its units.
const SCALE: f64 = 4.0;
/// plotters' font size to one of SVG, and how far below the position it puts the baseline, in SVG's.
const FONT_SIZE: f64 = 1.24;
const BASELINE: f64 = 0.76;

/// The text of an SVG file.
pub(super) fn svg(scene: &Scene) -> Result<String> {
    let mut drawn = String::new();
    let size = ((scene.width * SCALE) as u32, (scene.height * SCALE) as u32);
    let (colours, pictures) = draw(scene, size, &mut drawn)?;
    // plotters' element becomes one with a name, a style and the pictures, which it cannot draw.
    let body = drawn
        .split_once(">\n")
        .and_then(|(_, rest)| rest.trim_end().strip_suffix("</svg>"))
        .context("plotters wrote another SVG than it used to")?;
    Ok(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"weft-plot\" role=\"img\" width=\"{}\" \
         height=\"{}\" viewBox=\"0 0 {} {}\">\n<title>{}</title>\n<desc>{}</desc>\n{}{}{}</svg>\n",
        scene.width,
        scene.height,
        size.0,
        size.1,
        escape(&scene.title),
        escape(&scene.description),
        colours.style(),
        body.trim_start(),
        pictures
    ))
}

/// Lets plotters write its SVG; what it cannot write comes back.
fn draw(scene: &Scene, size: (u32, u32), into: &mut String) -> Result<(Colours, String)> {
    let mut writer = Writer {
        backend: SVGBackend::with_string(into, size),
        colours: Colours::default(),
        pictures: String::new(),
    };
    let (width, height) = (scene.width, scene.height);
    writer.rectangle((0.0, 0.0), (width, height), palette::FRAME)?;
    writer.rectangle((1.0, 1.0), (width - 2.0, height - 2.0), palette::PAGE)?;
    for item in &scene.items {
        writer.draw(item)?;
    }
    writer.backend.present().map_err(told)?;
    Ok((writer.colours, writer.pictures))
}

struct Writer<'a> {
    backend: SVGBackend<'a>,
    colours: Colours,
    pictures: String,
}

impl Writer<'_> {
    fn draw(&mut self, item: &Item) -> Result<()> {
        match item {
            &Item::Rectangle { at, size, fill } => self.rectangle(at, size, fill),
            Item::Line {
                points,
                width,
                colour,
            } => {
                let width = (width * SCALE).round().max(1.0) as u32;
                let style = self.style(*colour).stroke_width(width);
                let points: Vec<_> = points.iter().map(|&point| whole(point)).collect();
                self.backend.draw_path(points, &style).map_err(told)
            }
            &Item::Disc {
                centre,
                radius,
                fill,
            } => {
                let radius = (radius * SCALE).round() as u32;
                let style = self.style(fill);
                let drawn = self
                    .backend
                    .draw_circle(whole(centre), radius, &style, true);
                drawn.map_err(told)
            }
            Item::Text(text) => self.text(text),
            Item::Picture { at, size, picture } => {
                let ((x, y), (w, h)) = (whole(*at), whole(*size));
                let png = BASE64_STANDARD.encode(picture.png()?);
                let _ = writeln!(
                    self.pictures,
                    "<image x=\"{x}\" y=\"{y}\" width=\"{w}\" height=\"{h}\" \
                     preserveAspectRatio=\"none\" style=\"image-rendering:pixelated\" \
                     href=\"data:image/png;base64,{png}\"/>"
                );
                Ok(())
            }
        }
    }

    fn style(&mut self, colour: Colour) -> ShapeStyle {
        let (r, g, b) = self.colours.name(colour);
        RGBColor(r, g, b).filled()
    }

    fn rectangle(&mut self, at: Point, size: Point, fill: Colour) -> Result<()> {
        let style = self.style(fill);
        let end = whole((at.0 + size.0, at.1 + size.1));
        let drawn = self.backend.draw_rect(whole(at), end, &style, true);
        drawn.map_err(told)
    }

    fn text(&mut self, text: &Text) -> Result<()> {
        let below = text.size * BASELINE;
        let (x, y) = text.at;
        let at = match text.upwards {
            true => (x - below, y),
            false => (x, y - below),
        };
        let colour = self.colours.name(text.colour);
        let style = text_style(text, text.size * SCALE * FONT_SIZE, colour);
        let drawn = self.backend.draw_text(&text.text, &style, whole(at));
        drawn.map_err(told)
    }
}

/// plotters' style of a text that is put by its top. The viewer's fonts draw it.
fn text_style(text: &Text, size: f64, (r, g, b): Rgb) -> TextStyle<'static> {
    let font = FontDesc::new(FontFamily::SansSerif, size, FontStyle::Normal);
    let font = match text.upwards {
        true => font.transform(FontTransform::Rotate270),
        false => font,
    };
    let anchor = match text.anchor {
        Anchor::Start => HPos::Left,
        Anchor::Middle => HPos::Center,
        Anchor::End => HPos::Right,
    };
    font.color(&RGBColor(r, g, b))
        .pos(Pos::new(anchor, VPos::Top))
}

fn whole((x, y): Point) -> (i32, i32) {
    ((x * SCALE).round() as i32, (y * SCALE).round() as i32)
}

/// plotters writes a colour into each element; a rule of the style sheet turns it into the dark one.
/// So two colours that are equal on a light page and not on a dark one must differ by a shade.
#[derive(Default)]
struct Colours {
    dark: BTreeMap<Rgb, Rgb>,
}

impl Colours {
    /// What a colour is written as.
    fn name(&mut self, colour: Colour) -> Rgb {
        let (r, g, b) = colour.light;
        let step = |shade: u8| if b < 128 { b + shade } else { b - shade };
        let shades = (0..64).map(|shade| (r, g, step(shade)));
        let free = |name: &Rgb| {
            let dark = self.dark.get(name);
            dark.is_none_or(|&dark| dark == colour.dark)
        };
        let name = shades.into_iter().find(free).unwrap_or(colour.light);
        self.dark.insert(name, colour.dark);
        name
    }

    fn style(&self) -> String {
        let mut style = String::from(
            "<style>\n.weft-plot text{font-family:system-ui,\"Segoe UI\",Roboto,\"Helvetica Neue\",\
             Arial,sans-serif}\n@media (prefers-color-scheme:dark){\n",
        );
        for (light, dark) in self.dark.iter().filter(|(light, dark)| light != dark) {
            let (light, dark) = (hex(*light), hex(*dark));
            let _ = writeln!(
                style,
                ".weft-plot [fill=\"{light}\"]{{fill:{dark}}}.weft-plot \
                 [stroke=\"{light}\"]{{stroke:{dark}}}"
            );
        }
        style + "}\n</style>\n"
    }
}

/// As plotters writes it.
fn hex((r, g, b): Rgb) -> String {
    format!("#{r:02X}{g:02X}{b:02X}")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::super::palette::Colour;
    use super::Colours;

    #[test]
    fn equal_on_a_light_page_stay_apart_on_a_dark_one() {
        let mut colours = Colours::default();
        let white = (255, 255, 255);
        let turning = Colour {
            light: white,
            dark: (0, 0, 0),
        };
        let staying = Colour {
            light: white,
            dark: white,
        };
        let names = [colours.name(turning), colours.name(staying)];
        assert_eq!(names, [white, (255, 255, 254)]);
        assert_eq!(colours.name(turning), white);
        assert!(colours.style().contains("[fill=\"#FFFFFF\"]{fill:#000000}"));
    }
}
