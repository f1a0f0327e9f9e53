//! What a picture consists of, in pixels of a page at normal size. `raster` and `svg` draw it.

use super::palette::{self, Colour};
use super::picture::Picture;
use super::text;

/// Of text, in pixels.
pub(super) const TITLE: f64 = 17.0;
pub(super) const BODY: f64 = 12.0;
pub(super) const SMALL: f64 = 10.5;

/// Around everything.
pub(super) const MARGIN: f64 = 20.0;

/// A picture that is ready to be drawn.
pub(super) struct Scene {
    pub(super) width: f64,
    pub(super) height: f64,
    pub(super) title: String,
    /// For whoever does not see it.
    pub(super) description: String,
    pub(super) items: Vec<Item>,
}

pub(super) enum Item {
    /// Filled.
    Rectangle {
        at: Point,
        size: Point,
        fill: Colour,
    },
    /// A line through points.
    Line {
        points: Vec<Point>,
        width: f64,
        colour: Colour,
    },
    Disc {
        centre: Point,
        radius: f64,
        fill: Colour,
    },
    Text(Text),
    /// Stretched over `size`.
    Picture {
        at: Point,
        size: Point,
        picture: Picture,
    },
}

/// x to the right, y down.
pub(super) type Point = (f64, f64);

#[derive(Clone)]
pub(super) struct Text {
    pub(super) text: String,
    /// On the baseline.
    pub(super) at: Point,
    pub(super) size: f64,
    pub(super) colour: Colour,
    pub(super) anchor: Anchor,
    /// Read from below to above.
    pub(super) upwards: bool,
}

/// Which part of a text is where it is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

impl Scene {
    /// A page with a title and a line of explanation (both may break). What comes below starts at the
    /// second value; the height is set by `finish`.
    pub(super) fn new(width: f64, title: &str, subtitle: &str) -> (Self, f64) {
        let mut scene = Self {
            width,
            height: 0.0,
            title: title.to_owned(),
            description: subtitle.to_owned(),
            items: Vec::new(),
        };
        let mut y = MARGIN;
        for (text, size, colour) in [
            (title, TITLE, palette::TEXT),
            (subtitle, BODY, palette::MUTED),
        ] {
            let lines = text::wrap(text, size, width - 2.0 * MARGIN);
            scene.lines(&lines, (MARGIN, y), size, colour, Anchor::Start);
            y += lines.len() as f64 * size * text::LINE + 2.0;
        }
        (scene, y + 12.0)
    }

    /// Closes the page below `y`.
    pub(super) fn finish(mut self, y: f64) -> Self {
        self.width = self.width.ceil();
        self.height = (y + MARGIN).ceil();
        self
    }

    pub(super) fn rectangle(&mut self, at: Point, size: Point, fill: Colour) {
        self.items.push(Item::Rectangle { at, size, fill });
    }

    pub(super) fn line(&mut self, points: Vec<Point>, width: f64, colour: Colour) {
        self.items.push(Item::Line {
            points,
            width,
            colour,
        });
    }

    /// A straight one.
    pub(super) fn dashes(&mut self, from: Point, to: Point, width: f64, colour: Colour) {
        const DASH: f64 = 4.0;
        let (dx, dy) = (to.0 - from.0, to.1 - from.1);
        let length = dx.hypot(dy).max(f64::MIN_POSITIVE);
        let at = |along: f64| {
            let part = (along / length).min(1.0);
            (from.0 + dx * part, from.1 + dy * part)
        };
        let mut along = 0.0;
        while along < length {
            self.line(vec![at(along), at(along + DASH)], width, colour);
            along += 2.0 * DASH;
        }
    }

    /// The outline of a rectangle, inside of it.
    pub(super) fn outline(&mut self, at: Point, size: Point, thickness: f64, colour: Colour) {
        let ((x, y), (w, h), t) = (at, size, thickness);
        self.rectangle((x, y), (w, t), colour);
        self.rectangle((x, y + h - t), (w, t), colour);
        self.rectangle((x, y), (t, h), colour);
        self.rectangle((x + w - t, y), (t, h), colour);
    }

    pub(super) fn disc(&mut self, centre: Point, radius: f64, fill: Colour) {
        self.items.push(Item::Disc {
            centre,
            radius,
            fill,
        });
    }

    pub(super) fn picture(&mut self, at: Point, size: Point, picture: Picture) {
        self.items.push(Item::Picture { at, size, picture });
    }

    /// One line; `at` is on the baseline.
    pub(super) fn text(
        &mut self,
        text: &str,
        at: Point,
        size: f64,
        colour: Colour,
        anchor: Anchor,
    ) {
        self.items.push(Item::Text(Text {
            text: text.to_owned(),
            at,
            size,
            colour,
            anchor,
            upwards: false,
        }));
    }

    /// Several lines, the top of the first at `at`.
    pub(super) fn lines(
        &mut self,
        lines: &[String],
        at: Point,
        size: f64,
        colour: Colour,
        anchor: Anchor,
    ) {
        for (index, line) in lines.iter().enumerate() {
            let y = at.1 + size * (text::LINE * index as f64 + 1.0);
            self.text(line, (at.0, y), size, colour, anchor);
        }
    }

    /// Several lines whose middle is at the height `y`.
    pub(super) fn middle(
        &mut self,
        lines: &[String],
        (x, y): Point,
        size: f64,
        colour: Colour,
        anchor: Anchor,
    ) {
        let first = first_baseline(lines.len(), size);
        for (index, line) in lines.iter().enumerate() {
            let y = y + first + size * text::LINE * index as f64;
            self.text(line, (x, y), size, colour, anchor);
        }
    }

    /// The same, read from below to above, with their middle at `x`.
    pub(super) fn upwards(
        &mut self,
        lines: &[String],
        (x, y): Point,
        size: f64,
        colour: Colour,
        anchor: Anchor,
    ) {
        let first = first_baseline(lines.len(), size);
        for (index, line) in lines.iter().enumerate() {
            let x = x + first + size * text::LINE * index as f64;
            self.items.push(Item::Text(Text {
                text: line.clone(),
                at: (x, y),
                size,
                colour,
                anchor,
                upwards: true,
            }));
        }
    }

    /// The names of colours, each beside a patch, from `at` to the right. `at` is their middle height.
    pub(super) fn legend(&mut self, entries: &[(&str, Colour)], at: Point) {
        let (mut x, y) = at;
        for &(name, colour) in entries {
            self.rectangle((x, y - 5.0), (10.0, 10.0), colour);
            self.middle(
                &[name.to_owned()],
                (x + 15.0, y),
                BODY,
                palette::TEXT,
                Anchor::Start,
            );
            x += 15.0 + text::width(name, BODY) + 20.0;
        }
    }
}

/// How far below the middle of some lines the baseline of the first one is.
fn first_baseline(n_lines: usize, size: f64) -> f64 {
    let between = text::LINE * n_lines.saturating_sub(1) as f64;
    size * (text::CAPITAL - between) / 2.0
}
