#!/usr/bin/env python3
"""Compares weft's exports with weft: every architecture, in onnxruntime and in PyTorch.

    python parity.py WEFT [--data FOLDER] [--without-pytorch] [--keep FOLDER]

Trains a small model of each kind, exports it, and feeds the whole test split of Fashion-MNIST, read
here from the IDX files, to onnxruntime and to the PyTorch module that `weft export --print-loader`
prints, executed as printed. Two models are in colour, on images made here. The logits may differ from
weft's by 1e-4, and every arg max must be the same. Ends with 1 if anything is amiss. requirements.txt
and requirements-pytorch.txt pin the peers.
"""

import argparse
import gzip
import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from PIL import Image

TOLERANCE = 1e-4
# What onnxruntime 1.12 of July 2022 reads.
NEWEST_IR, NEWEST_OPSET = 8, 17
STEPS = 120

MLP = 'kind="mlp", hidden=[48, 32]'
# Each a `model`, and further keys.
CASES = {
    "softmax regression": ('kind="softmax_regression"', {}),
    "mlp, relu": (f'{MLP}, activation="relu"', {}),
    "mlp, tanh, standardized": (f'{MLP}, activation="tanh"', {"data.normalization": "standardize"}),
    "mlp, selu": (f'{MLP}, activation="selu", initializer="lecun_normal"', {}),
    "mlp, gelu, batch norm": (f'{MLP}, activation="gelu", batch_norm=true', {}),
    "cnn, same": (
        'kind="cnn", dense=[24], blocks=[{filters=8}, {filters=12, activation="gelu"}]',
        {},
    ),
    # 28 -> 24 -> 8 by a pool of 3; 8 -> 7 -> 3 by a pool that leaves a row out; no dense layer.
    "cnn, valid, batch norm, odd sizes": (
        'kind="cnn", dense=[], blocks=['
        '{filters=6, kernel=5, padding="valid", pool=3, batch_norm=true, activation="tanh"}, '
        '{filters=9, kernel=2, padding="valid", pool=2, activation="selu"}]',
        {"data.normalization": "standardize"},
    ),
    # 28 -> 9 by a pool that leaves a row out; a kernel of 1; no pool.
    "cnn, same, batch norm, two dense": (
        'kind="cnn", dense=[20, 16], dense_activation="selu", dense_dropout=0.2, blocks=['
        '{filters=5, kernel=7, pool=3, batch_norm=true, dropout=0.1}, '
        '{filters=7, kernel=1, pool=1, batch_norm=true, activation="gelu"}]',
        {"data.normalization": "standardize"},
    ),
    "cnn, pool first, average pool": (
        'kind="cnn", dense=[12], head="average_pool", blocks=['
        '{filters=8, batch_norm=true, pool_first=true}, '
        '{filters=12, pool=3, batch_norm=true, pool_first=true, activation="tanh"}]',
        {},
    ),
    # 28 -> 28 -> 14 -> 5 by a stride of 3; five blocks without a projection.
    "resnet, strides, many blocks": (
        'kind="resnet", stem_filters=6, block_dropout=0.1, dropout=0.1, stages=['
        '{filters=6, stride=1}, {filters=8, blocks=5}, {filters=10, stride=3}]',
        {"data.normalization": "standardize"},
    ),
    "resnet, wider without a stride, gelu": (
        'kind="resnet", stem_filters=4, stem_kernel=5, activation="gelu", stages=['
        '{filters=8, blocks=2, stride=1}]',
        {},
    ),
    "resnet, no stages, tanh": (
        'kind="resnet", stem_filters=12, activation="tanh", stages=[]',
        {},
    ),
}


# In colour: a folder of image files, which colours_in makes, normalised by channel.
COLOUR_CASES = {
    "cnn, RGB, batch norm": (
        'kind="cnn", dense=[16], blocks=[{filters=6, batch_norm=true}, '
        '{filters=8, kernel=4, padding="valid", activation="gelu"}]'
    ),
    # 20 x 17 -> 10 x 9 -> 5 x 5
    "resnet, RGB, selu": (
        'kind="resnet", stem_filters=6, activation="selu", initializer="lecun_normal", stages=['
        '{filters=8, blocks=2}, {filters=8}]'
    ),
}
COLOUR_CLASSES = ["blue \"noise\"", "green stripes", "rot & schwarz"]
COLOUR_SIDES = (20, 17)  # rows, columns


class Report:
    """The table, and whether all went well."""

    def __init__(self):
        self.n_misses = 0
        print(f"{'architecture':36} {'runtime':12} {'max |difference|':>16}   arg max the same", flush=True)

    def logits(self, name, runtime, ours, theirs):
        difference = float(np.abs(ours - theirs).max())
        same = int((ours.argmax(1) == theirs.argmax(1)).sum())
        good = theirs.shape == ours.shape and difference <= TOLERANCE and same == len(ours)
        self.n_misses += not good
        miss = "" if good else "   MISS"
        print(f"{name:36} {runtime:12} {difference:16.1e}   {same} of {len(ours)}{miss}", flush=True)

    def check(self, name, what, holds):
        if not holds:
            self.n_misses += 1
            print(f"{name:36} MISS: {what}", flush=True)


def images_of(folder):
    """The test images, [image, 1, 28, 28] bytes."""
    data = gzip.decompress((folder / "t10k-images-idx3-ubyte.gz").read_bytes())
    magic, n, height, width = np.frombuffer(data[:16], ">i4")
    assert magic == 0x803, magic
    return np.frombuffer(data[16:], np.uint8).reshape(n, 1, height, width)


def in_onnxruntime(session, images, batch):
    """Logits and probabilities, in batches."""
    parts = [
        session.run(["logits", "probabilities"], {"images": images[at : at + batch]})
        for at in range(0, len(images), batch)
    ]
    return [np.concatenate(part) for part in zip(*parts)]


def colours_in(folder):
    """Makes train/ and test/ with class folders of PNG files. Returns the test images in weft's order."""
    numbers = np.random.default_rng(4)
    test = []
    for split, n_each in (("train", 60), ("test", 100)):
        for channel, name in enumerate(sorted(COLOUR_CLASSES)):
            place = folder / split / name
            place.mkdir(parents=True)
            for number in range(n_each):
                image = numbers.integers(0, 200, (*COLOUR_SIDES, 3), np.uint8)
                image[:: channel + 2, :, channel] += 50
                Image.fromarray(image).save(place / f"{number:03}.png")
                if split == "test":
                    test.append(np.moveaxis(image, -1, 0))
    return np.stack(test)


def check_onnx(report, name, path, images, ours):
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    opset = {entry.domain: entry.version for entry in model.opset_import}
    report.check(name, f"opset {opset}", list(opset) == [""] and opset[""] <= NEWEST_OPSET)
    report.check(name, f"IR {model.ir_version}", model.ir_version <= NEWEST_IR)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    report.check(name, "class names", len(json.loads(metadata["class_names"])) == ours.shape[1])
    report.check(name, "config", "[model]" in metadata["weft_config"])

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    report.check(name, "its input", [i.name for i in session.get_inputs()] == ["images"])
    report.check(name, "batch is open", session.get_inputs()[0].shape[0] == "batch")
    logits, probabilities = in_onnxruntime(session, images, 1000)
    report.logits(name, "onnxruntime", ours, logits)
    report.check(name, "probabilities", np.allclose(probabilities.sum(1), 1, atol=1e-5))
    report.check(name, "probabilities' order", (probabilities.argmax(1) == ours.argmax(1)).all())
    for batch in (1, 7):
        some = in_onnxruntime(session, images[:70], batch)[0]
        report.check(name, f"batches of {batch}", np.abs(some - ours[:70]).max() <= TOLERANCE)


def check_pytorch(report, name, script, images, ours, folder):
    import torch

    spec = importlib.util.spec_from_file_location("printed_loader", script)
    loader = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loader)
    report.check(name, "the loader's class names", len(loader.CLASSES) == ours.shape[1])
    with torch.no_grad():
        model = loader.load()
        parts = [model(torch.from_numpy(part)) for part in np.array_split(images, 10)]
    report.logits(name, "PyTorch", ours, torch.cat(parts).numpy())

    # The same as a program of its own, on an image file.
    channels = np.moveaxis((images[0] * 255).round().astype(np.uint8), 0, -1)
    Image.fromarray(channels.squeeze()).save(folder / "image.png")
    printed = run(sys.executable, script, folder / "image.png").splitlines()
    likeliest = loader.CLASSES[int(ours[0].argmax())]
    report.check(name, f"the loader printed {printed}", printed[0].startswith(likeliest))


def run(*command):
    """Standard output of a command that must succeed."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout


def check_case(args, report, folder, run_name, name, settings, images):
    """Trains a model, exports it and compares."""
    runs = folder / run_name
    sets = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    run(args.weft, "train", "--device", "cpu", "--quiet", "--no-test", "--name", run_name,
        "--runs-dir", folder, "--stop-at-step", STEPS, *sets, "--set", "train.epochs=1000")
    run(args.weft, "evaluate", runs, "--device", "cpu", "--logits", runs / "logits.npy")
    ours = np.load(runs / "logits.npy")
    run(args.weft, "export", runs, "--format", "onnx")
    check_onnx(report, name, runs / "export" / f"{run_name}.onnx", images, ours)
    if not args.without_pytorch:
        script = runs / "model.py"
        script.write_text(run(args.weft, "export", runs, "--print-loader"))
        check_pytorch(report, name, script, images, ours, folder)
    run(args.weft, "verify", runs)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weft", type=Path, help="the program")
    parser.add_argument("--data", type=Path, default="/usr/share/datasets/fashion-mnist")
    parser.add_argument("--without-pytorch", action="store_true")
    parser.add_argument("--keep", type=Path, help="folder for the runs, which then stay")
    args = parser.parse_args()
    started = time.monotonic()
    images = images_of(args.data).astype(np.float32) / 255
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.keep or Path(temporary)
        report = Report()
        colours = colours_in(folder / "colours").astype(np.float32) / 255
        sets = [(name, model, keys, args.data, images) for name, (model, keys) in CASES.items()]
        standardize = {"data.normalization": "standardize"}
        for name, model in COLOUR_CASES.items():
            sets.append((name, model, standardize, folder / "colours", colours))
        for number, (name, model, keys, data, test) in enumerate(sets):
            settings = {"model": f"{{{model}}}", "data.source": json.dumps(str(data)), **keys}
            check_case(args, report, folder, f"case-{number}", name, settings, test)
    seconds = time.monotonic() - started
    peers = f"onnxruntime {onnxruntime.__version__}, onnx {onnx.__version__}"
    print(f"{len(sets)} models, {peers}: {seconds:.0f} s")
    if report.n_misses:
        sys.exit(f"{report.n_misses} checks failed")


if __name__ == "__main__":
    main()
