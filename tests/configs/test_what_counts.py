"""Check line by line the table of docs/reliability.md on what changes the key of a run and what does not."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from backbones.common.project import RECORD, ROOT, RUNS
from backbones.resolving import Machine
from tests.helpers.bad_input import CLASSIFIER, DETECTOR, SEGMENTER
from tools.engine.config import Options, resolve
from tools.engine.config.fingerprint import forget

RUN = "0123456789ab"


@dataclass
class World:
    """Hold the data and cards that a case may change.

    Args:
        data: the synthetic data.
        card: makes a card, see ``make_card``.
        patch: pytest's monkeypatch.
    """

    data: Path
    card: Callable
    patch: pytest.MonkeyPatch

    def first(self, pattern: str) -> Path:
        return sorted(self.data.rglob(pattern))[0]

    def image(self) -> Path:
        return self.first("train/*/*.jpg")


class Case(NamedTuple):
    """Say whether a change counts.

    Args:
        text: the line of the table.
        counts: whether the key changes.
        change: changes the world, or returns other arguments of ``Options``, or a ``machine``.
        path: the config.
        base: arguments before the change.
    """

    text: str
    counts: bool
    change: Callable[[World], dict[str, Any] | None]
    path: str = CLASSIFIER
    base: dict[str, Any] | Callable[[World], dict[str, Any]] = {}


def machine(**facts) -> Machine:
    return Machine(**(dict(threads=1, cuda=False, bf16=False) | facts))


def rewrite(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.write_bytes(change(path.read_bytes()))


def flip(content: bytes) -> bytes:
    """Change a byte and keep the size."""
    return content[:-20] + bytes([content[-20] ^ 1]) + content[-19:]


def swap_lines(content: bytes) -> bytes:
    first, second, *others = content.split(b"\n")
    return b"\n".join([second, first, *others])


def move_data(world: World) -> None:
    """Move the data to a folder whose name is not ASCII, and link to it."""
    place = world.data.parent.with_name("données")
    shutil.move(world.data.parent, place)
    world.data.parent.with_name("link").symlink_to(place)
    world.patch.setenv("DATA_ROOT", str(world.data.parent.with_name("link")))


def final_and_earlier(world: World) -> list[Path]:
    """Write the cards of the last and of an earlier checkpoint of one run, whose record names the last."""
    final, earlier = (world.card(name=f"card{seed}", seed=seed, source={"run": RUN}) for seed in (0, 1))
    (RUNS / RUN).mkdir(parents=True, exist_ok=True)
    (RUNS / RUN / RECORD).write_text(json.dumps({"key": RUN, "card": final.sha256}))
    return [final.path, earlier.path]


def another_version(world: World) -> None:
    task = import_module("classification.task")
    world.patch.setattr(task, "RESULT_VERSION", task.RESULT_VERSION + 1)


def copied_card(world: World) -> dict[str, str]:
    shutil.copytree(final_and_earlier(world)[0], "elsewhere")
    return {"backbone": "elsewhere"}


def distilled(number: int) -> Callable[[World], dict[str, Any]]:
    return lambda world: {"tricks": [("distillation", {"teacher": str(final_and_earlier(world)[number])})]}


def transfer(number: int, **more) -> Callable[[World], dict[str, Any]]:
    return lambda world: {"backbone": str(final_and_earlier(world)[number])} | more


TWO = {"overrides": {"batch": 8, "micro_batch": 4}}
FREE = {"overrides": {"threads": None}}
CASES = (
    Case("the seed", True, lambda world: {"seed": 1}),
    Case("a value of the config", True, lambda world: {"overrides": {"epochs": 3}}),
    Case("a trick, or an option of one", True, lambda world: {"tricks": ["cosine"]}),
    Case("a value of the protocol", True, lambda world: {"overrides": {"protocol.lr": 0.001}}, DETECTOR),
    Case("a hook of your own", True, lambda world: {"overrides": {"custom_hooks": [dict(type="EMAHook")]}}),
    Case("the card of a transfer, by its content", True, transfer(1), DETECTOR, transfer(0)),
    Case("the teacher's card, by its content", True, distilled(1), CLASSIFIER, distilled(0)),
    Case("`--transfer frozen`", True, transfer(0, transfer="frozen"), DETECTOR, transfer(0)),
    Case("a list of images, and its order", True, lambda world: rewrite(world.first("trainval.txt"), swap_lines), DETECTOR),
    Case("an annotation", True, lambda world: rewrite(world.first("Annotations/*.xml"), flip), DETECTOR),
    Case("a mask", True, lambda world: rewrite(world.first("annotations/*/*.png"), flip), SEGMENTER),
    Case("an image that is added, removed, renamed or of another size", True, lambda world: world.image().unlink()),
    Case("the device: CPU or GPU", True, lambda world: {"machine": machine(cuda=True)}, base={"machine": machine()}),
    Case(
        "the number of threads on a CPU",
        True,
        lambda world: FREE | {"machine": machine(threads=2)},
        base=FREE | {"machine": machine()},
    ),
    Case(
        "the number of processes in detection and segmentation",
        True,
        lambda world: {"overrides": {"protocol.batch": 2}, "machine": machine(processes=2)},
        DETECTOR,
        {"overrides": {"protocol.batch": 2}, "machine": machine()},
    ),
    Case("the task's `RESULT_VERSION`", True, another_version),
    Case("an image of the same name and size", False, lambda world: rewrite(world.image(), flip)),
    Case("the place of the data, and links to it", False, move_data),
    Case(
        "hidden files, and files that nobody reads",
        False,
        lambda world: world.image().with_name("._n.jpg").touch(),
    ),
    Case("the place of a card", False, copied_card, DETECTOR, transfer(0)),
    Case("the number of loader processes", False, lambda world: {"overrides": {"num_workers": 3}}),
    Case(
        "the number of threads on a GPU",
        False,
        lambda world: FREE | {"machine": machine(threads=2, cuda=True)},
        base=FREE | {"machine": machine(cuda=True)},
    ),
    Case(
        "the number of processes in classification",
        False,
        lambda world: TWO | {"machine": machine(processes=2)},
        base=TWO | {"machine": machine()},
    ),
    Case(
        "`--vis`, `--work-dir` and the expected `seconds`", False, lambda world: {"vis": ["wandb"], "overrides": {"seconds": 1}}
    ),
)


@pytest.fixture
def world(toy_root, tmp_path, monkeypatch, make_card) -> World:
    shutil.copytree(toy_root, tmp_path / "data/toy")
    monkeypatch.setenv("DATA_ROOT", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    return World(tmp_path / "data/toy", make_card, monkeypatch)


def key(path: str, arguments: dict[str, Any]) -> str:
    """Return the key of a run, as a new process finds it."""
    forget()
    default = {} if path == CLASSIFIER else {"backbone": "scratch"}
    options = {name: value for name, value in arguments.items() if name != "machine"}
    return resolve(path, Options(**default | options), arguments.get("machine")).key.name


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.text)
def test_what_counts(world, case):
    base = case.base(world) if callable(case.base) else case.base
    before = key(case.path, base)
    changed = case.change(world)
    assert (key(case.path, changed if changed else base) != before) == case.counts


def test_the_table_has_these_lines():
    text = (ROOT / "docs/reliability.md").read_text()
    table = text[text.index("## What changes a run's key") :].partition("\n## ")[0]
    rows = [tuple(map(str.strip, line.strip("|").split("|"))) for line in table.splitlines() if line.startswith("| ")]
    assert rows[2:] == [(case.text, "yes" if case.counts else "no") for case in CASES]
