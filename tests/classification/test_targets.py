"""Test the targets of the loss, smoothed, mixed or a teacher's, against formulas in float64."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.stats
import timm.data
import timm.loss
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS

from backbones import BackboneCard, ResNet
from classification import ImageClassifier, UpdateHook
from classification.distillation import load_teacher, soft_cross_entropy
from classification.mixup import Mixup
from classification.task import check_data, write_card
from tests.helpers.networks import MEAN, STD
from tools.engine.config import Options, resolve

CLASSES = 7
OTHER_MEAN, OTHER_STD = [104.0, 117.5, 123.25], [57.0, 1.0, 80.0]
PREPROCESSOR = dict(type="classification.ImagePreprocessor", mean=MEAN, std=STD)


def composed(tricks: list, scale: str = "paper", **overrides):
    """Return the resolved config of ResNet-50 with these tricks."""
    return resolve(f"configs/classification/resnet50_{scale}.py", Options(tricks=tricks, overrides=overrides)).cfg


def log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = np.asarray(logits, dtype=np.float64)
    shifted = shifted - shifted.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))


def cross_entropy(logits: np.ndarray, targets: np.ndarray) -> float:
    return float(-(targets * log_softmax(logits)).sum(1).mean())


def smoothed(labels: np.ndarray, classes: int, eps: float) -> np.ndarray:
    """Return the targets of equation 4: 1 - eps for the true class, eps / (K - 1) for the others."""
    targets = np.full((len(labels), classes), eps / (classes - 1))
    targets[np.arange(len(labels)), labels] = 1 - eps
    return targets


def loss_of(cfg):
    return MODELS.build(cfg.model.loss)


def classifier(eps: float = 0.0, **options) -> ImageClassifier:
    """Build a small ResNet-50 in float64, with its teacher."""
    torch.manual_seed(0)
    loss = dict(type="torch.nn.CrossEntropyLoss", label_smoothing=eps * CLASSES / (CLASSES - 1))
    backbone = dict(type="backbones.ResNet", depth=50, variant="d", base_channels=4)
    model = ImageClassifier(backbone, CLASSES, loss, PREPROCESSOR, **options).double().eval()
    if model.distillation:
        model.distillation.teacher.double()
    return model


def batch(size: int = 6) -> dict:
    """Return a batch of random images and labels."""
    rng = torch.Generator().manual_seed(size)
    images = torch.randint(256, (size, 3, 48, 40), generator=rng, dtype=torch.uint8)
    return {"inputs": images, "labels": torch.randint(CLASSES, (size,), generator=rng)}


# ---- label smoothing


@pytest.mark.parametrize("eps", [0.05, 0.1, 0.4])
@pytest.mark.parametrize("classes", [2, 3, 12, 20, 1000])
def test_label_smoothing_is_the_papers_formula(classes, eps):
    paper = composed([("label_smoothing", {"eps": eps})], num_classes=classes)
    rng = np.random.default_rng(classes)
    logits, labels = 3 * rng.standard_normal((40, classes)), rng.integers(classes, size=40)
    value = loss_of(paper)(torch.from_numpy(logits), torch.from_numpy(labels))
    assert float(value) == pytest.approx(cross_entropy(logits, smoothed(labels, classes, eps)), rel=1e-9)


@pytest.mark.parametrize("eps", [0.1, 0.3])
@pytest.mark.parametrize("classes", [2, 12, 1000])
def test_uniform_label_smoothing_is_that_of_timm(classes, eps):
    paper = composed([("label_smoothing", {"eps": eps, "form": "uniform"})], num_classes=classes)
    rng = torch.Generator().manual_seed(classes)
    logits = torch.randn(30, classes, generator=rng, dtype=torch.float64)
    labels = torch.randint(classes, (30,), generator=rng)
    other = timm.loss.LabelSmoothingCrossEntropy(eps)(logits, labels)
    torch.testing.assert_close(loss_of(paper)(logits, labels), other)


@pytest.mark.parametrize(("classes", "eps"), [(3, 0.1), (20, 0.1), (1000, 0.1), (1000, 0.3)])
def test_the_best_logits_are_those_whose_softmax_is_the_target(classes, eps):
    """Use the gap log((K - 1) (1 - eps) / eps) between the true logit and the others: 9.1 in the paper."""
    paper = composed([("label_smoothing", {"eps": eps})], num_classes=classes)
    gap = math.log((classes - 1) * (1 - eps) / eps)
    assert (classes, eps) != (1000, 0.1) or round(gap, 1) == 9.1
    label = torch.tensor([classes // 2])

    def loss(gap: float) -> tuple[float, torch.Tensor]:
        logits = torch.zeros(1, classes, dtype=torch.float64)
        logits[0, label] = gap
        logits.requires_grad_()
        value = loss_of(paper)(logits, label)
        return value.item(), torch.autograd.grad(value, logits)[0]

    best, gradient = loss(gap)
    assert gradient.abs().max() < 1e-14
    assert all(loss(gap + step)[0] > best + 1e-6 for step in (-0.1, 0.1))
    np.testing.assert_allclose(np.exp(log_softmax([[gap] + [0] * (classes - 1)]))[0, 0], 1 - eps, rtol=1e-12)


def test_without_the_trick_the_loss_is_plain_cross_entropy():
    paper = composed([])
    rng = np.random.default_rng(0)
    logits, labels = rng.standard_normal((9, 5)), rng.integers(5, size=9)
    value = loss_of(paper)(torch.from_numpy(logits), torch.from_numpy(labels))
    assert float(value) == pytest.approx(cross_entropy(logits, np.eye(5)[labels]), rel=1e-9)


# ---- mixup


def drawn(alpha: float, count: int, seed: int = 0) -> np.ndarray:
    """Return the lambdas of the first ``count`` updates."""
    mixup, values = Mixup(alpha, seed), []
    for update in range(count):
        mixup.draw(update)
        values.append(mixup.lam)
    return np.array(values)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_lambda_has_the_beta_distribution(alpha):
    values = drawn(alpha, 8000)
    variance = 1 / (4 * (2 * alpha + 1))
    error = math.sqrt(variance / len(values))
    assert abs(values.mean() - 0.5) < 4 * error
    assert abs(values.var() - variance) < 0.05 * variance
    assert scipy.stats.kstest(values, scipy.stats.beta(alpha, alpha).cdf).pvalue > 1e-3
    assert abs(np.corrcoef(values[1:], values[:-1])[0, 1]) < 4 / math.sqrt(len(values))


def test_lambda_depends_on_seed_and_update_alone():
    values = drawn(0.2, 50, seed=3)
    np.random.seed(1)
    other = Mixup(0.2, seed=3)
    for update in (49, 7, 0, 7):
        other.draw(update)
        assert other.lam == values[update]
    assert len(set(values)) == 50 and not set(values) & set(drawn(0.2, 50, seed=4))


@pytest.mark.parametrize("size", [1, 2, 5, 16])
def test_images_and_targets_are_mixed_with_those_of_the_reversed_batch(size):
    rng = np.random.default_rng(size)
    x, y = rng.standard_normal((size, 3, 8, 9)), np.eye(CLASSES)[rng.integers(CLASSES, size=size)]
    mixup = Mixup(0.2)
    for update in range(4):
        mixup.draw(update)
        images, targets = mixup(torch.from_numpy(x), torch.from_numpy(y))
        lam = mixup.lam
        np.testing.assert_allclose(images.numpy(), lam * x + (1 - lam) * x[::-1], rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(targets.numpy(), lam * y + (1 - lam) * y[::-1], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("size", "update", "eps"), [(4, 0, 0.1), (6, 5, 0.1), (8, 2, 0.0)])
def test_mixup_with_uniform_smoothing_is_that_of_timm(monkeypatch, size, update, eps):
    model = classifier(eps * (CLASSES - 1) / CLASSES, mixup=dict(alpha=0.2, seed=1))
    model.mixup.draw(update)
    data = model.data_preprocessor(batch(size))
    monkeypatch.setattr(np.random, "beta", lambda a, b: model.mixup.lam)
    theirs = timm.data.Mixup(mixup_alpha=0.2, cutmix_alpha=0.0, label_smoothing=eps, num_classes=CLASSES)
    images, targets = theirs(data["inputs"].clone(), data["labels"].clone())
    value = model(**data, mode="loss")["loss"]
    torch.testing.assert_close(value, timm.loss.SoftTargetCrossEntropy()(model(images), targets), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("eps", [0.0, 0.1, 0.3])
def test_targets_are_smoothed_and_then_mixed(eps):
    model = classifier(eps, mixup=dict(alpha=1.0, seed=2))
    data = model.data_preprocessor(batch())
    x, labels = data["inputs"].numpy(), data["labels"].numpy()
    values = []
    for update in range(3):
        model.mixup.draw(update)
        lam = model.mixup.lam
        q = smoothed(labels, CLASSES, eps)
        logits = model(torch.from_numpy(lam * x + (1 - lam) * x[::-1])).detach().numpy()
        values.append(float(model(**data, mode="loss")["loss"].detach()))
        assert values[-1] == pytest.approx(cross_entropy(logits, lam * q + (1 - lam) * q[::-1]), rel=1e-9)
    assert len(set(values)) == 3


def test_each_update_draws_its_lambda_and_evaluation_does_not_mix():
    model, hook = classifier(mixup=dict(alpha=0.2, seed=5)), UpdateHook()
    values = drawn(0.2, 20, seed=5)
    plain = classifier()
    data = model.data_preprocessor(batch())
    for update in (0, 1, 19, 4):
        hook.before_train_iter(SimpleNamespace(model=model, iter=update, seed=5), batch_idx=0)
        assert model.mixup.lam == values[update]
        assert torch.equal(model(data["inputs"]), plain(data["inputs"]))
        predictions, expected = (net(**data, mode="predict") for net in (model, plain))
        assert all(torch.equal(a["scores"], b["scores"]) for a, b in zip(predictions, expected, strict=True))
    hook.before_train_iter(SimpleNamespace(model=plain, iter=0, seed=5), batch_idx=0)


# ---- distillation


@pytest.fixture
def teacher(make_card):
    """Return ``teacher(**facts)``, which writes a card of a ResNet-50-B with a classifier."""

    def make(variant: str = "b", classes: int = CLASSES, **facts) -> BackboneCard:
        rng = torch.Generator().manual_seed(classes)
        layer = {"weight": torch.randn(classes, 256, generator=rng), "bias": torch.randn(classes, generator=rng)}
        return make_card(variant, **dict(classifier=layer) | facts)

    return make


def teacher_logits(card: BackboneCard, images: torch.Tensor) -> np.ndarray:
    """Return the logits of the card's network for RGB images on the 0..255 scale, with its own preprocessing."""
    net = ResNet(**card.arch).double().eval()
    net.load_state_dict(card.weights)
    x = images.double() if card.channel_order == "rgb" else images.double().flip(1)
    x = (x - torch.tensor(card.mean).double().view(3, 1, 1)) / torch.tensor(card.std).double().view(3, 1, 1)
    with torch.no_grad():
        features = net(x)[-1].numpy().mean((2, 3))
    weight, bias = (card.classifier[k].double().numpy() for k in ("weight", "bias"))
    return features @ weight.T + bias


@pytest.mark.parametrize("order", ["rgb", "bgr"])
@pytest.mark.parametrize(("mean", "std"), [(MEAN, STD), (OTHER_MEAN, OTHER_STD)])
@pytest.mark.parametrize(("temperature", "form"), [(20.0, "paper"), (20.0, "gluoncv"), (1.0, "paper"), (4.0, "gluoncv")])
@pytest.mark.parametrize(("eps", "mix"), [(0.0, None), (0.1, None), (0.1, dict(alpha=1.0, seed=1))])
def test_distillation_is_the_papers_formula(teacher, order, mean, std, temperature, form, eps, mix):
    """Try every combination of preprocessing, form and targets, hence the many parameters."""
    card = teacher(channel_order=order, mean=mean, std=std)
    model = classifier(eps, mixup=mix, distillation=dict(card=str(card.path), temperature=temperature, form=form))
    data = batch()
    images, targets = data["inputs"].double(), smoothed(data["labels"].numpy(), CLASSES, eps)
    if mix:
        lam = model.mixup.lam
        images, targets = lam * images + (1 - lam) * images.flip(0), lam * targets + (1 - lam) * targets[::-1]
    student = model(model.data_preprocessor.normalise(images)).detach().numpy()
    soft_targets = np.exp(log_softmax(teacher_logits(card, images) / temperature))
    half = 0.5 if form == "gluoncv" else 1.0
    losses = model(**model.data_preprocessor(data), mode="loss")
    assert losses.keys() == {"loss_hard", "loss_soft"}
    assert float(losses["loss_hard"].detach()) == pytest.approx(half * cross_entropy(student, targets), rel=1e-6)
    soft = temperature**2 * cross_entropy(student / temperature, soft_targets)
    assert float(losses["loss_soft"].detach()) == pytest.approx(half * soft, rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("classes", [8, 1000])
def test_the_soft_loss_of_16_bit_logits_is_computed_in_32(dtype, classes):
    rng = torch.Generator().manual_seed(classes)
    student, other = (4 * torch.randn(16, classes, generator=rng) for _ in range(2))
    student, other = student.to(dtype).requires_grad_(), other.to(dtype)
    value = soft_cross_entropy(student, other, 20.0)
    z, r = (logits.detach().double().numpy() / 20 for logits in (student, other))
    expected = 400 * cross_entropy(z, np.exp(log_softmax(r)))
    assert value.dtype == torch.float32 and float(value.detach()) == pytest.approx(expected, rel=1e-3)
    assert expected == pytest.approx(400 * math.log(classes), rel=0.02)
    value.backward()
    gradient = 20 * (np.exp(log_softmax(z)) - np.exp(log_softmax(r))) / 16
    np.testing.assert_allclose(student.grad.double().numpy(), gradient, rtol=0.02, atol=1e-6)


def test_the_teacher_is_left_as_it_is_and_is_no_part_of_the_student(teacher, toy_root, monkeypatch, tmp_path):
    monkeypatch.setenv("DATA_ROOT", str(toy_root.parent))
    card = teacher(classes=8, mean=OTHER_MEAN)
    small = {"model.backbone.base_channels": 4}
    plain = MODELS.build(composed([], "toy", **small).model)
    cfg = composed([("distillation", {"teacher": str(card.path)})], "toy", **small)
    model = MODELS.build(cfg.model).train()
    frozen = model.distillation.teacher
    before = {k: v.clone() for k, v in frozen.state_dict().items()}
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    data = {"inputs": torch.randint(256, (16, 3, 64, 64), dtype=torch.uint8), "labels": torch.arange(16) % 8}
    start = model.fc.weight.detach().clone()
    for _ in range(2):
        model.train().train_step(data, wrapper)
        assert not any(module.training for module in frozen.modules())
    assert not torch.equal(start, model.fc.weight)
    assert all(torch.equal(before[k], v) for k, v in frozen.state_dict().items())
    assert not any(p.requires_grad or p.grad is not None for p in frozen.parameters())
    assert {k: v.shape for k, v in model.state_dict().items()} == {k: v.shape for k, v in plain.state_dict().items()}
    assert [n for n, _ in model.named_parameters()] == [n for n, _ in plain.named_parameters()]
    written = BackboneCard.load(write_card(model, cfg, 50.0, tmp_path / "student").path)
    assert written.weights.keys() == model.backbone.state_dict().keys() and written.arch["base_channels"] == 4
    assert torch.equal(written.classifier["weight"], model.fc.weight)
    assert written.recipe == [["distillation", {"teacher": str(card.path), "temperature": 20.0, "form": "paper"}]]


def test_a_teacher_without_classifier_or_of_other_classes_is_refused(teacher, tmp_path):
    with pytest.raises(ValueError, match="has no classifier, and a teacher needs one"):
        load_teacher(teacher(classifier=None, name="bare").path, CLASSES)
    names = list("abcdefg")
    path = str(teacher(source={"class_names": names}).path)
    with pytest.raises(ValueError, match="has 7 classes and the student 8"):
        load_teacher(path, 8)
    with pytest.raises(ValueError, match=r"trained on other classes than the student has: b, x\."):
        load_teacher(path, CLASSES, ["a", "x", *names[2:]])
    with pytest.raises(ValueError, match="the same names in another order"):
        load_teacher(path, CLASSES, names[::-1])
    for student_names in (names, None, []):
        assert load_teacher(path, CLASSES, student_names).arch["variant"] == "b"
    assert load_teacher(teacher(name="nameless").path, CLASSES, names).source == {}
    with pytest.raises(ValueError, match="There is no backbone card at .*nowhere"):
        load_teacher(str(tmp_path / "nowhere"), CLASSES)


def test_a_run_checks_its_teacher_before_it_starts(teacher, toy_root, monkeypatch):
    monkeypatch.setenv("DATA_ROOT", str(toy_root.parent))
    names = sorted(p.name for p in (toy_root / "imagenet/train").iterdir())
    for facts, message in (
        (dict(classes=7), "has 7 classes and the student 8"),
        (dict(classes=8, source={"class_names": names[::-1]}), "the same names in another order"),
        (dict(classes=8, source={"class_names": names}), None),
    ):
        cfg = composed([("distillation", {"teacher": str(teacher(**facts).path)})], "toy")
        if message:
            with pytest.raises(ValueError, match=message):
                check_data(cfg)
        else:
            check_data(cfg)
