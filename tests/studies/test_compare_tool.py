"""Test tools/compare.py: its rows and labels, the cards that it makes, the study that it writes, and the way to the report."""

import json
import shutil
import sys
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from backbones import BackboneCard, ResNet
from backbones.card_facts import CardFacts
from backbones.common.files import MissingData, write_text
from backbones.common.project import ROOT
from backbones.interchange import sources
from backbones.interchange.sources import CARDS, Source, card_of
from tests.helpers.networks import randomise_norms
from tools import compare as tool
from tools import study as study_tool
from tools.engine.comparing.backbones import Backbone, bring_backbones
from tools.engine.comparing.rows import rows_of
from tools.engine.comparing.setting import Setting, detectors, other_ways
from tools.engine.comparing.study_file import FILE, Request, refuse_folder, study_text
from tools.engine.config import resolve
from tools.engine.planning.announcement import announce, shorter_ways, smallest_shown
from tools.engine.power import power_of
from tools.engine.studies.graph import nodes_of
from tools.engine.studies.graph import rows_of as study_rows
from tools.engine.studies.study import load_study


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch, tmp_path):
    """Use another working folder."""
    monkeypatch.chdir(tmp_path)


def saved(name: str, variant: str = "b", seed: int = 0) -> str:
    """Write a file with the weights of a ResNet-50 of width 8 under torchvision's names, and return its path."""
    torch.manual_seed(seed)
    net = ResNet(50, variant, base_channels=8)
    randomise_norms(net, seed)
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    torch.save(net.state_dict(), name)
    return name


def labels_of(*texts: str) -> list[str]:
    return [row.label for row in rows_of(texts, {})]


# ---- rows


def test_a_label_is_the_name_of_the_file_without_its_suffixes():
    for name in ("a.pth", "b.pth.tar", "c.v2.safetensors"):
        Path(name).touch()
    assert labels_of("a.pth", "b.pth.tar", "c.v2.safetensors", "scratch", "timm:resnet50.a1_in1k") == [
        *("a", "b", "c.v2", "scratch", "resnet50.a1_in1k")
    ]


def test_equal_names_get_the_folders_above_them_as_far_as_is_needed():
    for name in ("one/x/last.pth", "two/x/last.pth", "two/y/last.pth", "best.pth"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    assert labels_of("one/x/last.pth", "two/y/last.pth", "best.pth") == ["x-last", "y-last", "best"]
    assert labels_of("one/x/last.pth", "two/x/last.pth", "best.pth") == ["one-x-last", "two-x-last", "best"]


def test_a_card_is_called_by_its_folder_and_the_card_of_a_run_by_its_key(make_card):
    make_card(name="work_dirs/runs/0123456789ab/card"), make_card("b", name="cards/mine")
    assert labels_of("work_dirs/runs/0123456789ab/card", "cards/mine") == ["0123456789ab", "mine"]
    assert labels_of("0123456789ab", "cards/mine/card.json") == ["0123456789ab", "mine"]


def test_a_given_label_stands():
    Path("a.pth").touch()
    assert labels_of("my first=a.pth", "scratch") == ["my first", "scratch"]


@pytest.mark.parametrize("name", ["lr=0.1.pth", "runs/lr=0.1/last.pth", "at:variant=b.pth", "run:1/a.pth"])
def test_a_path_that_exists_is_taken_as_it_is(name):
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).touch()
    for text in (name, f"label={name}"):
        row, _ = rows_of([text, "scratch"], {})
        assert row.source == Source(name) and (row.label == "label") == (text != name)


def test_options_after_a_file_are_read_and_others_hold_for_all_files():
    for name in ("a.pth", "b.pth"):
        Path(name).touch()
    defaults = {"mean": (1.0, 2.0, 3.0), "prefix": "model"}
    first, second, _ = rows_of(
        ["a.pth:variant=d,mean=103.53/116.28/123.675,channel-order=bgr", "b.pth", "timm:resnet18"], defaults
    )
    mean = {"mean": (103.53, 116.28, 123.675), "prefix": "model"}
    assert first.source == Source("a.pth", {"variant": "d", "channel_order": "bgr"} | mean)
    assert second.source == Source("b.pth", defaults)
    assert Source.parse(str(first.source)) == first.source


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["a.pth"], "needs two rows or more"),
        (["scratch", "scratch"], "needs two rows or more"),
        (["a.pth", "a.pth"], "a.pth is named twice"),
        (["scratch", "a.pth", "scratch"], "scratch is named twice"),
        (["x=a.pth", "x=b.pth"], "Two rows have the label x"),
        (["scratch=a.pth", "b.pth"], "is not LABEL=SOURCE"),
        (["x=scratch", "b.pth"], "the row scratch keeps its name"),
        (["=a.pth", "b.pth"], "is not LABEL=SOURCE"),
        (["x=", "b.pth"], "is not LABEL=SOURCE"),
        (["a.pht", "b.pth"], "There is no file a.pht in .*; nearest: a.pth"),
        (["a.pth:varient=b", "b.pth"], "varient, which is unknown; nearest: variant"),
        (["a.pth:variant=e", "b.pth"], "variant=e; give one of a, b, c, d"),
        (["a.pth:mean=1,2,3", "b.pth"], "give three numbers joined by slashes"),
        (["a.pth:variant=b,variant=d", "b.pth"], "gives variant twice"),
        (["timm:resnet18:variant=b", "b.pth"], "options are for files"),
    ],
)
def test_rows_that_cannot_be_compared_are_refused(texts, message):
    for name in ("a.pth", "b.pth"):
        Path(name).touch()
    with pytest.raises(ValueError, match=message):
        rows_of(texts, {})


# ---- cards


def brought(*texts: str, variant: str | None = None) -> list[Backbone]:
    return bring_backbones(rows_of(texts, {}), variant, lambda line: None)


def test_a_file_is_imported_once_for_its_content_and_its_options(monkeypatch):
    first = card_of(f"{saved('a.pth')}:variant=b")
    assert Path(first).parent == CARDS and BackboneCard.load(first).arch["variant"] == "b"
    Path("a.pth").rename("other.pth")
    with monkeypatch.context() as patch:
        patch.setattr("backbones.interchange.importer.import_backbone", None)  # nothing is imported
        assert card_of("other.pth:variant=b") == first
    assert card_of("other.pth:variant=b,mean=1/2/3") != first


def test_a_changed_file_is_imported_anew():
    before = card_of(f"{saved('a.pth')}:variant=b")
    after = card_of(f"{saved('a.pth', seed=1)}:variant=b")
    assert before != after and BackboneCard.load(before).sha256 != BackboneCard.load(after).sha256


def test_a_card_that_another_process_has_made_meanwhile_is_kept(monkeypatch):
    made = card_of(f"{saved('a.pth')}:variant=b")
    monkeypatch.setattr(Source, "card", lambda self: None)
    before = (Path(made) / "card.json").stat().st_ino
    assert card_of("a.pth:variant=b") == made and (Path(made) / "card.json").stat().st_ino == before
    assert [path.name for path in CARDS.iterdir()] == [Path(made).name]


def test_a_failed_import_leaves_nothing_and_says_how_its_option_is_written():
    saved("a.pth")
    with pytest.raises(ValueError, match=r"variant a or b, .* Write it after the file: a\.pth:variant=b\."):
        card_of("a.pth")
    Path("b.pth").write_text("text")
    with pytest.raises(ValueError, match="b.pth is no file of weights"):
        card_of("b.pth")
    assert not Path("work_dirs").exists()


def test_the_common_variant_holds_where_a_file_leaves_it_open():
    one, two, three = brought(saved("a.pth"), saved("d.pth", "d"), saved("c.pth", seed=2) + ":variant=a", variant="b")
    assert [backbone.facts.arch["variant"] for backbone in (one, two, three)] == ["b", "d", "a"]
    assert [backbone.source for backbone in (one, two, three)] == ["a.pth:variant=b", "d.pth", "c.pth:variant=a"]
    assert [b.card for b in brought("a.pth", "d.pth", "c.pth:variant=a", variant="b")] == [one.card, two.card, three.card]


def test_the_same_weights_twice_are_refused():
    shutil.copy(saved("a.pth", "d"), "b.pth")
    with pytest.raises(ValueError, match=r"a\.pth and b\.pth are the same weights"):
        brought("a.pth", "b.pth")


def test_mean_and_std_are_said_of_each_row():
    lines: list[str] = []
    rows = rows_of([saved("a.pth", "d"), "scratch"], {"mean": (1.0, 2.0, 3.0)})
    bring_backbones(rows, None, lines.append)
    assert "a: resnet50-D from a.pth; mean 1 2 3, std 58.395 57.12 57.375, rgb." in lines
    assert lines[-1] == "scratch: random weights in the network of the first card."


def test_a_backbone_downstream_may_be_a_file(monkeypatch):
    from tools.engine.config.arguments import backbone_of

    saved("a.pth")
    folder = backbone_of("a.pth:variant=b")
    assert BackboneCard.load(folder).arch["variant"] == "b" and backbone_of("scratch:a.pth:variant=b") == f"scratch:{folder}"
    assert (backbone_of("scratch"), backbone_of(folder)) == ("scratch", folder)


# ---- the study


def written(
    *texts: str,
    name: str = "mine",
    tasks: tuple[str, ...] = ("detection", "segmentation"),
    scale: str = "toy",
    protocol: str | None = None,
) -> Path:
    backbones = brought(*texts)
    cards = [backbone.facts for backbone in backbones if backbone.card]
    configs = Setting(tasks, scale, protocol).configs(cards)
    folder = Path(f"work_dirs/{name}-{scale}")
    request = Request(f"{' '.join(texts)} --scale {scale}", f"{folder}/{FILE}", scale, 3, protocol)
    text = study_text(name, backbones, configs, request)
    refuse_folder(folder, [backbone.label for backbone in backbones])
    write_text(folder / FILE, text)
    return folder / FILE


def test_the_study_that_is_written_has_the_rows_and_configs_of_the_comparison():
    path = written("first=" + saved("a.pth", "d"), 'odd "name\\x=' + saved("b.pth", "c", 1), "scratch")
    study = load_study(str(path), "toy", seeds=2)
    assert study.recipes == ("first", 'odd "name\\x', "scratch") and study.file.reference == "first"
    assert study.file.configs == {
        "detection": "configs/detection/faster_rcnn_fpn_{scale}.py",
        "segmentation": "configs/segmentation/fcn_{scale}.py",
    }
    assert study.file.metrics == ("mAP", "mAP_area", "mIoU", "pixAcc")
    nodes = list(study_rows(study))
    assert len(nodes) == len({node.key for node in nodes}) == 3 * 2 * 2 and not any(node.above for node in nodes)
    first = next(node for node in nodes if node.recipe == "first")
    assert resolve(first.config, first.options).key == first.run_key
    scratch = next(node for node in nodes if node.recipe == "scratch")
    assert scratch.options.backbone == f"scratch:{first.card}" and scratch.plan.model.backbone.variant == "d"


def test_the_study_that_is_written_states_its_scale_its_seeds_and_its_protocol():
    path = str(written(saved("a.pth", "d"), "scratch", scale="paper", protocol="voc07"))
    study, smaller = load_study(path), load_study(path, "toy", seeds=1)
    assert (study.scale, study.seeds, study.protocol) == ("paper", 3, "voc07")
    assert (smaller.scale, smaller.seeds, smaller.protocol) == ("toy", 1, None)


def test_the_status_of_a_comparison_needs_no_options(monkeypatch, capsys):
    written(saved("a.pth", "d"), "scratch", scale="mini")
    monkeypatch.setattr(sys, "argv", ["study.py", "status", "mine-mini", "--json"])
    assert study_tool.study() == 0
    status = json.loads(capsys.readouterr().out)
    assert status["scale"] == "mini" and {run["finetune_seed"] for run in status["runs"]} == {0, 1, 2}


def detection_of(scale: str, *cards: CardFacts, **asked: str) -> str:
    """Return the config of detection without its folder and scale."""
    (pattern,) = Setting(("detection",), scale, **asked).configs(cards).values()
    return pattern.removeprefix("configs/detection/").removesuffix("_{scale}.py")


def lite_of(facts: CardFacts) -> CardFacts:
    """Return the facts of a card with an EfficientNet, which has no last stage that C4 could split off."""
    return replace(facts, arch={"name": "tf_efficientnet_lite0", "width": 1.0})


@pytest.mark.parametrize("scale", ["toy", "mini", "paper"])
def test_detection_is_by_fpn_unless_a_detector_is_named(make_card, scale):
    resnet = CardFacts.read(make_card().path)
    assert detectors() == ["fpn", "c4"]
    assert detection_of(scale) == detection_of(scale, resnet) == detection_of(scale, resnet, lite_of(resnet)) == "faster_rcnn_fpn"
    for name in detectors():
        assert detection_of(scale, resnet, detector=name) == f"faster_rcnn_{name}"


def test_a_protocol_for_c4_alone_takes_c4(make_card):
    resnet = CardFacts.read(make_card().path)
    for name in ("he2019", "gluoncv2018", "detectron2", "moco", "ranking"):
        assert detection_of("paper", resnet, protocol=name) == "faster_rcnn_c4"
    assert detection_of("paper", resnet, protocol="voc07") == "faster_rcnn_fpn"


def test_a_detector_that_does_not_fit_is_refused(make_card):
    resnet = CardFacts.read(make_card().path)
    with pytest.raises(ValueError, match="--detector fpn: The protocol he2019 is for faster_rcnn_c4, not for faster_rcnn_fpn"):
        detection_of("paper", protocol="he2019", detector="fpn")
    with pytest.raises(ValueError, match="--detector c4: The protocol voc07 is for faster_rcnn_fpn, not for faster_rcnn_c4"):
        detection_of("paper", protocol="voc07", detector="c4")
    with pytest.raises(ValueError, match="--detector c4: .*tf_efficientnet_lite0"):
        detection_of("toy", lite_of(resnet), detector="c4")
    with pytest.raises(ValueError, match="^(?!The protocol).*tf_efficientnet_lite0"):  # of the config that takes the protocol
        detection_of("paper", lite_of(resnet), protocol="he2019")
    with pytest.raises(ValueError, match="--detector is for detection, and the tasks asked for are segmentation"):
        Setting(("segmentation",), "toy", detector="c4").check()


def test_a_report_is_not_replaced_by_a_comparison_of_other_rows():
    written(saved("a.pth", "d"), saved("b.pth", "c", 1))
    path = written("a.pth", "b.pth", "scratch")  # a row more
    assert load_study(str(path), "toy").recipes == ("a", "b", "scratch")
    with pytest.raises(ValueError, match="compares a, b, scratch, and b is not among the rows given now"):
        written("a.pth", "scratch")
    Path("work_dirs/other-toy").mkdir()
    Path("work_dirs/other-toy/study.json").write_text("{}")
    with pytest.raises(ValueError, match="holds the table of another study"):
        written("a.pth", "scratch", name="other")


def test_a_study_takes_cards_by_their_paths(make_card):
    make_card("b", "cards/x")
    text = (ROOT / "configs/studies/lite_weights.py").read_text()
    start, end = text.index("cards = "), text.index("recipes = ")
    Path("own.py").write_text(text[:start] + 'cards = dict(x="cards/x", gone="cards/gone")\n' + text[end:].replace("lite0", "x"))
    study = load_study("own.py", "toy", ["x", "scratch"], tasks=["detection"])
    x, scratch = nodes_of(study)
    assert x.card == "cards/x" and x.run_key.content["upstream"] == BackboneCard.load("cards/x").sha256
    assert scratch.options.backbone == "scratch:cards/x" and study.label("x") == "x"
    with pytest.raises(ValueError, match="no backbone card at cards/gone"):
        nodes_of(load_study("own.py", "toy", ["gone"]))


# ---- what is said before it starts


def test_the_runs_their_time_and_the_difference_that_seeds_show_are_said_first():
    path = written(saved("a.pth", "d"), "scratch", tasks=("detection",))
    lines = list(announce(load_study(str(path), "toy", seeds=3), 1))
    assert lines[0] == "Detection by faster_rcnn_fpn (protocol faster_rcnn_fpn_toy)."
    assert lines[1].startswith("6 runs: 0 done, 6 to do (6 of detection), about ")
    assert lines[-1].startswith("mAP: with 3 seeds a true difference of 8.8 points") and "demo-toy" in lines[-1]
    assert power_of(3, 8.8, 2.5) == pytest.approx(0.8, abs=0.01)
    (line,) = [line for line in announce(load_study(str(path), "toy", seeds=1), 1) if "With one seed no difference" in line]
    assert "--seeds 3" in line


@pytest.mark.parametrize("n", [2, 3, 5])
def test_the_difference_that_seeds_show_is_where_the_power_passes_four_fifths(n):
    shown = smallest_shown(n, 0.3)
    assert power_of(n, shown, 0.3) >= 0.8 > power_of(n, 0.99 * shown, 0.3)


def test_a_long_comparison_names_shorter_ways():
    backbones = brought(saved("a.pth", "d"), "scratch")
    setting = Setting(("detection", "segmentation"), "paper")
    configs = setting.configs([backbones[0].facts])
    Path(FILE).write_text(study_text("mine", backbones, configs, Request("", "", "paper", 3)))
    study = load_study(FILE, "paper", seeds=3)
    facts = [backbones[0].facts]
    line = shorter_ways(study, dict(other_ways(study, setting, facts)))
    assert line.startswith("Shorter ways: --protocol ranking (about ") and "--tasks detection (" in line and "--seeds 1 (" in line


def test_a_person_at_a_terminal_is_asked(monkeypatch):
    asked = []
    monkeypatch.setattr("builtins.input", lambda text: asked.append(text) or "no")
    assert tool.is_agreed(Namespace(yes=False)) and not asked  # no terminal: it has said the cost, and goes on
    for stream in (sys.stdin, sys.stdout):
        monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
    assert not tool.is_agreed(Namespace(yes=False)) and asked == ["Start? [y/N] "]
    assert tool.is_agreed(Namespace(yes=True)) and len(asked) == 1


# ---- the command


def call(monkeypatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["compare.py", *arguments])
    return tool.compare()


@pytest.mark.parametrize("scale", ["toy", "mini", "paper"])
def test_rows_and_their_cost_are_said_before_missing_data(monkeypatch, capsys, scale):
    monkeypatch.setenv("DATA_ROOT", "nowhere")
    saved("a.pth", "d")
    with pytest.raises(MissingData, match="nowhere/"):
        call(monkeypatch, "a.pth", "scratch", "--scale", scale)
    said = " ".join(capsys.readouterr().out.split())
    assert "a: resnet50-D from a.pth" in said and "12 runs: 0 done, 12 to do (6 of detection, 6 of segmentation), about " in said
    assert ("Shorter ways: " in said) == (scale == "paper")
    assert [path.name for path in Path("work_dirs").iterdir()] == ["cards"]  # which the next call takes


def test_data_is_not_asked_for_where_the_rows_are_wrong(monkeypatch):
    monkeypatch.setenv("DATA_ROOT", "nowhere")
    Path("a.pth").write_text("not weights")
    with pytest.raises(ValueError, match="a.pth is no file of weights"):
        call(monkeypatch, "a.pth", "scratch", "--scale", "toy")


@pytest.mark.slow
def test_two_files_and_scratch_end_in_a_report_and_again_without_a_run(monkeypatch, toy_root, capsys):
    monkeypatch.setenv("DATA_ROOT", str(toy_root.parent))
    saved("plain.pth"), saved("deep.pth", "d", 1)
    line = ("plain.pth:variant=b", "deep.pth", "scratch", "--tasks", "detection", "--jobs", "1", "--scale", "toy", "--seeds", "1")
    assert call(monkeypatch, *line) == 0
    said = capsys.readouterr().out
    assert "plain: resnet50-B from plain.pth" in said and "3 runs: 0 done" in said
    report = Path("work_dirs/mine-toy/report.md").read_text()
    assert "plain" in report and "these weights" in report
    about = json.loads(Path("work_dirs/mine-toy/study.json").read_text())
    assert about["tricks"]["deep"].endswith("resnet50-D from deep.pth")
    records = {path: path.stat().st_mtime_ns for path in Path("work_dirs/runs").glob("*/record.json")}
    assert len(records) == 3
    monkeypatch.setattr(sources, "_write", None)
    assert call(monkeypatch, *line) == 0 and "3 runs: 3 done, 0 to do" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in Path("work_dirs/runs").glob("*/record.json")} == records
