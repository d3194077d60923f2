"""The catalogue: what composes with what and on which network, what each trick sets, and what the paper gained by it."""

import copy
import itertools
import re
from pathlib import Path

import numpy as np
import pytest
from mmengine.registry import MODELS
from torch.nn.modules.batchnorm import _BatchNorm

from classification import TRICKS, compose
from classification.task import configure
from classification.tricks import difference, flatten, format_trick, parse_trick
from tools.engine.config import ROOT, load

TEACHER = "work_dirs/runs/0123456789ab/card"
NEEDED = {"distillation": {"teacher": TEACHER}}  # options that a trick cannot do without
DEFAULTS = {
    "large_batch": {"factor": 4},
    "low_precision": {"dtype": "auto"},
    "mixup": {"alpha": 0.2, "schedule": "paper"},
    "label_smoothing": {"eps": 0.1, "form": "paper"},
    "distillation": {"teacher": TEACHER, "temperature": 20.0, "form": "paper"},
    "warmup": {"start": "first"},
}
SETS = {
    "resnet_b": {"model.backbone.variant"},
    "resnet_c": {"model.backbone.variant"},
    "resnet_d": {"model.backbone.variant"},
    "zero_gamma": {"model.backbone.zero_gamma"},
    "large_batch": {"batch", "micro_batch", "optim_wrapper.optimizer.lr"},
    "low_precision": {"optim_wrapper.type", "optim_wrapper.dtype"},
    "mixup": {"model.mixup", "epochs", "train_cfg.max_epochs", "param_scheduler"},
    "label_smoothing": {"model.loss.label_smoothing"},
    "distillation": {"model.distillation", "teacher"},
    "no_bias_decay": {"optim_wrapper.paramwise_cfg"},
    "cosine": {"param_scheduler"},
    "warmup": {"param_scheduler"},
}
GAINS = {
    "resnet_b": 0.45,
    "resnet_c": 0.66,
    "resnet_d": 0.95,
    "zero_gamma": 0.44,
    "large_batch": -0.70,
    "low_precision": 0.18,
    "mixup": 0.84,
    "label_smoothing": 0.40,
    "distillation": 0.36,
    "no_bias_decay": -0.34,
    "cosine": 0.75,
    "warmup": 0.76,
}
VARIANTS = ("resnet_b", "resnet_c", "resnet_d")
CONFIGS = sorted(p.stem for p in (ROOT / "configs/classification").glob("*.py"))
WITHOUT = {"timm": VARIANTS, "mobilenet": (*VARIANTS, "zero_gamma"), "inception": (*VARIANTS, "zero_gamma")}


def named(name: str) -> tuple[str, dict]:
    return name, NEEDED.get(name, {})


def record(*names: str) -> list:
    return [[name, DEFAULTS.get(name, {})] for name in names]


@pytest.fixture(scope="module")
def bases() -> dict:
    return {name: load(f"configs/classification/{name}.py") for name in CONFIGS}


@pytest.fixture
def paper(bases):
    return copy.deepcopy(bases["resnet50_paper"])


@pytest.fixture
def toy(bases):
    return copy.deepcopy(bases["resnet50_toy"])


# ---- what composes


def test_the_tables_above_hold_every_trick_and_config():
    assert set(TRICKS) == set(SETS) == set(GAINS) and len(TRICKS) == 12
    assert {name.rsplit("_", 1)[0] for name in CONFIGS} == {
        *("resnet50", "resnet50_places365", "inception_v3", "mobilenet", "timm"),
    }
    assert {name.rsplit("_", 1)[1] for name in CONFIGS} == {"paper", "mini", "toy"}


@pytest.mark.parametrize(("first", "second"), itertools.combinations(TRICKS, 2))
def test_every_pair_composes_or_is_refused_with_a_reason(bases, first, second):
    base = bases["resnet50_paper"]
    one, other = copy.deepcopy(base), copy.deepcopy(base)
    pair = [named(first), named(second)]
    group = TRICKS[first].group
    if group and group == TRICKS[second].group:
        for cfg, tricks in ((one, pair), (other, pair[::-1])):
            with pytest.raises(ValueError, match=f"{first}.*{second}|{second}.*{first}") as error:
                compose(cfg, tricks)
            assert "exclude each other" in str(error.value) and group in str(error.value)
            assert cfg.to_dict() == base.to_dict()
        return
    applied = compose(one, pair)
    assert compose(other, pair[::-1]) == applied == record(first, second)
    assert one.to_dict() == other.to_dict()
    changed = difference(flatten(base), flatten(one))
    for name in (first, second):
        assert any(covers(SETS[name], key) for key in changed)
    assert all(covers(SETS[first] | SETS[second], key) for key in changed)


def test_only_the_variants_of_the_resnet_exclude_each_other():
    groups = {name: TRICKS[name].group for name in TRICKS if TRICKS[name].group}
    assert set(groups) == set(VARIANTS) and len(set(groups.values())) == 1


def covers(sets: set[str], key: str) -> bool:
    return any(f"{key}.".startswith(f"{known}.") for known in sets)


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("name", TRICKS)
def test_a_trick_changes_what_it_declares_and_nothing_else(bases, name, config):
    cfg = copy.deepcopy(bases[config])
    network = config.split("_")[0]
    if name in WITHOUT.get(network, ()):
        with pytest.raises(ValueError, match=cfg.model.backbone.name):
            compose(cfg, [named(name)])
        assert cfg.to_dict() == bases[config].to_dict()
        return
    assert compose(cfg, [named(name)]) == record(name)
    changed = difference(flatten(bases[config]), flatten(cfg))
    assert set(TRICKS[name].sets) == SETS[name]
    assert all(covers(SETS[name], key) for key in changed)
    assert all(any(covers({known}, key) for key in changed) for known in SETS[name])


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_of_the_resnet_is_refused_on_other_networks(bases, name):
    with pytest.raises(ValueError, match=f"The trick {name} is for ResNets; inception_v3 has no such variant"):
        compose(copy.deepcopy(bases["inception_v3_toy"]), [name])


@pytest.mark.parametrize("network", ["resnext50_32x4d", "seresnet50", "inception_v3", "mobilenetv1_100", "densenet201"])
def test_zero_gamma_is_for_networks_with_residual_blocks(bases, network):
    cfg = copy.deepcopy(bases["timm_toy"])
    cfg.model.backbone.name = network
    if network in ("resnext50_32x4d", "seresnet50"):
        assert compose(cfg, ["zero_gamma"]) == record("zero_gamma") and cfg.model.backbone.zero_gamma is True
        return
    with pytest.raises(ValueError, match=f"needs residual blocks that end in a BN, and {network} has none"):
        compose(cfg, ["zero_gamma"])
    assert "zero_gamma" not in cfg.model.backbone


@pytest.mark.parametrize("config", ["resnet50_toy", "timm_toy"])
def test_zero_gamma_reaches_the_network(bases, config):
    cfg = copy.deepcopy(bases[config])
    plain = MODELS.build(cfg.model.backbone)
    compose(cfg, ["zero_gamma"])
    zero = MODELS.build(cfg.model.backbone)
    assert [sum(not m.weight.any() for m in n.modules() if isinstance(m, _BatchNorm)) for n in (plain, zero)] == [0, 16]


@pytest.mark.parametrize("depth", [18, 34])
def test_resnet_b_is_refused_where_it_is_no_change(paper, depth):
    paper.model.backbone.depth = depth
    with pytest.raises(ValueError, match=f"resnet_b does nothing at depth {depth}"):
        compose(paper, ["resnet_b"])
    for name in ("resnet_c", "resnet_d"):
        compose(copy.deepcopy(paper), [name])


@pytest.mark.parametrize("name", VARIANTS)
def test_the_architecture_tricks_build_their_variant(toy, name):
    compose(toy, [name])
    assert MODELS.build(toy.model.backbone).arch["variant"] == name[-1]


@pytest.mark.parametrize("config", ["resnet50_toy", "timm_toy", "resnet50_places365_paper"])
@pytest.mark.parametrize("name", [name for name in TRICKS if name not in VARIANTS])
def test_a_trick_is_pure(bases, config, name):
    one, other = (copy.deepcopy(bases[config]) for _ in range(2))
    assert compose(one, [named(name)]) == compose(other, [named(name)])
    assert one.to_dict() == other.to_dict()
    assert bases[config].to_dict() == load(f"configs/classification/{config}.py").to_dict()


def test_all_orders_of_five_tricks_are_one_config(bases):
    tricks = ["warmup", "cosine", "mixup", "large_batch", "no_bias_decay"]
    results = []
    for order in itertools.permutations(tricks):
        cfg = copy.deepcopy(bases["resnet50_paper"])
        assert [name for name, _ in compose(cfg, order)] == [name for name in TRICKS if name in tricks]
        results.append(cfg.to_dict())
    assert all(result == results[0] for result in results)


def test_what_was_applied_holds_the_given_options_and_the_other_defaults(paper):
    given = [("label_smoothing", {"eps": 0.2}), ("mixup", {"schedule": "same"}), "warmup"]
    assert compose(paper, given) == [
        ["mixup", {"alpha": 0.2, "schedule": "same"}],
        ["label_smoothing", {"eps": 0.2, "form": "paper"}],
        ["warmup", {"start": "first"}],
    ]


@pytest.mark.parametrize("name", TRICKS)
def test_a_config_that_has_the_trick_is_refused(toy, name):
    configure(toy, [named(name)])
    before = toy.to_dict()
    with pytest.raises(ValueError, match=f"{name}"):
        configure(toy, [named(name)])
    assert toy.to_dict() == before


def test_tricks_are_not_added_to_a_config_that_has_some(toy):
    """Else the record would name the last ones only."""
    configure(toy, ["resnet_d"])
    with pytest.raises(ValueError, match="has tricks already: resnet_d"):
        configure(toy, ["cosine"])
    assert toy.tricks == [["resnet_d", {}]]
    configure(toy)
    assert toy.tricks == [["resnet_d", {}]]


def test_a_trick_without_effect_is_refused(paper):
    paper.model.backbone.zero_gamma = True
    with pytest.raises(ValueError, match="The trick zero_gamma changed nothing"):
        compose(paper, ["cosine", "zero_gamma"])
    assert paper.param_scheduler[0].type == "MultiStepLR"  # left as it was


@pytest.mark.parametrize(
    ("tricks", "message"),
    [
        (["cosin"], r"There is no trick 'cosin'; nearest: cosine"),
        (["resnet_e"], r"There is no trick 'resnet_e'; nearest: .*resnet_d"),
        (["zzz"], r"There is no trick 'zzz'; all: " + ", ".join(TRICKS)),
        ([("cosine", {"eta": 0.1})], r"The trick cosine has no option 'eta'; its options: none"),
        ([("label_smoothing", {"epsilon": 0.1})], r"has no option 'epsilon'; its options: eps, form"),
        ([("large_batch", {"cfg": 1})], r"has no option 'cfg'; its options: factor"),
        ([("distillation", {"T": 20})], r"has no option 'T'; its options: teacher, temperature, form"),
        (["warmup", "cosine", "warmup"], r"The trick warmup is given twice"),
        (["label_smoothing", ("label_smoothing", {"eps": 0.2})], r"label_smoothing is given twice"),
        ([("label_smoothing", {"form": "torch"})], r"form is 'torch'; allowed: paper, uniform"),
        ([("label_smoothing", {"eps": 0})], r"eps is 0; give a number above 0"),
        ([("label_smoothing", {"eps": 1.0})], r"eps is 1.0; .*with 1000 classes below 1"),
        ([("label_smoothing", {"eps": float("nan")})], r"eps is nan; give a number above 0"),
        ([("label_smoothing", {"eps": "high"})], r"label_smoothing:eps is 'high'; give a number"),
        ([("large_batch", {"factor": 1})], r"factor is 1; give a whole number of at least 2"),
        ([("large_batch", {"factor": 2.5})], r"large_batch:factor is 2.5; give a whole number"),
        ([("large_batch", {"factor": True})], r"large_batch:factor is True; give a whole number"),
        ([("low_precision", {"dtype": "fp8"})], r"dtype is 'fp8'; allowed: auto, float16, bfloat16, float32"),
        ([("mixup", {"alpha": 0})], r"mixup:alpha is 0; give a number above 0"),
        ([("mixup", {"alpha": -0.2})], r"mixup:alpha is -0.2; give a number above 0"),
        ([("mixup", {"alpha": "big"})], r"mixup:alpha is 'big'; give a number"),
        ([("mixup", {"schedule": "long"})], r"mixup:schedule is 'long'; allowed: paper, same"),
        ([("distillation", {"teacher": TEACHER, "temperature": 0})], r"temperature is 0; give a number above 0"),
        ([("distillation", {"teacher": TEACHER, "temperature": -1.0})], r"temperature is -1.0; give a number above 0"),
        ([("distillation", {"teacher": TEACHER, "temperature": "hot"})], r"temperature is 'hot'; give a number"),
        ([("distillation", {"teacher": TEACHER, "form": "half"})], r"form is 'half'; allowed: paper, gluoncv"),
        ([("distillation", {"teacher": 7})], r"distillation:teacher is 7; give a word"),
        ([("warmup", {"start": "last"})], r"warmup:start is 'last'; allowed: first, zero"),
        ([("warmup", {"start": 0})], r"warmup:start is 0; give a word"),
    ],
)
def test_a_wrong_trick_is_refused_and_the_config_kept(paper, tricks, message):
    before = paper.to_dict()
    with pytest.raises(ValueError, match=message):
        compose(paper, tricks)
    assert paper.to_dict() == before


@pytest.mark.parametrize("config", CONFIGS)
def test_distillation_without_a_teacher_says_how_to_make_one(bases, config):
    cfg = copy.deepcopy(bases[config])
    with pytest.raises(ValueError, match="needs a teacher: distillation:teacher=CARD") as error:
        compose(cfg, ["distillation"])
    assert cfg.to_dict() == bases[config].to_dict()
    found = re.search(r"python tools/train.py (\S+) --cfg-options (.*?) --tricks (.*?);", str(error.value))
    path, overrides, tricks = found[1], dict(pair.split("=") for pair in found[2].split()), found[3].split()
    assert Path(ROOT / path).is_file()
    teacher = load(path, {key: int(value) if value.isdigit() else value for key, value in overrides.items()})
    compose(teacher, tricks)
    assert (teacher.model.backbone.depth, teacher.model.backbone.variant, teacher.network) == (152, "d", "resnet152")
    assert {"cosine", "label_smoothing"} <= set(tricks) and "mixup" not in tricks
    assert (teacher.model.num_classes, teacher.data_root) == (cfg.model.num_classes, cfg.data_root)


def test_dense_options_are_refused(toy):
    for words in (dict(backbone="scratch"), dict(transfer="frozen")):
        with pytest.raises(ValueError, match="--backbone and --transfer are for detection and segmentation"):
            configure(toy, **words)


# ---- what the paper gained


@pytest.mark.parametrize("name", TRICKS)
def test_the_gain_is_that_of_the_papers_tables(name):
    assert TRICKS[name].gain.points == GAINS[name]


# ---- as typed


@pytest.mark.parametrize(
    ("text", "trick"),
    [
        ("cosine", "cosine"),
        ("label_smoothing:eps=0.2,form=uniform", ("label_smoothing", {"eps": 0.2, "form": "uniform"})),
        ("large_batch:factor=2", ("large_batch", {"factor": 2})),
        (f"distillation:teacher={TEACHER},temperature=4.0", ("distillation", {"teacher": TEACHER, "temperature": 4.0})),
        ("x:a=true,b=False,c=1e-3,d=-4,e=a/b=c", ("x", {"a": True, "b": False, "c": 1e-3, "d": -4, "e": "a/b=c"})),
    ],
)
def test_a_trick_as_typed(text, trick):
    parsed = parse_trick(text)
    assert parsed == trick
    if not isinstance(trick, str):
        assert [type(v) for v in parsed[1].values()] == [type(v) for v in trick[1].values()]
    again = parse_trick(format_trick(parsed))
    assert again == parsed


@pytest.mark.parametrize("name", TRICKS)
def test_a_recorded_trick_is_read_as_it_was_written(name):
    options = DEFAULTS.get(name, {})
    assert parse_trick(format_trick([name, options])) == ((name, options) if options else name)
    assert format_trick(parse_trick(name)) == name


def test_every_number_is_read_as_it_was_written():
    rng = np.random.default_rng(0)
    for value in [*(10.0 ** rng.uniform(-9, 9, 50)).tolist(), *rng.integers(-(10**9), 10**9, 50).tolist(), True, False]:
        name, options = parse_trick(format_trick(("x", {"a": value})))
        assert options == {"a": value} and type(options["a"]) is type(value)


@pytest.mark.parametrize("text", ["cosine:fast", "cosine:=1", "label_smoothing:eps=0.1,,form=paper"])
def test_a_trick_typed_wrong_is_refused(text):
    with pytest.raises(ValueError, match="is not of the form name:option=value,option=value"):
        parse_trick(text)
