"""The page of a study as people use it. What it shows is compared with the study's own table."""

import re

import pytest
from test_report import CONTRAST, NAMES_OF_ROLES, texts

CHARTS = ["history", "curves", "parallel"]


def reader_of(page, chart):
    reader = page.locator(f"[data-chart={chart}] .reader")
    reader.scroll_into_view_if_needed()
    return reader


def spoken(reader):
    """The trial that a chart names to a screen reader."""
    return int(re.match(r"trial (\d+)", reader.get_attribute("aria-valuetext"))[1])


def chosen_rows(page):
    return [int(text) for text in texts(page.locator("tr.chosen-row th"))]


def test_the_summary_and_the_table_have_the_numbers_of_the_study(visit, study):
    page = visit(study.report)
    best = f"{100 * study.accuracy[study.best]:.2f}\u00a0%"
    card = page.locator(".card.first").inner_text()
    assert best in card and f"trial {study.best}" in card
    assert "did not read the test split" in page.locator("#summary").inner_text().replace("\n", " ")
    rows = page.locator("table.trials tbody tr")
    assert rows.count() == len(study.rows)
    for index, row in enumerate(study.rows):
        cells = texts(rows.nth(index).locator("th, td"))
        assert cells[0] == row["trial"]
        assert cells[2] == f"{100 * float(row['validation_accuracy']):.2f}\u00a0%"
        assert cells[8 : 8 + len(study.dimensions)] == [row[name] for name in study.dimensions]
    assert texts(page.locator("table.trials tr.ours th")) == [str(study.best)]
    values = texts(page.locator("table.best-values td:nth-child(2)"))
    assert values == [study.row(study.best)[name] for name in study.dimensions]
    assert texts(page.locator("table.space tbody th")) == study.dimensions
    # What is done of the rungs is what the trials did.
    done = sum(int(text) for text in texts(page.locator("table.rungs td:nth-child(4)")))
    assert done >= len(study.accuracy)


@pytest.mark.parametrize("chart", CHARTS)
def test_keys_walk_through_the_trials_of_a_chart(visit, study, chart):
    page = visit(study.report)
    reader = reader_of(page, chart)
    reader.focus()
    page.keyboard.press("Home")
    seen = {spoken(reader)}
    for _ in study.rows:
        page.keyboard.press("ArrowRight")
        seen.add(spoken(reader))
    assert seen == set(study.accuracy)
    trial = spoken(reader)
    row = study.row(trial)
    said = reader.get_attribute("aria-valuetext")
    assert f"{100 * study.accuracy[trial]:.2f} %" in said
    for name in study.dimensions:
        assert f"{name} {row[name]}" in said
    tip = page.locator(f"[data-chart={chart}] .tip")
    assert tip.is_visible() and f"trial {trial}" in tip.inner_text()
    # It is shown in the others too; Enter keeps it.
    for other in CHARTS:
        assert page.locator(f"[data-chart={other}] .shown > *").count() > 0
    page.keyboard.press("Enter")
    assert chosen_rows(page) == [trial]
    page.keyboard.press("Escape")
    assert not tip.is_visible()
    bar = page.locator(".chosen")
    assert f"trial {trial}" in bar.inner_text()
    bar.get_by_role("button", name="Let go").click()
    assert not bar.is_visible() and chosen_rows(page) == []
    assert page.locator(".shown > *").count() == 0


def test_a_click_on_a_curve_names_its_trial(visit, study):
    page = visit(study.report)
    reader = reader_of(page, "curves")
    assert page.locator("[data-chart=curves] path.curve").count() == len(study.rows)
    # The best trial's line at its end, as the chart draws it for the keys.
    reader.focus()
    page.keyboard.press("Home")
    assert spoken(reader) == study.best
    place = page.locator("[data-chart=curves] .halo").bounding_box()
    page.keyboard.press("Escape")
    page.mouse.move(place["x"] - 300, place["y"] + 90)
    page.mouse.click(place["x"] + place["width"] / 2, place["y"] + place["height"] / 2)
    trial = chosen_rows(page)[0]
    assert study.accuracy[trial] == pytest.approx(study.accuracy[study.best], abs=0.02)
    assert f"trial {trial}" in page.locator(".chosen").inner_text()
    page.get_by_role("radio", name="bracket").check()
    n_brackets = len({row["bracket"] for row in study.rows})
    assert page.locator("#curves-tools .legend li").count() == 2 + n_brackets


def test_a_range_on_an_axis_leaves_the_trials_that_pass_there(visit, study):
    page = visit(study.report)
    reader = reader_of(page, "parallel")
    said = page.locator("#parallel-tools [role=status]")
    n = len(study.accuracy)
    assert said.inner_text() == f"{n} of {n} trials"
    axis = page.locator("[data-chart=parallel] .parallel-axis").last.locator("line").first
    box = axis.bounding_box()
    x = box["x"] + box["width"] / 2
    page.mouse.move(x, box["y"] - 5)
    page.mouse.down()
    page.mouse.move(x, box["y"] + box["height"] * 0.3, steps=4)
    page.mouse.up()
    low, high = min(study.accuracy.values()), max(study.accuracy.values())
    pad = (high - low) * 0.06
    bound = high + pad - 0.3 * (high - low + 2 * pad)
    passing = sum(value >= bound for value in study.accuracy.values())
    assert said.inner_text() == f"{passing} of {n} trials"
    assert chosen_rows(page) == [], "a range is no click"
    assert reader.get_attribute("aria-valuemax") == str(max(1, passing))
    page.get_by_role("button", name="Clear the ranges").click()
    assert said.inner_text() == f"{n} of {n} trials"
    page.locator("#parallel-tools").get_by_role("radio", name="better half").first.check()
    assert said.inner_text() == f"{(n + 1) // 2} of {n} trials"


def test_each_dimension_has_its_chart(visit, study):
    page = visit(study.report)
    figures = page.locator(".charts.small .chart")
    assert texts(figures.locator("figcaption")) == study.dimensions
    rate = study.dimensions.index("optimizer.learning_rate")
    first = page.locator(f"[data-chart=value-{rate}]")
    reader = first.locator(".reader")
    reader.scroll_into_view_if_needed()
    reader.focus()
    values = []
    page.keyboard.press("Home")
    for _ in study.accuracy:
        values.append(float(study.row(spoken(reader))[study.dimensions[rate]]))
        page.keyboard.press("ArrowRight")
    assert values == sorted(values) and len(set(values)) > 1
    before = first.locator("path.dots").first.get_attribute("d")
    page.locator("#values-tools").get_by_role("radio", name="better half").check()
    assert first.locator("path.dots").first.get_attribute("d") != before


def test_the_table_sorts_and_chooses(visit, study):
    page = visit(study.report)
    column = page.locator("table.trials thead th").nth(2)
    column.locator("button").click()
    numbers = [int(text) for text in texts(page.locator("table.trials tbody th"))]
    values = [study.accuracy[number] for number in numbers if number in study.accuracy]
    assert values == sorted(values, reverse=True)
    page.locator("table.trials thead th").first.locator("button").click()
    numbers = [int(text) for text in texts(page.locator("table.trials tbody th"))]
    assert numbers == sorted(numbers)
    button = page.locator("button.pick").nth(1)
    button.focus()
    page.keyboard.press("Enter")
    assert chosen_rows(page) == [numbers[1]]
    page.get_by_role("button", name="To its row").click()
    assert page.evaluate("document.activeElement.className") == "pick"
    button.click()
    assert chosen_rows(page) == []


def test_names_from_outside_stay_text(visit, hostile_study):
    page = visit(hostile_study.report)
    assert texts(page.locator("table.space tbody th")) == hostile_study.dimensions
    assert page.locator("img, script[src], b:has-text('bold')").count() == 0
    assert page.locator("script").count() == 2
    reader = reader_of(page, "history")
    reader.focus()
    for name in hostile_study.dimensions:
        assert name in page.locator("[data-chart=history] .tip").inner_text()


@pytest.mark.parametrize("width", [1280, 400, 320])
def test_the_page_never_scrolls_sideways(visit, study, width):
    page = visit(study.report, width=width)
    page.locator("details").evaluate_all("all => all.forEach((one) => (one.open = true))")
    page.locator("button.pick").first.click()
    page.wait_for_timeout(50)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    outside = page.locator("button, input, .reader").evaluate_all(
        """all => all.filter((node) => !node.closest('.scroll') && node.offsetParent !== null)
           .filter((node) => node.getBoundingClientRect().right > innerWidth + 1)
           .map((node) => node.outerHTML.slice(0, 80))"""
    )
    assert outside == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(visit, study, scheme):
    page = visit(study.report, scheme=scheme)
    page.locator("details").evaluate_all("all => all.forEach((one) => (one.open = true))")
    page.locator("button.pick").first.click()
    page.locator("[data-chart=history] .reader").focus()
    page.wait_for_timeout(50)
    found = page.evaluate(CONTRAST)
    assert found["checked"] > 200
    assert found["bad"] == []


def test_a_screen_reader_finds_names_and_an_outline(visit, study):
    page = visit(study.report)
    page.locator("details").evaluate_all("all => all.forEach((one) => (one.open = true))")
    tree = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
    nodes = [node for node in tree if not node.get("ignored")]
    nameless = [
        node["role"]["value"]
        for node in nodes
        if node["role"]["value"] in NAMES_OF_ROLES and not node.get("name", {}).get("value", "").strip()
    ]
    assert nameless == []
    sliders = sum(node["role"]["value"] == "slider" for node in nodes)
    assert sliders == len(CHARTS) + len(study.dimensions)
    levels = [int(tag[1]) for tag in page.locator("h1, h2, h3").evaluate_all("all => all.map((h) => h.tagName)")]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(levels, levels[1:])), levels
    ids = page.locator("[id]").evaluate_all("all => all.map((one) => one.id)")
    assert len(ids) == len(set(ids))
    targets = page.locator("nav a").evaluate_all("all => all.map((a) => a.getAttribute('href').slice(1))")
    assert targets and set(targets) <= set(ids)


def test_without_scripts_all_numbers_are_there(visit, study):
    page = visit(study.report, script=False)
    text = page.locator("main").inner_text()
    assert "Without scripts" in text
    assert f"{100 * study.accuracy[study.best]:.2f}\u00a0%" in text
    for row in study.rows:
        for name in study.dimensions:
            assert row[name] in text
    assert f"weft tune studies/{study.folder.name} --final" in text


def test_the_best_config_can_be_copied(visit, study):
    page = visit(study.report)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.locator("#best summary").click()
    page.get_by_role("button", name="Copy the config").click()
    page.wait_for_selector("text=Copied")
    config = (study.folder / "best.toml").read_text(encoding="utf-8")
    assert page.evaluate("navigator.clipboard.readText()").strip() == config.strip()


def test_print_shows_what_matters(visit, study):
    page = visit(study.report)
    page.locator("button.pick").first.click()
    page.emulate_media(media="print")
    assert not page.locator("nav").is_visible() and not page.locator(".chosen").is_visible()
    assert page.locator("table.trials tbody tr").last.is_visible()
