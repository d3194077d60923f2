"""Check the options of tools/import_backbone.py: facts out of range, cards that exist, and what is printed."""

import math
import shlex
import sys
from importlib import import_module

import pytest

from backbones.interchange.importer import import_backbone
from tests.helpers.bad_input import refused as refused
from tests.helpers.convert import one_sentence
from tests.helpers.weight_files import save
from tests.helpers.weight_files import small as small
from tools.engine.comparing.rows import rows_of
from tools.engine.config import Options, resolve

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
REFUSED = [
    (
        {"mean": IMAGENET_MEAN},
        r"--mean is 0\.485 0\.456 0\.406, means of pixels of 0\.\.1, .*give --mean 123\.675 116\.28 103\.53\.",
    ),
    ({"mean": (0.5, 0.5, 0.5)}, r"give --mean 127\.5 127\.5 127\.5\."),
    ({"mean": (0, 0, 1)}, r"give --mean 0 0 255\."),
    ({"std": IMAGENET_STD}, r"--std is 0\.229 0\.224 0\.225, deviations .*give --std 58\.395 57\.12 57\.375\."),
    ({"std": (0.5, 0.5, 1.0)}, r"give --std 127\.5 127\.5 255\."),
    ({"std": (-1, 1, 1)}, "--std is -1 1 1; give three numbers above 0 and up to 255"),
    ({"std": (0, 1, 1)}, "--std is 0 1 1; give three numbers above 0"),
    ({"std": (math.nan, 1, 1)}, "--std is nan 1 1"),
    ({"std": (58, 57, math.inf)}, "--std is 58 57 inf"),
    ({"std": (300, 57, 57)}, "--std is 300 57 57"),
    ({"mean": (-1, 1, 1)}, r"--mean is -1 1 1; give three numbers of 0\.\.255"),
    ({"mean": (256, 100, 100)}, "--mean is 256 100 100"),
    ({"mean": (math.nan, 100, 100)}, "--mean is nan 100 100"),
    ({"mean": (100, 100, math.inf)}, "--mean is 100 100 inf"),
    ({"input_size": 0}, "--size is 0; give the side of the training images in pixels, 1 to 8192"),
    ({"input_size": -224}, "--size is -224"),
    ({"input_size": 10**9}, "--size is 1000000000"),
    ({"top1": 0.761}, r"--top1 is 0\.761 percent; if it is a fraction, give 76\.1\."),
    ({"top1": math.nan}, "--top1 is nan; give the accuracy in percent, 0 to 100"),
    ({"top1": math.inf}, "--top1 is inf"),
    ({"top1": 101.0}, "--top1 is 101"),
    ({"top1": -1.0}, "--top1 is -1"),
]


@pytest.mark.parametrize(("facts", "message"), REFUSED, ids=[str(facts) for facts, _ in REFUSED])
def test_facts_out_of_range_are_refused_before_the_file_is_read(tmp_path, facts, message):
    with pytest.raises(ValueError, match=message) as error:
        import_backbone(str(tmp_path / "nowhere.pth"), **facts)
    one_sentence(error)


@pytest.mark.parametrize(
    "facts",
    [
        dict(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375)),
        dict(mean=(103.53, 116.28, 123.675), std=(1, 1, 1), channel_order="bgr"),  # the original ResNets
        dict(mean=(127.5, 127.5, 127.5), std=(127.5, 127.5, 127.5)),
        dict(mean=(0, 0, 0), std=(255, 255, 255), input_size=32, top1=0.0),
        dict(mean=(0, 0, 0), std=(1, 1, 1), top1=100.0),
    ],
)
def test_facts_in_range_are_in_the_card(small, tmp_path, facts):
    imported = import_backbone(save(tmp_path / "net.pth", small.state_dict()), **facts)
    assert {name: imported.facts[name] for name in facts} == facts


@pytest.fixture
def bring_in(monkeypatch, capsys):
    """Return a function that runs tools/import_backbone.py in this process and returns its output."""

    def run(*arguments) -> str:
        monkeypatch.setattr(sys, "argv", ["import_backbone.py", *map(str, arguments)])
        monkeypatch.setattr(sys, "path", list(sys.path))
        import_module("tools.import_backbone").bring_in()
        return capsys.readouterr().out

    return run


def test_the_defaults_of_mean_and_std_are_printed(small, tmp_path, bring_in):
    out = bring_in(save(tmp_path / "net.pth", {"model": small.state_dict()}), "--out", tmp_path / "card")
    assert "mean 123.675 116.28 103.53, std 58.395 57.12 57.375, rgb, size 224" in out
    assert "Taken: the network under model." in out and "Assumed, since the file does not state them: mean" in out


def test_the_import_ends_with_commands_that_use_the_card(small, tmp_path, bring_in, monkeypatch):
    file = save(tmp_path / "net.pth", small.state_dict())
    monkeypatch.chdir(tmp_path)
    compare, train = map(shlex.split, bring_in(file, "--out", "my cards/a").splitlines()[-2:])
    assert compare == ["python", "tools/compare.py", "my cards/a", "scratch"]
    assert [row.source and row.source.place for row in rows_of(compare[2:], {})] == ["my cards/a", None]
    assert train[:2] == ["python", "tools/train.py"]
    assert resolve(train[2], Options(backbone=train[4])).cfg.model.backbone.depth == small.arch["depth"]


def test_a_card_is_replaced_with_force_alone(small, tmp_path, bring_in, refused):  # noqa: F811
    file, card = save(tmp_path / "net.pth", small.state_dict()), tmp_path / "card"
    bring_in(file, "--out", card)
    before = (card / "card.json").read_bytes()
    text = refused("export_backbone", card, "--format", "mm", "--out", file)
    assert f"{file} exists; name another with --out, or add --force to replace it." in text
    (tmp_path / "folder").mkdir()
    with pytest.raises(ValueError, match="card exists; name another with --out, or add --force to replace it"):
        bring_in(file, "--out", card, "--size", 96)
    with pytest.raises(ValueError, match=r"folder exists; name another with --out\."):
        bring_in(file, "--out", tmp_path / "folder", "--force")
    assert (card / "card.json").read_bytes() == before
    bring_in(file, "--out", card, "--size", 96, "--force")
    assert (card / "card.json").read_bytes() != before
