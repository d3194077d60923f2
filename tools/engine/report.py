"""The report of a study: its table, the gains with their verdicts, and what they rest on.

Reads results.csv and study.json of a study's folder, the pictures of its runs where they lie as study.json says, and nothing
else; needs neither torch nor mmengine, so that any machine can write it.
"""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from statistics import fmean

from backbones.files import atomic
from tools.engine.compare import difference, verdict
from tools.engine.render import Report, Sheet, Table, draw, html, latex, markdown
from tools.engine.results import DASH, SCRATCH, Cell, Column, Results, heading_of, load_results, seed_of

TERMINAL_GAINS = ("mAP", "mIoU")
SCORES = ("top1", "top5", "mAP", "pixAcc", "mIoU")  # published figures of which a difference is a gain
CAVEATS = (
    "With one seed every verdict is undecided: one run cannot tell a gain from noise, however large.",
    "Rows named scratch train the whole backbone from random weights with nothing frozen; that is the one "
    "permitted difference between rows.",
    "n counts pretrainings: transfers of one pretrained backbone are averaged first, since they are not "
    "independent of each other (from scratch, n counts the runs themselves).",
    "A run that diverged has no number, and the mean beside it speaks only for the runs that finished.",
    "Each interval stands for itself; none is widened for the number of comparisons made.",
)


def result_table(results: Results) -> Table:
    """Recipes x metrics: mean ± sample standard deviation, with n."""
    columns = results.columns
    rows = [[results.label(r), *(str(results.cell(r, c)) for c in columns)] for r in results.study["recipes"]]
    note = "Percent, higher is better: mean ± sample standard deviation, and n, the number of seeds."
    return Table("Results", "l" + "r" * len(columns), ["recipe", *map(results.heading, columns)], rows, note)


def gain(results: Results, recipe: str, base: str, column: Column) -> list[str]:
    """[points gained, interval, n, verdict] of a recipe over ``base``, dashes where there is none."""
    a, b = results.cell(recipe, column).points, results.cell(base, column).points
    n = f"{len(a)} vs {len(b)}"
    if not a or not b:
        return [DASH, DASH, n, DASH]
    diff = difference(a, b)
    interval = "[{:+.2f}, {:+.2f}]".format(*diff.interval) if diff.interval else DASH
    return [f"{diff.mean:+.2f}", interval, n, verdict(diff, results.study["margin"])]


def gain_table(results: Results, base: str) -> Table:
    """Every other recipe over ``base``, in the columns where ``base`` has run."""
    columns = [c for c in results.columns if results.cell(base, c) != Cell([])]
    others = [r for r in results.study["recipes"] if r != base]
    rows = [[results.label(r), results.heading(c), *gain(results, r, base, c)] for r in others for c in columns]
    margin = f"±{results.study['margin']:g}"
    note = (
        f"Points, with the 95 % t interval of Welch and Satterthwaite. Equivalent: the interval lies "
        f"within {margin}. Better or worse: it lies on one side of 0, and not within {margin}. Undecided: "
        "all else, and n = 1."
    )
    if base == results.reference != (named := results.study.get("reference")):
        note = f"The reference {named} has not run; these gains are over the first recipe instead. {note}"
    header = ["recipe", "metric", "gain", "95 % interval", "n", "verdict"]
    return Table(f"Gains over {results.label(base)}", "llrrrl", header, rows, note)


def published_table(results: Results) -> Table:
    """Published numbers of the same recipes with their gains: a table of their own, never beside ours."""
    published, base = results.study.get("published") or {}, results.reference
    values = {(v["recipe"], v["metric"], v["network"] or ""): v["value"] for v in published.get("values", ())}
    seen = dict.fromkeys((metric, network) for _, metric, network in values)
    order = dict.fromkeys([*results.study["metrics"], *(metric for metric, _ in seen)])
    columns = [(m, network) for m in order for metric, network in seen if metric == m]
    several = len({network for _, network in columns}) > 1
    recipes = dict.fromkeys([*results.study["recipes"], *(recipe for recipe, _, _ in values)])
    rows = [
        [results.label(r), *(_published(values, r, base, m, network) for m, network in columns)]
        for r in recipes
        if any(r == recipe for recipe, _, _ in values)
    ]
    note = (
        f"Source: {published.get('source', 'not given')}. Not our runs, and another protocol than ours but at scale paper: "
        f"compare the gains (in brackets, over {results.label(base)}), not the levels."
    )
    header = ["recipe", *(heading_of(m) + (f" ({network})" if several and network else "") for m, network in columns)]
    return Table("Published numbers", "l" + "r" * len(columns), header, rows, note)


def _published(values: dict[tuple, float], recipe: str, base: str, metric: str, network: str) -> str:
    own, reference = values.get((recipe, metric, network)), values.get((base, metric, network))
    if own is None:
        return DASH
    gains = recipe != base and reference is not None and metric in SCORES
    return f"{own:.2f} ({own - reference:+.2f})" if gains else f"{own:.2f}"


def network_table(results: Results) -> Table:
    """What was pretrained: size of the network and pace of its training, the mean of its runs."""
    runs, groups = results.study.get("runs", {}), {}
    for row in results.rows:
        if (run := runs.get(row["run"], {})) and run.get("size"):
            groups.setdefault((row["recipe"], row["network"]), {})[row["run"]] = run
    rows = [
        [results.label(recipe), network, *_pace(list(groups[recipe, network].values()))]
        for recipe in results.study["recipes"]
        for network in dict.fromkeys(network for _, network in groups)
        if (recipe, network) in groups
    ]
    note = (
        "Multiply-adds of one image through convolutions and the last layer. Images/s by the median time from update to update, "
        "with loading; minutes of an epoch at that pace. Compare paces only between runs that had the machine to themselves."
    )
    header = ["recipe", "network", "parameters", "multiply-adds", "images/s", "min/epoch", "precision", "runs"]
    return Table("Networks", "llrrrrlr", header, rows, note)


def _pace(runs: list[dict]) -> list[str]:
    paces = [run["speed"] for run in runs if run.get("speed")]
    speed = [f"{fmean(p[name] for p in paces):.3g}" if paces else DASH for name in ("images_per_second", "minutes_per_epoch")]
    size, precision = runs[0]["size"], ", ".join(sorted({run.get("precision") or DASH for run in runs}))
    return [f"{size['parameters'] / 1e6:.2f} M", f"{size['multiply_adds'] / 1e9:.3g} G", *speed, precision, str(len(runs))]


def recipe_table(results: Results) -> Table:
    """The tricks of each recipe, with the options they were given."""
    tricks = results.study.get("tricks", {})
    rows = [[results.label(r), r, _tricks(tricks.get(r))] for r in results.study["recipes"]]
    note = "; ".join(f"{network} goes without {', '.join(names)}" for network, names in results.study.get("left_out", {}).items())
    return Table("Recipes", "lll", ["recipe", "name", "tricks"], rows, f"{note}." if note else "")


def _tricks(tricks: list | None) -> str:
    if tricks is None:
        return "no pretraining"
    texts = [" ".join([name, *(f"{k}={v}" for k, v in options.items())]) for name, options in tricks]
    return ", ".join(texts) or "none"


def difference_table(results: Results) -> Table:
    """The keys of the resolved pretraining config in which a recipe and its parent differ."""
    rows = [
        [results.label(recipe), results.label(found["parent"]), key, str(old), str(own)]
        for recipe, found in (results.study.get("differences") or {}).items()
        for key, (old, own) in found["keys"].items()
    ]
    header = ["recipe", "parent", "key of the config", "parent has", "recipe has"]
    return Table("What differs from the parent", "lllll", header, rows)


def protocol_table(results: Results) -> Table:
    protocols = results.study.get("protocols", {})
    rows = [[task, key, str(value)] for task, items in protocols.items() for key, value in items.items()]
    return Table("Protocols", "lll", ["task", "item", "value"], rows, "The same for every row of the study.")


def tuning_table(results: Results) -> Table:
    """The held-out score of each learning rate tried, where rates were tuned."""
    tried = results.study.get("tuning", [])
    factors = sorted({factor for item in tried for factor in item["values"]}, key=float)
    rows = [
        [
            *(results.label(item["recipe"]), item["task"], str(item["seed"]), heading_of(item["metric"])),
            *(DASH if (value := item["values"].get(factor)) is None else f"{value:.2f}" for factor in factors),
            f"x{item['best']:g}" + (" (edge)" if item["edge"] else ""),
        ]
        for item in tried
    ]
    note = (
        "Held-out images of the training data, never those of the results; the rows named 'tuned lr' are at the best. The same "
        "grid for every backbone."
    )
    if edges := sum(item["edge"] for item in tried):
        note += (
            f" Warning: for {edges} of {len(tried)} the best is at the edge of the grid (marked), so that a better rate may lie "
            "outside it: what the tuned rows say of them is a lower bound."
        )
    header = ["recipe", "task", "seed", "metric", *(f"lr x{factor}" for factor in factors), "best"]
    return Table("Learning rates", "llrl" + "r" * (len(factors) + 1), header, rows, note)


def cost_table(results: Results) -> Table:
    """Seconds of a recipe: the mean run of each task, and all its runs over its seeds."""
    tasks = list(results.tasks)
    header = ["recipe", *tasks, "per seed", "runs", "seeds"]
    rows = [[results.label(r), *_cost(results, r, tasks)] for r in results.study["recipes"]]
    note = "Seconds: the mean run of a task, and the sum of all runs of a recipe divided by its seeds."
    return Table("Cost", "l" + "r" * (len(tasks) + 3), header, rows, note)


def _cost(results: Results, recipe: str, tasks: list[str]) -> list[str]:
    seconds = results.seconds(recipe)
    means = [fmean(seconds[task].values()) if task in seconds else None for task in tasks]
    runs = sum(len(of_task) for of_task in seconds.values())
    return [*map(_whole, (*means, results.seconds_per_seed(recipe))), str(runs), str(results.seeds(recipe))]


def _whole(number: float | None) -> str:
    return DASH if number is None else f"{number:.0f}"


def run_table(results: Results) -> Table:
    """The runs, grouped by recipe, task, backbone, transfer and precision; the machines are in the note."""
    owners = {row["run"]: [results.label(row["recipe"]), row["task"]] for row in results.rows}
    runs = {key: run for key, run in results.study.get("runs", {}).items() if key in owners}
    groups: dict[tuple, list[dict]] = {}
    for key, run in runs.items():
        backbone = "card" if run.get("backbone") not in (None, SCRATCH) else run.get("backbone")
        what = [text or DASH for text in (backbone, run.get("transfer"), run.get("precision"))]
        groups.setdefault((*owners[key], *what), []).append(run)
    rows = [[*what, _certified(members), str(len(members))] for what, members in groups.items()]
    machines = Counter(_machine(run) for run in runs.values())
    note = "Machines: " + "; ".join(f"{text} (runs: {n})" for text, n in machines.items()) + "."
    header = ["recipe", "task", "backbone", "transfer", "precision", "certificate", "runs"]
    return Table("Runs", "llllllr", header, rows, note)


def _machine(run: dict) -> str:
    return ", ".join(f"{key} {value}" for key, value in (run.get("machine") or {}).items()) or "unknown"


def _certified(runs: list[dict]) -> str:
    """'3 of 3, within 1.2e-06': transfers that gave the card's features back, and the largest difference."""
    held = [run["certificate"] for run in runs if run.get("certificate")]
    worst = max((c.get("max_abs_difference", 0.0) for c in held), default=0.0)
    return f"{len(held)} of {len(runs)}, within {worst:.1e}" if held else DASH


def find_sheets(results: Results, folder: Path) -> tuple[Sheet, ...]:
    """The pictures that were drawn by tools/show.py: of each recipe, task and network those of the first seed that has any."""
    found: dict[tuple, Sheet] = {}
    for row in results.rows:
        link = results.study.get("runs", {}).get(row["run"], {}).get("pictures")
        if link and (Path(folder) / link).is_file():
            whose = f"{results.label(row['recipe'])}, {row['task']} by {row['network']}, seed {seed_of(row)}"
            found.setdefault((row["recipe"], row["task"], row["network"]), Sheet(Path(folder) / link, link, whose))
    recipes = results.study["recipes"]
    return tuple(found[key] for key in sorted(found, key=lambda key: recipes.index(key[0])))


def make_report(results: Results) -> Report:
    """Everything the report says, as text."""
    seeds = max(map(results.seeds, results.study["recipes"]), default=0)
    bases = [results.reference]
    if SCRATCH != results.reference and results.seeds(SCRATCH):
        bases.append(SCRATCH)
    findings = [result_table(results), *(gain_table(results, base) for base in bases), tuning_table(results)]
    makers = (published_table, network_table, recipe_table, difference_table, protocol_table, cost_table, run_table)
    return Report(
        f"{results.study['name']} at scale {results.study['scale']}, {seeds} seed{'s' * (seeds != 1)}",
        lead(results),
        [table for table in findings if table.rows],
        [table for table in (make(results) for make in makers) if table.rows],
        CAVEATS,
    )


def lead(results: Results) -> str:
    """One sentence on what was measured, and how many runs it rests on."""
    named = [f"{task} ({', '.join(metrics)})" for task, metrics in results.tasks.items() if metrics]
    tasks = ", ".join(named) or "nothing yet"
    runs = {row["run"] for row in results.rows}
    diverged = len({row["run"] for row in results.rows if row["status"] == "diverged"})
    return (
        f"{len(results.study['recipes'])} recipes, measured by {tasks}: {len(runs)} runs, {diverged or 'none'} of which diverged."
    )


def write_report(folder: Path) -> dict[str, Path]:
    """Writes report.md, report.html, report.tex and gains.png into a study's folder; returns paths by name.

    Raises:
        ValueError: the folder lacks results.csv or study.json, or they or the pictures of a run cannot be read as such.
    """
    results = load_results(folder)
    report, figure = replace(make_report(results), sheets=find_sheets(results, folder)), draw(results)
    contents = {
        "report.md": markdown(report).encode(),
        "report.html": html(report, figure).encode(),
        "report.tex": latex(report).encode(),
        "gains.png": figure,
    }
    for name, content in contents.items():
        with atomic(Path(folder) / name, "wb") as file:
            file.write(content)
    return {name: Path(folder) / name for name in contents}


def terminal_table(folder: Path, console=None) -> None:
    """Prints a study's closing table: its metrics, its gains over the reference, and the seconds of a seed.

    Args:
        folder: of the study, as for ``write_report``.
        console: a ``rich.console.Console``; by default one on standard output.
    """
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table as Grid
    from rich.text import Text

    results = load_results(folder)
    gained = [column for column in results.columns if column.metric in TERMINAL_GAINS]
    title, caption = make_report(results).title, f"Gains are over {results.label(results.reference)}."
    grid = Grid(box=SIMPLE, title=Text(title), caption=Text(caption), padding=0, show_edge=False)
    names = [
        *map(results.heading, results.columns),
        *(f"{results.heading(c)} gain" for c in gained),
        "seconds",
    ]
    grid.add_column("recipe", no_wrap=True)
    for name in names:
        width = None if name == "seconds" else len("undecided")  # a verdict is never cut short
        grid.add_column(Text(name), justify="right", min_width=width)
    for recipe in results.study["recipes"]:  # Text, since rich reads brackets in a str as markup
        grid.add_row(*map(Text, _terminal_row(results, recipe, gained)))
    (console or Console()).print(grid)


def _terminal_row(results: Results, recipe: str, gained: list[Column]) -> list[str]:
    cells = ["\n".join(results.cell(recipe, column).parts).strip() for column in results.columns]
    gains = [_terminal_gain(results, recipe, column) for column in gained]
    return [results.label(recipe), *cells, *gains, _whole(results.seconds_per_seed(recipe))]


def _terminal_gain(results: Results, recipe: str, column: Column) -> str:
    if recipe == results.reference:
        return DASH
    points, _, _, word = gain(results, recipe, results.reference, column)
    return DASH if word == DASH else f"{points}\n{word}"
