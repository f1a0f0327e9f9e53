"""Keras' training step on TensorFlow. The protocol is in peer.py.

    python peer_keras.py FOLDER [--batch N] [--steps N] [--device cpu|cuda] [--mode function|xla|fit] [--threads N]

function, xla: a `tf.function` gathers a batch from the resident images, and applies gradients; all steps of a turn are
one call (what Keras calls steps_per_execution), the step itself compiled by XLA or not.
fit: `model.compile` and `model.fit` on a tf.data pipeline that batches, repeats and prefetches, as most users run it.
"""

import os
import platform
import sys
import time

from peer import WARM_UP_TURNS, Experiment, arguments, import_or_say, keep_stdout_clean, serve


def main():
    args = arguments(__doc__, ["function", "xla", "fit"]).parse_args()
    say = keep_stdout_clean()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ["KERAS_BACKEND"] = "tensorflow"
    tf = import_or_say(say, "tensorflow")
    keras = import_or_say(say, "keras")
    tf.config.threading.set_intra_op_parallelism_threads(args.threads)
    tf.config.threading.set_inter_op_parallelism_threads(args.threads)
    gpus = tf.config.list_physical_devices("GPU")
    if args.device == "cuda" and not gpus:
        say({"unavailable": "TensorFlow sees no GPU"})
        return
    if args.device == "cpu":
        tf.config.set_visible_devices([], "GPU")
    experiment = Experiment(args.folder, args.batch)
    kinds = (experiment.model["kind"], experiment.optimizer["kind"])
    if "resnet" in kinds or "muon" in kinds:
        say({"unsupported": f"model.kind {kinds[0]} with optimizer.kind {kinds[1]} is not written for Keras"})
        return
    optimizer = optimizer_of(experiment, args.check, keras)
    keras.utils.set_random_seed(experiment.config.get("seed", 1))

    def describe(_=None):
        name = f"CPU ({args.threads} threads)"
        if args.device == "cuda":
            name = tf.config.experimental.get_device_details(gpus[0]).get("device_name", gpus[0].name)
        version = f"keras {keras.__version__}, tensorflow {tf.__version__}, Python {platform.python_version()}"
        return {"device": name, "version": version, "way": args.mode}

    if args.mode == "fit":
        serve_fit(say, experiment, optimizer, args.steps, describe, tf, keras)
    else:
        serve(say, lambda: Trainer(experiment, optimizer, args.mode == "xla", tf, keras), args.steps, describe)


def build(experiment, keras):
    """The model, [batch, row, column, channel] -> logits, with the initial weights."""
    layers, model = keras.layers, experiment.model
    n_channels, height, width = experiment.images.shape[1:]
    network = keras.Sequential([keras.Input((height, width, n_channels))])

    def add(layer):
        network.add(layer)
        return layer

    def load(layer, *weights):
        layer.set_weights([experiment.weights[name] if isinstance(name, str) else name for name in weights])

    def norm(name):
        # Keras' momentum is what is kept, PyTorch's what is new.
        parts = ("weight", "bias", "running_mean", "running_var")
        load(add(layers.BatchNormalization(momentum=0.9, epsilon=1e-5)), *(f"{name}.{part}" for part in parts))

    def activation(name):
        # The exact form of GELU, which is not what the name means to every layer.
        exact = (lambda x: keras.activations.gelu(x, approximate=False)) if name == "gelu" else name
        add(layers.Activation(exact))

    if model["kind"] == "cnn":
        for number, block in enumerate(model["blocks"], 1):
            name = f"conv{number}"
            size, padding = block["kernel"], block["padding"]
            conv = add(layers.Conv2D(block["filters"], size, padding=padding, use_bias=not block["batch_norm"]))
            weight = experiment.weights[f"{name}.weight"].transpose(2, 3, 1, 0)
            load(conv, weight, *([] if block["batch_norm"] else [f"{name}.bias"]))
            if block["batch_norm"]:
                norm(f"norm{number}")
            activation(block["activation"])
            if block["pool"] > 1:
                add(layers.MaxPooling2D(block["pool"]))
            if block["dropout"] > 0:
                add(layers.Dropout(block["dropout"]))
            _, height, width, n_channels = network.output_shape
    add(layers.Flatten())
    if model["kind"] == "cnn":
        name, sizes, with_norm = "dense", model["dense"], False
        nonlinearity, dropout = model["dense_activation"], model["dense_dropout"]
    elif model["kind"] == "mlp":
        name, sizes, with_norm = "hidden", model["hidden"], model["batch_norm"]
        nonlinearity, dropout = model["activation"], model["dropout"]
    else:
        name, sizes, with_norm, nonlinearity, dropout = "", [], False, "relu", 0.0
    names = [f"{name}{number}" for number in range(1, len(sizes) + 1)] + ["output"]
    for number, (name, units) in enumerate(zip(names, [*sizes, experiment.n_classes]), 1):
        weight = experiment.weights[f"{name}.weight"]  # [output, input]
        if number == 1:
            # The inputs come as channel, row, column there, and as row, column, channel here.
            weight = weight.reshape(units, n_channels, height, width).transpose(0, 2, 3, 1).reshape(units, -1)
        load(add(layers.Dense(units)), weight.T, f"{name}.bias")
        if name == "output":
            break
        if with_norm:
            norm(f"norm{number}")
        activation(nonlinearity)
        if dropout > 0:
            add(layers.Dropout(dropout))
    return network


def optimizer_of(experiment, as_in_weft, keras):
    """Keras' own, or with as_in_weft an Adam that differs from it in one number: see adam_as_in_weft."""
    config = experiment.optimizer
    common = {"learning_rate": config["learning_rate"], "global_clipnorm": experiment.clip_norm or None}
    decay = config.get("weight_decay", 0.0)
    if decay > 0 and config["kind"] != "adamw":
        raise SystemExit("Keras has no L2 penalty in its optimizers: set optimizer.weight_decay to 0")
    if config["kind"] == "sgd":
        return keras.optimizers.SGD(momentum=config["momentum"], nesterov=config["nesterov"], **common)
    common |= {"beta_1": config["beta_1"], "beta_2": config["beta_2"], "epsilon": config["epsilon"]}
    class_ = keras.optimizers.Adam
    if config["kind"] == "adamw":
        class_ = keras.optimizers.AdamW
        common["weight_decay"] = decay
    optimizer = (adam_as_in_weft(class_, keras) if as_in_weft else class_)(**common)
    if decay > 0 and not config.get("decay_biases", True):
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def adam_as_in_weft(class_, keras):
    """Keras adds epsilon to the square root before that is corrected for its bias ("epsilon hat" of the paper), PyTorch
    and weft after it; and it computes 1 - beta_2^t in f32, 1e-5 off in the first step. In a new network such differences
    grow with each step, so a check of the rest needs them out of the way."""
    ops = keras.ops

    class Adam(class_):
        def update_step(self, gradient, variable, learning_rate):
            def correction(dtype):
                return 1 - ops.power(ops.cast(self.beta_2, dtype), ops.cast(self.iterations + 1, dtype))

            exact = ops.sqrt(correction("float64"))
            learning_rate *= ops.cast(exact / ops.cast(ops.sqrt(correction("float32")), "float64"), "float32")
            epsilon = self.epsilon
            self.epsilon = ops.cast(epsilon * exact, "float32")
            super().update_step(gradient, variable, learning_rate)
            self.epsilon = epsilon

    return Adam


def loss_of(experiment, keras):
    """Takes labels as targets_of gives them, and logits."""
    if experiment.label_smoothing > 0:
        return keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=experiment.label_smoothing)
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def targets_of(experiment, keras):
    if experiment.label_smoothing > 0:
        return keras.utils.to_categorical(experiment.labels, experiment.n_classes)
    return experiment.labels.astype("int32")


def images_of(experiment):
    """f32 [image, row, column, channel]"""
    return experiment.normalized().transpose(0, 2, 3, 1).copy()


class Trainer:
    def __init__(self, experiment, optimizer, with_xla, tf, keras):
        self.tf, self.next_batch = tf, 0
        model = build(experiment, keras)
        optimizer.build(model.trainable_variables)
        loss_function = loss_of(experiment, keras)
        images, targets = tf.constant(images_of(experiment)), tf.constant(targets_of(experiment, keras))
        labels = tf.constant(experiment.labels.astype("int32"))
        order = tf.constant(experiment.order.astype("int32"))

        @tf.function(jit_compile=with_xla)
        def step(index):
            with tf.GradientTape() as tape:
                logits = model(tf.gather(images, index), training=True)
                loss = loss_function(tf.gather(targets, index), logits)
            gradients = tape.gradient(loss, model.trainable_variables)
            optimizer.apply_gradients(zip(gradients, model.trainable_variables))
            right = tf.argmax(logits, 1, tf.int32) == tf.gather(labels, index)
            return loss, tf.reduce_sum(tf.cast(right, tf.int32))

        @tf.function
        def steps(first, n_steps):
            loss_sum, n_correct = tf.constant(0.0), tf.constant(0)
            for number in tf.range(n_steps):
                loss, right = step(order[(first + number) % order.shape[0]])
                loss_sum += loss
                n_correct += right
            return loss_sum, n_correct

        self.steps, self.n_batches = steps, order.shape[0]

    def turn(self, n_steps):
        """Mean loss of the next steps. Reading it waits for the device."""
        first, n = self.tf.constant(self.next_batch), self.tf.constant(n_steps)
        loss_sum, n_correct = self.steps(first, n)
        self.next_batch = (self.next_batch + n_steps) % self.n_batches
        n_correct.numpy()
        return float(loss_sum.numpy()) / n_steps


def serve_fit(say, experiment, optimizer, n_steps, describe, tf, keras):
    """The protocol within `model.fit`: a turn is what Keras calls an epoch, so that no turn pays for a start of it."""
    start = time.perf_counter()
    model = build(experiment, keras)
    model.compile(optimizer, loss_of(experiment, keras), metrics=["accuracy"])
    # As the shuffled set of one epoch comes; the last, smaller batch is left out.
    in_order = experiment.order.reshape(-1)
    data = tf.data.Dataset.from_tensor_slices((images_of(experiment)[in_order], targets_of(experiment, keras)[in_order]))
    data = data.batch(experiment.batch, drop_remainder=True).repeat().prefetch(tf.data.AUTOTUNE)
    first = model.fit(data, steps_per_epoch=1, epochs=n_steps, verbose=0)

    class Turns(keras.callbacks.Callback):
        turn, began = 0, 0.0

        def on_epoch_begin(self, epoch, logs=None):
            if self.turn == WARM_UP_TURNS:
                warmup_s = time.perf_counter() - start
                say({"ready": True, "losses": first.history["loss"], "warmup_s": warmup_s, **describe()})
            if self.turn >= WARM_UP_TURNS and not sys.stdin.readline():
                # fit would finish an epoch before it ends.
                sys.stdout.flush()
                os._exit(0)
            self.began = time.perf_counter()

        def on_epoch_end(self, epoch, logs=None):
            ms_per_step = (time.perf_counter() - self.began) * 1e3 / n_steps
            if self.turn >= WARM_UP_TURNS:
                say({"ms_per_step": ms_per_step, "loss": float(logs["loss"])})
            self.turn += 1

    model.fit(data, steps_per_epoch=n_steps, epochs=sys.maxsize, verbose=0, callbacks=[Turns()])


if __name__ == "__main__":
    main()
