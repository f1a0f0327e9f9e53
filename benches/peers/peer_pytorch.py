"""PyTorch's training step, as its performance guide has it. The protocol is in peer.py.

    python peer_pytorch.py FOLDER [--batch N] [--steps N] [--device cpu|cuda] [--mode eager|compiled] [--threads N]

All images lie on the device as f32, a batch is gathered there, Adam is the fused one, gradients are dropped and
not zeroed, sums stay on the device. What depends on model and machine is tried out while warming up, and the
fastest is kept: for convolutions whether channels come first or last, in mode "compiled" how torch.compile is used.
"""

import collections
import platform
import sys
import time

from peer import Experiment, arguments, import_or_say, keep_stdout_clean, serve

# Each way is tried out in turns of so many steps, at least so many turns and seconds.
TRIAL_STEPS, TRIAL_TURNS, TRIAL_S = 10, 3, 1.0


def main():
    args = arguments(__doc__, ["eager", "compiled"]).parse_args()
    say = keep_stdout_clean()
    torch = import_or_say(say, "torch")
    if args.device == "cuda" and not torch.cuda.is_available():
        say({"unavailable": "torch sees no CUDA device"})
        return
    torch.set_num_threads(args.threads)
    if args.device == "cuda":
        # Sizes never change: cuDNN may try out its algorithms.
        torch.backends.cudnn.benchmark = True
        # PyTorch's default is TF32 for convolutions and f32 for matrix products.
        torch.set_float32_matmul_precision("high" if args.tf32 and not args.check else "highest")
        torch.backends.cudnn.allow_tf32 = not args.check
    experiment = Experiment(args.folder, args.batch)
    if experiment.model.get("block_dropout") or experiment.model["kind"] == "resnet" and experiment.model["dropout"]:
        say({"unsupported": "a residual network with dropout is not written for PyTorch"})
        return
    tried = {}

    def make_trainer():
        ways = args.ways.split(",") if args.ways else ways_of(experiment, args.device, args.mode)
        return Trainer(experiment, args.device, fastest(ways, experiment, args.device, tried))

    def describe(trainer):
        cuda = args.device == "cuda"
        name = torch.cuda.get_device_name() if cuda else f"CPU ({torch.get_num_threads()} threads)"
        version = f"torch {torch.__version__}, Python {platform.python_version()}"
        return {"device": name, "version": version, "way": trainer.way, "tried_ms": tried}

    serve(say, make_trainer, args.steps, describe)


def ways_of(experiment, device, mode):
    """COMPILER:LAYOUT, all that are worth a try."""
    compilers = ["eager"] if mode == "eager" else COMPILERS[device]
    convolves = experiment.model["kind"] in ("cnn", "resnet")
    layouts = ["channels_first", "channels_last"] if convolves else ["channels_first"]
    return [f"{compiler}:{layout}" for compiler in compilers for layout in layouts]


def fastest(ways, experiment, device, tried):
    """The fastest way to train in; `tried` gets the milliseconds of each, or what went wrong."""
    if len(ways) == 1:
        return ways[0]
    for way in ways:
        try:
            trainer = Trainer(experiment, device, way)
            trainer.turn(TRIAL_STEPS)
            times, start = [], time.perf_counter()
            while len(times) < TRIAL_TURNS or time.perf_counter() - start < TRIAL_S:
                times.append(trainer.timed_turn(TRIAL_STEPS))
            tried[way] = min(times)
        # A compiler fails in its own ways; the next one may do.
        except Exception as error:
            tried[way] = f"{type(error).__name__}: {error}".splitlines()[0]
            print(f"{way}: {error}", file=sys.stderr)
    times = {way: ms for way, ms in tried.items() if isinstance(ms, float)}
    if not times:
        raise SystemExit(f"no way works: {tried}")
    return min(times, key=times.get)


def activations_of(torch):
    nn = torch.nn
    return {"relu": lambda: nn.ReLU(inplace=True), "tanh": nn.Tanh, "selu": nn.SELU, "gelu": nn.GELU}


def build(experiment, torch):
    """The model with the initial weights. Modules with weights have the names of weights.safetensors."""
    module = residual_network(experiment, torch) if experiment.model["kind"] == "resnet" else layers(experiment, torch)
    weights = {name: torch.from_numpy(values) for name, values in experiment.weights.items()}
    module.load_state_dict(weights, strict=True)
    return module


def residual_network(experiment, torch):
    """Pre-activation basic blocks, without dropout."""
    nn, model = torch.nn, experiment.model
    activation = activations_of(torch)[model["activation"]]

    class Block(nn.Module):
        def __init__(self, n_inputs, n_filters, stride):
            super().__init__()
            self.norm1 = nn.BatchNorm2d(n_inputs)
            self.conv1 = nn.Conv2d(n_inputs, n_filters, 3, stride=stride, padding=1, bias=False)
            self.norm2 = nn.BatchNorm2d(n_filters)
            self.conv2 = nn.Conv2d(n_filters, n_filters, 3, padding=1, bias=False)
            projects = stride > 1 or n_inputs != n_filters
            self.projection = nn.Conv2d(n_inputs, n_filters, 1, stride=stride, bias=False) if projects else None
            self.activation = activation()

        def forward(self, x):
            first = self.activation(self.norm1(x))
            around = x if self.projection is None else self.projection(first)
            return self.conv2(self.activation(self.norm2(self.conv1(first)))) + around

    modules = collections.OrderedDict()
    n_channels, kernel = model["stem_filters"], model["stem_kernel"]
    modules["stem"] = nn.Conv2d(experiment.images.shape[1], n_channels, kernel, padding=kernel // 2, bias=False)
    for number, stage in enumerate(model["stages"], 1):
        blocks = []
        for block in range(stage["blocks"]):
            blocks.append(Block(n_channels, stage["filters"], 1 if block else stage["stride"]))
            n_channels = stage["filters"]
        modules[f"stage{number}"] = nn.Sequential(*blocks)
    modules["norm"] = nn.BatchNorm2d(n_channels)
    modules["activation"] = activation()
    modules["pool"] = nn.AdaptiveAvgPool2d(1)
    modules["flatten"] = nn.Flatten()
    modules["output"] = nn.Linear(n_channels, experiment.n_classes)
    return nn.Sequential(modules)


def layers(experiment, torch):
    """Every other kind: a sequence of layers, without the weights."""
    nn, model = torch.nn, experiment.model
    activations = activations_of(torch)
    modules = collections.OrderedDict()

    def add(name, module):
        modules[name] = module

    def activation_and_dropout(name, activation, pool, dropout):
        add(f"{name}_activation", activations[activation]())
        if pool > 1:
            add(f"{name}_pool", nn.MaxPool2d(pool))
        if dropout > 0:
            add(f"{name}_dropout", nn.Dropout(dropout))

    n_channels, height, width = experiment.images.shape[1:]
    if model["kind"] == "cnn":
        for number, block in enumerate(model["blocks"], 1):
            kernel, norm = block["kernel"], block["batch_norm"]
            padding = kernel // 2 if block["padding"] == "same" else 0
            add(f"conv{number}", nn.Conv2d(n_channels, block["filters"], kernel, padding=padding, bias=not norm))
            n_channels = block["filters"]
            if norm:
                add(f"norm{number}", nn.BatchNorm2d(n_channels))
            activation_and_dropout(f"conv{number}", block["activation"], block["pool"], block["dropout"])
            height, width = [(side + 2 * padding - kernel + 1) // block["pool"] for side in (height, width)]
    add("flatten", nn.Flatten())
    n_inputs = n_channels * height * width
    if model["kind"] == "cnn":
        name, layers, norm = "dense", model["dense"], False
        activation, dropout = model["dense_activation"], model["dense_dropout"]
    elif model["kind"] == "mlp":
        name, layers, norm = "hidden", model["hidden"], model["batch_norm"]
        activation, dropout = model["activation"], model["dropout"]
    else:
        name, layers, norm, activation, dropout = "", [], False, "relu", 0.0
    for number, units in enumerate(layers, 1):
        add(f"{name}{number}", nn.Linear(n_inputs, units))
        if norm:
            add(f"norm{number}", nn.BatchNorm1d(units))
        activation_and_dropout(f"{name}{number}", activation, 1, dropout)
        n_inputs = units
    add("output", nn.Linear(n_inputs, experiment.n_classes))
    return nn.Sequential(modules)


def optimizer_of(experiment, model, torch, capturable):
    config, kind = experiment.optimizer, experiment.optimizer["kind"]
    if kind == "muon":
        return Muon(config, model, torch, capturable)
    parameters = list(model.parameters())
    if config["weight_decay"] > 0 and not config.get("decay_biases", True):
        vectors = [parameter for parameter in parameters if parameter.dim() < 2]
        matrices = [parameter for parameter in parameters if parameter.dim() > 1]
        parameters = [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]
    if kind == "sgd":
        names = {"lr": "learning_rate", "momentum": "momentum", "nesterov": "nesterov", "weight_decay": "weight_decay"}
        return torch.optim.SGD(parameters, **{key: config[name] for key, name in names.items()}, fused=True)
    class_ = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[kind]
    return class_(
        parameters,
        lr=config["learning_rate"],
        betas=(config["beta_1"], config["beta_2"]),
        eps=config["epsilon"],
        weight_decay=config["weight_decay"],
        fused=True,
        capturable=capturable,
    )


class Muon:
    """Muon for the hidden weights, fused AdamW for all else. torch.optim.Muon takes matrices only, and not filters.

    Momenta and updates of all matrices are one foreach call, as torch.optim's own optimizers do it.
    """

    def __init__(self, config, model, torch, capturable):
        hidden = [p for name, p in model.named_parameters() if p.dim() > 1 and not name.startswith("output.")]
        others = [p for p in model.parameters() if all(p is not it for it in hidden)]
        vectors, matrices = [[p for p in others if (p.dim() > 1) == is_matrix] for is_matrix in (False, True)]
        self.torch, self.config, self.hidden = torch, config, hidden
        self.momenta = [torch.zeros_like(p) for p in hidden]
        self.scales = [max(1.0, p.shape[0] / p[0].numel()) ** 0.5 for p in hidden]
        self.others = torch.optim.AdamW(
            [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}],
            lr=config["adam_learning_rate"],
            betas=(config["beta_1"], config["beta_2"]),
            eps=config["epsilon"],
            weight_decay=config["weight_decay"],
            fused=True,
            capturable=capturable,
        )

    def zero_grad(self, set_to_none):
        self.others.zero_grad(set_to_none=set_to_none)
        for parameter in self.hidden:
            parameter.grad = None

    def step(self):
        self.others.step()
        torch, config = self.torch, self.config
        rate = config["learning_rate"]
        with torch.no_grad():
            grads = [parameter.grad for parameter in self.hidden]
            torch._foreach_mul_(self.momenta, config["momentum"])
            torch._foreach_add_(self.momenta, grads)
            updates = self.momenta
            if config["nesterov"]:
                updates = torch._foreach_add(grads, self.momenta, alpha=config["momentum"])
            updates = [self.orthogonal(update) for update in updates]
            torch._foreach_mul_(updates, [-rate * scale for scale in self.scales])
            if config["weight_decay"] > 0:
                torch._foreach_mul_(self.hidden, 1.0 - rate * config["weight_decay"])
            torch._foreach_add_(self.hidden, updates)

    def orthogonal(self, update):
        """Newton and Schulz's iteration with Jordan's quintic, in f32."""
        torch = self.torch
        # A filter is a row of all its numbers.
        x = update.flatten(1)
        is_tall = x.shape[0] > x.shape[1]
        x = x.T if is_tall else x
        x = x / (x.norm() + 1e-7)
        for _ in range(5):
            gram = x @ x.T
            polynomial = torch.addmm(gram, gram, gram, beta=-4.7750, alpha=2.0315)
            x = torch.addmm(x, polynomial, x, beta=3.4445)
        x = (x.T if is_tall else x).reshape(update.shape)
        # In the parameter's layout, or the update of all parameters falls back to one call each.
        is_last = update.dim() == 4 and update.is_contiguous(memory_format=torch.channels_last)
        return x.contiguous(memory_format=torch.channels_last) if is_last else x


def data_of(torch, images, labels):
    """All images and labels on a device. A CUDA graph copies its inputs at each launch, but not a module's buffers."""
    data = torch.nn.Module()
    data.register_buffer("images", images)
    data.register_buffer("labels", labels)
    return data


class Trainer:
    """way: "COMPILER:LAYOUT", see COMPILERS."""

    def __init__(self, experiment, device, way):
        import torch

        torch.manual_seed(experiment.config.get("seed", 1))
        self.torch, self.way, self.device = torch, way, device
        compiler, layout = way.split(":")
        # Compiled code of another way must not be taken for this one's.
        torch._dynamo.reset() if compiler != "eager" else None
        memory_format = {"channels_first": torch.contiguous_format, "channels_last": torch.channels_last}[layout]
        images = torch.from_numpy(experiment.normalized()).contiguous(memory_format=memory_format)
        self.data = data_of(torch, images, torch.from_numpy(experiment.labels)).to(device)
        self.order = torch.from_numpy(experiment.order).to(device)
        self.model = build(experiment, torch).to(device).to(memory_format=memory_format).train()
        self.parameters = list(self.model.parameters())
        self.optimizer = optimizer_of(experiment, self.model, torch, device == "cuda")
        self.label_smoothing, self.clip_norm = experiment.label_smoothing, experiment.clip_norm
        self.loss_sum = torch.zeros((), device=device)
        self.n_correct = torch.zeros((), dtype=torch.int64, device=device)
        self.next_batch = 0
        COMPILERS_BY_NAME[compiler](self)

    def forward(self, index):
        """index: i64 [batch]. Returns the mean loss and how many are right."""
        functional = self.torch.nn.functional
        images, labels = self.data.images[index], self.data.labels[index]
        logits = self.model(images)
        loss = functional.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
        return loss, (logits.detach().argmax(1) == labels).sum()

    def step(self, index):
        self.optimizer.zero_grad(set_to_none=True)
        loss, n_correct = self.forward(index)
        loss.backward()
        if self.clip_norm > 0:
            self.torch.nn.utils.clip_grad_norm_(self.parameters, self.clip_norm)
        self.optimizer.step()
        self.add(loss, n_correct)

    def add(self, loss, n_correct):
        self.loss_sum += loss.detach()
        self.n_correct += n_correct

    def turn(self, n_steps):
        """Mean loss of the next steps. Reading it waits for the device."""
        self.loss_sum.zero_()
        self.n_correct.zero_()
        for _ in range(n_steps):
            self.step(self.order[self.next_batch])
            self.next_batch = (self.next_batch + 1) % len(self.order)
        self.n_correct.item()
        return self.loss_sum.item() / n_steps

    def timed_turn(self, n_steps):
        """Milliseconds a step."""
        start = time.perf_counter()
        self.turn(n_steps)
        return (time.perf_counter() - start) * 1e3 / n_steps


def compile_forward(trainer, **options):
    """Forward and backward pass are compiled; the fused optimizer is one kernel as it is."""
    trainer.forward = trainer.torch.compile(trainer.forward, **options)


def compile_whole(trainer, **options):
    """All of a step, optimizer and sums included, as one function for the compiler to divide."""
    trainer.step = trainer.torch.compile(trainer.step, **options)


def reduce_overhead(trainer):
    """CUDA graphs as torch.compile makes them. What they give is overwritten by the next step: it is added at once."""
    compiled = trainer.torch.compile(trainer.forward, mode="reduce-overhead")

    def forward(index):
        trainer.torch.compiler.cudagraph_mark_step_begin()
        return compiled(index)

    trainer.forward = forward


def capture(trainer):
    """The compiled step, recorded as one CUDA graph: a launch for a step."""
    torch = trainer.torch
    compile_forward(trainer, mode="max-autotune-no-cudagraphs")
    eager_step, recorded = trainer.step, {}
    index_of_graph = torch.empty_like(trainer.order[0])

    def step(index):
        index_of_graph.copy_(index)
        if "graph" in recorded:
            recorded["graph"].replay()
            return
        # The first steps are real ones, on a side stream as a capture wants it.
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            eager_step(index_of_graph)
        torch.cuda.current_stream().wait_stream(stream)
        recorded["n_steps"] = recorded.get("n_steps", 0) + 1
        if recorded["n_steps"] == 3:
            graph = torch.cuda.CUDAGraph()
            trainer.optimizer.zero_grad(set_to_none=True)
            with torch.cuda.graph(graph):
                eager_step(index_of_graph)
            recorded["graph"] = graph

    trainer.step = step


COMPILERS_BY_NAME = {
    "eager": lambda trainer: None,
    "forward": compile_forward,
    "whole": compile_whole,
    "max_autotune": lambda trainer: compile_whole(trainer, mode="max-autotune-no-cudagraphs"),
    "reduce_overhead": reduce_overhead,
    "capture": capture,
}
# What mode "compiled" tries on a device.
COMPILERS = {
    "cpu": ["forward", "whole", "max_autotune"],
    "cuda": ["reduce_overhead", "capture", "max_autotune"],
}


if __name__ == "__main__":
    main()
