"""Test the networks against the paper's counts, timm's ResNets and mmseg's dilated ones."""

import math
import re

import pytest
import timm
import torch
from torch import nn

import backbones.mmcv_ops  # noqa: F401  (before mmseg, which is imported below)
from backbones import ResNet
from classification import ImageClassifier
from classification.task import size
from tests.helpers.networks import MEAN, STD, randomise_norms
from tools.engine.config import Options, resolve

SIZES = ((64, 64), (65, 97))


def count(net: ResNet, classes: int = 1000, side: int = 224) -> tuple[float, float]:
    """Return the parameters in millions, and the multiply-adds of convolutions and the classifier in billions."""
    head = nn.Linear(net.channels[-1], classes, device="meta")
    total = 0

    def add(module, inputs, output):
        nonlocal total
        per_value = module.weight[0].numel()  # multiply-adds behind one output value
        total += output.numel() * per_value

    handles = [m.register_forward_hook(add) for m in (*net.modules(), head) if isinstance(m, nn.Conv2d | nn.Linear)]
    head(net(torch.zeros(1, 3, side, side, device="meta"))[-1].mean((2, 3)))
    for handle in handles:
        handle.remove()
    parameters = sum(p.numel() for m in (net, head) for p in m.parameters())
    return parameters / 1e6, total / 1e9


@pytest.mark.parametrize(
    ("variant", "parameters", "operations"),
    [("a", 25.56, 3.86), ("b", 25.56, 4.09), ("c", 25.58, 4.33), ("d", 25.58, 4.33)],
)
def test_parameters_and_multiply_adds_at_depth_50(variant, parameters, operations):
    with torch.device("meta"):
        net = ResNet(50, variant)
    assert tuple(round(x, 2) for x in count(net)) == (parameters, operations)
    body = sum(p.numel() for p in net.parameters()) / 1e6
    assert round(body, 2) == (23.51 if variant in "ab" else 23.53)


@pytest.mark.parametrize(
    ("config", "changes", "parameters", "operations"),
    [
        *(("resnet50", dict(variant=v), *figures) for v, figures in zip("ab", ((25.56, 3.86), (25.56, 4.09)), strict=True)),
        *(("resnet50", dict(variant=v), 25.58, 4.33) for v in "cd"),
        *(("resnet50", dict(depth=101), 44.55, 7.57), ("resnet50", dict(depth=152), 60.19, 11.28)),
        *(("inception_v3", {}, 23.83, 5.71), ("mobilenet", {}, 4.23, 0.57), ("timm", {}, 25.03, 4.23)),
        ("timm", dict(name="densenet201"), 20.01, 4.29),
    ],
)
def test_the_size_of_the_networks_at_paper_scale(config, changes, parameters, operations):
    overrides = {f"model.backbone.{key}": value for key, value in changes.items()}
    figures = size(resolve(f"configs/classification/{config}_paper.py", Options(overrides=overrides)).cfg)
    assert (round(figures["parameters"] / 1e6, 2), round(figures["multiply_adds"] / 1e9, 2)) == (parameters, operations)
    assert config != "mobilenet" or round(figures["multiply_adds"] / 1e6) == 569


def timm_features(net: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    x, maps = net.maxpool(net.act1(net.bn1(net.conv1(x)))), []
    for i in range(1, 5):
        x = getattr(net, f"layer{i}")(x)
        maps.append(x)
    return maps


@pytest.mark.parametrize(
    ("name", "depth", "variant"),
    [
        *(("resnet50", 50, "b"), ("resnet50c", 50, "c"), ("resnet50d", 50, "d"), ("resnet18", 18, "b")),
        *(("resnet18", 18, "a"), ("resnet18d", 18, "d"), ("resnet26", 26, "b"), ("resnet26d", 26, "d")),
        *(("resnet34", 34, "a"), ("resnet34d", 34, "d"), ("resnet101", 101, "b"), ("resnet101d", 101, "d")),
    ],
)
def test_features_and_logits_are_those_of_timm(name, depth, variant):
    torch.manual_seed(depth)
    theirs = timm.create_model(name, num_classes=7).double().eval()
    randomise_norms(theirs)
    backbone = dict(type="backbones.ResNet", depth=depth, variant=variant)
    preprocessor = dict(type="classification.ImagePreprocessor", mean=MEAN, std=STD)
    ours = ImageClassifier(backbone, 7, dict(type="torch.nn.CrossEntropyLoss"), preprocessor).double().eval()
    weights = theirs.state_dict()
    ours.backbone.load_state_dict({k: v for k, v in weights.items() if not k.startswith("fc.")}, strict=True)
    ours.fc.load_state_dict({k.removeprefix("fc."): v for k, v in weights.items() if k.startswith("fc.")}, strict=True)
    with torch.no_grad():
        for h, w in SIZES if depth < 101 else SIZES[:1]:
            x = torch.randn(2, 3, h, w, dtype=torch.float64)
            features = ours.backbone(x)
            for i, (mine, other) in enumerate(zip(features, timm_features(theirs, x), strict=True)):
                assert mine.shape == (
                    2,
                    ours.backbone.channels[i],
                    -(-h // 2 ** (i + 2)),
                    -(-w // 2 ** (i + 2)),
                )
                torch.testing.assert_close(mine, other)
            torch.testing.assert_close(ours(x), theirs(x))


@pytest.mark.parametrize(("name", "depth", "variant"), [("resnet50", 50, "b"), ("resnet50d", 50, "d"), ("resnet18", 18, "a")])
def test_weights_of_ours_load_strictly_into_timm(name, depth, variant):
    torch.manual_seed(1)
    ours = ResNet(depth, variant).eval()
    randomise_norms(ours, seed=1)
    theirs = timm.create_model(name, num_classes=0).eval()
    theirs.load_state_dict(ours.state_dict(), strict=True)
    x = torch.randn(1, 3, 65, 97)
    with torch.no_grad():
        torch.testing.assert_close(ours(x)[-1], theirs.forward_features(x))


def twin(net: ResNet, **changes) -> ResNet:
    """Return another ResNet with the same weights, loaded strictly."""
    other = ResNet(**net.arch | changes).eval()
    other.load_state_dict(net.state_dict(), strict=True)
    return other


@pytest.fixture
def small() -> ResNet:
    torch.manual_seed(2)
    net = ResNet(50, "d", base_channels=8).eval()
    randomise_norms(net, seed=2)
    return net


def test_a_and_b_have_the_same_keys_and_other_features():
    torch.manual_seed(0)
    a = ResNet(50, "a", base_channels=8).eval()
    b = twin(a, variant="b")
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        first, second = a(x), b(x)
    assert torch.equal(first[0], second[0])  # stage 1 has no stride
    for i in (1, 2, 3):
        assert first[i].shape == second[i].shape
        assert (first[i] - second[i]).abs().max() > 0.05 * second[i].abs().max()


@pytest.mark.parametrize("depth", [18, 34])
def test_a_and_b_are_one_network_where_blocks_have_two_convolutions(depth):
    torch.manual_seed(0)
    a = ResNet(depth, "a", base_channels=8).eval()
    x = torch.randn(1, 3, 65, 97)
    with torch.no_grad():
        for mine, other in zip(a(x), twin(a, variant="b")(x), strict=True):
            assert torch.equal(mine, other)


@pytest.mark.parametrize(("depth", "blocks"), [(18, 8), (26, 8), (34, 16), (50, 16), (101, 33), (152, 50)])
@pytest.mark.parametrize("variant", ["a", "b", "c", "d"])
def test_zero_gamma_makes_each_block_its_shortcut(depth, blocks, variant):
    net = ResNet(depth, variant, base_channels=4, zero_gamma=True).eval()
    zero = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d) and not m.weight.any()]
    assert len(zero) == blocks == len(list(net.blocks()))
    assert {id(m) for m in zero} == {id(block.bn2 if depth in (18, 34) else block.bn3) for block in net.blocks()}
    others = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d) and m.weight.any()]
    assert all((m.weight == 1).all() and not m.bias.any() for m in others)
    for block in net.blocks():
        x = torch.randn(2, block.conv1.in_channels, 9, 6)
        shortcut = x if block.downsample is None else block.downsample(x)
        with torch.no_grad():
            assert torch.equal(block(x), shortcut.relu())


def test_gammas_are_one_without_zero_gamma():
    net = ResNet(50, "d", base_channels=4)
    assert all((m.weight == 1).all() and not m.bias.any() for m in net.modules() if isinstance(m, nn.BatchNorm2d))


@pytest.mark.parametrize("block", [0, 1])
@pytest.mark.parametrize("variant", ["b", "d"])
def test_a_stage_starts_as_its_shortcuts(block, variant):
    """Check with zero-gamma that the first block of stage 1 projects its input, and that the others pass it on."""
    net = ResNet(50, variant, base_channels=4, zero_gamma=True).eval()
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        pooled = net.maxpool(net.bn1(net.conv1(x)).relu())
        first = net.layer1[0](pooled)
        assert torch.equal(first, net.layer1[0].downsample(pooled).relu())
        assert torch.equal(net.layer1[1 + block](first), first) and torch.equal(net(x)[0], first)


def classifier(init: str) -> ImageClassifier:
    backbone = dict(type="backbones.ResNet", depth=26, variant="c", base_channels=32)
    preprocessor = dict(type="classification.ImagePreprocessor", mean=MEAN, std=STD)
    torch.manual_seed(0)
    return ImageClassifier(backbone, 100, dict(type="torch.nn.CrossEntropyLoss"), preprocessor, init=init)


@pytest.mark.parametrize("init", ["xavier", "msra_prelu"])
def test_initial_values_of_convolutions_and_of_the_last_layer(init):
    """Expect uniform in +-sqrt(6 / (d_in + d_out)), or normal of variance 2 / (1 + 0.25^2) over the mean of d_in and d_out."""
    squares, count, layers = 0.0, 0, 0
    for module in classifier(init).modules():
        if not isinstance(module, nn.Conv2d | nn.Linear):
            continue
        layers += 1
        cout, cin, *kernel = module.weight.shape
        mean = (cin + cout) * math.prod(kernel) / 2
        std = math.sqrt(1 / mean if init == "xavier" else 2 / (1 + 0.25**2) / mean)
        values = module.weight.detach() / std
        squares, count = squares + values.square().sum().item(), count + values.numel()
        assert abs(values.mean()) < 5 / math.sqrt(values.numel())
        assert abs(values.std() - 1) < 5 / math.sqrt(2 * values.numel())
        if init == "xavier":
            assert 0.98 * math.sqrt(3) < values.abs().max() <= math.sqrt(3) + 1e-6
        else:
            assert values.abs().max() > 1.2 * math.sqrt(3)
        assert module.bias is None or not module.bias.any()
    assert layers == 32 and abs(squares / count - 1) < 5 * math.sqrt(2 / count)


def test_other_initial_values_are_refused():
    with pytest.raises(ValueError, match="The initial values 'he' are not known; allowed: xavier, msra_prelu"):
        classifier("he")


@pytest.mark.parametrize(("stride", "strides"), [(32, (4, 8, 16, 32)), (16, (4, 8, 16, 16)), (8, (4, 8, 8, 8))])
@pytest.mark.parametrize(("depth", "variant"), [(50, "a"), (50, "d"), (18, "b"), (34, "d")])
@pytest.mark.parametrize(("h", "w"), [(64, 64), (65, 97), (40, 56)])
def test_features_have_the_channels_and_strides_of_their_stages(stride, strides, depth, variant, h, w):
    with torch.device("meta"):
        net = ResNet(depth, variant, base_channels=8, output_stride=stride)
        shapes = [tuple(f.shape) for f in net(torch.empty(2, 3, h, w))]
    width = (8, 16, 32, 64) if depth < 50 else (32, 64, 128, 256)
    assert net.channels == width
    assert shapes == [(2, c, -(-h // s), -(-w // s)) for c, s in zip(width, strides, strict=True)]


@pytest.mark.parametrize("indices", [(0,), (1, 3), (2,), (0, 1, 2, 3)])
def test_out_indices_choose_stages(small, indices):
    chosen = ResNet(**small.arch, out_indices=indices).eval()
    chosen.load_state_dict(small.state_dict(), strict=True)
    x = torch.randn(1, 3, 65, 64)
    with torch.no_grad():
        all_maps, chosen_maps = small(x), chosen(x)
    assert len(chosen_maps) == len(indices)
    assert all(torch.equal(f, all_maps[i]) for i, f in zip(indices, chosen_maps, strict=True))


@pytest.mark.parametrize(("stride", "equal"), [(16, 3), (8, 2)])
def test_dilation_changes_the_dilated_stages_only(small, stride, equal):
    dilated = twin(small, output_stride=stride)
    x = torch.randn(1, 3, 65, 97)
    with torch.no_grad():
        plain, other = small(x), dilated(x)
    assert all(torch.equal(plain[i], other[i]) for i in range(equal))
    assert all(plain[i].shape[2:] != other[i].shape[2:] for i in range(equal, 4))
    strides = [m.stride for m in dilated.layer4.modules() if isinstance(m, nn.Conv2d | nn.AvgPool2d)]
    assert not any(s in (2, (2, 2)) for s in strides)


@pytest.mark.parametrize(("stride", "strides", "dilations"), [
    (8, (1, 2, 1, 1), (1, 1, 2, 4)), (16, (1, 2, 2, 1), (1, 1, 1, 2)), (32, (1, 2, 2, 2), (1, 1, 1, 1)),
])  # fmt: skip
@pytest.mark.parametrize("variant", ["c", "d"])
def test_dilated_features_are_those_of_mmseg(stride, strides, dilations, variant):
    from mmseg.models.backbones import ResNetV1c, ResNetV1d

    torch.manual_seed(3)
    ours = ResNet(50, variant, base_channels=8, output_stride=stride).double().eval()
    randomise_norms(ours, seed=3)
    kind = {"c": ResNetV1c, "d": ResNetV1d}[variant]
    theirs = kind(
        depth=50,
        base_channels=8,
        stem_channels=8,
        strides=strides,
        dilations=dilations,
        contract_dilation=True,
    )
    theirs.double().eval()
    names = {k: re.sub(r"^bn1\.", "stem.7.", re.sub(r"^conv1\.", "stem.", k)) for k in ours.state_dict()}
    theirs.load_state_dict({names[k]: v for k, v in ours.state_dict().items()}, strict=True)
    with torch.no_grad():
        for h, w in SIZES:
            x = torch.randn(1, 3, h, w, dtype=torch.float64)
            for mine, other in zip(ours(x), theirs(x), strict=True):
                torch.testing.assert_close(mine, other, rtol=0, atol=0)


@pytest.mark.parametrize("stride", [8, 16, 32])
def test_dilated_features_of_d_with_pool2x2_are_those_of_timm(stride):
    import timm

    torch.manual_seed(4)
    theirs = timm.create_model("resnet50d", output_stride=stride, num_classes=0).double().eval()
    randomise_norms(theirs, seed=4)
    ours = {kind: ResNet(50, "d", output_stride=stride, shortcut_pool=kind).double().eval() for kind in ("pool1x1", "pool2x2")}
    x = torch.randn(1, 3, 70, 97, dtype=torch.float64)
    for net in ours.values():
        net.load_state_dict(theirs.state_dict(), strict=True)
    with torch.no_grad():
        expected = theirs.forward_features(x)
        maps = {kind: net(x)[-1] for kind, net in ours.items()}
    torch.testing.assert_close(maps["pool2x2"], expected, rtol=0, atol=1e-12 * float(expected.abs().max()))
    assert torch.allclose(maps["pool1x1"], expected) == (stride == 32)  # the two differ only if dilated


def parts(net: ResNet) -> list[nn.ModuleList]:
    """Return the stem and the four stages."""
    return [nn.ModuleList([net.conv1, net.bn1]), net.layer1, net.layer2, net.layer3, net.layer4]


@pytest.mark.parametrize("variant", ["b", "d"])
@pytest.mark.parametrize("frozen", [-1, 0, 1, 3, 4])
def test_frozen_stages_keep_weights_and_statistics(frozen, variant):
    net = ResNet(50, variant, base_channels=4, frozen_stages=frozen)
    net.eval()
    net.train()
    before = {k: v.clone() for k, v in net.named_buffers() if "running" in k}
    out = net(torch.randn(2, 3, 64, 64))[-1].square().sum()
    if frozen < 4:
        out.backward()
    else:
        assert not out.requires_grad
    for i, part in enumerate(parts(net)):
        fixed = i <= frozen
        assert all(p.requires_grad != fixed and (p.grad is None) == fixed for p in part.parameters())
        assert all(m.training != fixed for m in part.modules() if isinstance(m, nn.BatchNorm2d))
    stage = {name: 0 if name[:2] in ("co", "bn") else int(name[5]) for name in before}
    after = dict(net.named_buffers())
    assert {stage[k] for k in before if not torch.equal(before[k], after[k])} == set(range(frozen + 1, 5))


def test_norm_eval_keeps_statistics_while_weights_train(small):
    net = ResNet(**small.arch, norm_eval=True)
    net.load_state_dict(small.state_dict(), strict=True)
    net.train()
    before = {k: v.clone() for k, v in net.named_buffers()}
    x = torch.randn(2, 3, 64, 64)
    features = net(x)
    features[-1].square().sum().backward()
    assert all(torch.equal(before[k], v) for k, v in net.named_buffers())
    assert all(p.grad is not None for p in net.parameters())
    assert all(torch.equal(mine, other) for mine, other in zip(features, small(x), strict=True))
    assert net.training and net.layer1.training


def test_channels_last_gives_the_same_features(small):
    last = twin(small).to(memory_format=torch.channels_last)
    x = torch.randn(2, 3, 65, 97)
    with torch.no_grad():
        for mine, other in zip(small(x), last(x.contiguous(memory_format=torch.channels_last)), strict=True):
            assert other.is_contiguous(memory_format=torch.channels_last)
            torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(depth=51), "depth is 51; allowed: 18, 26, 34, 50, 101, 152"),
        (dict(variant="e"), "variant is 'e'; allowed: a, b, c, d"),
        (dict(output_stride=4), "output_stride is 4; allowed: 8, 16, 32"),
        (dict(frozen_stages=5), "frozen_stages is 5; allowed: -1, 0, 1, 2, 3, 4"),
        (dict(base_channels=7), "base_channels is 7; give an even number of at least 2"),
        (dict(base_channels=0), "base_channels is 0"),
        (dict(out_indices=()), "out_indices is .*ascending stages out of 0, 1, 2, 3"),
        (dict(out_indices=(3, 1)), "out_indices"),
        (dict(out_indices=(1, 1)), "out_indices"),
        (dict(out_indices=(0, 4)), "out_indices"),
    ],
)
def test_other_arguments_are_refused_with_the_allowed_ones(arguments, message):
    with pytest.raises(ValueError, match=message):
        ResNet(**{"depth": 50} | arguments)
