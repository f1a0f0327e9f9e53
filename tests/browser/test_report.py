"""The page as people use it, in headless Chromium: pointer, keyboard, screen reader, no script, no
network, light and dark, wide and narrow. What it shows is compared with the run's own files."""

import re

import pytest
from conftest import HOSTILE, SIDE

NAMES_OF_ROLES = {
    "button", "link", "slider", "image", "img", "checkbox", "radio", "gridcell", "grid", "region",
    "navigation", "graphics-document", "SvgRoot",
}


def texts(locator):
    return [text.strip() for text in locator.all_inner_texts()]


def cell_of(page, run_id, row, column):
    return page.locator(f"#{run_id}-matrix tbody tr").nth(row).locator("td").nth(column)


def test_a_click_on_a_cell_shows_its_images_and_their_probabilities(visit, sample):
    page = visit(sample.report)
    names = sample.evaluation["class_names"]
    for actual, predicted in [sample.most_frequent_mistake(), (1, 1)]:
        images = sample.cell(actual, predicted)
        cell_of(page, "r1", actual, predicted).click()
        panel = page.locator("#r1-cell")
        assert names[actual] in panel.locator(".cell-title").inner_text()
        shown = panel.locator(".photo")
        assert shown.count() == min(12, len(images))
        assert f"of {len(images)}," in panel.locator("p.note").first.inner_text()
        numbers = [int(re.search(r"test image (\d+)", text)[1]) for text in texts(shown.locator("figcaption"))]
        assert numbers == images[: len(numbers)]
        first = shown.first
        probabilities = sample.predictions[images[0]][2]
        parts = [float(text.rstrip("%\u00a0 ")) for text in texts(first.locator(".part"))]
        assert parts == pytest.approx([100 * p for p in probabilities], abs=0.051)
        assert "(actual" in first.locator("li.actual").inner_text()
        assert names[predicted] in first.locator("li.predicted").inner_text()


def test_the_pixels_are_those_of_the_image(visit, hostile):
    page = visit(hostile.report)
    data = next(hostile.folder.parents[1].glob("it's*")) / "t10k-images-idx3-ubyte"
    actual, predicted = hostile.most_frequent_mistake()
    index = hostile.cell(actual, predicted)[0]
    cell_of(page, "r1", actual, predicted).click()
    canvas = page.locator("#r1-cell canvas[data-drawn]").first
    drawn = canvas.evaluate(
        "c => [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data].filter((_, i) => i % 4 === 0)"
    )
    start = 16 + index * SIDE * SIDE
    assert bytes(drawn) == data.read_bytes()[start : start + SIDE * SIDE]
    assert str(index) in canvas.get_attribute("aria-label")


def test_the_worst_mistakes_come_first_and_more_can_be_shown(visit, sample):
    page = visit(sample.report)
    wrong = [i for i, (label, predicted, _) in enumerate(sample.predictions) if label != predicted]
    wrong.sort(key=sample.loss, reverse=True)
    captions = texts(page.locator("#r1-worst figcaption"))
    assert [int(re.search(r"test image (\d+)", text)[1]) for text in captions] == wrong[:24]
    images = sample.cell(*sample.most_frequent_mistake())
    more = page.locator("#r1-cell button")
    before = page.locator("#r1-cell .photo").count()
    assert len(images) > before
    more.click()
    after = min(len(images), 24)
    assert page.locator("#r1-cell .photo").count() == after
    assert f"Showing {after} of {len(images)}" in page.locator("#r1-cell p.note").first.inner_text()


def test_counts_and_per_cent(visit, sample):
    page = visit(sample.report)
    actual, predicted = sample.most_frequent_mistake()
    n = len(sample.cell(actual, predicted))
    part = n / sample.evaluation["classes"][actual]["support"]
    cell = cell_of(page, "r1", actual, predicted)
    assert cell.inner_text() == f"{100 * part:.1f}"
    page.get_by_role("radio", name="counts").check()
    assert cell.inner_text() == str(n)
    page.get_by_role("radio", name="per cent").check()
    assert cell.inner_text() == f"{100 * part:.1f}"


def test_the_matrix_is_walked_by_keyboard(visit, sample):
    page = visit(sample.report)
    matrix = page.locator("#r1-matrix")
    assert matrix.locator("td[tabindex='0']").count() == 1, "one stop of the Tab key"
    cell_of(page, "r1", 0, 0).click()
    focused = "document.activeElement.getAttribute('aria-label')"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    names = sample.evaluation["class_names"]
    assert page.evaluate(focused).startswith(f"{names[1]} recognised")
    page.keyboard.press("End")
    page.keyboard.press("ArrowRight")  # the edge holds
    label = page.evaluate(focused)
    assert label.startswith(f"{names[1]} taken for {names[-1]}")
    assert f"{len(sample.cell(1, len(names) - 1))} image" in label
    page.keyboard.press("Control+Home")
    page.keyboard.press("Enter")
    assert names[0] in page.locator("#r1-cell .cell-title").inner_text()
    assert matrix.locator("[aria-selected=true]").get_attribute("aria-label").startswith(names[0])
    assert matrix.locator("td[tabindex='0']").count() == 1
    assert str(len(sample.cell(0, 0))) in page.locator("[role=status].hidden").first.inner_text()


def test_hover_shows_the_values_of_the_epoch(visit, sample):
    page = visit(sample.report)
    figure = page.locator("[data-chart=loss]")
    figure.scroll_into_view_if_needed()
    reader = figure.locator(".reader")
    box = reader.bounding_box()
    # The second of five epochs: a quarter of the way between the axes (56 and 14 pixels of margin).
    x = 56 + (box["width"] - 56 - 14) / 4
    page.mouse.move(box["x"] + x + 3, box["y"] + 80)
    tip = figure.locator(".tip")
    row = sample.rows[1]
    text = tip.inner_text()
    assert "epoch 2" in text
    assert f"{float(row['train_loss']):.4f}" in text and f"{float(row['valid_loss']):.4f}" in text
    # The other charts mark the same epoch; leaving clears it all.
    assert page.locator("[data-chart=accuracy] .cross circle").count() == 2
    page.mouse.move(box["x"] + x, box["y"] - 300)
    assert not tip.is_visible() and page.locator(".cross circle").count() == 0


def test_touch_and_keys_read_charts_too(visit, sample):
    page = visit(sample.report)
    reader = page.locator("[data-chart=accuracy] .reader")
    reader.scroll_into_view_if_needed()
    reader.focus()
    page.keyboard.press("Home")
    first = float(sample.rows[0]["valid_accuracy"])
    assert f"validation {first:.4f}" in reader.get_attribute("aria-valuetext")
    assert page.locator("[data-chart=accuracy] .tip").is_visible()
    page.keyboard.press("ArrowRight")
    assert reader.get_attribute("aria-valuetext").startswith("epoch 2")
    assert reader.get_attribute("aria-valuenow") == "2"
    page.keyboard.press("Escape")
    assert not page.locator("[data-chart=accuracy] .tip").is_visible()
    calibration = page.locator("[data-chart=calibration] .reader")
    calibration.focus()
    page.keyboard.press("End")
    bins = sample.evaluation["calibration"]["bins"]
    assert f"images {bins[-1]['n_images']}" in calibration.get_attribute("aria-valuetext").replace(",", "")
    reader.dispatch_event("pointerdown", {"pointerType": "touch", "clientX": 0, "clientY": 0})
    assert reader.get_attribute("aria-valuetext").startswith("epoch 1")


def test_tables_sort_by_click_and_by_keyboard(visit, several):
    page = visit(several)
    table = page.locator("table.runs")
    column = table.locator("thead th").nth(1)
    values = lambda: [cell.get_attribute("data-v") for cell in table.locator("tbody tr td:nth-child(2)").all()]
    unsorted = [float(value) for value in values()]
    assert column.get_attribute("aria-sort") is None
    column.locator("button").click()
    assert column.get_attribute("aria-sort") == "descending"
    assert [float(value) for value in values()] == sorted(unsorted, reverse=True)
    column.locator("button").focus()
    page.keyboard.press("Enter")
    assert column.get_attribute("aria-sort") == "ascending"
    assert [float(value) for value in values()] == sorted(unsorted)
    names = table.locator("thead th").first
    names.locator("button").focus()
    page.keyboard.press("Space")
    assert names.get_attribute("aria-sort") == "ascending" and column.get_attribute("aria-sort") is None
    assert texts(table.locator("tbody th a")) == ["hostile", "other", "sample"]


def test_the_means_stay_below_the_classes(visit, sample):
    page = visit(sample.report)
    table = page.locator("#r1-classes table")
    for _ in range(2):
        table.get_by_role("button", name="recall").click()
        assert texts(table.locator("tbody th"))[-2:] == ["macro mean", "weighted mean"]
    recalls = [float(cell.get_attribute("data-v")) for cell in table.locator("tbody td:nth-child(3)").all()]
    assert recalls[:-2] == sorted(recalls[:-2])


def test_the_legend_toggles_runs(visit, several):
    page = visit(several)
    lines = page.locator("[data-chart=overlay_loss] path.line")
    assert lines.count() == 3
    toggle = page.get_by_role("button", name="other")
    toggle.click()
    assert toggle.get_attribute("aria-pressed") == "false" and lines.count() == 2
    assert page.locator("[data-chart=overlay_accuracy] path.line").count() == 2
    before = lines.first.get_attribute("d")
    page.get_by_role("radio", name="training").check()
    assert lines.first.get_attribute("d") != before
    toggle.focus()
    page.keyboard.press("Enter")
    assert toggle.get_attribute("aria-pressed") == "true" and lines.count() == 3


def test_several_runs_say_what_does_not_compare_and_what_differs(visit, several):
    page = visit(several)
    assert "do not compare" in page.locator("#runs .warnings").inner_text()
    keys = texts(page.locator("table.differences tbody th"))
    assert "train.epochs" in keys and "model.kind" in keys
    assert "seed" not in keys and "optimizer.kind" not in keys
    run = page.locator("details.run").nth(0)
    assert run.get_attribute("open") is None
    page.locator("nav a", has_text="sample").click()
    assert run.get_attribute("open") is not None
    assert run.locator("canvas[data-drawn]").first.is_visible()
    assert run.locator("[data-chart=loss] path.line").count() == 2


def test_names_from_outside_stay_text(visit, hostile, several):
    page = visit(hostile.report)
    heads = texts(page.locator("#r1-matrix tbody th"))
    assert [head.replace("\n", "") for head in heads] == HOSTILE
    assert texts(page.locator("#r1-classes tbody th"))[:5] == HOSTILE
    assert page.locator("img, script[src], b:has(> bdi > *)").count() == 0
    assert page.locator("script").count() == 2
    assert "it's <b>\"data\" & more" in page.locator("#r1-data").inner_text()
    page.locator("#r1-pairs summary").click()
    second = visit(several)
    second.locator("details.run").evaluate_all("all => all.forEach((one) => (one.open = true))")
    second.wait_for_selector("#r3-worst canvas[data-drawn]")
    assert texts(second.locator("#r3-matrix tbody th")) == HOSTILE


def test_names_are_never_cut(visit, hostile):
    cut = """() => [...document.querySelectorAll('bdi')].filter((node) => {
      for (let box = node; box !== document.body; box = box.parentElement) {
        const style = getComputedStyle(box);
        if (style.textOverflow === 'ellipsis') return true;
        const hides = (value) => value === 'hidden' || value === 'clip';
        if (hides(style.overflowX) && box.scrollWidth > box.clientWidth + 1) return true;
        if (hides(style.overflowY) && box.scrollHeight > box.clientHeight + 1) return true;
        // Rotated heads: what is taller than its cell leaves it.
        if (box.tagName === 'SPAN' && box.parentElement.tagName === 'TH') {
          const [inner, outer] = [node, box.parentElement].map((it) => it.getBoundingClientRect());
          if (inner.top < outer.top - 1 || inner.bottom > outer.bottom + 1) return true;
          if (inner.left < outer.left - 1 || inner.right > outer.right + 1) return true;
        }
      }
      return false;
    }).map((node) => node.textContent)"""
    for width in (1280, 400):
        page = visit(hostile.report, width=width)
        assert page.evaluate(cut) == []


@pytest.mark.parametrize("width", [1280, 400, 320])
def test_the_page_never_scrolls_sideways(visit, hostile, sample, several, width):
    for path in (hostile.report, sample.report, several):
        page = visit(path, width=width)
        page.locator("details").evaluate_all("all => all.forEach((one) => (one.open = true))")
        page.wait_for_timeout(50)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
        # What is wide scrolls in its own box, and every control is within the page.
        outside = page.locator("button, input, .reader, canvas").evaluate_all(
            """all => all.filter((node) => !node.closest('.scroll') && node.offsetParent !== null)
               .filter((node) => node.getBoundingClientRect().right > innerWidth + 1)
               .map((node) => node.outerHTML.slice(0, 80))"""
        )
        assert outside == []


CONTRAST = """() => {
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const rgba = (color) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
  const background = (node) => {
    const layers = [];
    for (let box = node; box; box = box.parentElement) layers.push(rgba(getComputedStyle(box).backgroundColor));
    return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255, 1]);
  };
  const light = ([r, g, b]) => {
    const part = (v) => (v / 255 <= 0.03928 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4);
    return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  };
  const bad = [];
  let checked = 0;
  for (const node of document.body.querySelectorAll('*')) {
    const has = [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim());
    if (!has || node.closest('.hidden, script, noscript, .skip') || !node.getClientRects().length) continue;
    const style = getComputedStyle(node);
    const color = rgba(node instanceof SVGElement ? style.fill : style.color);
    const below = background(node instanceof SVGElement ? node.closest('div') : node);
    const [a, b] = [light(over(color, below)), light(below)].sort((x, y) => y - x);
    const size = parseFloat(style.fontSize);
    const isLarge = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    checked += 1;
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < (isLarge ? 3 : 4.5)) bad.push(`${ratio.toFixed(2)} ${node.className} ${node.textContent.slice(0, 40)}`);
  }
  return { bad: [...new Set(bad)], checked };
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(visit, sample, several, scheme):
    for path in (sample.report, several):
        page = visit(path, scheme=scheme)
        page.locator("details").evaluate_all("all => all.forEach((one) => (one.open = true))")
        page.locator("[data-chart=loss] .reader").first.focus()
        page.wait_for_timeout(50)
        found = page.evaluate(CONTRAST)
        assert found["checked"] > 300
        assert found["bad"] == []


def test_every_shade_of_the_matrix_has_contrast(visit, sample):
    paint = """() => document.querySelectorAll('#r1-matrix td[role=gridcell][aria-label]').forEach((cell, index) => {
      cell.className = `q${index % 11}`;
      cell.textContent = '50.0';
    })"""
    for scheme in ("light", "dark"):
        page = visit(sample.report, scheme=scheme)
        page.evaluate(paint)
        assert page.evaluate(CONTRAST)["bad"] == []


def test_a_screen_reader_finds_names_and_an_outline(visit, sample, several):
    for path in (sample.report, several):
        page = visit(path)
        page.locator("details").evaluate_all("all => all.forEach((one) => (one.open = true))")
        page.wait_for_timeout(100)
        tree = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
        nodes = [node for node in tree if not node.get("ignored")]
        of_role = lambda role: [node for node in nodes if node["role"]["value"] == role]
        nameless = [
            node["role"]["value"]
            for node in nodes
            if node["role"]["value"] in NAMES_OF_ROLES and not node.get("name", {}).get("value", "").strip()
        ]
        # The corner of the matrix is empty, one of each.
        n_matrices = page.locator("table.matrix").count()
        assert nameless == ["gridcell"] * n_matrices
        assert len(of_role("image")) + len(of_role("img")) > 40 and len(of_role("slider")) >= 5
        assert page.locator("html[lang=en] > head > title").inner_text() != "" or page.title()
        assert page.locator("main").count() == page.locator("nav[aria-label]").count() == 1
        levels = [int(tag[1]) for tag in page.locator("h1, h2, h3, h4").evaluate_all("all => all.map((h) => h.tagName)")]
        assert levels[0] == 1 and levels.count(1) == 1
        assert all(after <= before + 1 for before, after in zip(levels, levels[1:])), levels
        ids = page.locator("[id]").evaluate_all("all => all.map((one) => one.id)")
        assert len(ids) == len(set(ids))
        targets = page.locator("nav a").evaluate_all("all => all.map((a) => a.getAttribute('href').slice(1))")
        assert targets and set(targets) <= set(ids)


def test_the_tab_key_reaches_everything_and_is_seen(visit, sample):
    page = visit(sample.report)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    assert page.locator(".skip").bounding_box()["x"] >= 0
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#main"
    seen, unseen = set(), []
    for _ in range(90):
        page.keyboard.press("Tab")
        name, outline = page.evaluate(
            """() => {
              const node = document.activeElement;
              const shown = node.matches('input') ? node.nextElementSibling : node;
              const { outlineStyle, outlineWidth } = getComputedStyle(shown);
              return [node.className || node.tagName, outlineStyle !== 'none' && parseFloat(outlineWidth) >= 2];
            }"""
        )
        if name == "BODY":
            break
        seen.add(name)
        if not outline:
            unseen.append(name)
    assert {"reader", "sort", "SUMMARY"} <= seen and any(name.startswith("q") for name in seen), seen
    assert unseen == []


def test_without_scripts_all_numbers_are_there(visit, hostile, several):
    page = visit(hostile.report, script=False)
    text = page.locator("main").inner_text()
    assert f"{100 * hostile.evaluation['accuracy']:.2f}\u00a0%" in text
    assert "Without scripts" in text
    for name in HOSTILE:
        assert name in text
    rows = page.locator("table.epochs tbody tr")
    assert rows.count() == len(hostile.rows)
    assert f"{float(hostile.rows[-1]['valid_loss']):.4f}" in rows.last.text_content()
    assert page.locator("table.matrix tbody td").count() == 25
    assert "[optimizer]" in page.locator("pre").inner_text()
    assert "sample" in visit(several, script=False).locator("table.runs").inner_text()


def test_the_policy_of_the_page_holds(visit, hostile):
    page = visit(hostile.report)
    refused = page.evaluate(
        """() => new Promise((done) => {
          const refused = [];
          document.addEventListener('securitypolicyviolation', (event) => refused.push(event.effectiveDirective));
          const script = document.createElement('script');
          script.textContent = 'window.ran = true';
          const image = document.createElement('img');
          image.src = 'http://127.0.0.1:9/leaves.png';
          document.body.append(script, image);
          const frame = document.createElement('div');
          frame.innerHTML = '<i onclick="window.ran = true">x</i>';
          document.body.append(frame);
          frame.firstChild.click();
          fetch('http://127.0.0.1:9/leaves').catch(() => setTimeout(() => done(refused), 50));
        })"""
    )
    assert {"img-src", "connect-src", "script-src-elem", "script-src-attr"} <= set(refused)
    assert page.evaluate("window.ran === undefined")
    # The console told of these, and only of these.
    assert all("Content Security Policy" in line for line in visit.said) and visit.said
    visit.said.clear()
    visit.asked[:] = [url for url in visit.asked if "127.0.0.1:9" not in url]


def test_the_config_can_be_copied(visit, sample):
    page = visit(sample.report)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy the config").click()
    page.wait_for_selector("text=Copied")
    config = (sample.folder / "config.toml").read_text(encoding="utf-8")
    assert page.evaluate("navigator.clipboard.readText()").strip() == config.strip()


def test_print_shows_what_matters(visit, sample):
    page = visit(sample.report)
    page.emulate_media(media="print")
    assert not page.locator("nav").is_visible() and page.locator("table.matrix").is_visible()
    assert page.locator("#r1-worst canvas[data-drawn]").first.is_visible()
