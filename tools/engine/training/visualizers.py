"""Send the scalars of a run to MMEngine's backends (TensorBoard, W&B, MLflow, ...) besides the run's own files."""

import difflib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec

PACKAGES = {name: (name,) for name in ("wandb", "tensorboard", "mlflow", "clearml", "neptune", "aim")}
PACKAGES["dvclive"] = ("dvclive", "pygit2")


def backends() -> dict[str, str]:
    """Return all backends that MMEngine has, by short name: {'tensorboard': 'TensorboardVisBackend', ...}."""
    import mmengine.visualization  # noqa: F401  (registers them)
    from mmengine.registry import VISBACKENDS

    return {name.removesuffix("VisBackend").lower(): name for name in VISBACKENDS.module_dict}


def visualizer(names: Sequence[str]) -> dict:
    """Return the ``visualizer`` of a config that sends scalars to the backends ``names`` and always to the run's folder.

    Raises:
        ValueError: MMEngine has no such backend; the message lists the nearest names and all names.
    """
    types = backends()
    for name in names:
        if name not in types:
            nearest = difflib.get_close_matches(name, types, n=3, cutoff=0.4)
            hint = f"nearest: {', '.join(nearest)}; " if nearest else ""
            raise ValueError(f"--vis has no backend {name!r}; {hint}all: {', '.join(types)}.")
    unique_types = dict.fromkeys([types["local"], *(types[name] for name in names)])
    return dict(type="Visualizer", vis_backends=[dict(type=backend) for backend in unique_types])


def refuse_missing(names: Sequence[str]) -> None:
    """Refuse backends whose packages are not installed, before anything starts.

    Raises:
        ValueError: names the backend and the package.
    """
    for name in names:
        for package in PACKAGES.get(name, ()):
            if find_spec(package) is None:
                raise ValueError(f"--vis {name} needs the package {package}, which is not installed; pip install {package}.")


@contextmanager
def missing_named(names: Sequence[str]) -> Iterator[None]:
    """Explain an ImportError inside in one sentence; MMEngine imports a backend's package before training starts.

    Raises:
        ValueError: the package of a backend is not installed.
    """
    try:
        yield
    except ImportError as error:
        if not names:
            raise
        raise ValueError(f"--vis {' '.join(names)} needs a package that is not installed. {error}.") from None
