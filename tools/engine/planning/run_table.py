"""Lay out the runs of a plan: a line for each run, or, in a narrow terminal, how rows train once for all their seeds."""

from collections.abc import Iterator

from rich.table import Table

from tools.engine.analysis.results import DASH, heading_of
from tools.engine.planning.cost import Costs, amount, past_runs, size_of
from tools.engine.runs.lines import folded, in_columns
from tools.engine.studies.about import published_of
from tools.engine.studies.node import Node
from tools.engine.studies.study import Study

NAMES, RUN = ("task", "network", "recipe"), ("seed", "cost", "key", "state")  # columns; between them stands how a row trains


def run_table(study: Study, costs: Costs | None = None) -> Table:
    """Return a table with a line for each run: network and size, epochs, batch, learning rate, cost, key and state."""
    costs = costs or Costs(study, past_runs())
    table = Table(title=f"{study.name} at scale {study.scale}", box=None, padding=(0, 1))
    for name in (*NAMES, "seed"):
        table.add_column(name, no_wrap=True)
    for name in ("params", "mult-adds", "epochs", "batch", "lr"):
        table.add_column(name, justify="right")
    table.add_column("cost", justify="right", no_wrap=True)
    table.add_column("key", no_wrap=True)
    table.add_column("state")
    notes = sources(costs)
    for node in _lines(costs):
        state = node.state()
        weights = study.catalogue[node.recipe].weights
        if weights and not node.record and not weights.made:
            state += f", {weights.state}"
        table.add_row(*_cells(study, node), _cost(node, costs, notes, study.scale), node.key, state)
    return table


def published_table(study: Study, costs: Costs) -> Table | None:
    """Return a table with the published figures of each row, once for all its seeds; None if nothing is published."""
    values = published_of(study)["values"]
    metrics = list(dict.fromkeys(item["metric"] for item in values))
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for node in costs.rows:
        figures = rows.setdefault((node.network, node.recipe), {})
        for item in values:
            if item["recipe"] == node.recipe and item["network"] in (None, node.network or node.plan.network):
                figures[item["metric"]] = f"{item['value']:g}"
    if not any(rows.values()):
        return None
    table = Table(title="Published figures" if study.cards() else "Figures of the paper", box=None, padding=(0, 1))
    names = ("network", "recipe") if any(network for network, _ in rows) else ("recipe",)
    for name in names:
        table.add_column(name, no_wrap=True)
    for metric in metrics:
        table.add_column(heading_of(metric), justify="right")
    for (network, recipe), figures in rows.items():
        cells = (network, study.label(recipe))[-len(names) :]
        if figures:
            table.add_row(*cells, *(figures.get(metric, DASH) for metric in metrics))
    return table


def narrow_run_lines(table: Table, columns: int) -> list[str]:
    """Return a table of runs as lines for a terminal that is too narrow for it: the runs, then how each row trains."""
    cells = _by_name(table)
    runs = [
        (key, cost, state, f"{task} {network} {recipe} seed {seed}")
        for key, cost, state, task, network, recipe, seed in zip(
            *(cells[name] for name in ("key", "cost", "state", *NAMES, "seed")), strict=True
        )
    ]
    rows = dict.fromkeys(_phrases({name: column for name, column in cells.items() if name not in RUN}, NAMES))
    lines = [str(table.title), *in_columns(runs, ("key", "cost", "state", "run"), columns), "How they train"]
    return [*lines, *(folded(f"  {row}", columns) for row in rows)]


def narrow_lines(table: Table, names: tuple[str, ...], columns: int) -> list[str]:
    """Return a table as lines for a narrow terminal, each with the cells of ``names`` and then all others by their heads."""
    cells = _by_name(table)
    phrases = _phrases(cells, tuple(name for name in names if name in cells))
    return [str(table.title), *(folded(f"  {phrase}", columns) for phrase in phrases)]


def _by_name(table: Table) -> dict[str, list[str]]:
    return {str(column.header): list(map(str, column.cells)) for column in table.columns}


def _phrases(cells: dict[str, list[str]], names: tuple[str, ...]) -> Iterator[str]:
    """Yield for each line of a table its cells of ``names``, a colon, and its other cells after their heads."""
    facts = {name: column for name, column in cells.items() if name not in names}
    for i in range(len(next(iter(cells.values()), []))):
        values = ", ".join(f"{name} {column[i]}" for name, column in facts.items() if column[i] != DASH)
        yield f"{' '.join(cells[name][i] for name in names)}: {values}"


def _lines(costs: Costs) -> list[Node]:
    """Return the runs of all rows, teachers first; a run that several recipes share has a line for each."""
    named = {(node.key, node.recipe): node for node in (*costs.rows, *costs.nodes)}
    return sorted(named.values(), key=lambda n: not n.network.startswith("teacher"))


def _cells(study: Study, node: Node) -> list[str]:
    """Return the cells of a run from its task to its learning rate."""
    cfg = node.plan
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
