"""What a run will cost: by runs that have finished, else by what its config or others say."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from backbones.common.fact_cache import cached, machine, sources
from backbones.common.files import read_json
from backbones.common.project import ROOT
from backbones.networks.architecture import arch_of
from tools.engine.config import Options, task_of
from tools.engine.run_folder import CONTENT, RUNS, read_record
from tools.engine.studies.graph import rows_of, runs_behind, shared
from tools.engine.studies.node import Node
from tools.engine.studies.study import Study

PACE = ROOT / "configs/studies/published_pace.json"
# what Table 3 of the paper calls the networks for which it has a pace
TABLE_3 = {"resnet50": "ResNet-50", "inception_v3": "Inception-V3", "mobilenet": "MobileNet"}


@dataclass(frozen=True)
class Estimate:
    """``seconds`` of one device: of a GPU at scale paper, of this machine elsewhere; and where that comes from."""

    seconds: float
    source: str


@dataclass(frozen=True)
class Past:
    """A run that has finished: its record, and what its key stands for."""

    record: dict
    content: dict

    @property
    def seconds(self) -> float:
        """Of one device."""
        return self.record["seconds"]["total"] * self.record["machine"].get("processes", 1)


def past_runs() -> list[Past]:
    """All finished runs under work_dirs/runs."""
    found = []
    for path in sorted(RUNS.glob(f"*/{CONTENT}")):
        if (record := read_record(path.parent)) and record["status"] == "done":
            found.append(Past(record, read_json(path)))
    return found


def identity(content: Mapping, above: Mapping[str, Mapping]) -> str:
    """What a run is but for seeds, threads and device: equal for all seeds of one row of a study.

    Args:
        content: of a run's key.
        above: those of the runs that may stand above it, by key.
    """
    config = {key: value for key, value in content["config"].items() if key != "randomness"}
    upstream = content["upstream"]
    if upstream in above:
        upstream = identity(above[upstream], above)
    return json.dumps([config, content["data"], content["version"], upstream], sort_keys=True)


class Costs:
    """Estimates for the runs of a study.

    Args:
        study: see ``load_study``.
        past: of ``past_runs``.

    ``rows`` and ``nodes`` are those of the study, ``left`` the ones to do, ``seen`` the past runs by their ``identity``.
    """

    def __init__(self, study: Study, past: Iterable[Past]):
        self.study = study
        on_gpu = study.scale == "paper" or machine()["cuda"]
        self.past = [run for run in past if on_gpu == (run.record["machine"]["device"] != "cpu")]
        self.contents = {run.record["key"]: run.content for run in self.past}
        self.seen: dict[str, list[Past]] = {}
        for run in self.past:
            self.seen.setdefault(identity(run.content, self.contents), []).append(run)
        self.rows = list(rows_of(study))
        self.nodes = runs_behind(self.rows)
        self.left = [node for node in self.nodes if not node.record]
        self._identities: dict[str, str] = {}
        self._known: dict[str, Estimate | None] = {}

    def of(self, node: Node) -> Estimate | None:
        """The estimate for one run, the same for all seeds of a row; None where nothing is known of it."""
        if (own := self.identity(node)) not in self._known:
            ways = (self._same, self._similar, self._config, self._published)
            self._known[own] = next((found for way in ways if (found := way(node))), None)
        return self._known[own]

    def _same(self, node: Node) -> Estimate | None:
        seconds = [run.seconds for run in self.seen.get(self.identity(node), ())]
        return Estimate(fmean(seconds), "earlier runs of the same row") if seconds else None

    def identity(self, node: Node) -> str:
        """``identity`` of a run of the study."""
        if node.key not in self._identities:
            above, contents = node.above, {}
            while above:
                contents[above.key], above = above.run_key.content, above.above
            self._identities[node.key] = identity(node.run_key.content, self.contents | contents)
        return self._identities[node.key]

    def _similar(self, node: Node) -> Estimate | None:
        """By other recipes, in proportion to what they compute; a distilled one says nothing of those without a teacher."""
        cfg = node.plan
        alike = dict(task=node.task, network=cfg.network, scale=cfg.scale)
        runs = [run for run in self.past if all(run.record[key] == value for key, value in alike.items())]
        runs = [run for run in runs if _low_precision(run.content["config"]) == _low_precision(cfg)]
        if node.pretrain:
            runs = [run for run in runs if run.record.get("size") and "teacher" not in run.content["config"]]
        else:
            runs = [run for run in runs if run.record["protocol"]["name"] == cfg.get("protocol", {"name": cfg.scale})["name"]]
        rates = [run.seconds / work for run in runs if (work := self._work_of(run))]
        if not rates:
            return None
        return Estimate(fmean(rates) * work_of(node), f"other runs of {cfg.network}, by multiply-adds and length")

    def _work_of(self, run: Past) -> float:
        config = run.content["config"]
        if run.record["node"] == "pretrain":
            return 3 * run.record["size"]["multiply_adds"] * run.record["epochs"]
        return multiply_adds(arch_of(config["model"]["backbone"])) * length_of(config)

    def _config(self, node: Node) -> Estimate | None:
        values = node.resolved.origin.values
        if not values.get("seconds"):
            return None
        if node.pretrain:
            plain = shared(node.config, Options()).cfg
            one = 3 * size_of(plain)["multiply_adds"] * length_of(plain)
        else:
            one = multiply_adds(values["scratch_backbone"]) * length_of(node.plan)
        seconds = values["seconds"] * work_of(node) / one
        return Estimate(seconds, f"seconds of {Path(node.config).name} (on two CPU cores), by multiply-adds and length")

    def _published(self, node: Node) -> Estimate | None:
        cfg, pace = node.plan, read_json(PACE)
        images = images_of(cfg, node.resolved.data_folder, pace["images"])
        found = _table_3(node, cfg) if node.pretrain else _gpu_seconds(pace.get(node.task))
        if cfg.scale != "paper" or not images or not found:
            return None
        return Estimate(images * found[0], found[1])


def _low_precision(cfg: Mapping) -> bool:
    """Whether a config asks for 16 bits, whatever this machine can do."""
    return any(name == "low_precision" and options.get("dtype") != "float32" for name, options in cfg.get("tricks", ()))


def _gpu_seconds(pace: dict | None) -> tuple[float, str] | None:
    return (pace["seconds"] * pace["gpus"] / pace["images"], pace["source"]) if pace else None


def _table_3(node: Node, cfg) -> tuple[float, str]:
    """GPU-seconds of an image by Table 3: minutes of an epoch of ImageNet on eight V100, and on what that rests."""
    from classification.tricks.declare import cell

    row = TABLE_3.get(cfg.network, "ResNet-50")
    column = "efficient" if _low_precision(cfg) else "baseline"
    seconds = 60 * cell("table3", row, f"{column}_min_per_epoch") * 8 / 1281167
    own, source = size_of(cfg)["multiply_adds"], f"Table 3 of the paper, {row}, {column}: minutes an epoch on 8 V100"
    if cfg.network not in TABLE_3:
        seconds *= own / (1e9 * cell("table1", row, "flops_g"))
        source += ", in proportion to multiply-adds"
    return seconds * (1 + _teacher(node) / (3 * own)), source


def work_of(node: Node) -> float:
    """What a run computes, in a unit of its own: epochs or updates, times multiply-adds.

    Of a pretraining forward and backward, three times the network, and forward through its teacher; of a transfer the backbone
    at 224 px, to which its detector or segmenter is taken to be in proportion.
    """
    cfg = node.plan
    if node.pretrain:
        return (3 * size_of(cfg)["multiply_adds"] + _teacher(node)) * length_of(cfg)
    return multiply_adds(arch_of(cfg.model.backbone)) * length_of(cfg)


def _teacher(node: Node) -> int:
    """Multiply-adds of the teacher of a pretraining; 0 without one, or with one that is no run of the study."""
    return size_of(node.above.plan)["multiply_adds"] if node.above else 0


def length_of(cfg: Mapping) -> float:
    """Epochs, or updates where the config counts these."""
    return cfg["epochs"] if "epochs" in cfg else cfg["updates"]


def images_of(cfg, folder: str, known: Mapping[str, int]) -> float | None:
    """Return the images of all epochs of a run; ``known`` has those of one epoch by the name of the data's folder."""
    if "epochs" not in cfg:
        return cfg.updates * cfg.batch
    one = known.get(Path(folder).name)
    return one and one * cfg.epochs


def size_of(cfg) -> dict:
    """``parameters`` and ``multiply_adds`` of what a config pretrains; networks that are equal are built once."""
    what = str((cfg.task, cfg.model.backbone.to_dict(), cfg.size, cfg.model.num_classes))
    return cached("network", [what, sources("backbones", cfg.task)], lambda: task_of(cfg).size(cfg))


def multiply_adds(arch: Mapping) -> int:
    """Of a backbone, for an image of 224 px."""
    return _counted(arch)["multiply_adds"]


def parameters(arch: Mapping) -> int:
    """Of a backbone."""
    return _counted(arch)["parameters"]


def _counted(arch: Mapping) -> dict[str, int]:
    return cached("backbone", [dict(arch), sources("backbones")], lambda: _count(arch))


def _count(arch: Mapping) -> dict[str, int]:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from backbones.networks.factory import build

    with torch.device("meta"):
        net = build(dict(arch)).eval()
        with FlopCounterMode(display=False) as counter:
            net(torch.empty(1, 3, 224, 224))
    return {"parameters": sum(p.numel() for p in net.parameters()), "multiply_adds": counter.get_total_flops() // 2}


def amount(seconds: float, scale: str) -> str:
    """'41 s', '12 min', '3.5 h'; at scale paper '71 GPU-h'."""
    if scale == "paper":
        return f"{seconds / 3600:,.0f} GPU-h" if seconds >= 36000 else f"{seconds / 3600:.1f} GPU-h"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
