"""Test the costs of a plan, and the seeds that a difference takes, against figures worked out by hand."""

import json
from math import sqrt
from pathlib import Path

import numpy as np
import pytest

from backbones.common.project import ROOT
from tools.engine.analysis.results import load_results
from tools.engine.config.fingerprint import forget
from tools.engine.planning.cost import Costs, Past, amount, elapsed, past_runs
from tools.engine.planning.plan import cost_line, detect_lines, other_threads, show_plan, sources
from tools.engine.planning.power_analysis import (
    ASSUMED,
    Bill,
    Noise,
    choices,
    need,
    needed,
    needs,
    noise_of,
    together,
    values_so_far,
)
from tools.engine.power import power_of, seeds_needed
from tools.engine.studies.graph import nodes_of
from tools.engine.studies.study import load_study

TABLE8, DEMO = "configs/studies/table8.py", "configs/studies/demo.py"
# multiply-adds at scale toy, 48 px, a quarter of the width, 8 classes, and of ResNet-152-D
SIZES = dict(a=13720576, b=14326784, d=14091776)
A, D, TEACHER = SIZES["a"], SIZES["d"], 35399168


@pytest.fixture(autouse=True)
def no_data(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATA_ROOT", str(tmp_path / "nowhere"))
    forget()


def finish(node, seconds: float = 1.0, device: str = "cpu", processes: int | None = None, **metrics) -> None:
    """Write the files of a finished run for a node of a study."""
    cfg = node.plan
    record = dict(
        key=node.key,
        node="pretrain" if node.pretrain else "transfer",
        task=node.task,
        network=cfg.network,
        scale=cfg.scale,
        split="val",
        seed=node.options.seed,
        status="done",
        metrics=metrics,
        epochs=cfg.get("epochs", 0),
        backbone=str(node.above.folder / "card") if node.above else "scratch",
        protocol=dict(name=None if node.pretrain else cfg.protocol.name),
        machine=dict(device=device) | ({"processes": processes} if processes else {}),
        seconds=dict(total=seconds),
        size=dict(multiply_adds=SIZES[cfg.model.backbone.variant]) if node.pretrain else None,
    )
    node.folder.mkdir(parents=True, exist_ok=True)
    (node.folder / "record.json").write_text(json.dumps(record))
    (node.folder / "key.json").write_text(json.dumps(node.run_key.content))


def costs_of(study) -> tuple[Costs, dict]:
    """Return the costs of a study, and its estimates by (task, recipe, seed); a teacher is (task, recipe, 'teacher')."""
    costs = Costs(study, past_runs())
    names = {n.key: "teacher" if n.network.startswith("teacher") else n.options.seed for n in costs.nodes}
    return costs, {(node.task, node.recipe, names[node.key]): costs.of(node) for node in costs.nodes}


def test_a_run_costs_what_its_row_has_cost():
    study = load_study(TABLE8, "toy", ["b_standard"], seeds=3)
    for node in nodes_of(study):
        if node.options.seed < 2:
            finish(node, {"classification": 30.0, "detection": 7.0}[node.task] + 20 * node.options.seed)
    costs, estimates = costs_of(study)
    assert estimates["classification", "b_standard", 2].seconds == 40 and estimates["detection", "b_standard", 2].seconds == 17
    assert {e.source for e in estimates.values()} == {"earlier runs of the same row"}
    assert cost_line(costs) == "6 runs: 4 done, 2 to do (1 of classification, 1 of detection), about 57 s one after another."
    assert sources(costs) == {"earlier runs of the same row": "a"}


def test_runs_at_once_wait_for_their_pretraining_and_for_a_free_slot():
    nodes = nodes_of(load_study(TABLE8, "toy", ["b_standard"], seeds=3))
    seconds = {node.key: 30.0 if node.pretrain else 7.0 for node in nodes}
    assert elapsed(nodes, seconds, 1) == 3 * 30 + 3 * 7
    assert elapsed(nodes, seconds, 2) == 30 + 7 + 30 + 7  # two detectors come before the third pretraining
    assert elapsed(nodes, seconds, 3) == elapsed(nodes, seconds, 9) == 30 + 7
    assert elapsed([], {}, 2) == 0
    line = cost_line(Costs(load_study(TABLE8, "toy", ["b_standard"]), []), jobs=2)
    assert line.endswith("about 2 min one after another, 2 min with 2 at once.")  # the detector waits for its backbone


def test_another_recipe_costs_in_proportion():
    study = load_study(TABLE8, "toy", ["d_efficient", "mixup", "distill"])
    smooth = load_study(TABLE8, "toy", ["smooth"])
    finish(next(node for node in nodes_of(smooth) if node.pretrain), 40.0)
    _, estimates = costs_of(study)
    assert estimates["classification", "mixup", 0].seconds == pytest.approx(40 * 20 / 12)  # 20 epochs, not 12
    assert estimates["classification", "d_efficient", 0].seconds == pytest.approx(40)
    assert estimates["classification", "distill", 0].seconds == pytest.approx(40 * (3 * D + TEACHER) / (3 * D))
    assert (
        estimates["classification", "smooth", "teacher"].source
        == "the seconds that resnet50_toy.py states (two CPU cores), in proportion to multiply-adds and length"
    )


def test_without_any_run_the_config_gives_the_cost():
    _, estimates = costs_of(load_study(TABLE8, "toy", ["b_standard", "distill"]))
    _, base = costs_of(load_study("configs/studies/table4.py", "toy", ["bs256_linear_scaling"]))
    assert base["classification", "bs256_linear_scaling", 0].seconds == pytest.approx(55)
    assert estimates["classification", "smooth", "teacher"].seconds == pytest.approx(55 * TEACHER / A)
    assert estimates["classification", "distill", 0].seconds == pytest.approx(55 * (3 * D + TEACHER) / (3 * A))
    assert estimates["detection", "b_standard", 0].seconds == pytest.approx(40)


def test_at_scale_paper_published_paces_give_the_cost():
    _, estimates = costs_of(load_study("configs/studies/transfer.py", "paper", ["b_standard", "d_efficient", "mixup"]))
    hours = {name: estimate.seconds / 3600 for name, estimate in estimates.items()}
    assert hours["classification", "b_standard", 0] == pytest.approx(13.3 / 60 * 8 * 120)  # Table 3
    assert hours["classification", "d_efficient", 0] == pytest.approx(4.4 / 60 * 8 * 120)
    assert hours["classification", "mixup", 0] == pytest.approx(4.4 / 60 * 8 * 200)
    assert hours["detection", "mixup", 0] == pytest.approx(1327 * 4 * 40 / 3600)
    assert hours["segmentation", "mixup", 0] == pytest.approx(20210 * 120 * 3 / 23.49 / 3600)
    _, other = costs_of(load_study(TABLE8, "paper", ["b_standard"], tasks=["detection"], protocol="detectron2"))
    assert other["detection", "b_standard", 0].seconds == pytest.approx(18000 * 16 / 16551 * 1327 * 4)
    _, short = costs_of(load_study("configs/studies/transfer.py", "paper", ["b_standard"], protocol="ranking"))
    assert short["detection", "b_standard", 0].seconds == pytest.approx(5011 * 8 / 16551 * 1327 * 4)  # VOC2007 alone
    assert short["segmentation", "b_standard", 0].seconds == pytest.approx(20210 * 8 * 3 / 23.49)


def test_runs_on_gpus_count_for_scale_paper_and_no_others():
    study = load_study(TABLE8, "paper", ["b_standard"], seeds=2, tasks=["classification"])
    first, _ = nodes_of(study)
    finish(first, 3600.0, device="NVIDIA H100", processes=8)
    assert costs_of(study)[1]["classification", "b_standard", 1].seconds == 8 * 3600
    finish(first, 3600.0, device="cpu")
    assert costs_of(study)[1]["classification", "b_standard", 1].seconds == pytest.approx(13.3 * 60 * 8 * 120)


@pytest.mark.parametrize(
    ("seconds", "scale", "text"),
    [
        (40, "toy", "40 s"),
        (600, "toy", "10 min"),
        (9000, "mini", "2.5 h"),
        (9000, "paper", "2.5 GPU-h"),
        (7.2e6, "paper", "2,000 GPU-h"),
    ],
)
def test_an_amount_has_the_unit_of_its_size_and_scale(seconds, scale, text):
    assert amount(seconds, scale) == text


@pytest.mark.parametrize("width", [60, 80, 220])
def test_a_plan_cuts_no_key_on_a_terminal(width, monkeypatch, capsys):
    study = load_study(TABLE8, "toy", ["b_standard", "smooth"])
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes the output for a terminal
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("COLUMNS", str(width))
    show_plan(study)
    words = capsys.readouterr().out.split()
    assert {node.key for node in nodes_of(study)} <= set(words) and words.count("waiting") == 4


@pytest.mark.parametrize("width", [60, 80, 400])
def test_a_plan_in_a_pipe_has_the_columns_that_are_asked_for(width, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(width))
    study = load_study(DEMO, "paper", seeds=3)
    show_plan(study)
    lines = capsys.readouterr().out.splitlines()
    longest = max(len(line) for line in lines if " " in line.strip())  # a path stays whole
    assert (80 < longest if width == 400 else 0) < longest <= width
    assert {node.key for node in nodes_of(study)} <= {word for line in lines for word in line.split()}


@pytest.mark.parametrize("columns", ["60", "80", None])
def test_a_plan_states_published_figures_once_for_all_seeds(columns, monkeypatch, capsys):
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns:
        monkeypatch.setenv("COLUMNS", columns)
    show_plan(load_study(DEMO, "paper", seeds=3))
    words = capsys.readouterr().out.split()
    assert [words.count(figure) for figure in ("76.14", "77.54", "37.05", "80.71")] == [1, 1, 1, 1]


def test_a_narrow_plan_says_once_how_a_row_trains(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    show_plan(load_study(DEMO, "paper", ["b_standard"], seeds=3))
    text = " ".join(capsys.readouterr().out.split())
    assert text.count("batch 256 = 8 x 32") == 1 and text.count("classification resnet50 B-standard seed ") == 3


def test_the_plan_of_table_8_at_scale_paper_without_data(capsys):
    show_plan(load_study(TABLE8, "paper", ["b_standard", "mixup"]), 0.3)
    text = capsys.readouterr().out
    assert "213 GPU-h a" in text and "117 GPU-h b" in text or "117 GPU-h" in text
    assert "4 runs: 0 done, 4 to do (2 of classification, 2 of detection), about 448 GPU-h." in text
    assert "Table 3 of the paper, ResNet-50, baseline" in text and "1327 s an epoch on 4 GPUs" in text
    assert "Keys are provisional: without data at hand" in text
    assert "To see 0.3 points at 80% power" in text and ">= 6" in text and "unknown" in text
    assert "the two-sided t test of its verdict at 5 % (Welch's below 4 seeds, else of pairs)" in text
    assert "MoCo's detection/README.md" in text and "unknown until some are repeated (--seeds 2x2)" in text


# ---- spreads


def test_components_are_pooled_over_recipes():
    """Pool [[1, 3], [5, 7]] (MSW 2, MSB 16, so 2 and (16 - 2) / 2 = 7) with three equal pretrainings (2 and 0)."""
    single = noise_of("mAP", "paper", [[[1.0, 3.0], [5.0, 7.0]]])
    assert (single.pretraining, single.finetuning) == (pytest.approx(7), pytest.approx(2))
    both = noise_of("mAP", "paper", [[[1.0, 3.0], [5.0, 7.0]], [[1.0, 3.0]] * 3])
    assert both.pretraining == pytest.approx((1 * 7 + 2 * 0) / 3) and both.finetuning == pytest.approx(2)
    assert both.of_mean(1) == pytest.approx(7 / 3 + 2) and both.of_mean(4) == pytest.approx(7 / 3 + 0.5)


def test_one_fine_tuning_each_gives_the_spread_of_both_together():
    noise = noise_of("mAP", "paper", [[[1.0], [3.0]], [[0.0], [0.0], [3.0]], [[9.0]]])
    assert (noise.pretraining, noise.finetuning) == (pytest.approx((2 + 6) / 3), None)
    assert noise.of_mean(5) == noise.of_mean(1) and choices(noise, True) == (1,)
    alone = noise_of("top1", "paper", [[[1.0], [3.0]]], "pretrain")
    assert (alone.pretraining, alone.finetuning) == (2.0, 0.0) and "8 runs" not in alone.source


def test_fine_tunings_of_a_single_pretraining_leave_the_other_part_unknown():
    noise = noise_of("mAP", "paper", [[[1.0, 2.0, 3.0]]])
    assert (noise.pretraining, noise.finetuning) == (None, 1.0) and noise.of_mean(2) == 0.5
    given = noise_of("mAP", "paper", [[[1.0, 3.0]], [[2.0, 2.0]]], "given")
    assert (given.pretraining, given.finetuning) == (0.0, 1.0)


@pytest.mark.parametrize(("metric", "std"), [("mAP", 0.2), ("mIoU", 0.4)])
def test_without_runs_published_spreads_are_assumed_at_scale_paper(metric, std):
    noise = noise_of(metric, "paper", [])
    assert noise.pretraining is None and noise.finetuning == pytest.approx(std**2)
    assert noise.source == ASSUMED["paper"][metric][2]
    assert noise_of(metric, "paper", [], "given").pretraining == 0
    assert noise_of("top1", "paper", [], "pretrain").of_mean(1) == pytest.approx(0.26**2)
    assert noise_of("other", "paper", []).source == ""


@pytest.mark.parametrize(
    ("scale", "metric", "folder", "recipes"),
    [
        ("mini", "mAP", "lite-weights-mini", ("scratch", "lite0", "lite1", "lite2")),
        ("mini", "mIoU", "lite-weights-mini", ("scratch", "lite0", "lite1", "lite2")),
        ("toy", "mAP", "demo-toy", ("scratch",)),
        ("toy", "mIoU", "demo-toy", ("scratch",)),
        ("toy", "top1", "demo-toy", ("b_standard", "smooth")),
    ],
)
def test_the_spreads_assumed_at_small_scales_are_those_of_the_kept_results(scale, metric, folder, recipes):
    results = load_results(ROOT / "docs/results" / folder)
    (column,) = [column for column in results.columns if column.metric == metric]
    variances = [np.var(results.cell(recipe, column).points, ddof=1) for recipe in recipes]  # of three seeds each
    pretraining, finetuning, source = ASSUMED[scale][metric]
    assert (finetuning or pretraining) == pytest.approx(sqrt(np.mean(variances)), rel=0.05)
    assert f"docs/results/{folder}" in source and str(3 * len(recipes)) in source


@pytest.mark.parametrize(("scale", "foreign"), [("paper", False), ("mini", True)])
def test_a_spread_of_another_scale_is_named_as_such(scale, foreign):
    source = noise_of("top1", scale, [], "pretrain").source
    assert (f"not of scale {scale}, where seeds may lie further apart" in source) == foreign


def test_a_difference_that_takes_too_many_seeds_is_said():
    costs = Costs(load_study(TABLE8, "paper", ["b_standard"], tasks=["detection"]), [])
    assert "--seeds takes 100 at most" in " ".join(detect_lines(0.02, needs(0.02, costs), costs))


def test_runs_that_are_done_with_another_number_of_threads_are_named():
    study = load_study(DEMO, "mini", ["scratch"], seeds=2)
    first, *_ = nodes_of(study)
    finish(first)
    assert not list(other_threads(Costs(study, past_runs())))
    (folder,) = Path("work_dirs/runs").iterdir()
    content = json.loads((folder / "key.json").read_text())
    (folder / "key.json").write_text(json.dumps(content | {"threads": 7}))
    folder.rename("work_dirs/runs/0123456789ab")
    (line,) = other_threads(Costs(load_study(DEMO, "mini", ["scratch"], seeds=2), past_runs()))
    assert line.startswith("1 run of these is done with 7 threads.") and "OMP_NUM_THREADS=7" in line


def test_a_run_on_a_gpu_is_not_one_with_another_number_of_threads():
    study = load_study(TABLE8, "paper", ["b_standard"], tasks=["classification"])
    (node,) = nodes_of(study)
    finish(node, device="NVIDIA H100")
    (folder,) = Path("work_dirs/runs").iterdir()
    content = json.loads((folder / "key.json").read_text())
    (folder / "key.json").write_text(json.dumps(content | {"threads": None, "device": "cuda"}))
    folder.rename("work_dirs/runs/0123456789ab")
    costs = Costs(load_study(TABLE8, "paper", ["b_standard"], tasks=["classification"]), past_runs())
    assert costs.left and costs.past and not list(other_threads(costs))


# ---- how many, and which is the cheapest


def test_as_many_as_the_power_asks_for():
    noise = Noise(0.04, 0.09, "")
    for f in (1, 2, 5):
        n = needed(0.5, noise, f)
        std = sqrt(0.04 + 0.09 / f)
        assert n == seeds_needed(0.5, std) and power_of(n, 0.5, std) >= 0.8 > power_of(n - 1, 0.5, std)
    counts = [needed(detect, noise, 2) for detect in (0.1, 0.2, 0.3, 0.5, 1.0, 5.0)]
    assert counts == sorted(counts, reverse=True) and counts[0] > 10 * counts[-1] and counts[-1] == 2
    assert needed(0.1, Noise(0.0, 0.0, ""), 1) == 2


@pytest.mark.parametrize("bill", [Bill(100, 1, 3, 50), Bill(1, 100, 0, 0), Bill(5, 5, 5, 5)])
def test_the_cheapest_is_taken(bill):
    noise = Noise(0.01, 0.09, "")
    cheapest = need("detection", "mAP", 0.3, noise, bill, True)
    prices = {
        f: bill.teachers + needed(0.3, noise, f) * (bill.pretraining + f * bill.finetuning + bill.others) for f in (1, 2, 3, 5)
    }
    assert cheapest.cost == min(prices.values()) == prices[cheapest.finetunings]
    assert cheapest.pretrainings == needed(0.3, noise, cheapest.finetunings) and cheapest.power >= 0.8
    if bill.pretraining == 100:
        assert cheapest.finetunings > 1  # a pretraining is dear, a fine-tuning cheap
    if bill.finetuning == 100:
        assert cheapest.finetunings == 1


def test_tasks_share_their_pretrainings():
    both = Bill(100, 1, 3, 50) + Bill(100, 2, 4, 50)
    assert both == Bill(100, 3, 7, 50) and both.of(4, 2) == 50 + 4 * (100 + 6 + 7)


def test_the_runs_so_far_decide(tmp_path):
    study = load_study(DEMO, "toy", ["scratch", "b_standard"], seeds=2, fine_tunings=2, tasks=["detection"])
    values = {0: 1.0, 100: 3.0, 1: 5.0, 101: 7.0}
    for node in nodes_of(study):
        seed = node.options.seed
        finish(node, 60.0 if node.pretrain else 10.0, top1=50.0 + seed, mAP=values[seed] if node.above else 90.0 * seed)
    one_seed = load_study(DEMO, "toy", ["scratch", "b_standard"], tasks=["detection"])  # asked at one seed: all runs count
    costs = Costs(one_seed, past_runs())
    (detection,) = needs(2.0, costs)
    noise = detection.noise
    assert (noise.pretraining, noise.finetuning) == (pytest.approx(7), pytest.approx(2))  # scratch is left out
    prices = {f: needed(2.0, noise, f) * (60 + f * 10 + 10) for f in (1, 2, 3, 5)}  # and one run from scratch for each
    assert detection.cost == pytest.approx(min(prices.values())) and detection.metric == "mAP"
    assert together(2.0, [detection], costs) == (detection.pretrainings, detection.finetunings, detection.cost)
    assert needs(4.0, costs)[0].pretrainings < detection.pretrainings


def test_a_run_without_the_metric_says_nothing_about_its_spread(tmp_path):
    study = load_study(DEMO, "toy", ["b_standard"], seeds=3, tasks=["detection"])
    for node in nodes_of(study):
        metrics = dict(mAP=40.0 + node.options.seed) if node.options.seed else dict(mAP_50=1.0)
        finish(node, 10.0, **(dict(top1=50.0) if node.pretrain else metrics))
    (values,) = values_so_far("detection", "mAP", Costs(study, past_runs()))
    assert sorted(values) == [[41.0], [42.0]]


@pytest.mark.parametrize("detect", [0.0, -1.0, float("nan"), 200.0])
def test_a_difference_outside_0_to_100_points_is_refused(detect):
    study = load_study(TABLE8, "toy", ["b_standard"])
    with pytest.raises(ValueError, match="give a difference in points above 0 and below 100, such as 0.3"):
        needs(detect, Costs(study, []))


def test_a_past_run_counts_all_its_devices():
    record = dict(seconds=dict(total=10.0), machine=dict(device="x"))
    assert Past(record, {}).seconds == 10 and Past(record | {"machine": dict(processes=4)}, {}).seconds == 40
