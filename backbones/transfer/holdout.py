"""Tune transfers fairly: try the same learning rates for every backbone, and judge them on images held out from training.

A better backbone may look worse at settings that were tuned for another one. A study can therefore report each backbone at its
best rate beside its result at the shared rate. The test images of the final result take no part in the choice.
"""

from zlib import crc32

GRID = (0.5, 1.0, 2.0)  # factors on the learning rate of the protocol
PARTS = (None, "rest", "held_out")
EVERY = 5  # one image in five is held out


def in_part(name: str, part: str | None) -> bool:
    """Return whether the training image ``name`` belongs to a part: 'held_out' (about a fifth), 'rest', or None (all).

    An image is held out if crc32(name) % 5 == 0. This depends only on the name, so every run and machine has the same split.
    """
    return part is None or (crc32(name.encode()) % EVERY == 0) == (part == "held_out")


def tune(cfg, lr_factor: float | None, hold_out: bool) -> None:
    """Scale the learning rate of a transfer, and replace its test data by the part held out from training, in place.

    Args:
        cfg: of a dense task, with its protocol.
        lr_factor: factor on the learning rate of the protocol; None stands for 1.
        hold_out: train on four fifths of the training data and test on the other fifth.

    Raises:
        ValueError: the factor is not positive.
    """
    if lr_factor is not None and not 0 < lr_factor < float("inf"):
        raise ValueError(
            f"--lr-factor is {lr_factor:g}; give a finite number above 0, such as {', '.join(f'{f:g}' for f in GRID)}."
        )
    if lr_factor not in (None, 1):
        cfg.optim_wrapper.optimizer.lr *= lr_factor
        cfg.lr_factor = lr_factor
    if hold_out:
        cfg.hold_out = True
        _hold_out(cfg)


def test_pipeline(cfg) -> list:
    """Return the pipeline by which a resolved config reads a test image."""
    dataset = cfg.test_dataloader.dataset
    return dataset.get("datasets", [dataset])[0].pipeline


def _hold_out(cfg) -> None:
    train, pipeline = cfg.train_dataloader.dataset, test_pipeline(cfg)
    held_out = []
    for dataset in train.get("datasets", [train]):
        common = {k: v for k, v in dataset.items() if k not in ("filter_cfg", "difficult_in_training", "pipeline")}
        held_out.append(common | dict(part="held_out", test_mode=True, pipeline=pipeline))
        dataset.part = "rest"
    cfg.test_dataloader.dataset = held_out[0] if len(held_out) == 1 else dict(type="ConcatDataset", datasets=held_out)
