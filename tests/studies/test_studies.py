"""Test the studies of the paper's tables: their rows, their plan without data, and the published numbers beside them."""

import json
import re

import pytest

from backbones.common.project import ROOT
from classification.tricks import parse_trick
from classification.tricks.declare import PUBLISHED, cell
from tools.engine.config.fingerprint import forget
from tools.engine.planning.cost import Costs
from tools.engine.planning.run_table import published_table, run_table
from tools.engine.studies.about import published_of
from tools.engine.studies.commands import command
from tools.engine.studies.graph import missing_data, nodes_of, rows_of
from tools.engine.studies.study import load_study

TABLES = {f"table{n}": f"configs/studies/table{n}.py" for n in range(1, 10)}
ROWS = dict(table1=6, table2=3, table3=6, table4=10, table5=4, table6=18, table7=2, table8=14, table9=14)
TEACHERS = dict(table1=1, table6=2, table8=2, table9=2)


@pytest.fixture(autouse=True)
def no_data(monkeypatch, tmp_path):
    monkeypatch.setenv("DATA_ROOT", str(tmp_path / "nowhere"))
    forget()


@pytest.mark.parametrize("scale", ["paper", "toy"])
@pytest.mark.parametrize("table", TABLES)
def test_every_row_of_a_table_is_a_run(table, scale):
    study = load_study(TABLES[table], scale)
    rows, nodes = list(rows_of(study)), nodes_of(study)
    assert len(rows) == len({row.key for row in rows}) == ROWS[table]
    assert len(nodes) == ROWS[table] + TEACHERS.get(table, 0)
    order = [node.key for node in nodes]
    assert all(order.index(node.above.key) < order.index(node.key) for node in nodes if node.above)
    published = {(item["recipe"], item["network"] or "resnet50") for item in published_of(study)["values"]}
    assert {(row.recipe, row.network or "resnet50") for row in rows} <= published


def columns_of(table) -> dict[str, list[str]]:
    return {column.header: list(column.cells) for column in table.columns}


def published(study) -> dict[str, dict[str, str]]:
    """Return the published figures that a plan shows, by the names of its rows and metrics."""
    columns = columns_of(published_table(study, Costs(study, [])))
    names = [" ".join(name) for name in zip(*(columns.pop(n) for n in ("network", "recipe") if n in columns), strict=True)]
    assert len(names) == len(set(names))
    return {name: {head: column[i] for head, column in columns.items()} for i, name in enumerate(names)}


def cells(study) -> dict[tuple[str, str], dict[str, str]]:
    columns = columns_of(run_table(study))
    names = zip(columns["network"], columns["recipe"], strict=True)
    return {name: {header: column[i] for header, column in columns.items()} for i, name in enumerate(names)}


# parameters and multiply-adds as others count them: mmpretrain's and timm's tables, and Table 5 of the paper within rounding
SIZES = {
    ("resnet50", "baseline"): ("25.56 M", "3.86 G"),
    ("resnet50", "+ distill w/ mixup"): ("25.58 M", "4.33 G"),
    ("resnext50_32x4d", "baseline"): ("25.03 M", "4.23 G"),
    ("seresnet50", "baseline"): ("28.09 M", "4.09 G"),
    ("seresnext50_32x4d", "baseline"): ("27.56 M", "4.23 G"),
    ("densenet201", "baseline"): ("20.01 M", "4.29 G"),
}


def test_the_plan_of_table_1_without_data(tmp_path):
    study = load_study(TABLES["table1"], "paper")
    table = cells(study)
    assert {name: (table[name]["params"], table[name]["mult-adds"]) for name in SIZES} == SIZES
    tricks = table["resnet50", "+ distill w/ mixup"]
    assert (tricks["epochs"], tricks["batch"], tricks["lr"]) == ("200", "1024 = 8 x 128", "0.4")
    assert published(study)["resnet50 + distill w/ mixup"]["top-1"] == "79.29"
    base = table["resnet50", "baseline"]
    assert (base["epochs"], base["batch"], base["lr"], base["state"]) == ("120", "256 = 8 x 32", "0.1", "waiting")
    assert not any(name.startswith("teacher") for name in published(study))
    assert missing_data(nodes_of(study)) == [str(tmp_path / "nowhere/imagenet" / split) for split in ("train", "val")]


def test_the_plan_of_a_study_with_transfers():
    study = load_study("configs/studies/demo.py", "paper", seeds=3)
    table = cells(study)
    assert table["faster_rcnn_fpn", "+ smooth"]["params"] == "—" and len(table) == 8
    assert published(study)["+ smooth"] == {"top-1": "78.34", "mAP": "80.71", "pixAcc": "78.64", "mIoU": "38.75"}
    assert list(published(study)) == ["B-standard", "+ smooth"]


def test_tables_share_their_runs():
    keys = {name: {row.recipe: row.key for row in rows_of(load_study(path, "toy"))} for name, path in TABLES.items()}
    assert keys["table4"]["bs1024_low_precision"] == keys["table5"]["efficient"]
    assert keys["table4"]["bs256_linear_scaling"] in {row.key for row in rows_of(load_study(TABLES["table2"], "toy"))}


def test_tables_8_and_9_share_their_pretrainings():
    keys = [{n.key for n in nodes_of(load_study(TABLES[t], "toy")) if n.pretrain} for t in ("table8", "table9")]
    assert keys[0] == keys[1] and len(keys[0]) == 9


def test_each_trick_has_its_place_in_the_two_designs():
    from classification import TRICKS

    alone = load_study("configs/studies/one_at_a_time.py", "toy")
    assert {name.removeprefix("only_") for name in alone.recipes if name.startswith("only_")} == set(TRICKS) - {"resnet_b"}
    for name in alone.recipes[2:]:
        tricks, trick = {t for t, _ in alone.tricks(name, "")}, name.removeprefix("only_")
        assert tricks == ({trick} if trick.startswith("resnet") else {"resnet_b", trick})
    without = load_study("configs/studies/leave_one_out.py", "toy")
    everything = {t for t, _ in without.tricks("mixup_distill", "")}
    assert {f"without_{t}" for t in everything} == set(without.recipes) - {"scratch", "mixup_distill"}
    for trick in everything:
        tricks = {t for t, _ in without.tricks(f"without_{trick}", "")}
        assert tricks == everything - {trick} | ({"resnet_b"} if trick == "resnet_d" else set())
    assert without.catalogue["without_mixup"].teacher == "smooth"
    for study in (alone, without):
        assert len(nodes_of(study)) == 2 + 3 * (len(study.recipes) - 1) + len({"smooth", "mixup"} if study is without else {1})


def test_networks_go_without_what_they_have_no_use_for():
    study = load_study(TABLES["table6"], "paper")
    for network in ("inception_v3", "mobilenet"):
        names = {name for name, _ in study.tricks("d_efficient", network)}
        assert names == {"large_batch", "low_precision", "no_bias_decay", "warmup"}
    assert {name for name, _ in study.tricks("d_efficient", "resnet50")} >= {"resnet_d", "zero_gamma"}


def test_a_teacher_is_a_run_of_the_study_or_a_card(make_card):
    import torch

    study = load_study(TABLES["table6"], "toy", ["distill", "mixup_distill"])
    rows = [row for row in rows_of(study) if row.network == "resnet50"]
    teachers = [row.above for row in rows]
    assert [t.recipe for t in teachers] == ["smooth", "mixup"]
    for row in rows:
        cfg = row.above.plan
        assert (cfg.network, cfg.model.backbone.depth, cfg.model.backbone.variant) == ("resnet152", 152, "d")
        line = command(row)
        tricks = dict(t for t in map(parse_trick, line[line.index("--tricks") + 1 :]) if isinstance(t, tuple))
        assert tricks["distillation"]["teacher"] == str(row.above.folder / "card")
    assert "model.backbone.depth=152" in command(teachers[0])

    card = make_card(classifier={"weight": torch.zeros(8, 256), "bias": torch.zeros(8)})
    with_card = load_study(TABLES["table6"], "toy", ["distill"], teachers={"smooth": str(card.path)})
    assert all(row.above is None for row in rows_of(with_card)) and len(nodes_of(with_card)) == 3
    assert not {row.key for row in rows_of(with_card)} & {row.key for row in rows_of(study)}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(scale="mini"), "no config configs/classification/inception_v3_mini.py"),
        (
            dict(scale="toy", teachers={"smoth": "x"}),
            "--teachers smoth=...: no row of table6 asked for has such a teacher; its .* learn from mixup, smooth",
        ),
        (dict(scale="toy", recipes=["mixup_destill"]), "There is no recipe 'mixup_destill'; nearest: mixup_distill"),
    ],
)
def test_wrong_options_of_table_6_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        load_study(TABLES["table6"], **options)


@pytest.mark.parametrize("table", [*TABLES, "demo"])
def test_published_numbers_are_those_of_the_table(table):
    study = load_study(f"configs/studies/{table}.py", "toy")
    published = published_of(study)
    assert "arXiv:1812.01187" in published["source"] and all(isinstance(v["value"], int | float) for v in published["values"])


def test_some_published_numbers_by_hand():
    values = published_of(load_study(TABLES["table6"], "toy"))["values"]
    by = {(v["recipe"], v["network"], v["metric"]): v["value"] for v in values}
    assert by["mixup_distill", "resnet50", "top1"] == 79.29 and by["distill", "mobilenet", "top5"] == 90.89
    assert by["smooth", "inception_v3", "top1"] == 78.40
    values = published_of(load_study(TABLES["table3"], "toy"))["values"]
    assert {"recipe": "efficient", "network": "resnet50", "metric": "min_per_epoch", "value": 4.4} in values


def test_a_row_that_the_paper_does_not_have_is_refused():
    study = load_study(TABLES["table5"], "toy")
    study.file.published["table5"][0].row = "ResNet-50-E"
    with pytest.raises(ValueError, match="table5 has no 'ResNet-50-E', 'top1'"):
        published_of(study)


def test_the_published_tables_are_whole():
    tables = json.loads(PUBLISHED.read_text())
    rows = {n: len(tables[f"table{n}"]["rows"]) for n in range(1, 10)}
    assert rows == {1: 6, 2: 3, 3: 3, 4: 5, 5: 4, 6: 6, 7: 2, 8: 7, 9: 7}
    for name in (f"table{n}" for n in range(1, 10)):
        assert all(len(row) == len(tables[name]["columns"]) for row in tables[name]["rows"].values())
    assert cell("table8", "+ distill w/ mixup", "mAP") == 81.33


def test_every_study_says_its_commands():
    for path in sorted((ROOT / "configs/studies").glob("*.py")):
        if path.name != "recipes.py":
            assert re.search(rf"tools/study.py \w+ {path.stem} --scale (toy|mini)", path.read_text().split('"""')[1]), path
            assert load_study(str(path), "toy").name == path.stem
