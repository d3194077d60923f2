"""Estimate what a run will cost: from finished runs, else from its config or published figures."""

import heapq
import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from backbones.common.fact_cache import cached, machine, sources
from backbones.common.files import read_json
from backbones.common.project import ROOT
from backbones.networks.architecture import arch_of
from tools.engine.config import Options, task_of
from tools.engine.run_folder import CONTENT, RUNS, missing_fields, read_content, read_record
from tools.engine.studies.graph import rows_of, runs_behind, shared
from tools.engine.studies.node import Node
from tools.engine.studies.study import Study
from tools.engine.wording import duration

PACE = ROOT / "configs/studies/published_pace.json"
# what Table 3 of the paper calls the networks for which it has a pace
TABLE_3 = {"resnet50": "ResNet-50", "inception_v3": "Inception-V3", "mobilenet": "MobileNet"}


@dataclass(frozen=True)
class Estimate:
    """Hold the ``seconds`` of one device (a GPU at scale paper, this machine at other scales) and their ``source``."""

    seconds: float
    source: str


@dataclass(frozen=True)
class Past:
    """Hold a finished run: its record, and the content that its key is a hash of."""

    record: dict
    content: dict

    @property
    def seconds(self) -> float:
        """Return the seconds of one device: wall time times processes."""
        return self.record["seconds"]["total"] * self.record["machine"].get("processes", 1)


def past_runs() -> list[Past]:
    """Return all finished runs under work_dirs/runs but those whose files are damaged."""
    runs = []
    for path in sorted(RUNS.glob(f"*/{CONTENT}")):
        with suppress(ValueError):
            record, content = read_record(path.parent), read_content(path.parent)
            if record and record["status"] == "done" and _is_usable(record, content):
                runs.append(Past(record, content))
    return runs


def _is_usable(record: dict, content: dict) -> bool:
    """Return whether a run's files have the fields from which a cost is estimated."""
    return not missing_fields(record) and "device" in record.get("machine", {}) and {"config", "upstream"} <= content.keys()


def identity(content: Mapping, above: Mapping[str, Mapping]) -> str:
    """Return a text that identifies a run regardless of seeds, threads and device: equal for all seeds of a study's row.

    Args:
        content: of a run's key.
        above: the contents of runs that may be its upstream, by key.
    """
    config = {key: value for key, value in content["config"].items() if key != "randomness"}
    upstream = content["upstream"]
    if upstream in above:
        upstream = identity(above[upstream], above)
    return json.dumps([config, content["data"], content["version"], upstream], sort_keys=True)


class Costs:
    """Estimate the cost of the runs of a study.

    Args:
        study: see ``load_study``.
        past: from ``past_runs``.

    ``rows`` and ``nodes`` are those of the study, ``left`` the nodes still to run, ``seen`` the past runs by their ``identity``.
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
        self._estimates: dict[str, Estimate | None] = {}

    def of(self, node: Node) -> Estimate | None:
        """Return the estimate for one run, the same for all seeds of a row; None if nothing is known about it."""
        if (row := self.identity(node)) not in self._estimates:
            methods = (self._same, self._similar, self._config, self._published)
            self._estimates[row] = next((estimate for method in methods if (estimate := method(node))), None)
        return self._estimates[row]

    def _same(self, node: Node) -> Estimate | None:
        """Estimate by finished runs of the same row."""
        seconds = [run.seconds for run in self.seen.get(self.identity(node), ())]
        return Estimate(fmean(seconds), "earlier runs of the same row") if seconds else None

    def identity(self, node: Node) -> str:
        """Return the ``identity`` of a run of the study."""
        if node.key not in self._identities:
            above, contents = node.above, {}
            while above:
                contents[above.key] = above.run_key.content
                above = above.above
            self._identities[node.key] = identity(node.run_key.content, self.contents | contents)
        return self._identities[node.key]

    def _similar(self, node: Node) -> Estimate | None:
        """Estimate by runs of other recipes, in proportion to their computation; runs with a teacher do not count."""
        cfg = node.plan
        shared_facts = dict(task=node.task, network=cfg.network, scale=cfg.scale)
        runs = [run for run in self.past if all(run.record[key] == value for key, value in shared_facts.items())]
        runs = [run for run in runs if _low_precision(run.content["config"]) == _low_precision(cfg)]
        if node.pretrain:
            runs = [run for run in runs if run.record.get("size") and "teacher" not in run.content["config"]]
        else:
            runs = [run for run in runs if run.record["protocol"]["name"] == cfg.get("protocol", {"name": cfg.scale})["name"]]
        rates = [run.seconds / work for run in runs if (work := self._work_of(run))]
        if not rates:
            return None
        return Estimate(fmean(rates) * work_of(node), f"other runs of {cfg.network}, in proportion to multiply-adds and length")

    def _work_of(self, run: Past) -> float:
        """Return what a finished run computed, in the unit of ``work_of``; it had no teacher."""
        config = run.content["config"]
        if run.record["node"] == "pretrain":
            return 3 * run.record["size"]["multiply_adds"] * run.record["epochs"]
        return multiply_adds(arch_of(config["model"]["backbone"])) * length_of(config)

    def _config(self, node: Node) -> Estimate | None:
        """Estimate by the seconds that the config states for its plain recipe."""
        values = node.resolved.origin.values
        if not values.get("seconds"):
            return None
        if node.pretrain:
            plain = shared(node.config, Options()).cfg
            plain_work = 3 * size_of(plain)["multiply_adds"] * length_of(plain)
        else:
            plain_work = multiply_adds(values["scratch_backbone"]) * length_of(node.plan)
        seconds = values["seconds"] * work_of(node) / plain_work
        stated = f"the seconds that {Path(node.config).name} states (two CPU cores)"
        return Estimate(seconds, f"{stated}, in proportion to multiply-adds and length")

    def _published(self, node: Node) -> Estimate | None:
        """Estimate by published throughput, at scale paper only."""
        cfg = node.plan
        if cfg.scale != "paper":
            return None
        pace = read_json(PACE)
        images = images_of(cfg, node.resolved.data_folder, pace["images"])
        throughput = _table_3(node, cfg) if node.pretrain else _gpu_seconds(pace.get(node.task))
        if not images or not throughput:
            return None
        seconds, source = throughput
        return Estimate(images * seconds, source)


def elapsed(nodes: Iterable[Node], seconds: Mapping[str, float], jobs: int) -> float:
    """Return how long runs take if ``jobs`` of them go on at once, each after its upstream run.

    Args:
        nodes: the runs to do, in the order in which they are started if several are ready.
        seconds: of each run, by key.
        jobs: number of runs at once.
    """
    nodes = list(nodes)
    places = {node.key: i for i, node in enumerate(nodes)}
    ready: list[int] = []  # places in ``nodes``, a heap
    after: dict[int, list[int]] = {}  # place of an upstream run -> those that wait for it
    for i, node in enumerate(nodes):
        upstream = places.get(node.above.key) if node.above else None
        (ready if upstream is None else after.setdefault(upstream, [])).append(i)
    running: list[tuple[float, int]] = []  # (end, place), a heap
    now = 0.0
    while ready or running:
        while ready and len(running) < jobs:
            i = heapq.heappop(ready)
            heapq.heappush(running, (now + seconds[nodes[i].key], i))
        now, ended = heapq.heappop(running)
        for i in after.get(ended, ()):
            heapq.heappush(ready, i)
    return now


def _low_precision(cfg: Mapping) -> bool:
    """Return True if a config asks for 16 bits, even if this machine cannot compute in them."""
    return any(name == "low_precision" and options.get("dtype") != "float32" for name, options in cfg.get("tricks", ()))


def _gpu_seconds(pace: dict | None) -> tuple[float, str] | None:
    """Return (GPU-seconds of an image, source) of a task's published pace; None without one."""
    return (pace["seconds"] * pace["gpus"] / pace["images"], pace["source"]) if pace else None


def _table_3(node: Node, cfg) -> tuple[float, str]:
    """Return (GPU-seconds of an image, source) by Table 3 of the paper: minutes of an ImageNet epoch on eight V100."""
    from classification.tricks.declare import cell  # here for load time

    row = TABLE_3.get(cfg.network, "ResNet-50")
    column = "efficient" if _low_precision(cfg) else "baseline"
    seconds = 60 * cell("table3", row, f"{column}_min_per_epoch") * 8 / 1281167
    network_size = size_of(cfg)["multiply_adds"]
    source = f"Table 3 of the paper, {row}, {column}: minutes an epoch on 8 V100"
    if cfg.network not in TABLE_3:
        seconds *= network_size / (1e9 * cell("table1", row, "flops_g"))
        source += ", in proportion to multiply-adds"
    return seconds * (1 + _teacher(node) / (3 * network_size)), source


def work_of(node: Node) -> float:
    """Return what a run computes, in a unit that only runs of one kind share: epochs or updates, times multiply-adds.

    A pretraining counts forward and backward, three times the network, and forward through its teacher. A transfer counts the
    backbone at 224 px; the cost of its detector or segmenter is assumed to be proportional to it.
    """
    cfg = node.plan
    if node.pretrain:
        return (3 * size_of(cfg)["multiply_adds"] + _teacher(node)) * length_of(cfg)
    return multiply_adds(arch_of(cfg.model.backbone)) * length_of(cfg)


def _teacher(node: Node) -> int:
    """Return the multiply-adds of a pretraining's teacher; 0 without a teacher, or if it is not a run of the study."""
    return size_of(node.above.plan)["multiply_adds"] if node.above else 0


def length_of(cfg: Mapping) -> float:
    """Return the epochs of a run, or its updates if the config counts those."""
    return cfg["epochs"] if "epochs" in cfg else cfg["updates"]


def images_of(cfg, folder: str, known: Mapping[str, int | Mapping[str, int]]) -> float | None:
    """Return the images of all epochs of a run; None if their number is unknown.

    Args:
        known: images of one epoch, by the name of the data's folder; or by its lists, of which a protocol names some.
    """
    if "epochs" not in cfg:
        return cfg.updates * cfg.batch
    images_per_epoch = known.get(Path(folder).name)
    if isinstance(images_per_epoch, Mapping):
        if not images_per_epoch.keys() >= set(cfg.protocol.train):
            return None
        images_per_epoch = sum(images_per_epoch[name] for name in cfg.protocol.train)
    return None if images_per_epoch is None else images_per_epoch * cfg.epochs


def size_of(cfg) -> dict:
    """Return ``parameters`` and ``multiply_adds`` of the network that a config pretrains; equal networks are built once."""
    network = str((cfg.task, cfg.model.backbone.to_dict(), cfg.size, cfg.model.num_classes))
    return cached("network", [network, sources("backbones", cfg.task)], lambda: task_of(cfg).size(cfg))


def multiply_adds(arch: Mapping) -> int:
    """Return the multiply-adds of a backbone for an image of 224 px."""
    return _counted(arch)["multiply_adds"]


def parameters(arch: Mapping) -> int:
    """Return the number of parameters of a backbone."""
    return _counted(arch)["parameters"]


def _counted(arch: Mapping) -> dict[str, int]:
    """Return ``parameters`` and ``multiply_adds`` of a backbone from the cache, or count them."""
    return cached("backbone", [dict(arch), sources("backbones")], lambda: _count(arch))


def _count(arch: Mapping) -> dict[str, int]:
    import torch  # these here for load time
    from torch.utils.flop_counter import FlopCounterMode

    from backbones.networks.factory import build

    with torch.device("meta"):
        net = build(dict(arch)).eval()
        with FlopCounterMode(display=False) as counter:
            net(torch.empty(1, 3, 224, 224))
    return {"parameters": sum(p.numel() for p in net.parameters()), "multiply_adds": counter.get_total_flops() // 2}


def amount(seconds: float, scale: str) -> str:
    """Format seconds as ``duration`` does; at scale paper as '71 GPU-h'."""
    if scale == "paper":
        return f"{seconds / 3600:,.0f} GPU-h" if seconds >= 36000 else f"{seconds / 3600:.1f} GPU-h"
    return duration(seconds)
