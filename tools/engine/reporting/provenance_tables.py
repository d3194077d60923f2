"""Build the tables of what a report's findings rest on: recipes, protocols, costs, certificates, provenance and commands."""

from collections import Counter
from statistics import fmean

from tools.engine.analysis.gains import Gain, decisive
from tools.engine.analysis.results import DASH, PUBLISHED, SCRATCH, Results, heading_of, published_value, seed_of
from tools.engine.reporting.answer.wording import number, unit_of
from tools.engine.reporting.document import Table


def published_table(results: Results) -> Table:
    """Return the published numbers that the table of results does not show, such as those of networks that were not run."""
    published = results.study.get("published") or {}
    shown = {(r, c.metric, published_value(results, r, c)) for r in results.study["recipes"] for c in results.columns}
    values = [v for v in published.get("values", ()) if (v["recipe"], v["metric"], v["value"]) not in shown]
    rows = [[results.label(v["recipe"]), v["network"] or DASH, heading_of(v["metric"]), f"{v['value']:g}"] for v in values]
    note = f"Source: {published.get('source', 'not given')}. These are not our runs."
    return Table("Published, not run here", "lllr", ["recipe", "network", "metric", PUBLISHED], rows, note)


def recipe_table(results: Results) -> Table:
    """Return the tricks of each recipe, with their options."""
    tricks = results.study.get("tricks", {})
    rows = [[results.label(r), r, _tricks(tricks.get(r))] for r in results.study["recipes"]]
    note = "; ".join(f"{network} does not use {', '.join(names)}" for network, names in results.study.get("left_out", {}).items())
    return Table("Recipes", "lll", ["recipe", "name", "tricks"], rows, f"{note}." if note else "")


def _tricks(tricks: list | str | None) -> str:
    if tricks is None or isinstance(tricks, str):
        return tricks or "no pretraining"
    texts = [" ".join([name, *(f"{k}={v}" for k, v in options.items() if v != "")]) for name, options in tricks]
    return ", ".join(texts) or "none"


def difference_table(results: Results) -> Table:
    """Return the keys of the resolved pretraining config in which a recipe differs from its parent."""
    rows = [
        [results.label(recipe), results.label(difference["parent"]), key, str(old), str(new)]
        for recipe, difference in (results.study.get("differences") or {}).items()
        for key, (old, new) in difference["keys"].items()
    ]
    header = ["recipe", "parent", "key of the config", "parent has", "recipe has"]
    return Table("What differs from the parent", "lllll", header, rows)


def protocol_table(results: Results) -> Table:
    """Return the items of each task's protocol."""
    protocols = results.study.get("protocols", {})
    rows = [[task, key, _protocol_value(key, value)] for task, items in protocols.items() for key, value in items.items()]
    return Table("Protocols", "lll", ["task", "item", "value"], rows, "The same for every row of the study.")


def _protocol_value(key: str, value: object) -> str:
    """Return a value of a protocol as text; values that are chosen for one reason stand together."""
    if key == "chosen" and isinstance(value, dict):
        reasons: dict[str, list[str]] = {}
        for name, reason in value.items():
            reasons.setdefault(reason, []).append(name)
        return "; ".join(f"{', '.join(names)}: {reason}" for reason, names in reasons.items())
    if isinstance(value, dict):
        return ", ".join(f"{name} {item}" for name, item in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return {True: "yes", False: "no", None: "none"}[value] if value is None or isinstance(value, bool) else str(value)


def cost_table(results: Results, found: list[Gain]) -> Table:
    """Return a row for each recipe, task and network: size of the trained model, speed, time, memory, and gain per hour.

    Args:
        found: gains over the reference.
    """
    groups: dict[tuple[str, str, str], dict[str, dict]] = {}
    for row in results.rows:
        runs = groups.setdefault((row["recipe"], row["task"], row["network"]), {})
        runs[row["run"]] = results.study.get("runs", {}).get(row["run"], {})
    order = sorted(groups, key=lambda g: results.study["recipes"].index(g[0]))
    hourly = {g: _per_hour(results, found, g[0], g[1]) for g in order}
    times = [seconds for g in order for seconds in results.seconds(g[0]).get(g[1], {}).values()]
    epochs = [60 * run["speed"]["minutes_per_epoch"] for g in order for run in groups[g].values() if _has_epochs(run)]
    is_fast = max((abs(value) for value in hourly.values() if value is not None), default=0) >= 100
    units = {"time": unit_of(times), "epoch": unit_of(epochs), "gain": ("minute", 60) if is_fast else ("hour", 1)}
    rows = [[results.label(g[0]), *g[1:], *_cost(results, g, list(groups[g].values()), hourly[g], units)] for g in order]
    note = (
        "Means of the runs. Multiply-adds: per image, in convolutions and the last layer. Images/s: from the median time between "
        "updates, which includes waiting for data; in brackets without that wait. Memory: the peak of the GPU, or of the process "
        f"without a GPU. Points per {units['gain'][0]}: the gain over the reference in the task's first metric, divided by the "
        "time of one seed, its pretraining included. Compare times and speeds only between runs that had the machine to "
        "themselves."
    )
    header = [
        "recipe",
        "task",
        "network",
        "parameters, M",
        "multiply-adds, G",
        "epochs",
        "images/s",
        f"epoch, {units['epoch'][0]}",
    ]
    header += [f"run, {units['time'][0]}", "memory, GB", "runs", f"points per {units['gain'][0]}"]
    return Table("Cost", "lll" + "r" * (len(header) - 3), header, rows, note)


def _has_epochs(run: dict) -> bool:
    return bool((run.get("speed") or {}).get("minutes_per_epoch"))


def _cost(
    results: Results, group: tuple[str, str, str], runs: list[dict], hourly: float | None, units: dict[str, tuple[str, int]]
) -> list[str]:
    """Return the numbers of one recipe, task and network in the units of the table; its parameters are those of one row."""
    sizes, speeds = ([run[name] for run in runs if run.get(name)] for name in ("size", "speed"))
    images = _mean([speed["images_per_second"] for speed in speeds])
    if compute := [speed["compute_images_per_second"] for speed in speeds if "compute_images_per_second" in speed]:
        images += f" ({number(fmean(compute))})"
    seconds = list(results.seconds(group[0]).get(group[1], {}).values())
    return [
        number(sizes[0]["parameters"] / 1e6) if sizes else DASH,
        number(sizes[0]["multiply_adds"] / 1e9) if sizes else DASH,
        f"{fmean(epochs):g}" if (epochs := [run["epochs"] for run in runs if run.get("epochs")]) else DASH,
        images,
        _mean([60 * speed["minutes_per_epoch"] / units["epoch"][1] for speed in speeds if speed.get("minutes_per_epoch")]),
        _mean([second / units["time"][1] for second in seconds]),
        _mean([run.get("peak_memory_gb") for run in runs]),
        str(len(runs)),
        DASH if hourly is None else f"{'+' if hourly >= 0 else ''}{number(hourly / units['gain'][1])}",
    ]


def _mean(values: list[float | None]) -> str:
    numbers = [value for value in values if value is not None]
    return number(fmean(numbers)) if numbers else DASH


def _per_hour(results: Results, gains: list[Gain], recipe: str, task: str) -> float | None:
    """Return the gain in the task's first metric per hour of a pretraining and, downstream, of one run of the task."""
    first = next((c for c in decisive(results) if results.task_of(c) == task), None)
    gain = next((g for g in gains if g.recipe == recipe and g.column == first and g.diff), None)
    seconds = results.seconds(recipe)
    spent = [fmean(seconds[t].values()) for t in dict.fromkeys((*_pretraining(results), task)) if t in seconds]
    return gain.diff.mean / (sum(spent) / 3600) if gain and spent else None


def _pretraining(results: Results) -> list[str]:
    """Return the tasks whose runs are pretrainings."""
    return list(dict.fromkeys(row["task"] for row in results.rows if not row["finetune_seed"]))


def run_table(results: Results) -> Table:
    """Return the runs, grouped by recipe, task, backbone, transfer and precision."""
    owners = {row["run"]: [results.label(row["recipe"]), row["task"]] for row in results.rows}
    runs = {key: run for key, run in results.study.get("runs", {}).items() if key in owners}
    groups: dict[tuple, list[dict]] = {}
    for key, run in runs.items():
        backbone = "card" if run.get("backbone") not in (None, SCRATCH) else run.get("backbone")
        settings = [text or DASH for text in (backbone, run.get("transfer"), run.get("precision"))]
        groups.setdefault((*owners[key], *settings), []).append(run)
    rows = [[*group, _certified(members), str(len(members))] for group, members in groups.items()]
    header = ["recipe", "task", "backbone", "transfer", "precision", "certificate", "runs"]
    note = (
        "Certificate: the number of transfers that reproduced the features of the card's probe image, and the largest difference."
    )
    return Table("Runs", "llllllr", header, rows, note)


def _certified(runs: list[dict]) -> str:
    """Return how many transfers reproduced the card's features, and how closely: '3 of 3, exactly'."""
    certificates = [run["certificate"] for run in runs if run.get("certificate")]
    worst = max((c.get("max_abs_difference", 0.0) for c in certificates), default=0.0)
    reach = "exactly" if worst == 0 else f"within {worst:.1e}"
    return f"{len(certificates)} of {len(runs)}, {reach}" if certificates else DASH


def provenance_table(results: Results) -> Table:
    """Return machines, versions, commits, data (sha256 of its manifest) and remarks, with the number of runs of each."""
    owners = {row["run"]: row["task"] for row in results.rows}
    counts: Counter = Counter()
    for key, run in results.study.get("runs", {}).items():
        if key in owners:
            counts["machine", _pairs(run.get("machine"))] += 1
            counts["versions", _pairs(run.get("versions"))] += 1
            counts["commit", run.get("commit") or "unknown"] += 1
            counts[f"data of {owners[key]}", (run.get("data") or "unknown")[:12]] += 1
            for remark in run.get("remarks") or ():
                counts["remark", remark] += 1
    rows = [[item, value, str(n)] for (item, value), n in sorted(counts.items())]
    note = (
        "Data: the first digits of the sha256 of its files' names and sizes. A + after a commit: the files differed from that "
        "commit."
    )
    return Table("Provenance", "llr", ["item", "value", "runs"], rows, note)


def _pairs(facts: dict | None) -> str:
    return ", ".join(f"{key} {value}" for key, value in (facts or {}).items()) or "unknown"


def command_table(results: Results) -> Table:
    """Return the command that repeats each run."""
    runs, lines = results.study.get("runs", {}), {}
    for row in results.rows:
        if command := runs.get(row["run"], {}).get("command"):
            lines.setdefault(row["run"], [results.label(row["recipe"]), row["task"], seed_of(row), command])
    note = "Run these in the project's folder. A transfer needs the card of its pretraining, so run the pretraining first."
    return Table("Commands", "llrl", ["recipe", "task", "seed", "command"], list(lines.values()), note)
