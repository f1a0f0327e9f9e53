"""Runs and reports that the tests of the page look at, and the browser that opens them.

WEFT_BINARY is the weft to use (target/release/weft otherwise), CHROMIUM the browser (/usr/bin/chromium)."""

import csv
import json
import math
import os
import random
import struct
import subprocess
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[2]
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]
# Markup, quotes, what ends a script, marks that turn a line around, a name that is long.
LINES = [
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(2)</script>",
    "\"quoted\" & 'single' {{DATA}}",
    "\u202eturned around\u2069 שלום",
    "Grüße_" + "ever-so-long-" * 9 + "end",
]
# As weft names them: what would turn the text around in a terminal is escaped.
HOSTILE = [line.replace("\u202e", "\\u{202e}").replace("\u2069", "\\u{2069}") for line in LINES]
SIDE = 12


def binary():
    target = os.environ.get("CARGO_TARGET_DIR", ROOT / "target")
    return os.environ.get("WEFT_BINARY", str(Path(target) / "release" / "weft"))


def weft(*arguments, cwd):
    environment = {**os.environ, "WEFT_OFFLINE": "1", "WEFT_DATA": ""}
    done = subprocess.run([binary(), *arguments], cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def write_idx(path, sizes, content):
    head = struct.pack(">BBBB", 0, 0, 8, len(sizes)) + b"".join(struct.pack(">I", n) for n in sizes)
    path.write_bytes(head + bytes(content))


def write_hostile_set(folder):
    """Five classes that a linear model tells apart mostly: a bright row each, and much noise."""
    folder.mkdir(parents=True)
    draw = random.Random(7)
    for name, n in [("train", 300), ("t10k", 200)]:
        labels = [draw.randrange(5) for _ in range(n)]
        pixels = []
        for label in labels:
            rows = [[draw.randrange(160) for _ in range(SIDE)] for _ in range(SIDE)]
            rows[label * 2] = [min(255, value + 60) for value in rows[label * 2]]
            pixels += sum(rows, [])
        write_idx(folder / f"{name}-images-idx3-ubyte", [n, SIDE, SIDE], pixels)
        write_idx(folder / f"{name}-labels-idx1-ubyte", [n], labels)
    (folder / "classes.txt").write_text("\n".join(LINES) + "\n", encoding="utf-8")


class Run:
    """A run folder as its own files say it, read without weft."""

    def __init__(self, folder):
        self.folder = folder
        self.report = folder / "report.html"
        with open(folder / "results.csv", encoding="utf-8") as file:
            self.rows = list(csv.DictReader(file))
        with open(folder / "predictions.csv", encoding="utf-8") as file:
            self.predictions = [
                (int(row["label"]), int(row["predicted"]), [float(v) for k, v in row.items() if k.startswith("prob")])
                for row in csv.DictReader(file)
            ]
        self.evaluation = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))

    def loss(self, index):
        label, _, probabilities = self.predictions[index]
        return -math.log(max(probabilities[label], 1.2e-38))

    def cell(self, label, predicted):
        """The images of a cell of the matrix, the highest loss first."""
        images = [i for i, (a, p, _) in enumerate(self.predictions) if (a, p) == (label, predicted)]
        return sorted(images, key=self.loss, reverse=True)

    def most_frequent_mistake(self):
        n = len(self.evaluation["class_names"])
        cells = [(a, p) for a in range(n) for p in range(n) if a != p]
        return max(cells, key=lambda cell: len(self.cell(*cell)))


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("reports")


def train(place, name, *more):
    arguments = ["train", "--device", "cpu", "--name", name, "--quiet", "--runs-dir", "runs"]
    keys = [part for key in more for part in ("--set", key)]
    weft(*arguments, *keys, cwd=place)
    return Run(place / "runs" / name)


@pytest.fixture(scope="session")
def hostile(place):
    data = place / "it's <b>\"data\" & more"
    write_hostile_set(data)
    keys = ["model.kind=softmax_regression", "train.epochs=4", f"data.source={json.dumps(str(data))}"]
    return train(place, "hostile", *keys)


@pytest.fixture(scope="session")
def sample(place):
    return train(place, "sample", "data.source=sample", "model.kind=mlp", "model.hidden=[32]", "train.epochs=5")


@pytest.fixture(scope="session")
def several(place, hostile, sample):
    other = train(place, "other", "data.source=sample", "model.kind=softmax_regression", "train.epochs=3")
    runs = [f"runs/{run.folder.name}" for run in (sample, other, hostile)]
    weft("report", *runs, "--output", "several.html", cwd=place)
    return place / "several.html"


STUDY = """
name = "NAME"
[data]
source = "sample"
[model]
kind = "mlp"
[search]
algorithm = "hyperband"
max_epochs = 4
factor = 2
[search.space]
"""
TINY_SPACE = """
"optimizer.learning_rate" = { min = 1e-4, max = 1e-1, scale = "log" }
"model.hidden.units" = { min = 8, max = 32, step = 8 }
"model.hidden.layers" = { choice = [1, 2] }
activation = { choice = ["relu", "tanh"], keys = ["model.activation"] }
"""
# The names of dimensions are a person's own, and need not be keys.
HOSTILE_SPACE = """
'</script><img src=x onerror="alert(1)">' = { min = 1e-4, max = 1e-1, scale = "log", keys = ["optimizer.learning_rate"] }
"<b>bold</b> & {{DATA}}" = { choice = ["relu", "tanh"], keys = ["model.activation"] }
"""


class Study:
    """A study as its own table says it, read without weft."""

    def __init__(self, folder):
        self.folder = folder
        self.report = folder / "report.html"
        with open(folder / "study.csv", encoding="utf-8") as file:
            self.rows = list(csv.DictReader(file))
        columns = list(self.rows[0])
        self.dimensions = columns[columns.index("seconds") + 1 : columns.index("reason")]
        self.accuracy = {
            int(row["trial"]): float(row["validation_accuracy"])
            for row in self.rows
            if row["status"] == "done" and row["validation_accuracy"]
        }
        self.best = max(self.accuracy, key=lambda trial: (self.accuracy[trial], -trial))

    def row(self, trial):
        return next(row for row in self.rows if int(row["trial"]) == trial)


def tune(place, name, space):
    file = place / f"{name}.toml"
    file.write_text(STUDY.replace("NAME", name) + space, encoding="utf-8")
    weft("tune", file.name, "--runs-dir", "studies", "--device", "cpu", "--quiet", cwd=place)
    return Study(place / "studies" / name)


@pytest.fixture(scope="session")
def study(place):
    return tune(place, "tiny", TINY_SPACE)


@pytest.fixture(scope="session")
def hostile_study(place):
    return tune(place, "hostile-names", HOSTILE_SPACE)


@pytest.fixture(scope="session")
def chromium():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"), args=FLAGS
        )
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium):
    """Opens a report; afterwards nothing may have been said on the console, nor have left the page."""
    said, asked, contexts = [], [], []

    def open_page(path, width=1280, scheme="light", script=True):
        context = chromium.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, java_script_enabled=script
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: said.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (said.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(path.resolve().as_uri())
        if script:
            page.wait_for_selector("html[data-ready]", state="attached")
        return page

    open_page.said, open_page.asked = said, asked
    yield open_page
    for context in contexts:
        context.close()
    assert said == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert sum(url.startswith("file:") for url in asked) == len(contexts), "each page is one file"
