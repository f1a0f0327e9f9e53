"""weft's side of the comparison: the experiments as `weft bench --export` writes them, and its own command line."""

import copy
import json
import subprocess
from pathlib import Path

from child import Failed


class Weft:
    """The binary and what each call of it has in common."""

    def __init__(self, binary, device, threads, data):
        self.binary = binary.resolve()
        if not self.binary.is_file():
            raise SystemExit(f"there is no weft at {binary}; build it: cargo build --release")
        self.version = self.run("--version").split()[-1]
        # The embedded sample unless told otherwise: nothing is downloaded.
        self.place = ["--data", data] if data else ["--set", 'data.source="sample"']
        self.device = device
        # The threads of its CPU backend; of a GPU step only the host's side.
        self.environment = {"RAYON_NUM_THREADS": str(threads)}

    def run(self, *arguments):
        command = [str(word) for word in (self.binary, *arguments)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise Failed(f"weft ended with {done.returncode}: {' '.join(command)}\n{done.stderr}".rstrip())
        return done.stdout

    def export(self, config, batch, assignments, folder):
        """Returns the folder of the exported experiment."""
        sizes = ["--batch", batch] if batch else []
        self.run("bench", config, *sizes, *self.place, *sets(assignments), "--export", folder)
        folders = [path for path in folder.iterdir() if (path / "config.json").is_file()]
        if len(folders) != 1:
            raise Failed(f"`weft bench {config} --export {folder}` wrote {len(folders)} experiments instead of one")
        return folders[0]

    def interactive(self, case, n_steps):
        command = [self.binary, "bench", case.config, "--batch", case.batch, *self.place, *sets(case.assignments)]
        return [*command, "--device", self.device, "--steps", n_steps, "--interactive"]


class Case:
    """A config with a batch size, exported.

    without_dropout: the same with every dropout at 0, where masks cannot differ; itself if it has none
    """

    def __init__(self, weft, config, batch, folder, assignments=()):
        self.config, self.assignments = config, list(assignments)
        folder.mkdir(parents=True)
        self.folder = weft.export(config, batch, self.assignments, folder)
        exported = json.loads((self.folder / "config.json").read_text())
        self.name, self.batch = exported["name"], exported["train"]["batch_size"]
        self.title = f"{self.name}, batch {self.batch}"
        model = dropout_at_0(exported["model"])
        self.without_dropout = self
        if model != exported["model"]:
            assignment = f"model={toml(model)}"
            place = folder.with_name(f"{folder.name}-without-dropout")
            self.without_dropout = Case(weft, config, batch, place, [*self.assignments, assignment])

    def n_check_steps(self, most):
        """Steps that all sides do alike: the full batches of the first epoch, whose order was exported."""
        with open(self.folder / "data.safetensors", "rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        n_batches = header["order"]["shape"][0] // self.batch
        if n_batches == 0:
            raise Failed(f"{self.title}: the data has no full batch; a smaller --batch, or --data, helps")
        return min(most, n_batches)


def sets(assignments):
    return [word for assignment in assignments for word in ("--set", assignment)]


def dropout_at_0(model):
    """A copy."""
    model = copy.deepcopy(model)
    for table in [model, *model.get("blocks", [])]:
        for key in ("dropout", "dense_dropout", "block_dropout"):
            if key in table:
                table[key] = 0.0
    return model


def toml(value):
    """A value of JSON as TOML has it in one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    return json.dumps(value)
