//! `data.size` and `data.color`.

use std::fmt;

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest side that images are fitted to.
pub(super) const LARGEST_SIDE: usize = 1024;

/// What images are fitted to: `"auto"`, a side, or `[height, width]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Size {
    /// That of the images, if all are alike and neither side is above 128; else 64 x 64.
    #[default]
    Auto,
    /// A square.
    Square(usize),
    /// Height and width.
    Sides([usize; 2]),
}

/// The channels of what a model takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Color {
    /// RGB if any image has colour, else grey.
    #[default]
    Auto,
    /// One channel.
    #[serde(alias = "gray")]
    Grey,
    /// Three channels.
    Rgb,
}

impl Size {
    /// Whether images can be fitted to it.
    pub fn is_usable(self) -> bool {
        let usable = |side| (1..=LARGEST_SIDE).contains(&side);
        match self {
            Self::Auto => true,
            Self::Square(side) => usable(side),
            Self::Sides(sides) => sides.into_iter().all(usable),
        }
    }

    /// Whether it asks for nothing else than these sides.
    pub fn allows(self, height: usize, width: usize) -> bool {
        match self {
            Self::Auto => true,
            Self::Square(side) => [side, side] == [height, width],
            Self::Sides(sides) => sides == [height, width],
        }
    }
}

impl Color {
    /// As in a config.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Grey => "grey",
            Self::Rgb => "rgb",
        }
    }
}

/// As in a config.
impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Auto => write!(f, "\"auto\""),
            Self::Square(side) => write!(f, "{side}"),
            Self::Sides([height, width]) => write!(f, "[{height}, {width}]"),
        }
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("auto"),
            Self::Square(side) => side.serialize(serializer),
            Self::Sides(sides) => sides.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SizeVisitor)
    }
}

struct SizeVisitor;

impl<'de> Visitor<'de> for SizeVisitor {
    type Value = Size;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "\"auto\", a number of pixels, or [height, width]")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Size, E> {
        match text {
            "auto" => Ok(Size::Auto),
            other => Err(E::invalid_value(serde::de::Unexpected::Str(other), &self)),
        }
    }

    fn visit_i64<E: Error>(self, side: i64) -> Result<Size, E> {
        // What is negative is no usable size; the check of the config says which are.
        Ok(Size::Square(usize::try_from(side).unwrap_or(0)))
    }

    fn visit_u64<E: Error>(self, side: u64) -> Result<Size, E> {
        Ok(Size::Square(usize::try_from(side).unwrap_or(usize::MAX)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sides: A) -> Result<Size, A::Error> {
        let (mut found, mut n) = ([0; 2], 0);
        while let Some(side) = sides.next_element::<i64>()? {
            if let Some(place) = found.get_mut(n) {
                *place = usize::try_from(side).unwrap_or(0);
            }
            n += 1;
        }
        match n {
            2 => Ok(Size::Sides(found)),
            n => Err(A::Error::invalid_length(n, &self)),
        }
    }
}
