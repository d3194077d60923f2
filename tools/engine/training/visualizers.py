"""Where the scalars of a run go beside its own files: MMEngine's backends (TensorBoard, W&B, MLflow, ...), by short names."""

import difflib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


def backends() -> dict[str, str]:
    """{'tensorboard': 'TensorboardVisBackend', ...}: all that MMEngine knows."""
    import mmengine.visualization  # noqa: F401  (registers them)
    from mmengine.registry import VISBACKENDS

    return {name.removesuffix("VisBackend").lower(): name for name in VISBACKENDS.module_dict}


def visualizer(names: Sequence[str]) -> dict:
    """The ``visualizer`` of a config that sends scalars to these backends, and to the run's own folder as always.

    Raises:
        ValueError: an unknown name; names the nearest.
    """
    known = backends()
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
            hint = f"nearest: {', '.join(near)}; " if near else ""
            raise ValueError(f"--vis knows no {name!r}; {hint}all: {', '.join(known)}.")
    kinds = dict.fromkeys([known["local"], *(known[name] for name in names)])
    return dict(type="Visualizer", vis_backends=[dict(type=kind) for kind in kinds])


@contextmanager
def missing_named(names: Sequence[str]) -> Iterator[None]:
    """Says in one sentence that the package of a backend is not installed; MMEngine asks for it before training starts.

    Raises:
        ValueError: it is not.
    """
    try:
        yield
    except ImportError as error:
        if not names:
            raise
        raise ValueError(f"--vis {' '.join(names)} needs a package that is not installed. {error}.") from None
