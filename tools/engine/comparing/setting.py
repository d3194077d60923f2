"""Choose the tasks of a comparison, their configs and the folder of its table."""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from msgspec import structs

from backbones.card_facts import CardFacts
from backbones.common.project import CONFIGS, SCALES, SCRATCH
from backbones.transfer.protocols import protocol_files
from tools.engine.config import Options, having, resolve, task_of
from tools.engine.studies.study import Study, refuse_protocol, refuse_unknown_name

PATTERN = "configs/{task}/{stem}_{{scale}}.py"
DETECTOR = "faster_rcnn_"  # begins the names of the configs of detectors
FIRST = f"{DETECTOR}fpn"  # the config that is tried before the others of its task: C4 learns little at the small scales


def transfer_tasks() -> list[str]:
    """Return the tasks that transfer a backbone."""
    return [name for name in having("task").split(", ") if task_of({"task": name}).STAGE == "transfer"]


def detectors() -> list[str]:
    """Return the names of the detectors that have a config: what stands after ``DETECTOR`` in its name."""
    stems = {path.stem.rpartition("_")[0] for path in (CONFIGS / "detection").glob(f"{DETECTOR}*_*.py")}
    return [stem.removeprefix(DETECTOR) for stem in sorted(stems, key=_order)]


def _order(stem: str) -> tuple[bool, str]:
    """Return the key by which configs of a task are sorted: first the one that is tried first."""
    return stem != FIRST, stem


@dataclass(frozen=True)
class Setting:
    """Hold what is asked of the tasks of a comparison.

    Args:
        tasks: their names.
        scale: of their configs.
        protocol: for the tasks that define it; None for the default of each config.
        detector: a name of ``detectors``; None for the first that takes the protocol and all networks.
    """

    tasks: tuple[str, ...]
    scale: str
    protocol: str | None = None
    detector: str | None = None

    def check(self) -> None:
        """Raise ValueError, with the nearest name, unless there are such tasks, such a scale and such a protocol."""
        refuse_unknown_name("There is no scale", self.scale, SCALES)
        for task in self.tasks:
            refuse_unknown_name("A comparison has no task", task, transfer_tasks())
        if self.protocol is not None:
            names = list(dict.fromkeys(name for task in self.tasks for name in protocol_files(task)))
            refuse_unknown_name("There is no protocol", self.protocol, names, f" for {', '.join(self.tasks)}")
            refuse_protocol(self.protocol, self.scale)
        if self.detector and "detection" not in self.tasks:
            asked = ", ".join(self.tasks)
            raise ValueError(f"--detector is for detection, and the tasks asked for are {asked}; leave it out.")

    def configs(self, cards: Sequence[CardFacts]) -> dict[str, str]:
        """Return for each task the pattern of its first config that takes the protocol and the network of every card.

        Args:
            cards: facts of the cards; none before there are any.

        Raises:
            ValueError: a task has no such config; says what is wrong with the first that takes the protocol, or with the first.
        """
        return {task: self._config(task, cards) for task in self.tasks}

    def patterns(self, task: str) -> list[str]:
        """Return the patterns of the configs that may be taken for a task, the preferred one first."""
        stems = sorted((path.stem.removesuffix(f"_{self.scale}") for path in self._files(task)), key=_order)
        if task == "detection" and self.detector:
            stems = [stem for stem in stems if stem == f"{DETECTOR}{self.detector}"]
        return [PATTERN.format(task=task, stem=stem) for stem in stems]

    def _files(self, task: str) -> Iterator[Path]:
        return (CONFIGS / task).glob(f"*_{self.scale}.py")

    def _config(self, task: str, cards: Sequence[CardFacts]) -> str:
        if not (patterns := self.patterns(task)):
            wanted = f"{DETECTOR}{self.detector}" if task == "detection" and self.detector else "NAME"
            raise ValueError(f"{task} has no config at scale {self.scale}; add configs/{task}/{wanted}_{self.scale}.py.")
        faults = {pattern: self._fault(task, pattern, []) for pattern in patterns}
        if fitting := [pattern for pattern, fault in faults.items() if fault is None]:  # the others are for other protocols
            faults = {pattern: self._fault(task, pattern, cards) for pattern in fitting}
        for pattern, fault in faults.items():
            if fault is None:
                return pattern
        asked = f"--detector {self.detector}: " if task == "detection" and self.detector else ""
        raise ValueError(f"{asked}{next(iter(faults.values()))}")

    def _fault(self, task: str, pattern: str, cards: Sequence[CardFacts]) -> ValueError | None:
        """Return what is wrong with a config for the protocol and the cards, or from scratch without any; None if it fits."""
        path, name = pattern.format(scale=self.scale), self.protocol if self.protocol in protocol_files(task) else None
        try:
            for card in cards or [None]:
                resolve(path, Options(backbone=card.folder if card else SCRATCH, protocol=name), card=card)
        except ValueError as error:
            return error
        return None


def other_ways(study: Study, setting: Setting, cards: Sequence[CardFacts]) -> Iterator[tuple[str, Study]]:
    """Yield the same study by each other protocol, for each task alone and with one seed, after the option that asks for it."""
    for name in dict.fromkeys(name for task in study.tasks for name in protocol_files(task)):
        if name != study.protocol:
            with suppress(ValueError):  # the scale has a protocol of its own, or a network cannot be trained by it
                configs = replace(setting, protocol=name).configs(cards)
                yield f"--protocol {name}", replace(study, protocol=name, file=structs.replace(study.file, configs=configs))
    if len(study.tasks) > 1:
        for task in study.tasks:
            yield f"--tasks {task}", replace(study, tasks=(task,))
    if study.seeds > 1:
        yield "--seeds 1", replace(study, seeds=1)


def check_name(name: str, scale: str) -> Path:
    """Return the folder of a comparison's table, report and study file.

    Raises:
        ValueError: the name cannot be that of a folder, or the folder belongs to another study.
    """
    if not name or name.startswith(".") or name != os.path.basename(name) or not name.isprintable():
        raise ValueError(f"--name is {name!r}; give a name for the folder work_dirs/NAME-{scale}, without slashes.")
    return Path("work_dirs") / f"{name}-{scale}"
