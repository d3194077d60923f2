"""Estimate how many pretrainings and fine-tunings of each a difference of a given size takes, and what they cost."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import sqrt
from statistics import fmean

from tools.engine.analysis.statistics import Groups, components
from tools.engine.config import task_of
from tools.engine.planning.cost import Costs
from tools.engine.power import power_of, seeds_needed
from tools.engine.studies.node import Node

POWER = 0.8
FINE_TUNINGS = (1, 2, 3, 5)  # numbers per pretraining, of which the cheapest is chosen
# Standard deviations in points for use before any run has been repeated, by scale and metric: (of pretrainings; of fine-tunings
# of one), source. None: unknown. Those of toy and mini are pooled over the rows of results that are kept in docs/results.
LITE = "12 fine-tunings from 4 EfficientNets, docs/results/lite-weights-mini"
DEMO = "3 fine-tunings from scratch, docs/results/demo-toy"
ASSUMED = {
    "paper": {
        "top1": (0.26, 0.0, "three runs of one recipe by others: 75.88, 75.38, 75.49 (pytorch/vision issue 5593)"),
        "mAP": (None, 0.2, "published of fine-tunings on VOC (MoCo's detection/README.md)"),
        "mIoU": (None, 0.4, "assumed of fine-tunings on ADE20K"),
    },
    "mini": {"mAP": (None, 1.6, LITE), "mIoU": (None, 0.95, LITE)},
    "toy": {
        "top1": (4.6, 0.0, "6 pretrainings of 2 recipes, docs/results/demo-toy"),
        "mAP": (None, 2.5, DEMO),
        "mIoU": (None, 0.85, DEMO),
    },
}


@dataclass(frozen=True)
class Noise:
    """Hold the variances of one metric, in points squared.

    Args:
        pretraining: between pretrainings of one recipe; None if unknown.
        finetuning: between fine-tunings of one pretraining; None if it cannot be separated from ``pretraining``, which is then
            the variance of both together.
        source: where the variances come from.
    """

    pretraining: float | None
    finetuning: float | None
    source: str

    def of_mean(self, finetunings: int) -> float:
        """Return pretraining + finetuning / F: the variance of a pretraining's mean over F fine-tunings."""
        return (self.pretraining or 0.0) + (self.finetuning or 0.0) / finetunings


@dataclass(frozen=True)
class Bill:
    """Hold the device-seconds of a study's recipes for one task.

    ``pretraining`` covers all pretrainings of a seed, ``finetuning`` one fine-tuning of each, ``others`` one run of each row
    that is not pretrained here, ``teachers`` the teachers, which are trained once.
    """

    pretraining: float = 0.0
    finetuning: float = 0.0
    others: float = 0.0
    teachers: float = 0.0

    def of(self, pretrainings: int, finetunings: int) -> float:
        """Return the device-seconds of so many pretrainings of each recipe, with so many fine-tunings of each."""
        return self.teachers + pretrainings * (self.pretraining + finetunings * self.finetuning + self.others)

    def __add__(self, other: "Bill") -> "Bill":
        """Add the bills of two tasks that share their pretrainings and teachers."""
        return Bill(
            pretraining=max(self.pretraining, other.pretraining),
            finetuning=self.finetuning + other.finetuning,
            others=self.others + other.others,
            teachers=max(self.teachers, other.teachers),
        )


@dataclass(frozen=True)
class Need:
    """Hold what one task needs: the cheapest numbers, their power, and device-seconds (None: unknown).

    ``choices`` has the numbers of fine-tunings that were compared.
    """

    task: str
    metric: str
    noise: Noise
    choices: tuple[int, ...]
    pretrainings: int
    finetunings: int
    power: float
    cost: float | None


def assumed(metric: str, scale: str) -> tuple[float | None, float | None, str]:
    """Return the standard deviations that hold before any run has been repeated, and their source; see ``ASSUMED``."""
    if metric in ASSUMED.get(scale, {}):
        return ASSUMED[scale][metric]
    pretraining, finetuning, source = ASSUMED["paper"].get(metric, (None, None, ""))
    return pretraining, finetuning, source and f"{source}, not of scale {scale}, where seeds may lie further apart"


def noise_of(metric: str, scale: str, rows: Iterable[Groups], kind: str = "transfer") -> Noise:
    """Estimate the variances of a metric, pooled over recipes with their degrees of freedom as weights.

    Args:
        scale: of the runs, by which ``assumed`` stands in for values.
        rows: for each recipe, the values of each pretraining's fine-tunings.
        kind: 'transfer'; 'pretrain': each pretraining has one value, its own; 'given': of backbones from elsewhere, each row has
            one group, whose values differ by their fine-tuning alone.
    """
    recipes = [[list(group) for group in row] for row in rows]
    repeated = [group for row in recipes for group in row if len(group) > 1]
    within = _pooled(repeated)
    pretraining, finetuning, source = assumed(metric, scale)
    if kind == "given":
        if within is not None:
            return Noise(0.0, within, f"fine-tunings of one backbone so far ({_counts(repeated)})")
        return Noise(0.0, _square(finetuning), source)
    if parts := [(len(row), part.pretraining) for row in recipes if (part := components(row)).finetuning is not None]:
        between = sum((n - 1) * variance for n, variance in parts) / sum(n - 1 for n, _ in parts)
        return Noise(between, within, f"runs so far: {len(parts)} recipes with several fine-tunings of several pretrainings")
    single = [[group[0] for group in row] for row in recipes if len(row) > 1]
    if (joint := _pooled(single)) is not None:
        text = f"the spread of pretrainings so far ({_counts(single)})"
        return Noise(joint, 0.0, text) if kind == "pretrain" else Noise(joint, None, f"{text}, that of fine-tunings included")
    if within is not None:
        return Noise(_square(pretraining), within, f"fine-tunings of one pretraining so far ({_counts(repeated)})")
    return Noise(_square(pretraining), _square(finetuning), source)


def _square(std: float | None) -> float | None:
    """Return the variance of a standard deviation that may be unknown."""
    return None if std is None else std * std


def _pooled(groups: list[list[float]]) -> float | None:
    """Return sum((x - mean of its group)^2) / sum(n - 1); None without a group of two or more."""
    free = sum(len(group) - 1 for group in groups)
    return sum((x - fmean(group)) ** 2 for group in groups for x in group) / free if free else None


def _counts(groups: list) -> str:
    """Return how many runs in how many groups there are, for a sentence."""
    return f"{sum(map(len, groups))} runs in {len(groups)} groups"


def choices(noise: Noise, pretrained: bool) -> tuple[int, ...]:
    """Return the numbers of fine-tunings to compare.

    The only choice is 1 if their variance is unknown or zero, or unless the study pretrains what the task fine-tunes
    (``pretrained``).
    """
    return FINE_TUNINGS if pretrained and noise.finetuning else (1,)


def needed(detect: float, noise: Noise, finetunings: int) -> int:
    """Return the number of pretrainings a side; if nothing varies 2, the fewest that have a spread."""
    variance = noise.of_mean(finetunings)
    return seeds_needed(detect, sqrt(variance), POWER) if variance else 2


def need(task: str, metric: str, detect: float, noise: Noise, bill: Bill | None, pretrained: bool) -> Need:
    """Return the cheapest numbers for one task; of equal cost, those with fewer fine-tunings.

    The six parameters are independent facts of one task, which no other function takes together.
    """
    finetuning_counts = choices(noise, pretrained)
    pairs = [(needed(detect, noise, count), count) for count in finetuning_counts]
    pretrainings, finetunings = _cheapest(pairs, bill)
    variance = noise.of_mean(finetunings)
    power = power_of(pretrainings, detect, sqrt(variance)) if variance else 1.0
    cost = None if bill is None else bill.of(pretrainings, finetunings)
    return Need(task, metric, noise, finetuning_counts, pretrainings, finetunings, power, cost)


def _cheapest(pairs: list[tuple[int, int]], bill: Bill | None) -> tuple[int, int]:
    """Return the cheapest (pretrainings, fine-tunings); with unknown cost, the pair with the fewest runs."""
    if bill is None:
        return min(pairs, key=lambda pair: pair[0] * (1 + pair[1]))
    return min(pairs, key=lambda pair: bill.of(*pair))


def bills(costs: Costs) -> dict[str, Bill | None]:
    """Return what the rows of each task cost at one seed; None for a task with a run of unknown cost."""
    first_seed = [node for node in costs.rows if node.options.seed == 0 and not node.note]
    tasks = dict.fromkeys(node.task for node in first_seed)
    return {task: _bill([node for node in first_seed if node.task == task], costs) for task in tasks}


def _bill(rows: list[Node], costs: Costs) -> Bill | None:
    """Return the bill of one task's rows; None if the cost of a run is unknown."""
    pretrainings = {node.key: node for row in rows if (node := row if row.pretrain else row.above)}
    teachers = {node.above.key: node.above for node in pretrainings.values() if node.above}
    finetunings = [row for row in rows if not row.pretrain and row.above]
    others = [row for row in rows if not row.pretrain and not row.above]
    sums = [_sum(nodes, costs) for nodes in (pretrainings.values(), finetunings, others, teachers.values())]
    return None if None in sums else Bill(*sums)


def _sum(nodes: Iterable[Node], costs: Costs) -> float | None:
    """Return the device-seconds of all nodes; None if one is unknown."""
    estimates = [costs.of(node) for node in nodes]
    return None if None in estimates else sum(estimate.seconds for estimate in estimates)


def values_so_far(task: str, metric: str, costs: Costs) -> list[list[list[float]]]:
    """Return for each recipe of a study the values of each pretraining's runs, of all seeds that ever ran; not from scratch."""
    rows = [node for node in costs.rows if node.task == task and not node.note and (node.pretrain or node.above or node.card)]
    values = []
    for row in dict.fromkeys(map(costs.identity, rows)):
        groups: dict[str | int, dict[int, float]] = {}
        for run in costs.seen.get(row, ()):  # by seeds: a run repeated on other threads is not another run
            if metric not in run.record["metrics"]:  # a record of another version
                continue
            seed = run.record["seed"]
            above = costs.contents.get(run.content["upstream"])
            backbone = above["config"]["randomness"]["seed"] if above else run.content["upstream"]
            groups.setdefault(seed if run.record["node"] == "pretrain" else backbone, {})[seed] = run.record["metrics"][metric]
        values.append([list(by_seed.values()) for by_seed in groups.values()])
    return values


def needs(detect: float, costs: Costs) -> list[Need]:
    """Return for each task of the study what it takes to see ``detect`` points in its first metric.

    A task whose metric has neither repeated runs nor an assumed spread is left out.

    Raises:
        ValueError: ``detect`` is not above 0 and below 100.
    """
    if not 0 < detect < 100:
        raise ValueError(f"--detect is {detect:g}; give a difference in points above 0 and below 100, such as 0.3.")
    task_needs = []
    for task, bill in bills(costs).items():
        module = task_of({"task": task})
        metric, kind = module.METRICS[0], "given" if costs.study.cards() else module.STAGE
        noise = noise_of(metric, costs.study.scale, values_so_far(task, metric, costs), kind)
        if noise.source:
            task_needs.append(need(task, metric, detect, noise, bill, kind == "transfer"))
    return task_needs


def together(detect: float, found: list[Need], costs: Costs) -> tuple[int, int, float | None]:
    """Return (P, F, device-seconds): the cheapest numbers of pretrainings and fine-tunings that serve all tasks at once.

    Args:
        found: the tasks, from ``needs``.
    """
    task_bills = [bill for task, bill in bills(costs).items() if any(n.task == task for n in found)]
    total = None if None in task_bills else sum(task_bills[1:], task_bills[0])
    finetuning_counts = sorted({count for n in found for count in n.choices})
    pairs = [(max(needed(detect, n.noise, count) for n in found), count) for count in finetuning_counts]
    pretrainings, finetunings = _cheapest(pairs, total)
    return pretrainings, finetunings, None if total is None else total.of(pretrainings, finetunings)
