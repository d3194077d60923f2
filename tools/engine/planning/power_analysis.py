"""How many pretrainings, and fine-tunings of each, it takes to see a difference of given size, and what that costs."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import sqrt
from statistics import fmean

from tools.engine.analysis.statistics import Groups, components, power_of, seeds_needed
from tools.engine.config import task_of
from tools.engine.planning.cost import Costs
from tools.engine.studies.node import Node

POWER = 0.8
FINE_TUNINGS = (1, 2, 3, 5)  # the numbers of them, of each pretraining, among which the cheapest is looked for
# Standard deviations in points where no run has been repeated: (of pretrainings, of fine-tunings of one; None: unknown), source.
ASSUMED = {
    "top1": (0.26, 0.0, "three runs of one recipe by others: 75.88, 75.38, 75.49 (pytorch/vision issue 5593)"),
    "mAP": (None, 0.2, "published of fine-tunings on VOC (MoCo's detection/README.md)"),
    "mIoU": (None, 0.4, "assumed of fine-tunings on ADE20K"),
}


@dataclass(frozen=True)
class Noise:
    """Variances of one metric, in points squared.

    Args:
        pretraining: between pretrainings of one recipe; None where unknown.
        finetuning: between fine-tunings of one pretraining; None where it is not told apart from ``pretraining``, which then is
            that of both together.
        source: what they rest on.
    """

    pretraining: float | None
    finetuning: float | None
    source: str

    def of_mean(self, finetunings: int) -> float:
        """pretraining + finetuning / F: the variance of a pretraining's mean over F fine-tunings."""
        return (self.pretraining or 0.0) + (self.finetuning or 0.0) / finetunings


@dataclass(frozen=True)
class Bill:
    """Device-seconds of a study's recipes for one task: of all pretrainings of a seed, of one fine-tuning of each, of one run of
    each row that is not pretrained here, and of the teachers, once."""

    pretraining: float = 0.0
    finetuning: float = 0.0
    others: float = 0.0
    teachers: float = 0.0

    def of(self, pretrainings: int, finetunings: int) -> float:
        return self.teachers + pretrainings * (self.pretraining + finetunings * self.finetuning + self.others)

    def __add__(self, other: "Bill") -> "Bill":
        """Of two tasks that share their pretrainings and teachers."""
        shared = max(self.pretraining, other.pretraining), max(self.teachers, other.teachers)
        return Bill(shared[0], self.finetuning + other.finetuning, self.others + other.others, shared[1])


@dataclass(frozen=True)
class Need:
    """What one task needs: the cheapest numbers, their power, and device-seconds (None: unknown).

    ``choices`` has the numbers of fine-tunings that were weighed.
    """

    task: str
    metric: str
    noise: Noise
    choices: tuple[int, ...]
    pretrainings: int
    finetunings: int
    power: float
    cost: float | None


def noise_of(metric: str, rows: Iterable[Groups], kind: str = "transfer") -> Noise:
    """The variances of a metric, pooled over recipes with their degrees of freedom as weights.

    Args:
        rows: of each recipe, the values of each pretraining's fine-tunings.
        kind: 'transfer'; 'pretrain': the one value of each is its own; 'given': of backbones from elsewhere, each row has one
            group, whose values differ by their fine-tuning alone.
    """
    rows = [[list(group) for group in row] for row in rows]
    repeated = [group for row in rows for group in row if len(group) > 1]
    within = _pooled(repeated)
    pretraining, finetuning, source = ASSUMED.get(metric, (None, None, ""))
    if kind == "given":
        if within is not None:
            return Noise(0.0, within, f"fine-tunings of one backbone so far ({_counts(repeated)})")
        return Noise(0.0, _square(finetuning), source)
    if parts := [(len(row), found) for row in rows if (found := components(row)).finetuning is not None]:
        between = sum((k - 1) * found.pretraining for k, found in parts) / sum(k - 1 for k, _ in parts)
        return Noise(between, within, f"runs so far: {len(parts)} recipes with several fine-tunings of several pretrainings")
    single = [[group[0] for group in row] for row in rows if len(row) > 1]
    if (joint := _pooled(single)) is not None:
        text = f"the spread of pretrainings so far ({_counts(single)})"
        return Noise(joint, 0.0, text) if kind == "pretrain" else Noise(joint, None, f"{text}, that of fine-tunings included")
    if within is not None:
        return Noise(_square(pretraining), within, f"fine-tunings of one pretraining so far ({_counts(repeated)})")
    return Noise(_square(pretraining), _square(finetuning), source)


def _square(std: float | None) -> float | None:
    return None if std is None else std * std


def _pooled(groups: list[list[float]]) -> float | None:
    """sum((x - mean of its group)^2) / sum(n - 1) over groups of two or more."""
    free = sum(len(group) - 1 for group in groups)
    return sum((x - fmean(group)) ** 2 for group in groups for x in group) / free if free else None


def _counts(groups: list) -> str:
    return f"{sum(map(len, groups))} runs in {len(groups)} groups"


def choices(noise: Noise, pretrained: bool) -> tuple[int, ...]:
    """The numbers of fine-tunings that can be weighed: only one where their own variance is unknown or is all there is."""
    return FINE_TUNINGS if pretrained and noise.finetuning else (1,)


def needed(detect: float, noise: Noise, finetunings: int) -> int:
    """The pretrainings a side; 2, the fewest that have a spread, where nothing varies."""
    variance = noise.of_mean(finetunings)
    return seeds_needed(detect, sqrt(variance), POWER) if variance else 2


def need(task: str, metric: str, detect: float, noise: Noise, bill: Bill | None, pretrained: bool) -> Need:
    """The cheapest numbers for one task; of equal cost, those with fewer fine-tunings."""
    several = choices(noise, pretrained)
    pairs = [(needed(detect, noise, f), f) for f in several]
    p, f = min(pairs, key=lambda pair: bill.of(*pair) if bill else pair[0] * (1 + pair[1]))
    variance = noise.of_mean(f)
    power = power_of(p, detect, sqrt(variance)) if variance else 1.0
    return Need(task, metric, noise, several, p, f, power, bill and bill.of(p, f))


def bills(costs: Costs) -> dict[str, Bill | None]:
    """What the rows of each task cost at one seed; None where a run's cost is unknown."""
    first = [node for node in costs.rows if node.options.seed == 0 and not node.note]
    tasks = dict.fromkeys(node.task for node in first)
    return {task: _bill([node for node in first if node.task == task], costs) for task in tasks}


def _bill(rows: list[Node], costs: Costs) -> Bill | None:
    pretrainings = {node.key: node for row in rows if (node := row if row.pretrain else row.above)}
    teachers = {node.above.key: node.above for node in pretrainings.values() if node.above}
    tuned = [row for row in rows if not row.pretrain and row.above]
    others = [row for row in rows if not row.pretrain and not row.above]
    sums = [_sum(nodes, costs) for nodes in (pretrainings.values(), tuned, others, teachers.values())]
    return None if None in sums else Bill(*sums)


def _sum(nodes: Iterable[Node], costs: Costs) -> float | None:
    found = [costs.of(node) for node in nodes]
    return None if None in found else sum(estimate.seconds for estimate in found)


def values_so_far(task: str, metric: str, costs: Costs) -> list[list[list[float]]]:
    """Of each recipe of a study, the values of each pretraining's runs, whatever seeds this plan asks for; not from scratch."""
    rows = [node for node in costs.rows if node.task == task and not node.note and (node.pretrain or node.above or node.card)]
    found = []
    for own in dict.fromkeys(map(costs.identity, rows)):
        groups: dict[str | int, dict[int, float]] = {}
        for run in costs.seen.get(own, ()):  # by seeds: a run repeated on other threads is no other run
            seed = run.record["seed"]
            above = costs.contents.get(run.content["upstream"])
            backbone = above["config"]["randomness"]["seed"] if above else run.content["upstream"]
            groups.setdefault(seed if run.record["node"] == "pretrain" else backbone, {})[seed] = run.record["metrics"][metric]
        found.append([list(values.values()) for values in groups.values()])
    return found


def needs(detect: float, costs: Costs) -> list[Need]:
    """Of each task of the study, what it takes to see ``detect`` points in its first metric.

    Raises:
        ValueError: ``detect`` is not above 0.
    """
    if not 0 < detect < 100:
        raise ValueError(f"--detect is {detect:g}; give a difference in points above 0 and below 100, such as 0.3.")
    found = []
    for task, bill in bills(costs).items():
        module = task_of({"task": task})
        metric, kind = module.METRICS[0], "given" if costs.study.cards() else module.STAGE
        noise = noise_of(metric, values_so_far(task, metric, costs), kind)
        if noise.source:
            found.append(need(task, metric, detect, noise, bill, kind == "transfer"))
    return found


def together(detect: float, found: list[Need], costs: Costs) -> tuple[int, int, float | None]:
    """(P, F, device-seconds) that serve all tasks of ``found`` at once, the cheapest such pair."""
    own = [bill for task, bill in bills(costs).items() if any(n.task == task for n in found)]
    bill = None if None in own else sum(own[1:], own[0])
    several = {f for n in found for f in n.choices}
    pairs = [(max(needed(detect, n.noise, f) for n in found), f) for f in sorted(several)]
    p, f = min(pairs, key=lambda pair: bill.of(*pair) if bill else pair[0] * (1 + pair[1]))
    return p, f, bill and bill.of(p, f)
