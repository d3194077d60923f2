"""What a study would run: its rows with what they cost and how they train. No data is needed."""

from rich.table import Table

from tools.engine.collect import published_of
from tools.engine.config import load, set_protocol, task_of
from tools.engine.results import DASH, heading_of
from tools.engine.study import Node, Study, nodes_of, rows_of, runs_behind


def plan_table(study: Study) -> Table:
    """A line for each run: network, parameters, multiply-adds, epochs, batch, learning rate, published figures, key, state."""
    published = published_of(study)["values"]
    metrics = [m for m in dict.fromkeys(item["metric"] for item in published)]
    table = Table(title=f"{study.name} at scale {study.scale}", box=None, padding=(0, 1))
    for name in ("task", "network", "recipe", "seed"):
        table.add_column(name, no_wrap=True)
    for name in ("params", "mult-adds", "epochs", "batch", "lr", *(f"paper {heading_of(m)}" for m in metrics)):
        table.add_column(name, justify="right")
    table.add_column("key", no_wrap=True)
    table.add_column("state")
    rows = list(rows_of(study))
    named = {(node.key, node.recipe): node for node in (*rows, *runs_behind(rows))}
    sizes: dict[str, dict] = {}
    for node in sorted(named.values(), key=lambda n: not n.network.startswith("teacher")):
        cfg = node.resolved() if node.pretrain else with_protocol(node)
        figures = _published(published, metrics, node, node.network or cfg.network)
        table.add_row(*_cells(study, node, cfg, sizes), *figures, node.key, node.state())
    return table


def _cells(study: Study, node: Node, cfg, sizes: dict[str, dict]) -> list[str]:
    """``sizes`` keeps the size of each network, which rows share."""
    size = {}
    if node.pretrain:
        what = str((cfg.model.backbone.to_dict(), cfg.size, cfg.model.num_classes))
        if what not in sizes:
            sizes[what] = task_of(cfg).size(cfg)
        size = sizes[what]
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


def with_protocol(node: Node):
    """The config of a run with its protocol, before tricks or backbone."""
    cfg = load(node.config)
    set_protocol(cfg, node.options)
    return cfg


def _published(values: list[dict], metrics: list[str], node: Node, network: str) -> list[str]:
    own = {
        item["metric"]: f"{item['value']:g}"
        for item in values
        if item["recipe"] == node.recipe and item["network"] in (None, network)
    }
    found = [own.get(metric, DASH) for metric in metrics]
    return [DASH] * len(metrics) if node.network.startswith("teacher") else found


def provisional(study: Study) -> list[str]:
    """The folders of the study's data that are not at hand: without them a key is provisional."""
    configs = {node.config: with_protocol(node) for node in nodes_of(study)}
    folders = {folder for cfg in configs.values() for folder in task_of(cfg).data_folders(cfg)}
    return sorted(str(folder) for folder in folders if not folder.is_dir())
