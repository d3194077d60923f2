"""Show what a study would run: its rows, how they train, what they cost, and the seeds that a difference takes. Needs no data."""

from collections.abc import Iterator
from math import sqrt

from rich.table import Table

from tools.engine.analysis.results import DASH, heading_of
from tools.engine.analysis.verdicts import FEWEST_PAIRS
from tools.engine.config import task_of
from tools.engine.planning.cost import Costs, amount, elapsed, multiply_adds, parameters, past_runs, size_of
from tools.engine.planning.power_analysis import ASSUMED, POWER, Need, needs, together
from tools.engine.runs.lines import WIDE, folded, in_columns, width
from tools.engine.studies.about import published_of
from tools.engine.studies.graph import missing_data
from tools.engine.studies.node import Node
from tools.engine.studies.published_weights import FILES
from tools.engine.studies.study import MOST_SEEDS, Study
from tools.engine.wording import counted


def show_plan(study: Study, detect: float | None = None, jobs: int = 1) -> None:
    """Print the plan of a study: rows, costs with ``jobs`` runs at once, and the seeds that ``detect`` points take."""
    from rich.console import Console  # here for load time

    console = Console()
    console = console if console.is_terminal else Console(width=220)
    costs = Costs(study, past_runs())
    if study.cards():
        console.print(card_table(study))
    table = plan_table(study, costs)
    if console.measure(table, options=console.options.update(max_width=WIDE)).maximum <= console.width:
        console.print(table)
    else:
        print("\n".join(narrow_lines(table, console.width)))
    origins = [f"  {letter}: {source}" for source, letter in sources(costs).items()]
    for line in (cost_line(costs, jobs), *origins, *provisional_lines(costs)):
        print(folded(line, width()))
    if detect is not None:
        task_needs = needs(detect, costs)
        console.print(detect_table(study, detect, task_needs))
        for line in detect_lines(detect, task_needs, costs):
            print(folded(line, width()))


def plan_table(study: Study, costs: Costs | None = None) -> Table:
    """Return a table with a line for each run: network and size, epochs, batch, learning rate, published figures, cost, state."""
    costs = costs or Costs(study, past_runs())
    published = published_of(study)["values"]
    metrics = list(dict.fromkeys(item["metric"] for item in published))
    origin = "published" if study.cards() else "paper"
    table = Table(title=f"{study.name} at scale {study.scale}", box=None, padding=(0, 1))
    for name in ("task", "network", "recipe", "seed"):
        table.add_column(name, no_wrap=True)
    for name in ("params", "mult-adds", "epochs", "batch", "lr", *(f"{origin} {heading_of(m)}" for m in metrics)):
        table.add_column(name, justify="right")
    table.add_column("cost", justify="right", no_wrap=True)
    table.add_column("key", no_wrap=True)
    table.add_column("state")
    notes = sources(costs)
    for node in _lines(costs):
        cfg = node.plan
        figures = _published(published, metrics, node, node.network or cfg.network)
        state = node.state()
        weights = study.catalogue[node.recipe].weights
        if weights and not node.record and not weights.made:
            state += f", {weights.state}"
        table.add_row(*_cells(study, node, cfg), *figures, _cost(node, costs, notes, study.scale), node.key, state)
    return table


def narrow_lines(table: Table, columns: int) -> list[str]:
    """Return a plan's table as lines for a terminal that is too narrow for it: key, cost and state of a run, then all else."""
    cells = {str(column.header): list(map(str, column.cells)) for column in table.columns}
    firsts = zip(*(cells.pop(name) for name in ("key", "cost", "state")), strict=True)
    names = zip(*(cells.pop(name) for name in ("task", "network", "recipe", "seed")), strict=True)
    rows = []
    for i, (first, (task, network, recipe, seed)) in enumerate(zip(firsts, names, strict=True)):
        figures = ", ".join(f"{name} {values[i]}" for name, values in cells.items() if values[i] != DASH)
        rows.append((*first, f"{task} {network} {recipe} seed {seed}: {figures}"))
    return [str(table.title), *in_columns(rows, ("key", "cost", "state", "run"), columns)]


def _lines(costs: Costs) -> list[Node]:
    """Return the runs of all rows, teachers first; a run that several recipes share has a line for each."""
    named = {(node.key, node.recipe): node for node in (*costs.rows, *costs.nodes)}
    return sorted(named.values(), key=lambda n: not n.network.startswith("teacher"))


def _cells(study: Study, node: Node, cfg) -> list[str]:
    """Return the cells of a run from its task to its learning rate."""
    size = size_of(cfg) if node.pretrain else {}
    batch = str(cfg.batch)
    if (micro := cfg.get("micro_batch", cfg.batch)) != cfg.batch:
        batch += f" = {cfg.batch // micro} x {micro}"
    return [
        node.task,
        node.network or cfg.network,
        study.label(node.recipe),
        str(node.options.seed),
        f"{size['parameters'] / 1e6:.2f} M" if size else DASH,
        f"{size['multiply_adds'] / 1e9:.3g} G" if size else DASH,
        str(cfg.epochs) if "epochs" in cfg else f"{cfg.updates} updates",
        batch,
        f"{cfg.optim_wrapper.optimizer.lr:g}",
    ]


def _published(values: list[dict], metrics: list[str], node: Node, network: str) -> list[str]:
    """Return the published figures of a run, a cell for each metric; a teacher has none."""
    if node.network.startswith("teacher"):
        return [DASH] * len(metrics)
    figures = {
        item["metric"]: f"{item['value']:g}"
        for item in values
        if item["recipe"] == node.recipe and item["network"] in (None, network)
    }
    return [figures.get(metric, DASH) for metric in metrics]


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


def sources(costs: Costs) -> dict[str, str]:
    """Return {source of estimates of the runs to do: its letter}."""
    distinct = dict.fromkeys(estimate.source for node in costs.left if (estimate := costs.of(node)))
    return {source: chr(ord("a") + i) for i, source in enumerate(distinct)}


def _cost(node: Node, costs: Costs, notes: dict[str, str], scale: str) -> str:
    """Return the estimate of a run with the letter of its source; '' if the run is done, '?' without an estimate."""
    if node.record:
        return ""
    estimate = costs.of(node)
    return f"{amount(estimate.seconds, scale)} {notes[estimate.source]}" if estimate else "?"


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


def provisional_lines(costs: Costs) -> Iterator[str]:
    """Yield a sentence for each reason why keys of the table may still change."""
    if missing := missing_data(costs.nodes):
        yield f"Keys are provisional: without data at hand ({', '.join(missing)}) they do not identify it."
    if names := [row.name for row in costs.study.needed_cards() if not row.made]:
        yield f"Keys are provisional: {', '.join(names)} have no card yet; run makes them, or says which file it needs where."


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
    scale, assumed = costs.study.scale, {source for *_, source in ASSUMED.values()}
    for need in found:
        text = f"  {heading_of(need.metric)}: {need.noise.source}"
        if need.noise.source in assumed and scale != "paper":
            text += f"; not of scale {scale}, where none was measured"
        yield f"{text}."
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
