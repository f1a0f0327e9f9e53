//! Every error as a person reads it.

use super::{RECIPE, assert_error};

#[test]
fn syntax_errors() {
    assert_error(
        "epochs = 2\nname = mine\n",
        &[],
        "mine.toml:2:8: `mine` is not a TOML value\n\
         hint: put text in quotes: \"mine\"",
    );
    assert_error(
        "epochs = \n",
        &[],
        "mine.toml:1:10: a value is missing\n\
         hint: the line reads `epochs =`",
    );
    assert_error(
        "\nepochs\n",
        &[],
        "mine.toml:2:7: key with no value, expected `=`\n\
         hint: the line reads `epochs`",
    );
    assert_error(
        "[model\nkind = 1",
        &[],
        "mine.toml:1:7: unclosed table, expected `]`\n\
         hint: the line reads `[model`",
    );
    assert_error(
        "name = \"mine",
        &[],
        "mine.toml:1:13: invalid basic string, expected `\"`\n\
         hint: the line reads `name = \"mine`",
    );
    assert_error(
        "# größer\n\nepochs = 99999999999999999999",
        &[],
        "mine.toml:3:10: the number 99999999999999999999 is too large\n\
         hint: the line reads `epochs = 99999999999999999999`",
    );
    assert_error(
        "epochs = 1\nepochs.x = 2",
        &[],
        "mine.toml:2:1: cannot extend value of type integer with a dotted key\n\
         hint: the line reads `epochs.x = 2`",
    );
    assert_error(
        "dropout = .5",
        &[],
        "mine.toml:1:11: invalid mantissa, expected digits\n\
         hint: the line reads `dropout = .5`",
    );
    assert_error(
        "resume = True",
        &[],
        "mine.toml:1:10: invalid boolean, expected `true`\n\
         hint: the line reads `resume = True`",
    );
    assert_error(
        "range = [1 2]",
        &[],
        "mine.toml:1:10: `1 2` is not a TOML value\n\
         hint: the line reads `range = [1 2]`",
    );
    assert_error(
        "name: mine",
        &[],
        "mine.toml:1:7: key with no value, expected `=`\n\
         hint: the line reads `name: mine`",
    );
    assert_error(
        "= 3",
        &[],
        "mine.toml:1:1: unquoted keys cannot be empty, expected letters, numbers, `-`, `_`\n\
         hint: the line reads `= 3`",
    );
    assert_error(
        "epochs = 3 4",
        &[],
        "mine.toml:1:10: `3 4` is not a TOML value\n\
         hint: the line reads `epochs = 3 4`",
    );
    assert_error(
        "d = 1.",
        &[],
        "mine.toml:1:7: invalid fraction, expected digits\n\
         hint: the line reads `d = 1.`",
    );
}

#[test]
fn duplicate_keys() {
    assert_error(
        "epochs = 1\nname = 'a'\nepochs = 2\n",
        &[],
        "mine.toml:3: `epochs` is given twice\n\
         hint: line 1 has it too; keep one of the two",
    );
    assert_error(
        "[data]\n[model]\ndropout = 1\nkind = 'a'\n\"dropout\" = 2",
        &[],
        "mine.toml:5: `model.dropout` is given twice\n\
         hint: line 3 has it too; keep one of the two",
    );
    assert_error(
        "[[model.blocks]]\n[[model.blocks]]\nkernel = 1\nkernel = 2",
        &[],
        "mine.toml:4: `model.blocks[1].kernel` is given twice\n\
         hint: line 3 has it too; keep one of the two",
    );
    assert_error(
        "[data]\n[model]\n[data]\n",
        &[],
        "mine.toml:3: `data` is given twice\n\
         hint: line 1 has it too; keep one of the two",
    );
    assert_error(
        "data = { source = 'a', source = 'b' }",
        &[],
        "mine.toml:1: `data.source` is given twice\n\
         hint: keep one of the two",
    );
}

#[test]
fn unknown_keys() {
    assert_error(
        "\nepoch = 2",
        &[],
        "mine.toml:2: unknown key `epoch`\n\
         hint: did you mean `epochs`?  `weft train --print-config` lists every key",
    );
    assert_error(
        "[training]\nepochs = 2",
        &[],
        "mine.toml:1: unknown key `training`\n\
         hint: the keys at the top level are `name`, `epochs`, `batch_size`, `resume`, `data`, `model`, `optimizer`, `range`, `limit` and `colour`",
    );
    assert_error(
        "[data]\nsuorce = 'a'",
        &[],
        "mine.toml:2: unknown key `data.suorce`\n\
         hint: did you mean `data.source`?  `weft train --print-config` lists every key",
    );
    assert_error(
        "[data]\nfolder = 'a'",
        &[],
        "mine.toml:2: unknown key `data.folder`\n\
         hint: the keys of `data` are `source`, `validation_fraction` and `class_names`",
    );
    assert_error(
        "[model]\nkind = 'mlp'\n\n\ndrop-out = 0.1",
        &[],
        "mine.toml:5: unknown key `model.drop-out`\n\
         hint: did you mean `model.dropout`?  `weft train --print-config` lists every key",
    );
    assert_error(
        "[model]\nkind = 'softmax_regression'\ndropout = 0.1",
        &[],
        "mine.toml:3: unknown key `model.dropout`\n\
         hint: `model` of the kind \"softmax_regression\" takes no other keys; leave it out",
    );
    assert_error(
        "\"two\\nlines\" = 1",
        &[],
        "mine.toml:1: unknown key `\"two\\nlines\"`\n\
         hint: the keys at the top level are `name`, `epochs`, `batch_size`, `resume`, `data`, `model`, `optimizer`, `range`, `limit` and `colour`",
    );
}

#[test]
fn an_unknown_key_is_found_where_it_is_wrong_and_not_where_it_is_right() {
    let blocks = "[model]\nkind = 'cnn'\n[[model.blocks]]\nfilter = { size = 3 }\n\
                  [[model.blocks]]\nfilters = 8\n";
    assert_error(
        &format!("{blocks}size = 3"),
        &[],
        "mine.toml:7: unknown key `model.blocks[1].size`\n\
         hint: the keys of `model.blocks[1]` are `filters`, `kernel` and `filter`",
    );
    assert_error(
        &format!("{blocks}filter = {{ filter = 3 }}"),
        &[],
        "mine.toml:7: unknown key `model.blocks[1].filter.filter`\n\
         hint: the only key of `model.blocks[1].filter` is `size`",
    );
    // Two equal mistakes: the first is named.
    assert_error(
        "[model]\nkind = 'cnn'\n[[model.blocks]]\nwidth = 1\n[[model.blocks]]\nwidth = 2",
        &[],
        "mine.toml:4: unknown key `model.blocks[0].width`\n\
         hint: the keys of `model.blocks[0]` are `filters`, `kernel` and `filter`",
    );
}

#[test]
fn unknown_names_of_a_kind() {
    assert_error(
        "[optimizer]\n\nkind = 'adamm'",
        &[],
        "mine.toml:3: `optimizer.kind` is \"adamm\", but that is not one of its values\n\
         hint: did you mean \"adam\"?  it can be \"adam\" or \"sgd\"",
    );
    assert_error(
        "[model]\nkind = 'transformer'",
        &[],
        "mine.toml:2: `model.kind` is \"transformer\", but that is not one of its values\n\
         hint: it can be \"softmax_regression\", \"mlp\" or \"cnn\"",
    );
    assert_error(
        "[model]\nkind = 7",
        &[],
        "mine.toml:2: `model.kind` is 7, but that is not one of its values\n\
         hint: it can be \"softmax_regression\", \"mlp\" or \"cnn\"",
    );
    // The same word elsewhere is no mistake.
    assert_error(
        "name = 'adamm'\n[optimizer]\nkind = 'adamm'",
        &[],
        "mine.toml:3: `optimizer.kind` is \"adamm\", but that is not one of its values\n\
         hint: did you mean \"adam\"?  it can be \"adam\" or \"sgd\"",
    );
}

#[test]
fn a_missing_kind() {
    assert_error(
        "\n[model]\ndropout = 0.1",
        &[],
        "mine.toml:2: the key `model.kind` is missing\n\
         hint: add `kind = \"softmax_regression\"`; it can be \"softmax_regression\", \"mlp\" or \"cnn\"",
    );
    assert_error(
        "[optimizer]\nknd = 'adam'",
        &[],
        "mine.toml:1: the key `optimizer.kind` is missing\n\
         hint: did you mean `optimizer.kind` where it says `optimizer.knd`?",
    );
    assert_error(
        "",
        &["model.dropout=0.1"],
        "--set model.dropout=0.1: the key `model.kind` is missing\n\
         hint: add `--set model.kind=softmax_regression`; it can be \"softmax_regression\", \"mlp\" or \"cnn\"",
    );
}

#[test]
fn wrong_types() {
    assert_error(
        "epochs = 'ten'",
        &[],
        "mine.toml:1: `epochs` is \"ten\", but must be a whole number, 0 or more\n\
         hint: for example `epochs = 10`",
    );
    assert_error(
        "epochs = '10'",
        &[],
        "mine.toml:1: `epochs` is \"10\", but must be a whole number, 0 or more\n\
         hint: leave out the quotes: `epochs = 10`",
    );
    assert_error(
        "epochs = 2.0",
        &[],
        "mine.toml:1: `epochs` is 2.0, but must be a whole number, 0 or more\n\
         hint: leave out the decimal point: `epochs = 2`",
    );
    assert_error(
        "name = 2024",
        &[],
        "mine.toml:1: `name` is 2024, but must be text\n\
         hint: put it in quotes: `name = \"2024\"`",
    );
    assert_error(
        "resume = 1",
        &[],
        "mine.toml:1: `resume` is 1, but must be `true` or `false`\n\
         hint: for example `resume = true`",
    );
    assert_error(
        "data = 'here'",
        &[],
        "mine.toml:1: `data` is \"here\", but must be a section\n\
         hint: keys stand below it, as in `data.key = value`",
    );
    assert_error(
        "model = 'mlp'",
        &[],
        "mine.toml:1: `model` is \"mlp\", but must be a section with a `kind`\n\
         hint: did you mean `model.kind = \"mlp\"`?",
    );
    assert_error(
        "range = [1]",
        &[],
        "mine.toml:1: `range` is a list of 1 value, but must be a list of 2 values\n\
         hint: `weft train --print-config` lists every key",
    );
    assert_error(
        "range = [1, 2, 3]",
        &[],
        "mine.toml:1: `range` is a list of 3 values, but must be a list of 2 values\n\
         hint: `weft train --print-config` lists every key",
    );
    assert_error(
        "[data]\nclass_names = 'shoe'",
        &[],
        "mine.toml:2: `data.class_names` is \"shoe\", but must be a list\n\
         hint: put it in brackets: `class_names = [\"shoe\"]`",
    );
    assert_error(
        "[data]\nclass_names = [\n'shoe',\n1,\n1]",
        &[],
        "mine.toml:4: `data.class_names[1]` is 1, but must be text\n\
         hint: put it in quotes: `\"1\"`",
    );
    assert_error(
        "epochs = 1979-05-27",
        &[],
        "mine.toml:1: `epochs` is 1979-05-27, but must be a whole number, 0 or more\n\
         hint: for example `epochs = 10`",
    );
    assert_error(
        "[epochs]\nx = 1",
        &[],
        "mine.toml:1: `epochs` is a section, but must be a whole number, 0 or more\n\
         hint: for example `epochs = 10`",
    );
    assert_error(
        "colour = 'mauve'",
        &[],
        "mine.toml:1: `colour`: mauve is out of stock\n\
         hint: `weft train --print-config` lists every key",
    );
}

#[test]
fn wrong_types_inside_a_section_with_a_kind() {
    assert_error(
        "epochs = 3\n[model]\nkind = 'mlp'\nhidden = [3, 'x']",
        &[],
        "mine.toml:4: `model.hidden[1]` is \"x\", but must be a whole number, 0 or more\n\
         hint: for example `10`",
    );
    assert_error(
        "[model]\nkind = 'mlp'\ndropout = '0.5'",
        &[],
        "mine.toml:3: `model.dropout` is \"0.5\", but must be a number\n\
         hint: leave out the quotes: `dropout = 0.5`",
    );
    assert_error(
        "[model]\nkind = 'cnn'\n[model.blocks]\nfilters = 3",
        &[],
        "mine.toml:3: `model.blocks` is a section, but must be a list\n\
         hint: begin each element with `[[model.blocks]]` rather than `[model.blocks]`",
    );
    let blocks = "[model]\nkind = 'cnn'\n[[model.blocks]]\nfilters = 1\n[[model.blocks]]\n";
    assert_error(
        &format!("{blocks}filters = true"),
        &[],
        "mine.toml:6: `model.blocks[1].filters` is true, but must be a whole number, 0 or more\n\
         hint: for example `filters = 10`",
    );
    assert_error(
        &format!("{blocks}filter = 1"),
        &[],
        "mine.toml:6: `model.blocks[1].filter` is 1, but must be a section\n\
         hint: keys stand below it, as in `model.blocks[1].filter.key = value`",
    );
}

#[test]
fn numbers_out_of_range() {
    assert_error(
        "epochs = -3",
        &[],
        "mine.toml:1: `epochs` is -3, but must be a whole number, 0 or more\n\
         hint: for example `epochs = 10`",
    );
    assert_error(
        "batch_size = 300",
        &[],
        "mine.toml:1: `batch_size` is 300, but must be a whole number from 0 to 255\n\
         hint: for example `batch_size = 10`",
    );
    assert_error(
        "[model]\nkind = 'cnn'\nblocks = [\n{ filters = 1 },\n{ filters = -1 },\n]",
        &[],
        "mine.toml:5: `model.blocks[1].filters` is -1, but must be a whole number, 0 or more\n\
         hint: for example `filters = 10`",
    );
}

#[test]
fn overrides_that_cannot_be_read() {
    assert_error(
        RECIPE,
        &["epochs"],
        "--set epochs: there is no `=`\n\
         hint: write `--set key=value`, for example `--set model.dropout=0.2`",
    );
    assert_error(
        RECIPE,
        &["=3"],
        "--set =3: there is no key before the `=`\n\
         hint: write `--set key=value`, for example `--set model.dropout=0.2`",
    );
    assert_error(
        RECIPE,
        &["model..dropout=3"],
        "--set model..dropout=3: a part of the key is empty\n\
         hint: write `--set key=value`, for example `--set model.dropout=0.2`",
    );
    assert_error(
        RECIPE,
        &["epochs.x=3"],
        "--set epochs.x=3: `epochs` is 20, so no key stands below it\n\
         hint: to change it, write `--set epochs=value`",
    );
    assert_error(
        RECIPE,
        &["model.blocks.2.filters=3"],
        "--set model.blocks.2.filters=3: the list `model.blocks` has no element `2`\n\
         hint: its 2 elements are `model.blocks.0` to `model.blocks.1`",
    );
    assert_error(
        RECIPE,
        &["model.blocks.first=3"],
        "--set model.blocks.first=3: the list `model.blocks` has no element `first`\n\
         hint: its 2 elements are `model.blocks.0` to `model.blocks.1`",
    );
    assert_error(
        "model = {}",
        &["model.0=3"],
        "--set model.0=3: there is no list `model` with an element 0\n\
         hint: a list can be given as a whole: `--set 'model=[…]'`",
    );
    assert_error(
        "",
        &["model.blocks.0.filters=3"],
        "--set model.blocks.0.filters=3: there is no list `model.blocks` with an element 0\n\
         hint: a list can be given as a whole: `--set 'model.blocks=[…]'`",
    );
}

#[test]
fn overrides_are_named_as_the_place() {
    assert_error(
        RECIPE,
        &["model.drop_out=0.1"],
        "--set model.drop_out=0.1: unknown key `model.drop_out`\n\
         hint: did you mean `model.dropout`?  `weft train --print-config` lists every key",
    );
    assert_error(
        RECIPE,
        &["epochs=ten"],
        "--set epochs=ten: `epochs` is \"ten\", but must be a whole number, 0 or more\n\
         hint: for example `--set 'epochs=10'`",
    );
    assert_error(
        RECIPE,
        &["name=2024"],
        "--set name=2024: `name` is 2024, but must be text\n\
         hint: put it in quotes: `--set 'name=\"2024\"'`",
    );
    assert_error(
        RECIPE,
        &["model=mlp"],
        "--set model=mlp: `model` is \"mlp\", but must be a section with a `kind`\n\
         hint: did you mean `--set model.kind=mlp`?",
    );
    assert_error(
        RECIPE,
        &["model.blocks.1.filters=-3"],
        "--set model.blocks.1.filters=-3: `model.blocks[1].filters` is -3, but must be a whole number, 0 or more\n\
         hint: for example `--set 'model.blocks[1].filters=10'`",
    );
    assert_error(
        RECIPE,
        &["optimizer={kind=\"adam\", rate=1}"],
        "--set optimizer={kind=\"adam\", rate=1}: unknown key `optimizer.rate`\n\
         hint: the only key of `optimizer` of the kind \"adam\" is `learning_rate`",
    );
    assert_error(
        RECIPE,
        &["optimizer.kind=adamw"],
        "--set optimizer.kind=adamw: `optimizer.kind` is \"adamw\", but that is not one of its values\n\
         hint: did you mean \"adam\"?  it can be \"adam\" or \"sgd\"",
    );
    // What an override gave stays when the kind changes, and may not fit the new kind.
    assert_error(
        RECIPE,
        &["model.kind=mlp", "model.blocks=[]"],
        "--set model.blocks=[]: unknown key `model.blocks`\n\
         hint: the keys of `model` of the kind \"mlp\" are `dropout` and `hidden`",
    );
}
