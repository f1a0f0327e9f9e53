"""What both peers share: the exported experiment, the order of its batches, and the protocol.

`weft bench CONFIG --export FOLDER` writes FOLDER/NAME/ with config.json (every key of the experiment),
weights.safetensors (the initial weights, in PyTorch's layout) and data.safetensors (the training images as
bytes, their labels, the order of the first epoch, and what each byte becomes). A peer trains the same model
from the same weights on the same batches and speaks JSON, a line each:

    peer -> {"ready": true, "losses": [of each of the first --steps steps], "warmup_s": …, "device": …, …}
    peer <- any line
    peer -> {"ms_per_step": …, "loss": mean over the turn}        a turn of --steps steps, going on with training

and ends with its stdin. A peer whose framework is not there says {"unavailable": why} and ends; one for which this
model or optimizer is not written, {"unsupported": why}.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

# The whole of a turn's result is read once, at its end.
WARM_UP_TURNS = 1


def arguments(description, modes):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("folder", type=Path, help="an experiment that `weft bench --export` wrote")
    parser.add_argument("--batch", type=int, help="images of a step [default: the config's]")
    parser.add_argument("--steps", type=int, default=100, help="steps of a turn")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--mode", choices=modes, default=modes[0])
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads of the CPU")
    parser.add_argument("--tf32", action="store_true", help="matrix products in TF32 too (PyTorch, CUDA)")
    parser.add_argument("--ways", help="of the mode, with commas between [default: tries all and keeps the fastest]")
    parser.add_argument("--check", action="store_true", help="compute as weft does: no TF32, and its formula of Adam")
    return parser


def keep_stdout_clean():
    """Frameworks print to stdout; the protocol goes to what it was, all else to stderr."""
    protocol = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    return lambda message: print(json.dumps(message), file=protocol, flush=True)


class Experiment:
    """An exported experiment, on the host.

    images: u8 [image, channel, row, column]; labels: i64 [image]; order: i64 [batch, image of the batch], the
    full batches of the first epoch; weights: name -> f32
    """

    def __init__(self, folder, batch=None):
        self.config = json.loads((folder / "config.json").read_text())
        self.weights = tensors_of(folder / "weights.safetensors")
        data = tensors_of(folder / "data.safetensors")
        self.images, self.labels, self.table = data["images"], data["labels"], data["table"]
        self.batch = batch or self.config["train"]["batch_size"]
        n_batches = len(data["order"]) // self.batch
        if n_batches == 0:
            raise SystemExit(f"a batch of {self.batch} is more than the {len(data['order'])} training images")
        self.order = data["order"][: n_batches * self.batch].reshape(n_batches, self.batch)
        self.n_classes = len(self.weights["output.bias"])
        self.refuse_what_peers_lack()

    def refuse_what_peers_lack(self):
        """A comparison of different work would be worse than none."""
        augmentation = self.config.get("augmentation", {})
        if any(augmentation.get(key) for key in ("flip", "shift", "erase")):
            raise SystemExit("the peers do not augment: set augmentation.flip, shift and erase to 0")
        if self.config["train"].get("ema_decay", 0.0) > 0:
            raise SystemExit("the peers keep no average of the weights: --set train.ema_decay=0")
        if self.model.get("head", "flatten") != "flatten":
            raise SystemExit("the peers' cnn has no average pool before its dense layers: set model.head to flatten")
        if any(block.get("pool_first") for block in self.model.get("blocks", [])):
            raise SystemExit("the peers' cnn pools last: set pool_first of each of model.blocks to false")
        kind = self.config.get("schedule", {}).get("kind", "constant")
        if kind != "constant":
            raise SystemExit(f'the peers have no schedule "{kind}": --set \'schedule={{kind="constant"}}\'')

    @property
    def model(self):
        return self.config["model"]

    @property
    def optimizer(self):
        return self.config["optimizer"]

    @property
    def label_smoothing(self):
        return self.config["train"].get("label_smoothing", 0.0)

    @property
    def clip_norm(self):
        return self.config["train"].get("clip_norm", 0.0)

    def normalized(self):
        """All images as the model takes them: f32 [image, channel, row, column]."""
        import numpy as np

        channels = np.arange(self.images.shape[1])[None, :, None, None]
        return self.table[channels, self.images]


def tensors_of(path):
    """Name -> array of a safetensors file. Read here, so that a machine with a framework and NumPy is enough."""
    import numpy as np

    types = {"U8": np.uint8, "I64": np.int64, "F32": np.float32}
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header, tensors = json.loads(content[8 : 8 + length]), {}
    for name, about in header.items():
        if name != "__metadata__":
            start, end = [8 + length + offset for offset in about["data_offsets"]]
            # Copied: a framework may write to it, and wants it aligned.
            values = np.frombuffer(content[start:end], types[about["dtype"]]).copy()
            tensors[name] = values.reshape(about["shape"])
    return tensors


def serve(say, make_trainer, n_steps, describe):
    """The protocol. make_trainer() -> trainer with turn(n_steps) -> mean loss, the device's work finished."""
    start = time.perf_counter()
    trainer = make_trainer()
    # One at a time, from the initial weights; only here is each loss read.
    losses = [trainer.turn(1) for _ in range(n_steps)]
    for _ in range(WARM_UP_TURNS):
        trainer.turn(n_steps)
    warmup_s = time.perf_counter() - start
    say({"ready": True, "losses": losses, "warmup_s": warmup_s, **describe(trainer)})
    for _ in sys.stdin:
        start = time.perf_counter()
        loss = trainer.turn(n_steps)
        ms_per_step = (time.perf_counter() - start) * 1e3 / n_steps
        say({"ms_per_step": ms_per_step, "loss": loss})


def import_or_say(say, name):
    """The framework, or the end of this peer with a word on why."""
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        say({"unavailable": str(error)})
        raise SystemExit(0) from None
