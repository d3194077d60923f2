"""Choose the tasks of a comparison and their configs, and check that their data is there."""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from msgspec import structs

from backbones.card_facts import CardFacts
from backbones.common.project import CONFIGS, SCALES, SCRATCH
from backbones.transfer.protocols import protocol_files
from tools.engine.config import Options, having, resolve, task_of
from tools.engine.config.data_needed import refuse_missing_data
from tools.engine.studies.study import Study, refuse_unknown_name

PATTERN = "configs/{task}/{stem}_{{scale}}.py"


def transfer_tasks() -> list[str]:
    """Return the tasks that transfer a backbone."""
    return [name for name in having("task").split(", ") if task_of({"task": name}).STAGE == "transfer"]


def check_setting(tasks: Sequence[str], scale: str, protocol: str | None) -> None:
    """Raise ValueError, with the nearest name, unless there are such tasks, such a scale and such a protocol."""
    refuse_unknown_name("scale", scale, SCALES)
    for task in tasks:
        refuse_unknown_name("task that transfers a backbone", task, transfer_tasks())
    if protocol is not None:
        names = list(dict.fromkeys(name for task in tasks for name in protocol_files(task)))
        refuse_unknown_name(f"protocol for {', '.join(tasks)}", protocol, names)


def choose_configs(tasks: Sequence[str], scale: str, protocol: str | None, cards: Sequence[CardFacts]) -> dict[str, str]:
    """Return for each task the pattern of its first config that takes the protocol and the network of every card.

    Args:
        tasks: names of tasks.
        scale: of the configs.
        protocol: for the tasks that define it; None for the default of each config.
        cards: facts of the cards; none before there are any.

    Raises:
        ValueError: a task has no such config; says what is wrong with the first.
    """
    return {task: _choose(task, scale, protocol, cards) for task in dict.fromkeys(tasks)}


def patterns_of(task: str, scale: str) -> list[str]:
    """Return the patterns of the configs that a task has at a scale, in the order of their names."""
    stems = sorted(path.stem.removesuffix(f"_{scale}") for path in (CONFIGS / task).glob(f"*_{scale}.py"))
    return [PATTERN.format(task=task, stem=stem) for stem in stems]


def _choose(task: str, scale: str, protocol: str | None, cards: Sequence[CardFacts]) -> str:
    name = protocol if protocol in protocol_files(task) else None
    faults = []
    for pattern in patterns_of(task, scale):
        try:
            resolve(pattern.format(scale=scale), Options(backbone=SCRATCH, protocol=name))
            for card in cards:
                resolve(pattern.format(scale=scale), Options(backbone=card.folder, protocol=name), card=card)
        except ValueError as error:
            faults.append(error)
        else:
            return pattern
    raise faults[0] if faults else ValueError(f"{task} has no config at scale {scale}; add one to configs/{task}.")


def refuse_without_data(tasks: Sequence[str], scale: str) -> None:
    """Raise MissingData if the data of a task is nowhere, before anything loads torch."""
    refuse_missing_data(pattern.format(scale=scale) for task in tasks for pattern in patterns_of(task, scale)[:1])


def other_ways(study: Study, cards: Sequence[CardFacts]) -> Iterator[tuple[str, Study]]:
    """Yield the same study by each other protocol, for each task alone and with one seed, after the option that asks for it."""
    for name in dict.fromkeys(name for task in study.tasks for name in protocol_files(task)):
        if name != study.protocol:
            with suppress(ValueError):  # the scale has a protocol of its own, or a network cannot be trained by it
                configs = choose_configs(study.tasks, study.scale, name, cards)
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
