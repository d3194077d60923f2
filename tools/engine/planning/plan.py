"""Show what a study would run: its rows, how they train, what they cost, and the seeds that a difference takes. Needs no data."""

from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from math import sqrt
from typing import TYPE_CHECKING

from rich.table import Table

from tools.engine.analysis.results import DASH, heading_of
from tools.engine.analysis.verdicts import FEWEST_PAIRS
from tools.engine.config import task_of
from tools.engine.planning.cost import Costs, amount, elapsed, multiply_adds, parameters, past_runs
from tools.engine.planning.power_analysis import POWER, Need, needs, together
from tools.engine.planning.run_table import narrow_lines, narrow_run_lines, published_table, run_table, sources
from tools.engine.runs.lines import WIDE, folded, width
from tools.engine.studies.graph import missing_data
from tools.engine.studies.published_weights import FILES
from tools.engine.studies.study import MOST_SEEDS, Study
from tools.engine.wording import counted

if TYPE_CHECKING:
    from rich.console import Console


def show_plan(study: Study, detect: float | None = None, jobs: int = 1) -> None:
    """Print the plan of a study: rows, costs with ``jobs`` runs at once, and the seeds that ``detect`` points take."""
    from rich.console import Console  # here for load time

    console = Console(width=width())
    costs = Costs(study, past_runs())
    if study.cards():
        console.print(card_table(study))
    _show(console, run_table(study, costs), narrow_run_lines)
    if published := published_table(study, costs):
        _show(console, published, partial(narrow_lines, names=("network", "recipe")))
    origins = [f"  {letter}: {source}" for source, letter in sources(costs).items()]
    for line in (cost_line(costs, jobs), *origins, *key_lines(costs)):
        print(folded(line, width()))
    if detect is not None:
        task_needs = needs(detect, costs)
        console.print(detect_table(study, detect, task_needs))
        for line in detect_lines(detect, task_needs, costs):
            print(folded(line, width()))


def _show(console: "Console", table: Table, lines_of: Callable[..., list[str]]) -> None:
    """Print a table, or the lines that ``lines_of`` makes of it for a terminal that is too narrow."""
    if console.measure(table, options=console.options.update(max_width=WIDE)).maximum <= console.width:
        console.print(table)
    else:
        print("\n".join(lines_of(table, columns=console.width)))


def card_table(study: Study) -> Table:
    """Return a table with a line for each row of weights or of a card: origin, size of the backbone, file and its state."""
    table = Table(title="Weights", box=None, padding=(0, 1))
    for name in ("name", "recipe", "about"):
        table.add_column(name)
    for name in ("params", "mult-adds", "top-1"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column(f"card, or file in {FILES}/ or of a package", overflow="fold")
    table.add_column("state", no_wrap=True)
    for row in study.cards():
        size = f"{parameters(row.arch) / 1e6:.2f} M", f"{multiply_adds(row.arch) / 1e9:.3g} G"
        top1 = DASH if row.top1 is None else f"{row.top1:.2f}"
        file = f"{row.file} of {row.package}" if row.package else row.file
        table.add_row(row.name, study.label(row.name), row.about, *size, top1, file, row.state)
    return table


# ---- cost


def cost_line(costs: Costs, jobs: int = 1) -> str:
    """Return a sentence on the runs done and to do, and their cost."""
    nodes, left, scale = costs.nodes, costs.left, costs.study.scale
    estimated = {node.key: estimate.seconds for node in left if (estimate := costs.of(node))}
    total = sum(estimated.values())
    kinds = ", ".join(f"{sum(n.task == task for n in left)} of {task}" for task in dict.fromkeys(n.task for n in left))
    text = f"{counted(len(nodes), 'run')}: {len(nodes) - len(left)} done, {len(left)} to do"
    if left:
        text += f" ({kinds}), about {amount(total, scale)}"
        if scale != "paper":
            text += " one after another"
            if jobs > 1:
                parallel = elapsed([node for node in left if node.key in estimated], estimated, jobs)
                text += f", {amount(parallel, scale)} with {jobs} at once"
        if len(estimated) < len(left):
            text += f", without {len(left) - len(estimated)} of unknown cost"
    return text + "."


def key_lines(costs: Costs) -> Iterator[str]:
    """Yield a sentence for each reason why keys of the table may still change, or are not those of finished runs."""
    yield from other_threads(costs)
    if missing := missing_data(costs.nodes):
        more = f" and {counted(len(missing) - 1, 'other folder')}" if len(missing) > 1 else ""
        yield f"Keys are provisional: without data at hand ({missing[0]}{more}) they do not identify it."
    if names := [row.name for row in costs.study.needed_cards() if not row.made]:
        yield f"Keys are provisional: {', '.join(names)} have no card yet; run makes them, or says which file it needs where."


def other_threads(costs: Costs) -> Iterator[str]:
    """Yield a sentence for each number of threads with which runs are done that the study would do again with another."""
    done: Counter[int] = Counter()
    for node in costs.left:
        content, seed = node.run_key.content, node.options.seed
        same_seed = [run.content for run in costs.seen.get(costs.identity(node), ()) if run.record["seed"] == seed]
        threads_done = {twin["threads"] for twin in same_seed if twin["device"] == content["device"] == "cpu"}
        done.update(threads_done - {content["threads"]})
    for threads, number in done.items():
        yield (
            f"{counted(number, 'run')} of these {'is' if number == 1 else 'are'} done with {counted(threads, 'thread')}. On CPUs "
            f"the number of threads is part of a key: give the same --jobs, or set OMP_NUM_THREADS={threads}, to take them."
        )


# ---- seeds that a difference takes


def detect_table(study: Study, detect: float, found: list[Need]) -> Table:
    """Return a table with a line for each task: the spread, the seeds needed, their power, and what all recipes cost with them.

    Args:
        found: the tasks, from ``needs``.
    """
    table = Table(title=f"To see {detect:g} points at {POWER:.0%} power", box=None, padding=(0, 1))
    for name in ("task", "metric"):
        table.add_column(name, no_wrap=True)
    given = bool(study.cards())
    heads = ("runs a row",) if given else ("pretrainings a recipe", "fine-tunings of each")
    for name in ("std pretraining", "std fine-tuning", *heads, "power", "cost of the study"):
        table.add_column(name, justify="right")
    for need in found:
        bound = ">= " if need.noise.pretraining is None else ""
        seeds = [f"{bound}{need.pretrainings}"]
        if not given:
            seeds.append(str(need.finetunings) if _is_transfer(need) else DASH)
        cost = "?" if need.cost is None else bound + amount(need.cost, study.scale)
        table.add_row(need.task, heading_of(need.metric), *_stds(need, given), *seeds, f"{need.power:.0%}", cost)
    return table


def _is_transfer(need: Need) -> bool:
    return task_of({"task": need.task}).STAGE == "transfer"


def _stds(need: Need, given: bool) -> tuple[str, str]:
    """Return the cells of the standard deviations of pretrainings and of fine-tunings."""
    noise = need.noise
    pretraining = "unknown" if noise.pretraining is None else f"{sqrt(noise.pretraining):.2f}"
    finetuning = "in it" if noise.finetuning is None else f"{sqrt(noise.finetuning):.2f}"
    if given:
        pretraining = DASH
    if not _is_transfer(need):
        finetuning = DASH
    return pretraining, finetuning


def detect_lines(detect: float, found: list[Need], costs: Costs) -> Iterator[str]:
    """Yield the sources of the numbers of ``detect_table``, and the option that serves all tasks.

    Args:
        found: the tasks, from ``needs``.
    """
    scale = costs.study.scale
    for need in found:
        yield f"  {heading_of(need.metric)}: {need.noise.source}."
    if any(need.noise.pretraining is None for need in found):
        yield (
            "  >=: how far pretrainings of one recipe lie apart after transfer is unknown until some are repeated (--seeds 2x2); "
            "it counts as 0 here, so these numbers are lower bounds."
        )
    if found:
        pretrainings, finetunings, seconds = together(detect, found, costs)
        text = f"All tasks at once: --seeds {pretrainings}"
        if finetunings > 1:
            text += f"x{finetunings}"
        if pretrainings > MOST_SEEDS:
            text += f" (--seeds takes {MOST_SEEDS} at most)"
        if seconds is not None:
            text += f", {amount(seconds, scale)} in all, finished runs included"
        yield f"{text}."
    yield (
        "One difference of two recipes, each at these seeds, by the two-sided t test of its verdict at 5 % (Welch's below "
        f"{FEWEST_PAIRS} seeds, else of pairs) on the test images as they are. A page's adjusted p asks for more, and so does "
        "the claim that other images would show it. What a seed does to both sides alike cancels in pairs and asks for less."
    )
