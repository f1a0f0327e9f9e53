//! The recipes that are built in: whole configs with what they reach, each known by a name. A new one is a
//! file in configs/recipes and a line here.

use std::path::Path;

use super::layers::{ConfigError, Layers};
use super::{ExperimentConfig, Loaded};

/// A config that can be named instead of a file.
pub struct Recipe {
    /// What it is called; also the name in its config.
    pub name: &'static str,
    /// The file.
    pub text: &'static str,
}

macro_rules! recipes {
    ($($name:literal),* $(,)?) => {
        &[$(Recipe {
            name: $name,
            text: include_str!(concat!("../../configs/recipes/", $name, ".toml")),
        }),*]
    };
}

/// All of them, in the order in which they are listed.
pub const RECIPES: &[Recipe] = recipes![
    "mlp",
    "tiny",
    "fast-5",
    "fast-20",
    "fast-50",
    "small",
    "large",
    "to-0.9125",
];

impl Recipe {
    /// What its file says first: the comment up to its first empty line, in one line and without the name.
    pub fn about(&self) -> String {
        let comment = self.text.lines().map_while(|line| line.strip_prefix('#'));
        let first: Vec<&str> = comment
            .map(str::trim)
            .take_while(|line| !line.is_empty())
            .collect();
        let text = first.join(" ");
        let name = format!("{}: ", self.name);
        text.strip_prefix(&name).unwrap_or(&text).to_owned()
    }

    /// Its config, as a training of it by name has it.
    pub fn config(&self) -> Result<ExperimentConfig, ConfigError> {
        Ok(Loaded::from_layers(self.layers()?)?.config)
    }

    pub(super) fn layers(&self) -> Result<Layers, ConfigError> {
        Layers::parse(&format!("recipe {}", self.name), self.text)
    }
}

/// The recipe of a name.
pub fn find(name: &str) -> Option<&'static Recipe> {
    RECIPES.iter().find(|recipe| recipe.name == name)
}

/// "mlp, tiny": for people.
pub fn names() -> String {
    let names: Vec<&str> = RECIPES.iter().map(|recipe| recipe.name).collect();
    names.join(", ")
}

/// What was given as a config: a file, or the name of a recipe where no file has that name.
pub(super) fn read(path: &Path) -> Result<Layers, ConfigError> {
    let Some(name) = as_name(path).filter(|_| !path.exists() || path.is_dir()) else {
        return Layers::read(path);
    };
    match find(name) {
        Some(recipe) => recipe.layers(),
        None => Layers::read(path).map_err(|error| ConfigError {
            hint: Some(format!(
                "give the path of a file, or one of the recipes: {}; `weft recipes` tells of them",
                names()
            )),
            ..error
        }),
    }
}

/// What could be a recipe's name: a text without folders and without a config's ending.
fn as_name(path: &Path) -> Option<&str> {
    let name = path.to_str()?;
    let is_file = name.ends_with(".toml") || name.contains(['/', '\\']);
    (!is_file && !name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    #[test]
    fn every_file_of_the_folder_is_built_in_and_named_as_it_says() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/recipes");
        let files: BTreeSet<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let listed = RECIPES.iter().map(|recipe| format!("{}.toml", recipe.name));
        assert_eq!(listed.collect::<BTreeSet<_>>(), files, "config/recipes.rs");
        for recipe in RECIPES {
            let config = recipe.config().unwrap();
            assert_eq!(config.name, recipe.name);
            let head = format!("# {}: ", recipe.name);
            assert!(recipe.text.starts_with(&head), "{head}");
            assert!(recipe.about().len() > 20, "{}", recipe.name);
            // As docs/recipes.md wants them to be trained.
            assert_eq!(config.data.validation_fraction, 0.0, "{}", recipe.name);
            assert_eq!(config.early_stopping.patience, 0, "{}", recipe.name);
        }
    }

    #[test]
    fn a_name_is_no_path() {
        for (path, name) in [
            ("mlp", Some("mlp")),
            ("to-0.9125", Some("to-0.9125")),
            ("mlp.toml", None),
            ("./mlp", None),
            ("configs/mlp", None),
            ("", None),
        ] {
            assert_eq!(as_name(Path::new(path)), name, "{path}");
        }
    }

    #[test]
    fn the_head_is_what_it_says_of_itself() {
        let recipe = Recipe {
            name: "x",
            text: "# x: 0.9 test accuracy\n# in 3 epochs.\n#\n# More.\nname = \"x\"\n",
        };
        assert_eq!(recipe.about(), "0.9 test accuracy in 3 epochs.");
    }
}
