//! The units of fully connected layers as a config gives them: a list, or so many layers of so many.

use std::fmt;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// More layers than any check of depth lets pass: a list of that length is not made.
const MOST_LAYERS: usize = 100_000;

/// `[512, 256]`, or `{ layers = 2, units = 512 }` for layers that are all of one size, whose two numbers
/// can be searched over. For `#[serde(deserialize_with)]`.
pub(super) fn units<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<usize>, D::Error> {
    deserializer.deserialize_any(Units)
}

struct Units;

/// Layers of one size.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Alike {
    layers: usize,
    units: usize,
}

impl<'de> Visitor<'de> for Units {
    type Value = Vec<usize>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a list such as [512, 256], or { layers = 2, units = 512 }")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Vec<usize>, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Vec<usize>, A::Error> {
        let alike = Alike::deserialize(MapAccessDeserializer::new(map))?;
        Ok(vec![alike.units; alike.layers.min(MOST_LAYERS)])
    }
}

#[cfg(test)]
mod tests {
    use super::super::mlp::MlpConfig;

    #[test]
    fn layers_of_one_size_are_a_list() {
        let read = |text: &str| toml::from_str::<MlpConfig>(text);
        let hidden = |text: &str| read(text).unwrap().hidden;
        assert_eq!(hidden("hidden = [3, 4]"), [3, 4]);
        assert_eq!(hidden("hidden = { layers = 3, units = 8 }"), [8, 8, 8]);
        assert_eq!(hidden("hidden = { layers = 0, units = 8 }"), [0; 0]);
        let message = |text: &str| read(text).unwrap_err().message().to_owned();
        assert_eq!(message("hidden = { units = 8 }"), "missing field `layers`");
        assert!(message("hidden = 8").contains("{ layers = 2, units = 512 }"));
    }
}
