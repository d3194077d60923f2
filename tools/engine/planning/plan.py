"""What a study would run: its rows, how they train, what they cost, and the seeds that a difference takes. Needs no data."""

from collections.abc import Iterator
from math import sqrt

from rich.table import Table

from tools.engine.analysis.results import DASH, heading_of
from tools.engine.config import task_of
from tools.engine.planning.cost import Costs, amount, multiply_adds, parameters, past_runs, size_of
from tools.engine.planning.power_analysis import ASSUMED, POWER, Need, needs, together
from tools.engine.studies.collect import published_of
from tools.engine.studies.graph import missing_data
from tools.engine.studies.node import Node
from tools.engine.studies.published_weights import FILES
from tools.engine.studies.study import MOST_SEEDS, Study


def show_plan(study: Study, detect: float | None = None) -> None:
    """Prints the plan of a study: rows, costs and, for ``detect`` points, the seeds they take."""
    from rich.console import Console

    console = Console()
    console = console if console.is_terminal else Console(width=220)
    costs = Costs(study, past_runs())
    if study.cards():
        console.print(card_table(study))
    console.print(plan_table(study, costs))
    for line in (*cost_lines(costs), *provisional_lines(costs)):
        print(line)
    if detect is not None:
        found = needs(detect, costs)
        console.print(detect_table(study, detect, found))
        for line in detect_lines(detect, found, costs):
            print(line)


def plan_table(study: Study, costs: Costs | None = None) -> Table:
    """A line for each run: network and its size, epochs, batch, learning rate, published figures, cost, key and state."""
    costs = costs or Costs(study, past_runs())
    published = published_of(study)["values"]
    metrics = [m for m in dict.fromkeys(item["metric"] for item in published)]
    theirs = "published" if study.cards() else "paper"
    table = Table(title=f"{study.name} at scale {study.scale}", box=None, padding=(0, 1))
    for name in ("task", "network", "recipe", "seed"):
        table.add_column(name, no_wrap=True)
    for name in ("params", "mult-adds", "epochs", "batch", "lr", *(f"{theirs} {heading_of(m)}" for m in metrics)):
        table.add_column(name, justify="right")
    table.add_column("cost", justify="right", no_wrap=True)
    table.add_column("key", no_wrap=True)
    table.add_column("state")
    notes = sources(costs)
    for node in _lines(costs):
        cfg = node.plan
        figures = _published(published, metrics, node, node.network or cfg.network)
        state = node.state()
        if (weights := study.catalogue[node.recipe].weights) and not node.record:
            state += "" if weights.made else f", {weights.state}"
        table.add_row(*_cells(study, node, cfg), *figures, _cost(node, costs, notes, study.scale), node.key, state)
    return table


def _lines(costs: Costs) -> list[Node]:
    """The runs of all rows, teachers first; one that several recipes share has a line for each."""
    named = {(node.key, node.recipe): node for node in (*costs.rows, *costs.nodes)}
    return sorted(named.values(), key=lambda n: not n.network.startswith("teacher"))


def _cells(study: Study, node: Node, cfg) -> list[str]:
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
    own = {
        item["metric"]: f"{item['value']:g}"
        for item in values
        if item["recipe"] == node.recipe and item["network"] in (None, network)
    }
    found = [own.get(metric, DASH) for metric in metrics]
    return [DASH] * len(metrics) if node.network.startswith("teacher") else found


def card_table(study: Study) -> Table:
    """A line for each row of published weights: what they are, how large the backbone is, and whether the file is here."""
    table = Table(title="Published weights", box=None, padding=(0, 1))
    for name in ("name", "recipe", "trained by"):
        table.add_column(name)
    for name in ("params", "mult-adds", "top-1"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column(f"file in {FILES}/", overflow="fold")
    table.add_column("state", no_wrap=True)
    for row in study.cards():
        size = f"{parameters(row.arch) / 1e6:.2f} M", f"{multiply_adds(row.arch) / 1e9:.3g} G"
        top1 = DASH if row.top1 is None else f"{row.top1:.2f}"
        table.add_row(row.name, study.label(row.name), row.about, *size, top1, row.file, row.state)
    return table


# ---- what it costs


def sources(costs: Costs) -> dict[str, str]:
    """{where the estimates of runs to do come from: a letter}."""
    found = dict.fromkeys(estimate.source for node in costs.left if (estimate := costs.of(node)))
    return {source: chr(ord("a") + i) for i, source in enumerate(found)}


def _cost(node: Node, costs: Costs, notes: dict[str, str], scale: str) -> str:
    """Of a run to do, with the letter of its source; nothing for one that is done, '?' where nothing is known."""
    if node.record:
        return ""
    estimate = costs.of(node)
    return f"{amount(estimate.seconds, scale)} {notes[estimate.source]}" if estimate else "?"


def cost_lines(costs: Costs) -> Iterator[str]:
    """One sentence on what runs, what is done and what the rest costs, then what each estimate rests on."""
    nodes, left, scale = costs.nodes, costs.left, costs.study.scale
    known = [estimate for node in left if (estimate := costs.of(node))]
    total = sum(estimate.seconds for estimate in known)
    kinds = ", ".join(f"{sum(n.task == task for n in left)} of {task}" for task in dict.fromkeys(n.task for n in left))
    text = f"{len(nodes)} runs: {len(nodes) - len(left)} done, {len(left)} to do"
    if left:
        text += f" ({kinds}), about {amount(total, scale)}"
        text += "" if scale == "paper" else " one after another"
        text += f", without {len(left) - len(known)} of unknown cost" * (len(known) < len(left))
    yield text + "."
    for source, letter in sources(costs).items():
        yield f"  {letter}: {source}"


def provisional_lines(costs: Costs) -> Iterator[str]:
    """What the keys of the table lack to be final."""
    if missing := missing_data(costs.nodes):
        yield f"Keys are provisional: without data at hand ({', '.join(missing)}) they do not say what it is."
    if names := [row.name for row in costs.study.cards() if not row.made]:
        yield f"Keys are provisional: {', '.join(names)} have no card yet; run makes them, or says which file to put where."


# ---- what it takes to see a difference


def detect_table(study: Study, detect: float, found: list[Need]) -> Table:
    """A line for each task: the spread, the seeds that it asks for, their power, and what all recipes cost with them."""
    table = Table(title=f"To see {detect:g} points at {POWER:.0%} power", box=None, padding=(0, 1))
    for name in ("task", "metric"):
        table.add_column(name, no_wrap=True)
    given = bool(study.cards())
    heads = ("runs a row",) if given else ("pretrainings a recipe", "fine-tunings of each")
    for name in ("std pretraining", "std fine-tuning", *heads, "power", "cost of the study"):
        table.add_column(name, justify="right")
    for need in found:
        bound = ">= " * (need.noise.pretraining is None)
        seeds = [f"{bound}{need.pretrainings}"]
        if not given:
            seeds.append(str(need.finetunings) if task_of({"task": need.task}).STAGE == "transfer" else DASH)
        cost = "?" if need.cost is None else bound + amount(need.cost, study.scale)
        table.add_row(need.task, heading_of(need.metric), *_stds(need, given), *seeds, f"{need.power:.0%}", cost)
    return table


def _stds(need: Need, given: bool) -> tuple[str, str]:
    noise, transfer = need.noise, task_of({"task": need.task}).STAGE == "transfer"
    pretraining = "unknown" if noise.pretraining is None else f"{sqrt(noise.pretraining):.2f}"
    finetuning = "in it" if noise.finetuning is None else f"{sqrt(noise.finetuning):.2f}"
    return DASH if given else pretraining, finetuning if transfer else DASH


def detect_lines(detect: float, found: list[Need], costs: Costs) -> Iterator[str]:
    """What the numbers of ``detect_table`` rest on, and the option that serves all tasks."""
    scale, assumed = costs.study.scale, {source for *_, source in ASSUMED.values()}
    for need in found:
        foreign = f"; not of scale {scale}, where none was measured" * (need.noise.source in assumed and scale != "paper")
        yield f"  {heading_of(need.metric)}: {need.noise.source}{foreign}."
    if any(need.noise.pretraining is None for need in found):
        yield (
            "  >=: how far pretrainings of one recipe lie apart after transfer is unknown until some are repeated (--seeds 2x2); "
            "taken as 0 here, so that this is the least."
        )
    if found:
        p, f, seconds = together(detect, found, costs)
        cost = "" if seconds is None else f", {amount(seconds, scale)} in all, with what is done already"
        more = f" (--seeds takes {MOST_SEEDS} at most)" if p > MOST_SEEDS else ""
        yield f"All tasks at once: --seeds {p}" + f"x{f}" * (f > 1) + f"{more}{cost}."
    yield (
        "One difference of two recipes, each at these seeds, by a two-sided t test at 5 % on the test images as they are. A "
        "table's adjusted p asks for more, and so does the claim that other images would show it."
    )
