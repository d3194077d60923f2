"""Time a training step of the classifier: our runner with all its hooks against a bare loop around timm.

A second rival is that loop with torch's defaults (float32, NCHW).
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import timm
import torch
from torch import Tensor, nn

from classification.dtypes import resolve_dtype
from classification.task import size
from tools.benchmarks.dense import device, total_loss, trainable
from tools.benchmarks.driven import Rounds, started
from tools.benchmarks.limit import LIMIT, STEP, limit, peak_flops
from tools.benchmarks.rounds import Comparison, Contender, Settings, same
from tools.engine.config import Options, resolve

CONFIG, SIZE, BATCH, CLASSES = "configs/classification/resnet50_mini.py", 64, 16, 1000
UPDATES = 4  # per round
NETWORKS = {"resnet50": ("ResNet-50", "resnet_b"), "resnet50d": ("ResNet-50-D", "resnet_d")}  # timm's name -> our name, our trick


def comparisons(settings: Settings) -> Iterator[Comparison]:
    for network in NETWORKS:
        with tempfile.TemporaryDirectory() as folder, compared(network, product_config(network, Path(folder))) as comparison:
            yield comparison


def product_config(network: str, folder: Path, px: int = SIZE, batch: int = BATCH):
    """Return the config of our version of timm's ``network``, in low precision where that is faster; runs go to ``folder``."""
    overrides = {"num_classes": CLASSES, "size": px, "batch": batch, "micro_batch": batch}
    cfg = resolve(CONFIG, Options(tricks=[NETWORKS[network][1], "low_precision"], overrides=overrides)).cfg
    cfg.train_cfg = dict(type=Rounds, max_epochs=cfg.epochs)
    cfg.default_hooks.checkpoint.interval = 10**9  # no round writes a checkpoint
    cfg.work_dir, cfg.run, cfg.launcher = str(folder), "benchmark", "none"
    return cfg


@contextmanager
def compared(network: str, cfg, updates: int = UPDATES) -> Iterator[Comparison]:
    """Compare our classifier of a config with timm's ``network`` on the same weights and batches, on a GPU if available."""
    batches = made_batches(updates, cfg.batch, cfg.size)
    runner, dtype = started(cfg, batches), resolve_dtype("auto")
    rivals = {
        f"timm, {dtype}, channels last": (dtype, torch.channels_last),
        "timm, float32, NCHW": ("float32", torch.contiguous_format),
    }
    loops = {name: PlainLoop(copied(network, runner.model), cfg, *how) for name, how in rivals.items()}
    low, multiply_adds = list(rivals)[0], size(cfg)["multiply_adds"]
    images = updates * cfg.batch
    yield Comparison(
        f"{NETWORKS[network][0]}, {cfg.batch} images of {cfg.size} px",
        "images",
        [
            Contender(f"ours, {dtype}, channels last", runner.train_loop.run_epoch, images),
            *(Contender(name, lambda loop=loop: loop(batches), images) for name, loop in loops.items()),
            limit(multiply_adds, getattr(torch, dtype), device()),
        ],
        aims={low: 0.97} | ({} if dtype == "float32" else {"timm, float32, NCHW": 1.8}),
        equal=equal_work(runner.model, loops, batches[0]),
        notes=notes(dtype, multiply_adds, cfg.batch),
    )


def notes(dtype: str, multiply_adds: int, batch: int) -> list[str]:
    peak, operations = peak_flops(getattr(torch, dtype), device()), 2 * STEP * multiply_adds
    lines = [
        f"a round is an epoch of {UPDATES} updates: uint8 batches to the device, normalised there, forward, backward, SGD with "
        "momentum, fused on a GPU except with NCHW",
        "ours: the train loop with all hooks of a run (seeds, log lines, curve, progress, divergence, stop), but no checkpoints; "
        "timm's loop has no hooks and reads no loss; all of them reuse freed memory, as our runs do",
        f"{LIMIT}: a matrix product of {dtype}, in images of {operations / 1e9:.3g} GFLOP a step (three times the forward "
        "pass); the ratio is the part of it that ours reaches",
        f"before the rounds it ran at {peak / 1e9:.3g} GFLOP/s: a step takes at least {operations * batch / peak:.2g} s",
    ]
    if dtype == "float32":
        lines.append(
            "low precision is float32 here, since bfloat16 is faster only on processors that compute in it (avx512_bf16, AMX); "
            "there the aim is 1.8 times float32, NCHW"
        )
    return lines


def made_batches(number: int, batch: int, px: int) -> list[dict]:
    """Return batches of noise as the loader of a classifier does: uint8 (N, 3, px, px), labels (N,)."""
    rng = torch.Generator().manual_seed(0)
    shape = (batch, 3, px, px)
    pairs = [(torch.randint(256, shape, generator=rng, dtype=torch.uint8), torch.randint(CLASSES, (batch,), generator=rng))
             for _ in range(number)]  # fmt: skip
    return [{"inputs": pinned(images), "labels": pinned(labels)} for images, labels in pairs]


def pinned(tensor: Tensor) -> Tensor:
    """Pin a tensor in memory, as a loader for a GPU does."""
    return tensor.pin_memory() if torch.cuda.is_available() else tensor


def copied(network: str, ours: nn.Module) -> nn.Module:
    """Build timm's ``network`` with the weights of our classifier, whose names are timm's with a prefix."""
    net = timm.create_model(network, num_classes=CLASSES)
    net.load_state_dict({name.removeprefix("backbone."): value for name, value in ours.state_dict().items()})
    return net


class PlainLoop:
    """Train as in a loop written by hand; a call goes once through the batches.

    Args:
        net: network to train.
        cfg: our config, which gives mean, std and the optimiser.
        dtype: dtype of autocast; 'float32' turns it off.
        layout: memory layout of weights and images; with channels last SGD is fused on a GPU, as an expert would set it.
    """

    def __init__(self, net: nn.Module, cfg, dtype: str, layout: torch.memory_format):
        self.net, self.layout = net.to(device(), memory_format=layout).train(), layout
        preprocessor = cfg.model.data_preprocessor
        self.mean, self.std = (
            torch.tensor(values, device=device()).view(3, 1, 1) for values in (preprocessor.mean, preprocessor.std)
        )
        settings = {name: value for name, value in cfg.optim_wrapper.optimizer.items() if name not in ("type", "fused")}
        fused = (layout == torch.channels_last and device() == "cuda") or None  # None leaves the choice to torch
        self.optimizer, self.criterion = torch.optim.SGD(self.net.parameters(), **settings, fused=fused), nn.CrossEntropyLoss()
        self.autocast = torch.autocast(device(), getattr(torch, dtype), enabled=dtype != "float32")
        self.scaler = torch.amp.GradScaler(device(), enabled=dtype == "float16")

    def loss(self, batch: dict) -> Tensor:
        images = batch["inputs"].to(device(), non_blocking=True).to(memory_format=self.layout).float()
        return self.criterion(self.net((images - self.mean) / self.std), batch["labels"].to(device(), non_blocking=True))

    def __call__(self, batches: list[dict]) -> None:
        for batch in batches:
            with self.autocast:
                loss = self.loss(batch)
            self.optimizer.zero_grad()
            self.scaler.scale(loss).backward()
            self.scaler.step(self.optimizer)
            self.scaler.update()


def equal_work(ours: nn.Module, loops: dict[str, PlainLoop], batch: dict) -> list[str]:
    """Return a line for each equal measure: trainable values, and the loss of ``batch`` in float32.

    Raises:
        ValueError: a measure differs.
    """
    our_loss = detached(lambda: total_loss(ours.train(), batch))
    lines = []
    for loop in loops.values():
        lines += [
            same("trainable parameters", trainable(ours), trainable(loop.net)),
            same("loss from the same weights in float32", our_loss, detached(lambda loop=loop: loop.loss(batch)), 1e-4),
        ]
    return list(dict.fromkeys(lines))


@torch.no_grad()
def detached(loss: Callable[[], Tensor]) -> float:
    return float(loss())
