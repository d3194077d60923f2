"""Say in plain words, before a study starts, how many runs it has, how long they take, and what difference they can show."""

from collections.abc import Iterator, Mapping
from math import sqrt

from tools.engine.analysis.results import heading_of
from tools.engine.config import task_of
from tools.engine.planning.cost import Costs, amount, past_runs
from tools.engine.planning.plan import cost_line, other_threads, sources
from tools.engine.planning.power_analysis import POWER, noise_of, values_so_far
from tools.engine.power import power_of
from tools.engine.studies.study import Study

LONG = 50  # hours of one device above which shorter ways are named


def announce(study: Study, jobs: int) -> Iterator[str]:
    """Yield sentences on the runs of a study of cards, their cost, and the differences that its seeds can show.

    Args:
        study: each row of which starts from a card or from scratch.
        jobs: number of runs at once.
    """
    costs = Costs(study, past_runs())
    yield protocol_line(costs)
    yield cost_line(costs, jobs)
    if origins := sources(costs):
        yield f"Estimated from {'; from '.join(origins)}."
    yield from other_threads(costs)
    if study.seeds == 1:
        yield (
            "With one seed no difference can be proved, however large it is: a single run does not show how far seeds lie apart. "
            "Add --seeds 3 for verdicts; the runs of the first seed are kept."
        )
        return
    for task in dict.fromkeys(node.task for node in costs.rows):
        yield difference_line(task, costs)


def protocol_line(costs: Costs) -> str:
    """Return a sentence on the network and the protocol of each task."""
    plans = {node.task: node.plan for node in costs.rows}
    texts = (f"{task} by {plan.network} (protocol {plan.protocol.name})" for task, plan in plans.items())
    text = ", ".join(texts)
    return f"{text[:1].upper()}{text[1:]}."


def difference_line(task: str, costs: Costs) -> str:
    """Return a sentence on the smallest difference of two rows that the study's seeds show four times out of five."""
    seeds, metric = costs.study.seeds, task_of({"task": task}).METRICS[0]
    noise = noise_of(metric, costs.study.scale, values_so_far(task, metric, costs), "given")
    name = heading_of(metric)
    if not noise.finetuning:
        return f"{name}: how far seeds lie apart is unknown until some have run."
    std = sqrt(noise.finetuning)
    return (
        f"{name}: with {seeds} seeds a true difference of {smallest_shown(seeds, std):.2g} points is proved {POWER:.0%} of the "
        f"time, if the standard deviation of seeds is {std:.2g} ({noise.source}); a smaller one may stay undecided."
    )


def smallest_shown(n: int, std: float) -> float:
    """Return the true difference in points that a verdict on ``n`` seeds a side finds with the probability ``POWER``.

    Args:
        n: number of seeds, 2 or more.
        std: the deviation between seeds of either side, in points, above 0.
    """
    low, high = 0.0, std
    while power_of(n, high, std) < POWER:
        low, high = high, 2 * high
    while high - low > 1e-3 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if power_of(n, middle, std) >= POWER else (middle, high)
    return high


def hours_left(study: Study) -> float:
    """Return the estimated hours on one device of a study's unfinished runs; a run without an estimate counts as 0."""
    costs = Costs(study, past_runs())
    return sum(estimate.seconds for node in costs.left if (estimate := costs.of(node))) / 3600


def shorter_ways(study: Study, others: Mapping[str, Study]) -> str:
    """Return a sentence that names the cheapest value of each option that makes a study shorter; empty if there is none.

    Args:
        others: the same study by another option, by the option and its value.
    """
    now, best = hours_left(study), {}
    for option_text, other in others.items():
        option, hours = option_text.partition(" ")[0], hours_left(other)
        if 0 < hours < min(now, best.get(option, (now,))[0]):
            best[option] = hours, option_text
    texts = [f"{option_text} (about {amount(3600 * hours, study.scale)})" for hours, option_text in best.values()]
    return f"Shorter ways: {', '.join(texts)}." if texts else ""
