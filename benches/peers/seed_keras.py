"""The seed's tuned CNN and its recipe in Keras, as the seed trained it: `fit` with early stopping on the validation loss.

    python seed_keras.py [--config FILE] [--data FOLDER] [--epochs N] [--seed N] [--threads N]

The numbers come from the config, weft's configs/seed/cnn-tuned.toml. Prints a line of JSON after each epoch, validation
included, and reads no test image. time_to_accuracy.py runs it.
"""

import argparse
import gzip
import json
import os
import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent
IDX_IMAGES, IDX_LABELS = 0x803, 0x801


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, default=HERE / "../../configs/seed/cnn-tuned.toml")
    parser.add_argument("--data", type=Path, default="/usr/share/datasets/fashion-mnist", help="two IDX files, .gz")
    parser.add_argument("--epochs", type=int, help="most epochs [default: the config's]")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    args = parser.parse_args()
    with open(args.config, "rb") as file:
        config = tomllib.load(file)
    # Nothing but epochs may be on stdout.
    report = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    train(config, args, report)


def train(config, args, report):
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ["KERAS_BACKEND"] = "tensorflow"
    import keras
    import numpy as np
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(args.threads)
    tf.config.threading.set_inter_op_parallelism_threads(args.threads)
    keras.utils.set_random_seed(args.seed)
    images = idx(args.data / "train-images-idx3-ubyte.gz", IDX_IMAGES).astype("float32")[..., None] / 255
    labels = idx(args.data / "train-labels-idx1-ubyte.gz", IDX_LABELS)
    validates = stratified(labels, config["data"]["validation_fraction"], np.random.default_rng(args.seed))
    model = build(config["model"], images.shape[1:], keras)
    optimizer = config["optimizer"]
    model.compile(
        keras.optimizers.Adam(optimizer["learning_rate"], epsilon=optimizer["epsilon"]),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )

    class Report(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            values = {name: float(logs[name]) for name in ("loss", "accuracy", "val_loss", "val_accuracy")}
            print(json.dumps({"epoch": epoch + 1, **values}), file=report, flush=True)

    patience = config["early_stopping"]["patience"]
    stopping = keras.callbacks.EarlyStopping("val_loss", patience=patience, restore_best_weights=True)
    print(f"keras {keras.__version__}, tensorflow {tf.__version__}", file=sys.stderr)
    model.fit(
        images[~validates],
        labels[~validates],
        batch_size=config["train"]["batch_size"],
        epochs=args.epochs or config["train"]["epochs"],
        validation_data=(images[validates], labels[validates]),
        callbacks=[Report(), stopping],
        verbose=0,
    )


def idx(path, magic):
    """A file of MNIST's format, u8."""
    import numpy as np

    data = gzip.decompress(path.read_bytes())
    if int.from_bytes(data[:4], "big") != magic:
        raise SystemExit(f"{path} is no IDX file of that kind")
    n_sides = magic & 0xFF
    shape = np.frombuffer(data, ">i4", n_sides, 4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * n_sides).reshape(shape)


def stratified(labels, fraction, generator):
    """Which images validate: the same part of each class."""
    import numpy as np

    validates = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        of_class = np.flatnonzero(labels == label)
        validates[generator.permutation(of_class)[: round(fraction * len(of_class))]] = True
    return validates


def build(model, shape, keras):
    layers = [keras.Input(shape)]
    for block in model["blocks"]:
        layers += [
            keras.layers.Conv2D(
                block["filters"],
                block["kernel"],
                padding=block["padding"],
                activation=block["activation"],
                kernel_initializer=block["initializer"],
            ),
            keras.layers.MaxPooling2D(block["pool"]),
            keras.layers.Dropout(block["dropout"]),
        ]
    layers.append(keras.layers.Flatten())
    for units in model["dense"]:
        kind, initializer = model["dense_activation"], model["dense_initializer"]
        layers.append(keras.layers.Dense(units, activation=kind, kernel_initializer=initializer))
        layers.append(keras.layers.Dropout(model["dense_dropout"]))
    layers.append(keras.layers.Dense(10, activation="softmax", kernel_initializer=model["dense_initializer"]))
    return keras.Sequential(layers)


if __name__ == "__main__":
    main()
