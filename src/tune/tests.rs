use super::*;

const BASE: &str = "
name = \"test\"
[model]
kind = \"mlp\"
[optimizer]
kind = \"adam\"
[search]
max_epochs = 9
";

fn study(space: &str) -> Result<Study> {
    let text = format!("{BASE}{space}");
    Study::new(Layers::parse("study.toml", &text).unwrap(), &[])
}

fn refused(space: &str) -> String {
    study(space).err().unwrap().to_string()
}

const SPACE: &str = "[search.space]
\"model.hidden.units\" = { min = 8, max = 32, step = 8 }
\"model.hidden.layers\" = { choice = [1, 3] }
rate = { min = 1e-4, max = 1e-2, scale = \"log\", keys = [\"optimizer.learning_rate\"] }
";

#[test]
fn a_trial_is_the_experiment_with_its_values_and_the_search_s_settings() {
    let study = study(SPACE).unwrap();
    // layers, units, rate: as TOML's tables are sorted.
    let point = study.point(&[0.9, 0.3, 0.5]);
    let trial = study.trial(&point, "test-0003").unwrap().config;
    let crate::model::ModelConfig::Mlp(mlp) = &trial.model else {
        panic!("{:?}", trial.model)
    };
    assert_eq!(mlp.hidden, [16, 16, 16]);
    assert!((trial.optimizer.learning_rate() - 1e-3).abs() < 1e-9);
    assert_eq!(trial.train.epochs, 9);
    assert_eq!(trial.name, "test-0003");
    assert_eq!(trial.early_stopping.monitor, Monitor::ValidationAccuracy);
    assert_eq!(trial.report, crate::report::ReportConfig::NONE);
    let varied = study.varied(&point).unwrap().config;
    assert_eq!(varied.train.epochs, study.config.train.epochs);
}

#[test]
fn a_study_s_file_reads_back_as_itself() {
    let before = study(SPACE).unwrap();
    let text = before.to_toml().unwrap();
    let again = Study::new(Layers::parse("again.toml", &text).unwrap(), &[]).unwrap();
    assert_eq!(again.config, before.config);
    assert_eq!(again.search, before.search);
    assert!(before.changes(&again).unwrap().is_empty());
    assert_eq!(again.to_toml().unwrap(), text);
}

#[test]
fn what_makes_it_another_study_is_told() {
    let before = study(SPACE).unwrap();
    let other = |from: &str, to: &str| {
        let text = format!("{BASE}{SPACE}").replace(from, to);
        let after = Study::new(Layers::parse("study.toml", &text).unwrap(), &[]).unwrap();
        let changes = before.changes(&after).unwrap();
        let keys: Vec<String> = changes.into_iter().map(|change| change.key).collect();
        keys.join(" ")
    };
    assert_eq!(
        other("max_epochs = 9", "max_epochs = 27"),
        "search.max_epochs"
    );
    assert_eq!(
        other("[1, 3]", "[1, 2]"),
        "search.space.model.hidden.layers.choice"
    );
    assert_eq!(other("name", "seed = 7\nname"), "seed");
    assert_eq!(
        other(
            "max_epochs = 9",
            "max_epochs = 9\ntrials = 99\niterations = 2"
        ),
        ""
    );
    assert_eq!(other("name = \"test\"", "name = \"other\""), "");
}

#[test]
fn keys_and_values_that_the_config_does_not_have_are_refused_with_their_line() {
    let first = "[search.space]\n";
    for (space, what) in [
        (
            "\"model.drop_out\" = { choice = [0.1] }",
            "unknown key `model.drop_out`",
        ),
        ("\"model.dropout\" = { choice = [\"a\"] }", "study.toml:10"),
        (
            "\"optimizer.learning_rate\" = { choice = [0.1, -1.0] }",
            "but it must be above 0",
        ),
        (
            "\"model.blocks.0.filters\" = { choice = [8] }",
            "study.toml:10",
        ),
        (
            "\"train.epochs\" = { choice = [1, 2] }",
            "the schedule of the search sets it",
        ),
        ("seed = { choice = [1, 2] }", "all trials share one split"),
        (
            "\"data.source\" = { choice = [\"a\"] }",
            "all trials share one set of images",
        ),
        (
            "\"model.dropout\" = { choice = [0.1], when = { \"model.kin\" = \"mlp\" } }",
            "is called `model.kin`",
        ),
        (
            "\"model.dropout\" = { choice = [0.1], when = { \"model.kind\" = \"mpl\" } }",
            "it never holds: `model.kind` is \"mlp\"",
        ),
        (
            "x = { choice = [0.1, 0.2], keys = [\"model.dropout\"] }\n\"model.activation\" = { choice = [\"relu\", \"tanh\"], when = { x = 0.3 } }",
            "0.3 is none of the values of `x`",
        ),
        (
            "\"model.hidden.units\" = { min = 8, max = 32, step = 8 }\n\"model.dropout\" = { choice = [0.1], when = { \"model.hidden.units\" = 20 } }",
            "20 is none of the values of `model.hidden.units`",
        ),
        (
            "\"model.dropout\" = { min = 0.0, max = 0.5 }\n\"model.activation\" = { choice = [\"relu\", \"tanh\"], when = { \"model.dropout\" = 0.25 } }",
            "0.25 is none of the values of `model.dropout`",
        ),
        (
            "x = { choice = [1, 2], keys = [\" seed \"] }",
            "`seed` cannot be searched",
        ),
        (
            "x = { choice = [1, 2], keys = [\"data[validation_fraction]\"] }",
            "`data` cannot be searched",
        ),
        (
            "train = { choice = [{ epochs = 3 }] }",
            "`train.epochs` cannot be searched",
        ),
        (
            "\"model.dropout\" = { choice = [0.1] }\nmodel.dropout = { choice = [0.2] }",
            "has the same name",
        ),
        ("", "nothing is varied"),
    ] {
        let message = refused(&format!("{first}{space}"));
        assert!(message.contains("study.toml"), "{message}");
        assert!(message.contains(what), "{space}: {message}");
        assert!(message.contains("\nhint: "), "{space}: {message}");
    }
    let twice = "[search.space]
a = { choice = [0.1, 0.2], keys = [\"model.dropout\"] }
b = { choice = [0.1, 0.2], keys = [\"model.dropout\"] }";
    let message = refused(twice);
    assert!(message.contains("is set by `a` too"), "{message}");
    let both = twice.replace("] }", "], when = { \"model.batch_norm\" = false } }");
    let message = refused(&both);
    assert!(message.contains("is set by `a` too"), "{message}");
    let apart = "[search.space]
c = { choice = [1, 2], keys = [\"train.clip_norm\"] }
a = { choice = [0.1, 0.2], keys = [\"model.dropout\"], when = { c = 1 } }
b = { choice = [0.3, 0.4], keys = [\"model.dropout\"], when = { c = 2.0 } }";
    assert_eq!(study(apart).unwrap().point(&[0.0; 3]).len(), 2);
    assert!(study("[search.space]\n\"data.normalization\" = { choice = [\"unit\"] }").is_ok());
    let none = Study::new(Layers::parse("plain.toml", "name = \"x\"").unwrap(), &[]);
    let message = none.err().unwrap().to_string();
    assert!(
        message.starts_with("plain.toml: there is no [search] section"),
        "{message}"
    );
}

#[test]
fn settings_of_the_search_are_checked() {
    for (setting, what) in [
        ("factor = 1", "`search.factor` is 1, but it must be from 2"),
        (
            "min_epochs = 10",
            "`search.min_epochs` is 10, but it must be from 1 to max_epochs, which is 9",
        ),
        ("trials = 0", "`search.trials` is 0"),
        ("iterations = 0", "`search.iterations` is 0"),
        ("algorithm = \"grid\"", "search.algorithm"),
        ("algoritm = \"random\"", "unknown key `search.algoritm`"),
    ] {
        let message = refused(&format!("{setting}\n{SPACE}"));
        assert!(message.starts_with("study.toml:9: "), "{message}");
        assert!(message.contains(what), "{setting}: {message}");
    }
    let message = refused(&format!(
        "{SPACE}[data]\nvalidation_fraction = 0.0\n[early_stopping]\npatience = 0"
    ));
    assert!(message.contains("no validation split"), "{message}");
}

#[test]
fn a_section_that_the_file_does_not_have_is_the_default_s() {
    let text = "[search]\n[search.space]\n\"optimizer.learning_rate\" = { choice = [0.1, 0.2] }\n\
                \"optimizer.beta_1\" = { choice = [0.7, 0.8] }";
    let study = Study::new(Layers::parse("study.toml", text).unwrap(), &[]).unwrap();
    let mut expected = ExperimentConfig::default();
    let crate::train::optimizer::OptimizerConfig::Adam(adam) = &mut expected.optimizer else {
        panic!("the default optimizer is another one")
    };
    (adam.beta_1, adam.learning_rate) = (0.8, 0.1);
    let varied = study.varied(&study.point(&[0.9, 0.1])).unwrap().config;
    assert_eq!(varied.optimizer, expected.optimizer);
}

#[test]
fn a_kind_that_is_searched_brings_the_keys_of_that_kind() {
    let space = "[search.space]
\"model.kind\" = { choice = [\"mlp\", \"cnn\"] }
\"model.dropout\" = { choice = [0.1, 0.2], when = { \"model.kind\" = \"mlp\" } }
\"model.dense.units\" = { choice = [8, 16], when = { \"model.kind\" = \"cnn\" } }
\"model.dense.layers\" = { choice = [1, 2], when = { \"model.kind\" = \"cnn\" } }
";
    let study = study(space).unwrap();
    for coordinates in [[0.1; 4], [0.9; 4]] {
        let point = study.point(&coordinates);
        let config = study.varied(&point).unwrap().config;
        let kind = point["model.kind"].as_str().unwrap().to_owned();
        assert!(
            config
                .to_toml()
                .unwrap()
                .contains(&format!("kind = \"{kind}\""))
        );
    }
}

/// What `weft tune` goes on with is what its workers read.
#[test]
fn what_set_gave_to_one_kind_is_forgotten_in_the_study_s_file() {
    let space = "[search.space]\n\"optimizer.kind\" = { choice = [\"adam\", \"adamw\"] }\n";
    let given = ["optimizer.weight_decay=0.01".to_owned()];
    let text = format!("{BASE}{space}");
    let first = Study::new(Layers::parse("study.toml", &text).unwrap(), &given).unwrap();
    let file = first.to_toml().unwrap();
    let read = Study::new(Layers::parse("study.toml", &file).unwrap(), &[]).unwrap();
    assert_eq!(first.config, read.config);
    let decays = |coordinate| {
        let point = read.point(&[coordinate]);
        let config = read.varied(&point).unwrap().config;
        config.to_toml().unwrap().contains("weight_decay = 0.01")
    };
    assert_eq!([0.1, 0.9].map(decays), [true, false]);
}

/// A study of two dimensions: 16 units, and a rate.
pub(super) fn small(settings: &str) -> Study {
    let settings = match settings.contains("max_epochs") {
        true => BASE.replace("max_epochs = 9\n", &format!("{settings}\n")),
        false => format!("{BASE}{settings}\n"),
    };
    let space = "[search.space]
\"model.hidden\" = { choice = [[8], [16], [24], [32], [40], [48], [56], [64]] }
\"optimizer.learning_rate\" = { choice = [0.1, 0.01, 0.001, 0.0001] }
";
    let text = format!("{settings}{space}");
    Study::new(Layers::parse("small.toml", &text).unwrap(), &[]).unwrap()
}
