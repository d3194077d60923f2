"""Test the catalogue: which tricks compose, on which networks, what each sets, and its gain in the paper."""

import copy
import itertools
import re
from pathlib import Path

import pytest
from mmengine.registry import MODELS
from torch.nn.modules.batchnorm import _BatchNorm

from backbones.common.project import ROOT
from backbones.resolving import Machine, Request, complete
from classification import TRICKS, compose
from classification.resolve import CONSUMED, derive
from classification.resolve import resolve as resolve_values
from classification.tricks import difference, flatten
from tests.helpers.tricks import DEFAULTS, TEACHER
from tools.engine.config import Options, load, refuse_ineffective, resolve
from tools.engine.config.dumped import printed_text

NEEDED = {"distillation": {"teacher": TEACHER}}  # options without a default
SETS = {  # the keys that a trick edits: values, or the schedule
    "resnet_b": {"model.backbone.variant"},
    "resnet_c": {"model.backbone.variant"},
    "resnet_d": {"model.backbone.variant"},
    "zero_gamma": {"model.backbone.zero_gamma"},
    "large_batch": {"batch", "micro_batch"},
    "low_precision": {"low_precision"},
    "mixup": {"model.mixup", "epochs"},
    "label_smoothing": {"model.loss.label_smoothing"},
    "distillation": {"model.distillation", "teacher"},
    "no_bias_decay": {"optim_wrapper.paramwise_cfg"},
    "cosine": {"param_scheduler"},
    "warmup": {"param_scheduler"},
}
FOLLOWS = {  # the other keys of a resolved config that change with a trick
    "large_batch": {
        "optim_wrapper.optimizer.lr",
        "model.micro_batch",
        "train_dataloader.batch_size",
        "train_dataloader.sampler.batch",
    },
    "low_precision": {"optim_wrapper.type", "optim_wrapper.dtype", "optim_wrapper.loss_scale", "precision"},
    "mixup": {"train_cfg.max_epochs", "param_scheduler"},
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
CPU, GPU = (Machine(threads=1, cuda=cuda, bf16=True) for cuda in (False, True))
WITHOUT = {"timm": VARIANTS, "mobilenet": (*VARIANTS, "zero_gamma"), "inception": (*VARIANTS, "zero_gamma")}


def named(name: str) -> tuple[str, dict]:
    """Return a trick with the options that it needs."""
    return name, NEEDED.get(name, {})


def record(*names: str) -> list:
    """Return tricks as a resolved config records them."""
    return [[name, DEFAULTS.get(name, {})] for name in names]


def composed(values, tricks=(), machine: Machine = CPU):
    """Return the resolved config of these values with these tricks."""
    return complete(resolve_values(values, Request(machine, tricks=tricks)), machine)


def changed_by(values, tricks, machine: Machine = CPU) -> list[str]:
    """Return the keys of the resolved config that tricks change, except for the list of tricks itself."""
    changed = difference(*(flatten(composed(values, chosen, machine)) for chosen in ((), tricks)))
    changed.remove("tricks")
    return changed


@pytest.fixture(scope="module")
def bases() -> dict:
    return {name: load(f"configs/classification/{name}.py") for name in CONFIGS}


@pytest.fixture
def paper(bases):
    return copy.deepcopy(bases["resnet50_paper"])


@pytest.fixture
def toy(bases):
    return copy.deepcopy(bases["resnet50_toy"])


@pytest.fixture
def again(tmp_path):
    """Return ``again(resolved)``, which writes a config file as tools/print_config.py does, and returns its path."""

    def write(resolved) -> Path:
        path = tmp_path / "config.py"
        path.write_text(printed_text(resolved))
        return path

    return write


# ---- composition


def test_the_tables_above_hold_every_trick_and_config():
    assert set(TRICKS) == set(SETS) == set(GAINS) and set(FOLLOWS) < set(TRICKS) and len(TRICKS) == 12
    assert {name.rsplit("_", 1)[0] for name in CONFIGS} == {
        *("resnet50", "resnet50_places365", "inception_v3", "mobilenet", "timm"),
    }
    assert {name.rsplit("_", 1)[1] for name in CONFIGS} == {"paper", "mini", "toy"}


@pytest.mark.parametrize(("first", "second"), itertools.combinations(TRICKS, 2))
def test_every_pair_composes_or_is_refused_with_a_reason(bases, first, second):
    base = copy.deepcopy(bases["resnet50_paper"])
    pair = [named(first), named(second)]
    group = TRICKS[first].group
    if group and group == TRICKS[second].group:
        for tricks in (pair, pair[::-1]):
            with pytest.raises(ValueError, match=f"{first}.*{second}|{second}.*{first}") as error:
                composed(base, tricks)
            assert "exclude each other" in str(error.value) and group in str(error.value)
            assert base.to_dict() == bases["resnet50_paper"].to_dict()
        return
    cfg, swapped = composed(base, pair), composed(base, pair[::-1])
    assert cfg.tricks == swapped.tricks == record(first, second)
    assert cfg.to_dict() == swapped.to_dict()
    assert base.to_dict() == bases["resnet50_paper"].to_dict()
    changed = changed_by(base, pair)
    for name in (first, second):
        assert any(covers(touches(name), key) for key in changed)
    assert all(covers(touches(first) | touches(second), key) for key in changed)


def test_only_the_variants_of_the_resnet_exclude_each_other():
    groups = {name: TRICKS[name].group for name in TRICKS if TRICKS[name].group}
    assert set(groups) == set(VARIANTS) and len(set(groups.values())) == 1


def touches(name: str) -> set[str]:
    """Return the keys of a resolved config that a trick may change."""
    return (SETS[name] - set(CONSUMED)) | FOLLOWS.get(name, set())


def covers(sets: set[str], key: str) -> bool:
    """Return True if ``key`` is one of ``sets``, or below one."""
    return any(f"{key}.".startswith(f"{declared}.") for declared in sets)


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("name", TRICKS)
def test_a_trick_changes_what_it_declares_and_nothing_else(bases, name, config):
    values = copy.deepcopy(bases[config])
    network = config.split("_")[0]
    if name in WITHOUT.get(network, ()):
        with pytest.raises(ValueError, match=values.model.backbone.name):
            composed(values, [named(name)])
        assert values.to_dict() == bases[config].to_dict()
        return
    assert composed(values, [named(name)]).tricks == record(name)
    assert (set(TRICKS[name].sets), set(TRICKS[name].follows)) == (SETS[name], FOLLOWS.get(name, set()))
    edited = edited_values(values, name)
    assert bool(edited) == (TRICKS[name].stage == "values")
    assert all(covers(SETS[name], key) for key in edited)
    assert not edited or all(any(covers({declared}, key) for key in edited) for declared in SETS[name])
    changed = {*changed_by(values, [named(name)], CPU), *changed_by(values, [named(name)], GPU)}
    assert all(covers(touches(name), key) for key in changed)
    assert all(any(covers({declared}, key) for key in changed) for declared in touches(name))
    assert values.to_dict() == bases[config].to_dict()


def edited_values(values, name: str) -> list[str]:
    """Return the values that a trick has edited by the time the other keys are derived."""
    edits = []

    def watched(edited):
        edits.append(flatten(edited))
        return derive(edited, Request(CPU))

    compose(values, [named(name)], watched)
    return difference(flatten(values), *edits)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_of_the_resnet_is_refused_on_other_networks(bases, name):
    with pytest.raises(ValueError, match=f"The trick {name} is for ResNets; inception_v3 has no such variant"):
        composed(bases["inception_v3_toy"], [name])


@pytest.mark.parametrize("network", ["resnext50_32x4d", "seresnet50", "inception_v3", "mobilenetv1_100", "densenet201"])
def test_zero_gamma_needs_residual_blocks_that_end_in_a_bn(bases, network):
    values = copy.deepcopy(bases["timm_toy"])
    values.model.backbone.name = network
    if network in ("resnext50_32x4d", "seresnet50"):
        cfg = composed(values, ["zero_gamma"])
        assert cfg.tricks == record("zero_gamma") and cfg.model.backbone.zero_gamma is True
        return
    with pytest.raises(ValueError, match=f"needs residual blocks that end in a BN, and {network} has none"):
        composed(values, ["zero_gamma"])
    assert "zero_gamma" not in values.model.backbone


@pytest.mark.parametrize("config", ["resnet50_toy", "timm_toy"])
def test_zero_gamma_reaches_the_network(bases, config):
    networks = [MODELS.build(composed(bases[config], tricks).model.backbone) for tricks in ([], ["zero_gamma"])]
    norms = [[module for module in network.modules() if isinstance(module, _BatchNorm)] for network in networks]
    assert [sum(not norm.weight.any() for norm in norms_of_one) for norms_of_one in norms] == [0, 16]


@pytest.mark.parametrize("depth", [18, 34])
def test_resnet_b_is_refused_at_depths_where_it_changes_nothing(paper, depth):
    paper.model.backbone.depth = depth
    with pytest.raises(ValueError, match=f"resnet_b does nothing at depth {depth}"):
        composed(paper, ["resnet_b"])
    for name in ("resnet_c", "resnet_d"):
        assert composed(paper, [name]).model.backbone.variant == name[-1]


@pytest.mark.parametrize("name", VARIANTS)
def test_the_architecture_tricks_build_their_variant(toy, name):
    assert MODELS.build(composed(toy, [name]).model.backbone).arch["variant"] == name[-1]


@pytest.mark.parametrize("config", ["resnet50_toy", "timm_toy", "resnet50_places365_paper"])
@pytest.mark.parametrize("name", [name for name in TRICKS if name not in VARIANTS])
def test_a_trick_is_pure(bases, config, name):
    cfg, repeated = (composed(bases[config], [named(name)]) for _ in range(2))
    assert cfg.tricks == repeated.tricks == record(name)
    assert cfg.to_dict() == repeated.to_dict()
    assert bases[config].to_dict() == load(f"configs/classification/{config}.py").to_dict()


def test_all_orders_of_five_tricks_give_the_same_config(bases):
    tricks = ["warmup", "cosine", "mixup", "large_batch", "no_bias_decay"]
    results = []
    for order in itertools.permutations(tricks):
        cfg = composed(bases["resnet50_paper"], order)
        assert [name for name, _ in cfg.tricks] == [name for name in TRICKS if name in tricks]
        results.append(cfg.to_dict())
    assert all(result == results[0] for result in results)


def test_the_recorded_tricks_have_the_given_options_and_the_other_defaults(paper):
    given = [("label_smoothing", {"eps": 0.2}), ("mixup", {"schedule": "same"}), "warmup"]
    assert composed(paper, given).tricks == [
        ["mixup", {"alpha": 0.2, "schedule": "same"}],
        ["label_smoothing", {"eps": 0.2, "form": "paper"}],
        ["warmup", {"start": "first"}],
    ]


@pytest.mark.parametrize("name", TRICKS)
def test_a_trick_is_refused_on_a_config_that_has_it(again, name):
    first = resolve("configs/classification/resnet50_toy.py", Options(tricks=[named(name)]))
    path = again(first)
    before = path.read_text()
    with pytest.raises(ValueError, match=f"has tricks already: {name}"):
        resolve(path, Options(tricks=[named(name)]))
    assert path.read_text() == before and resolve(path).cfg.to_dict() == first.cfg.to_dict()


def test_tricks_are_not_added_to_a_config_that_has_some(again):
    """Guard against a record that names only the tricks added last."""
    path = again(resolve("configs/classification/resnet50_toy.py", Options(tricks=["resnet_d"])))
    with pytest.raises(ValueError, match="has tricks already: resnet_d"):
        resolve(path, Options(tricks=["cosine"]))
    assert resolve(path).cfg.tricks == [["resnet_d", {}]]


def test_a_trick_without_effect_is_refused(paper):
    paper.model.backbone.zero_gamma = True
    with pytest.raises(ValueError, match="The trick zero_gamma changed nothing"):
        composed(paper, ["cosine", "zero_gamma"])
    assert composed(paper).param_scheduler[0].type == "MultiStepLR"  # not modified


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
def test_a_wrong_trick_is_refused_and_the_config_unchanged(paper, tricks, message):
    before = paper.to_dict()
    with pytest.raises(ValueError, match=message):
        composed(paper, tricks)
    assert paper.to_dict() == before


@pytest.mark.parametrize("config", CONFIGS)
def test_distillation_without_a_teacher_says_how_to_make_one(bases, config):
    values = copy.deepcopy(bases[config])
    with pytest.raises(ValueError, match="needs a teacher: distillation:teacher=CARD") as error:
        composed(values, ["distillation"])
    assert values.to_dict() == bases[config].to_dict()
    command = re.search(r"python tools/train.py (\S+) --cfg-options (.*?) --tricks (.*?);", str(error.value))
    path, overrides, tricks = command[1], dict(pair.split("=") for pair in command[2].split()), command[3].split()
    assert Path(ROOT / path).is_file()
    overrides = {key: int(value) if value.isdigit() else value for key, value in overrides.items()}
    resolved = resolve(path, Options(tricks=tricks, overrides=overrides))
    teacher, student = resolved.cfg, composed(values)
    refuse_ineffective(resolved)  # as tools/train.py does
    assert (teacher.model.backbone.depth, teacher.model.backbone.variant, teacher.network) == (152, "d", "resnet152")
    assert {"cosine", "label_smoothing"} <= set(tricks) and "mixup" not in tricks
    assert teacher.model.num_classes == student.model.num_classes
    for loader in ("train_dataloader", "test_dataloader"):
        assert teacher[loader].dataset.root == student[loader].dataset.root


@pytest.mark.parametrize(
    ("option", "value"),
    [("backbone", "scratch"), ("transfer", "frozen"), ("protocol", "he2019"), ("lr_factor", 2.0), ("hold_out", True)],
)
def test_options_of_the_dense_tasks_are_refused(option, value):
    name = option.replace("_", "-")
    with pytest.raises(ValueError, match=f"--{name} is for detection and segmentation; classification "):
        resolve("configs/classification/resnet50_toy.py", Options(**{option: value}))


# ---- gains in the paper


@pytest.mark.parametrize("name", TRICKS)
def test_the_gain_agrees_with_the_papers_tables(name):
    assert TRICKS[name].gain.points == GAINS[name]
