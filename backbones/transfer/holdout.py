"""Fair tuning downstream: the same small grid of learning rates for every backbone, judged on images held out from training.

A backbone that was trained better may look worse at settings that were found for another one, so a study can show what each
reaches at the best of a grid beside what all reach at the shared rate. The images of the final figure take no part in the choice.
"""

from zlib import crc32

GRID = (0.5, 1.0, 2.0)  # times the learning rate of the protocol
PARTS = (None, "rest", "held_out")
EVERY = 5  # one image of so many is held out


def in_part(name: str, part: str | None) -> bool:
    """Whether the training image ``name`` belongs to a part: 'held_out', about every fifth, 'rest', or None, all.

    The split is crc32(name) % 5 == 0: it depends on nothing but the name, so every run and machine has the same.
    """
    return part is None or (crc32(name.encode()) % EVERY == 0) == (part == "held_out")


def tune(cfg, lr_factor: float | None, hold_out: bool) -> None:
    """Scale the learning rate of a transfer, and replace its test data by a part held out from training, in place.

    Args:
        cfg: of a dense task, with its protocol.
        lr_factor: times the learning rate of the protocol; None: 1.
        hold_out: train on four fifths of the training data and test on the rest.

    Raises:
        ValueError: a factor that is not positive.
    """
    if lr_factor is not None and not lr_factor > 0:
        raise ValueError(f"--lr-factor is {lr_factor:g}; give a number above 0, such as {', '.join(f'{f:g}' for f in GRID)}.")
    if lr_factor not in (None, 1):
        cfg.optim_wrapper.optimizer.lr *= lr_factor
        cfg.lr_factor = lr_factor
    if hold_out:
        cfg.hold_out = True
        _hold_out(cfg)


def test_pipeline(cfg) -> list:
    """Return the steps by which a resolved config reads a test image."""
    dataset = cfg.test_dataloader.dataset
    return dataset.get("datasets", [dataset])[0].pipeline


def _hold_out(cfg) -> None:
    train, pipeline = cfg.train_dataloader.dataset, test_pipeline(cfg)
    tested = []
    for dataset in train.get("datasets", [train]):
        common = {k: v for k, v in dataset.items() if k not in ("filter_cfg", "difficult_in_training", "pipeline")}
        tested.append(common | dict(part="held_out", test_mode=True, pipeline=pipeline))
        dataset.part = "rest"
    cfg.test_dataloader.dataset = tested[0] if len(tested) == 1 else dict(type="ConcatDataset", datasets=tested)
