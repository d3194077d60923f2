"""The catalogue: what composes, what each trick sets, and the numbers of the paper behind each."""

import copy
import itertools
import math

import numpy as np
import pytest
import timm.loss
import torch
from conftest import MEAN, STD
from mmengine.config import ConfigDict
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import MODELS, PARAM_SCHEDULERS
from torch import nn

from classification import TRICKS, LowPrecisionOptimWrapper, compose
from classification import precision as precision_module
from classification.precision import resolve_dtype, resolve_precision
from classification.task import configure
from classification.tricks import difference, flatten, parse_trick
from tools.engine.config import load

OPTIONS: dict[str, dict] = {}  # options that a trick cannot do without
SCALES = ("paper", "mini", "toy")
PAIRS = list(itertools.combinations(TRICKS, 2))


def named(name: str) -> tuple[str, dict]:
    return name, OPTIONS.get(name, {})


@pytest.fixture(scope="module")
def bases() -> dict:
    return {scale: load(f"configs/classification/resnet50_{scale}.py") for scale in SCALES}


@pytest.fixture
def paper(bases):
    return copy.deepcopy(bases["paper"])


@pytest.fixture
def toy(bases):
    return copy.deepcopy(bases["toy"])


# ---- composition


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_every_pair_composes_or_is_refused_with_a_reason(bases, first, second):
    one, other = copy.deepcopy(bases["paper"]), copy.deepcopy(bases["paper"])
    pair = [named(first), named(second)]
    group = TRICKS[first].group
    if group and group == TRICKS[second].group:
        for cfg, tricks in ((one, pair), (other, pair[::-1])):
            with pytest.raises(ValueError, match=f"{first}.*{second}|{second}.*{first}") as error:
                compose(cfg, tricks)
            assert "exclude each other" in str(error.value) and group in str(error.value)
            assert cfg.to_dict() == bases["paper"].to_dict()
        return
    applied = compose(one, pair)
    assert compose(other, pair[::-1]) == applied == [list(named(first)), list(named(second))]
    assert one.to_dict() == other.to_dict()
    changed = difference(flatten(bases["paper"]), flatten(one))
    for name in (first, second):
        assert any(covers(TRICKS[name].sets, key) for key in changed)
    assert all(covers(TRICKS[first].sets + TRICKS[second].sets, key) for key in changed)


def covers(sets: tuple[str, ...], key: str) -> bool:
    return any(f"{key}.".startswith(f"{known}.") for known in sets)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", TRICKS)
def test_a_trick_changes_what_it_declares_and_nothing_else(bases, name, scale):
    cfg = copy.deepcopy(bases[scale])
    assert compose(cfg, [named(name)]) == [list(named(name))]
    changed = difference(flatten(bases[scale]), flatten(cfg))
    assert changed and all(covers(TRICKS[name].sets, key) for key in changed)


@pytest.mark.parametrize("name", TRICKS)
def test_a_trick_is_pure(bases, name):
    one, other = (copy.deepcopy(bases["toy"]) for _ in range(2))
    assert compose(one, [named(name)]) == compose(other, [named(name)])
    assert one.to_dict() == other.to_dict()
    assert bases["toy"].to_dict() == load("configs/classification/resnet50_toy.py").to_dict()


def test_all_orders_of_five_tricks_are_one_config(bases):
    tricks = ["warmup", "cosine", "large_batch", "no_bias_decay", "resnet_d"]
    results = []
    for order in itertools.permutations(tricks):
        cfg = copy.deepcopy(bases["paper"])
        assert [name for name, _ in compose(cfg, order)] == [name for name in TRICKS if name in tricks]
        results.append(cfg.to_dict())
    assert all(result == results[0] for result in results)


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
        (["warmup", "cosine", "warmup"], r"The trick warmup is given twice"),
        (["label_smoothing", ("label_smoothing", {"eps": 0.2})], r"label_smoothing is given twice"),
        ([("label_smoothing", {"form": "torch"})], r"form is 'torch'; allowed: paper, uniform"),
        ([("label_smoothing", {"eps": 0})], r"eps is 0; give a number above 0"),
        ([("label_smoothing", {"eps": 1.0})], r"eps is 1.0; .*with 1000 classes below 1"),
        ([("label_smoothing", {"eps": "high"})], r"label_smoothing:eps is 'high'; give a number"),
        ([("large_batch", {"factor": 1})], r"factor is 1; give a whole number of at least 2"),
        ([("large_batch", {"factor": 2.5})], r"large_batch:factor is 2.5; give a whole number"),
        ([("low_precision", {"dtype": "fp8"})], r"dtype is 'fp8'; allowed: auto, float16, bfloat16, float32"),
    ],
)
def test_a_wrong_trick_is_refused_and_the_config_kept(paper, tricks, message):
    before = paper.to_dict()
    with pytest.raises(ValueError, match=message):
        compose(paper, tricks)
    assert paper.to_dict() == before


@pytest.mark.parametrize(
    ("text", "trick"),
    [
        ("cosine", "cosine"),
        ("label_smoothing:eps=0.2,form=uniform", ("label_smoothing", {"eps": 0.2, "form": "uniform"})),
        ("large_batch:factor=2", ("large_batch", {"factor": 2})),
        (
            "x:a=true,b=False,c=1e-3,d=-4,e=a/b=c",
            ("x", {"a": True, "b": False, "c": 1e-3, "d": -4, "e": "a/b=c"}),
        ),
    ],
)
def test_a_trick_as_typed(text, trick):
    parsed = parse_trick(text)
    assert parsed == trick
    if not isinstance(trick, str):
        assert [type(v) for v in parsed[1].values()] == [type(v) for v in trick[1].values()]


@pytest.mark.parametrize("text", ["cosine:fast", "cosine:=1", "label_smoothing:eps=0.1,,form=paper"])
def test_a_trick_typed_wrong_is_refused(text):
    with pytest.raises(ValueError, match="is not of the form name:option=value,option=value"):
        parse_trick(text)


def test_dense_options_are_refused(toy):
    for words in (dict(backbone="scratch"), dict(transfer="frozen")):
        with pytest.raises(ValueError, match="--backbone and --transfer are for detection and segmentation"):
            configure(toy, **words)


# ---- architecture and batch


@pytest.mark.parametrize("name", ["resnet_b", "resnet_d"])
def test_the_architecture_tricks_build_their_variant(toy, name):
    compose(toy, [name])
    assert MODELS.build(toy.model.backbone).arch["variant"] == name[-1]


@pytest.mark.parametrize("depth", [18, 34])
def test_resnet_b_is_refused_where_it_is_no_change(paper, depth):
    paper.model.backbone.depth = depth
    with pytest.raises(ValueError, match=f"resnet_b does nothing at depth {depth}"):
        compose(paper, ["resnet_b"])
    compose(paper, ["resnet_d"])


def test_zero_gamma_reaches_the_network(toy):
    plain = MODELS.build(toy.model.backbone)
    compose(toy, ["zero_gamma"])
    zero = MODELS.build(toy.model.backbone)
    assert [sum(not m.weight.any() for m in n.modules() if isinstance(m, nn.BatchNorm2d)) for n in (plain, zero)] == [0, 16]


@pytest.mark.parametrize("factor", [2, 4, 8])
@pytest.mark.parametrize("scale", SCALES)
def test_large_batch_scales_the_learning_rate_linearly(bases, scale, factor):
    cfg = copy.deepcopy(bases[scale])
    compose(cfg, [("large_batch", {"factor": factor})])
    assert cfg.batch == factor * bases[scale].batch
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(factor * bases[scale].optim_wrapper.optimizer.lr)


def test_the_learning_rates_of_the_paper(paper, bases):
    assert (paper.batch, paper.optim_wrapper.optimizer.lr, paper.epochs) == (256, 0.1, 120)
    compose(paper, ["large_batch"])
    assert (paper.batch, paper.optim_wrapper.optimizer.lr) == (1024, pytest.approx(0.4))


# ---- schedules, through MMEngine's schedulers as its runner builds and steps them


def learning_rates(cfg, updates_per_epoch: int) -> list[float]:
    """The learning rate of every update of a training."""
    optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=cfg.optim_wrapper.optimizer.lr)
    wrapper = OptimWrapper(optimiser)
    extra = dict(optimizer=wrapper, epoch_length=updates_per_epoch)
    schedulers = [PARAM_SCHEDULERS.build(copy.deepcopy(s), default_args=extra) for s in cfg.param_scheduler]
    assert not any(s.by_epoch for s in schedulers)
    rates = []
    for _ in range(cfg.epochs * updates_per_epoch):
        rates.append(optimiser.param_groups[0]["lr"])
        wrapper.step()
        for scheduler in schedulers:
            scheduler.step()
    return rates


def expected(cfg, eta: float, n: int, warm: bool, shape: str) -> np.ndarray:
    """By update: i eta / m, then 0.5 (1 + cos(pi t / T)) eta, or eta over 10 from each step on."""
    m, total = (int(cfg.warmup_epochs * n) if warm else 0), cfg.epochs * n
    ramp = [i * eta / m for i in range(1, m + 1)]
    if shape == "cosine":
        span = total - m
        return np.array(ramp + [0.5 * (1 + math.cos(math.pi * t / span)) * eta for t in range(span)])
    steps = [int(cfg.epochs * part / 120) * n for part in (30, 60, 90)]
    return np.array(ramp + [eta * 0.1 ** sum(i >= s for s in steps) for i in range(m, total)])


@pytest.mark.parametrize("n", [2, 5, 7])
@pytest.mark.parametrize("shape", ["cosine", "steps"])
@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("scale", ["paper", "toy"])
def test_the_learning_rate_of_every_update(bases, scale, big, warm, shape, n):
    cfg = copy.deepcopy(bases[scale])
    chosen = [("large_batch", big), ("warmup", warm), ("cosine", shape == "cosine")]
    compose(cfg, [name for name, yes in chosen if yes])
    eta = cfg.lr_at_256 * cfg.batch / 256
    np.testing.assert_allclose(learning_rates(cfg, n), expected(cfg, eta, n, warm, shape), rtol=1e-9, atol=1e-12)


def test_a_warmup_of_one_update_starts_at_the_full_rate(paper):
    paper.warmup_epochs = 1
    compose(paper, ["warmup"])
    np.testing.assert_allclose(learning_rates(paper, 1), expected(paper, 0.1, 1, True, "steps"))


def test_a_warmup_without_updates_is_refused(paper):
    paper.warmup_epochs = 0.5
    compose(paper, ["warmup"])
    with pytest.raises(ValueError, match="covers no update, with 1 updates an epoch"):
        learning_rates(paper, 1)


def test_the_steps_of_the_paper(paper):
    rates = learning_rates(paper, 2)
    assert [rates[2 * e] for e in (0, 29, 30, 59, 60, 89, 90, 119)] == pytest.approx(
        [0.1, 0.1, 0.01, 0.01, 0.001, 0.001, 1e-4, 1e-4]
    )


# ---- targets


def cross_entropy(logits: np.ndarray, targets: np.ndarray) -> float:
    logits = logits.astype(np.float64)
    shifted = logits - logits.max(1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return float(-(targets * log_p).sum(1).mean())


def loss_of(cfg):
    return MODELS.build(cfg.model.loss)


@pytest.mark.parametrize("eps", [0.05, 0.1, 0.4])
@pytest.mark.parametrize("classes", [2, 3, 12, 20, 1000])
def test_label_smoothing_of_the_paper(paper, classes, eps):
    paper.model.num_classes = classes
    compose(paper, [("label_smoothing", {"eps": eps})])
    rng = np.random.default_rng(classes)
    logits, labels = 3 * rng.standard_normal((40, classes)), rng.integers(classes, size=40)
    targets = np.full((40, classes), eps / (classes - 1))
    targets[np.arange(40), labels] = 1 - eps
    value = loss_of(paper)(torch.from_numpy(logits), torch.from_numpy(labels))
    assert float(value) == pytest.approx(cross_entropy(logits, targets), rel=1e-9)


@pytest.mark.parametrize("classes", [2, 12, 1000])
def test_uniform_label_smoothing_is_that_of_timm(paper, classes):
    paper.model.num_classes = classes
    compose(paper, [("label_smoothing", {"eps": 0.1, "form": "uniform"})])
    rng = torch.Generator().manual_seed(classes)
    logits = torch.randn(30, classes, generator=rng, dtype=torch.float64)
    labels = torch.randint(classes, (30,), generator=rng)
    other = timm.loss.LabelSmoothingCrossEntropy(0.1)(logits, labels)
    torch.testing.assert_close(loss_of(paper)(logits, labels), other)


def test_without_the_trick_the_loss_is_plain_cross_entropy(paper):
    rng = np.random.default_rng(0)
    logits, labels = rng.standard_normal((9, 5)), rng.integers(5, size=9)
    value = loss_of(paper)(torch.from_numpy(logits), torch.from_numpy(labels))
    assert float(value) == pytest.approx(cross_entropy(logits, np.eye(5)[labels]), rel=1e-9)


# ---- optimiser and precision


@pytest.mark.parametrize(("architecture", "norms", "convolutions"), [
    ([], 53, 53), (["resnet_b"], 53, 53), (["resnet_d"], 55, 55),
])  # fmt: skip
def test_no_bias_decay_spares_every_bias_and_every_norm(toy, architecture, norms, convolutions):
    compose(toy, ["no_bias_decay", *architecture])
    model = MODELS.build(toy.model)
    groups = build_optim_wrapper(model, toy.optim_wrapper).optimizer.param_groups
    decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    assert len(decay) == len(list(model.parameters()))
    kinds = {nn.BatchNorm2d: 0, nn.Conv2d: 0, nn.Linear: 0}
    for module in model.modules():
        if type(module) in kinds:
            kinds[type(module)] += 1
            weight = 0.0 if isinstance(module, nn.BatchNorm2d) else 1e-4
            assert decay[id(module.weight)] == weight
            if module.bias is not None:
                assert decay[id(module.bias)] == 0.0
    assert kinds == {nn.BatchNorm2d: norms, nn.Conv2d: convolutions, nn.Linear: 1}
    assert {group["lr"] for group in groups} == {toy.optim_wrapper.optimizer.lr}


def test_without_the_trick_everything_decays(toy):
    groups = build_optim_wrapper(MODELS.build(toy.model), toy.optim_wrapper).optimizer.param_groups
    assert {group["weight_decay"] for group in groups} == {1e-4}


@pytest.mark.parametrize(
    ("cuda", "hardware", "dtype"),
    [(True, True, "float16"), (True, False, "float16"), (False, True, "bfloat16"), (False, False, "float32")],
)
def test_auto_is_what_the_machine_is_good_at(monkeypatch, cuda, hardware, dtype):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(precision_module, "bf16_in_hardware", lambda: hardware)
    assert resolve_dtype("auto") == dtype
    assert [resolve_dtype(d) for d in ("bfloat16", "float32")] == ["bfloat16", "float32"]


def test_float16_needs_cuda(toy, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    compose(toy, [("low_precision", {"dtype": "float16"})])
    with pytest.raises(ValueError, match="dtype=float16 needs CUDA.*give bfloat16"):
        resolve_precision(toy)


def test_float16_is_mmengines_own_wrapper_with_loss_scaling(toy, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    configure(toy, ["low_precision"])
    assert (toy.precision, toy.optim_wrapper.type, toy.optim_wrapper.loss_scale) == (
        "float16",
        "AmpOptimWrapper",
        "dynamic",
    )


def test_the_precision_of_a_config_without_the_trick_is_float32(toy):
    before = toy.optim_wrapper.to_dict()
    assert resolve_precision(toy) == "float32" and toy.optim_wrapper.to_dict() == before


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_low_precision_computes_in_16_bits_and_keeps_weights_in_32(dtype):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 4))
    cfg = ConfigDict(type="classification.LowPrecisionOptimWrapper", dtype=dtype, optimizer=dict(type="SGD", lr=0.1))
    wrapper = build_optim_wrapper(net, cfg)
    assert isinstance(wrapper, LowPrecisionOptimWrapper)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    x = torch.randn(4, 3, 8, 8)
    exact = net(x).detach()
    with wrapper.optim_context(net):
        logits = net(x)
        loss = logits.float().square().mean()
    assert logits.dtype == getattr(torch, dtype) and net[0](x).dtype == torch.float32
    assert torch.equal(logits.float(), exact) == (dtype == "float32")
    torch.testing.assert_close(logits.float(), exact, rtol=0.05, atol=0.05)
    wrapper.update_params(loss)
    for name, parameter in net.named_parameters():
        assert parameter.dtype == torch.float32 and not torch.equal(before[name], parameter)


def test_a_classifier_trains_one_step_with_everything_on(toy):
    chosen = [
        "resnet_d",
        "zero_gamma",
        "large_batch",
        ("low_precision", {"dtype": "bfloat16"}),
        "label_smoothing",
        "no_bias_decay",
    ]
    toy.merge_from_dict({"model.backbone.base_channels": 4})
    configure(toy, [*chosen, "cosine", "warmup"])
    assert toy.precision == "bfloat16"
    torch.manual_seed(0)
    model = MODELS.build(toy.model).train()
    wrapper = build_optim_wrapper(model, toy.optim_wrapper)
    before = {k: v.clone() for k, v in model.named_parameters()}
    data = {"inputs": torch.randint(256, (4, 3, 32, 32), dtype=torch.uint8), "labels": torch.arange(4)}
    logs = model.train_step(data, wrapper)
    assert abs(float(logs["loss"].detach()) - math.log(12)) < 1.5
    moved = [k for k, v in model.named_parameters() if not torch.equal(before[k], v)]
    assert "fc.weight" in moved and "backbone.layer4.2.bn3.weight" in moved
    with torch.no_grad():
        samples = model.eval().test_step(data)
    assert [s["label"] for s in samples] == [0, 1, 2, 3] and samples[0]["scores"].shape == (8,)
    assert (toy.model.data_preprocessor["mean"], toy.model.data_preprocessor["std"]) == (MEAN, STD)
