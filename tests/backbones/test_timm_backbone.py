"""Test networks of timm as backbones: equal features, other widths, frozen stages, dilation, and refused networks."""

from functools import cache

import pytest
import timm
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from backbones import TimmBackbone
from tests.helpers.networks import randomise_norms

CHANNELS = {
    "inception_v3": (192, 288, 768, 2048),
    "mobilenetv1_100": (128, 256, 512, 1024),
    "resnext50_32x4d": (256, 512, 1024, 2048),
    "seresnet50": (256, 512, 1024, 2048),
    "densenet201": (256, 512, 1792, 1920),
}
NAMES = list(CHANNELS)


def small(name: str, **options) -> TimmBackbone:
    torch.manual_seed(0)
    net = TimmBackbone(name, width=0.25, **options)
    randomise_norms(net)
    return net


# ---- features


@pytest.mark.parametrize("name", NAMES)
def test_features_are_those_of_timm(name):
    torch.manual_seed(1)
    ours = TimmBackbone(name).eval()
    randomise_norms(ours, seed=1)
    pyramid = timm.create_model(name, features_only=True).eval()
    pyramid.load_state_dict(ours.net.state_dict(), strict=True)
    whole = timm.create_model(name, num_classes=0).eval()
    values = list(ours.net.state_dict().values())
    assert [v.shape for v in values] == [v.shape for v in whole.state_dict().values()]
    whole.load_state_dict(dict(zip(whole.state_dict(), values, strict=True)), strict=True)
    x = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        features, theirs = ours(x), pyramid(x)
        assert len(features) == 4
        for mine, other in zip(features, theirs[-4:], strict=True):
            torch.testing.assert_close(mine, other)
        torch.testing.assert_close(features[-1], whole.forward_features(x), rtol=1e-4, atol=1e-4)
    assert tuple(f.shape[1] for f in features) == ours.channels == CHANNELS[name]
    if name != "inception_v3":  # whose maps are not padded
        assert [f.shape[-1] for f in features] == [24, 12, 6, 3]
    assert ours.arch == {"name": name, "width": 1.0}


@pytest.mark.parametrize(
    ("name", "indices"),
    [("resnext50_32x4d", (3,)), ("mobilenetv1_100", (0, 2)), ("mobilenetv1_100", (1, 2, 3)), ("inception_v3", (0, 3))],
)
def test_out_indices_choose_stages(name, indices):
    whole_net, chosen_net = small(name).eval(), small(name, out_indices=indices).eval()
    chosen_net.load_state_dict(whole_net.state_dict(), strict=True)
    x = torch.randn(1, 3, 96, 80)
    with torch.no_grad():
        all_maps, chosen_maps = whole_net(x), chosen_net(x)
    assert len(chosen_maps) == len(indices)
    assert all(torch.equal(f, all_maps[i]) for i, f in zip(indices, chosen_maps, strict=True))
    assert chosen_net.channels == whole_net.channels


@pytest.mark.parametrize("width", [0.25, 0.5, 2.0])
@pytest.mark.parametrize("name", NAMES)
def test_another_width_has_its_share_of_all_channels(name, width):
    with torch.device("meta"):
        plain, net = TimmBackbone(name), TimmBackbone(name, width=width)
    assert net.channels == tuple(round(c * width) for c in CHANNELS[name])
    pairs = list(zip(plain.modules(), net.modules(), strict=True))
    for plain_module, module in pairs:
        if isinstance(plain_module, nn.Conv2d):
            cin = 3 if plain_module.in_channels == 3 else plain_module.in_channels * width
            assert (module.in_channels, module.out_channels) == (cin, plain_module.out_channels * width)
            group = plain_module.in_channels // plain_module.groups
            assert module.in_channels // module.groups == (cin if plain_module.groups == 1 else group)
            assert module.weight.shape[1] == module.in_channels // module.groups
        if isinstance(plain_module, _BatchNorm):
            shapes = {getattr(module, part).shape for part in ("weight", "bias", "running_mean", "running_var")}
            assert shapes == {(plain_module.num_features * width,)}
    assert sum(isinstance(plain_module, nn.Conv2d) and plain_module.groups > 1 for plain_module, _ in pairs) == {
        **dict.fromkeys(NAMES, 0),
        **{"resnext50_32x4d": 16, "mobilenetv1_100": 13},
    }.get(name)


@pytest.mark.parametrize("name", NAMES)
def test_a_narrow_network_computes_and_trains(name):
    net = small(name).train()
    features = net(torch.randn(2, 3, 96, 96))
    assert tuple(f.shape[1] for f in features) == net.channels
    features[-1].square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize("name", ["resnext50_32x4d", "seresnet50", "mobilenetv1_100"])
def test_initial_values_are_the_papers(name):
    torch.manual_seed(0)
    norms = 0
    for module in TimmBackbone(name, width=0.5).modules():
        if isinstance(module, nn.Conv2d):
            cout, cin, kh, kw = module.weight.shape
            bound = (6 / ((cin + cout) * kh * kw)) ** 0.5
            assert 0.9 * bound < module.weight.abs().max() <= bound
            assert module.bias is None or not module.bias.any()
        if isinstance(module, _BatchNorm):
            norms += 1
            assert (module.weight == 1).all() and not module.bias.any()
    assert norms == (27 if "mobilenet" in name else 53)


# ---- zero-gamma


@pytest.mark.parametrize("name", ["resnext50_32x4d", "seresnet50"])
def test_zero_gamma_makes_each_block_its_shortcut(name):
    net = TimmBackbone(name, width=0.25, zero_gamma=True).eval()
    blocks = [block for i in range(1, 5) for block in net.net[f"layer{i}"]]
    zero = [m for m in net.modules() if isinstance(m, _BatchNorm) and not m.weight.any()]
    assert len(zero) == len(blocks) == 16 and {id(m) for m in zero} == {id(block.bn3) for block in blocks}
    assert all((m.weight == 1).all() for m in net.modules() if isinstance(m, _BatchNorm) and m.weight.any())
    for block in blocks:
        x = torch.randn(2, block.conv1.in_channels, 8, 6)
        with torch.no_grad():
            shortcut = x if block.downsample is None else block.downsample(x)
            assert torch.equal(block(x), shortcut.relu())


@pytest.mark.parametrize("name", ["inception_v3", "mobilenetv1_100", "densenet201"])
def test_zero_gamma_is_refused_without_residual_blocks(name):
    with pytest.raises(ValueError, match=f"needs residual blocks that end in a BN, and {name} has none"):
        TimmBackbone(name, zero_gamma=True)


# ---- frozen stages and statistics


@cache
def behind(name: str) -> list[set[str]]:
    """Return the parameters on which the map of stride 2, and those of stages 1 to 4, depend."""
    net, levels = small(name), []
    for feature in net.net(torch.randn(2, 3, 96, 96))[-5:]:
        gradients = torch.autograd.grad(feature.sum(), list(net.parameters()), retain_graph=True, allow_unused=True)
        levels.append({key for (key, _), g in zip(net.named_parameters(), gradients, strict=True) if g is not None})
    return levels


@pytest.mark.parametrize(("name", "frozen"), [(n, k) for n in NAMES for k in range(5) if n != "densenet201" or k % 2 == 0])
def test_frozen_stages_are_all_that_their_features_depend_on(name, frozen):
    inside = behind(name)[frozen]
    assert [len(level) for level in behind(name)] == sorted({len(level) for level in behind(name)})
    net = small(name, frozen_stages=frozen)
    net.eval()
    net.train()
    buffers = {k: v.clone() for k, v in net.named_buffers()}
    out = net(torch.randn(2, 3, 96, 96))[-1].square().mean()
    if out.requires_grad:
        out.backward()
    assert out.requires_grad == (frozen < 4)
    assert {k for k, p in net.named_parameters() if not p.requires_grad} == inside
    assert {k for k, p in net.named_parameters() if p.grad is None} == inside
    norms = {k for k, m in net.named_modules() if isinstance(m, _BatchNorm)}
    fixed = {k for k in norms if f"{k}.weight" in inside}
    assert {k for k, m in net.named_modules() if k in norms and not m.training} == fixed
    moved = {k.rsplit(".", 1)[0] for k, v in net.named_buffers() if not torch.equal(buffers[k], v)}
    assert moved == norms - fixed and (frozen == 4) == (not moved)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_frozen_unless_it_is_asked_for(name):
    net = TimmBackbone(name, width=0.25).train()
    assert all(p.requires_grad for p in net.parameters()) and all(m.training for m in net.modules())


@pytest.mark.parametrize("name", ["inception_v3", "seresnet50"])
def test_norm_eval_keeps_statistics_while_weights_train(name):
    net, still = small(name, norm_eval=True).train(), small(name).eval()
    still.load_state_dict(net.state_dict(), strict=True)
    buffers = {k: v.clone() for k, v in net.named_buffers()}
    x = torch.randn(2, 3, 96, 96)
    features = net(x)
    features[-1].square().mean().backward()
    assert all(torch.equal(mine, other) for mine, other in zip(features, still(x), strict=True))
    assert all(torch.equal(buffers[k], v) for k, v in net.named_buffers())
    assert all(p.grad is not None for p in net.parameters())


# ---- dilation


@pytest.mark.parametrize(("stride", "sizes"), [(16, [24, 12, 6, 6]), (8, [24, 12, 12, 12])])
@pytest.mark.parametrize("name", ["mobilenetv1_100", "resnext50_32x4d"])
def test_dilated_stages_are_those_of_timm_and_keep_their_resolution(name, stride, sizes):
    torch.manual_seed(0)
    dilated, plain = TimmBackbone(name, output_stride=stride).eval(), TimmBackbone(name).eval()
    randomise_norms(dilated)
    plain.load_state_dict(dilated.state_dict(), strict=True)
    theirs = timm.create_model(name, features_only=True, output_stride=stride).eval()
    theirs.load_state_dict(dilated.net.state_dict(), strict=True)
    x = torch.randn(1, 3, 96, 96)
    with torch.no_grad():
        features, straight = dilated(x), plain(x)
        for mine, other in zip(features, theirs(x)[-4:], strict=True):
            torch.testing.assert_close(mine, other)
    assert [f.shape[-1] for f in features] == sizes and dilated.channels == CHANNELS[name]
    equal = [a.shape == b.shape and torch.equal(a, b) for a, b in zip(features, straight, strict=True)]
    assert equal == [size == other for size, other in zip(sizes, (24, 12, 6, 3), strict=True)]


@pytest.mark.parametrize("stride", [8, 16])
def test_a_narrow_dilated_network_has_the_same_weights(stride):
    plain, dilated = small("resnext50_32x4d"), small("resnext50_32x4d", output_stride=stride).eval()
    dilated.load_state_dict(plain.state_dict(), strict=True)
    with torch.no_grad():
        assert dilated(torch.randn(1, 3, 96, 96))[-1].shape == (1, 512, 96 // stride, 96 // stride)


# ---- refused networks


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("densenet201", dict(output_stride=8), "densenet201 cannot be dilated to an output stride of 8"),
        ("inception_v3", dict(output_stride=8), "inception_v3 cannot be dilated to an output stride of 8"),
        ("inception_v3", dict(output_stride=16), "inception_v3 cannot be dilated to an output stride of 16"),
        ("vit_base_patch16_224", {}, "vit_base_patch16_224 .*at strides .*16, 16, 16.*; 4, 8, 16 and 32 are needed"),
        ("resnext50_32", {}, "no network 'resnext50_32' .*nearest: .*resnext50_32x4d"),
        ("nonsense", {}, "timm has no network 'nonsense'"),
        ("resnext50_32x4d.a1_in1k", {}, "names go without a tag.*nearest: .*resnext50_32x4d"),
        ("resnext50_32x4d", dict(width=0.3), "resnext50_32x4d cannot have 0.3 times its width: 64 channels"),
        ("mobilenetv1_100", dict(width=0.01), "mobilenetv1_100 cannot have 0.01 times its width"),
        ("resnext50_32x4d", dict(output_stride=4), "output_stride is 4; allowed: 8, 16, 32"),
        ("resnext50_32x4d", dict(frozen_stages=5), "frozen_stages is 5; allowed: -1, 0, 1, 2, 3, 4"),
        ("resnext50_32x4d", dict(out_indices=(3, 1)), "out_indices is .*ascending stages"),
    ],
)
def test_a_network_that_cannot_be_a_backbone_is_refused_by_name(name, options, message):
    with pytest.raises(ValueError, match=message):
        TimmBackbone(name, **options)


@pytest.mark.parametrize("options", [{}, dict(width=0.5)])
@pytest.mark.parametrize("name", ["convnext_tiny", "mambaout_femto"])
def test_a_network_either_gives_maps_of_its_channels_or_is_refused(name, options):
    """Try two networks with layer norms, one of which has its channels last."""
    try:
        with torch.device("meta"):
            net = TimmBackbone(name, **options)
            features = net(torch.empty(1, 3, 224, 224))
    except ValueError as error:
        assert name in str(error)
        return
    assert [tuple(f.shape) for f in features] == [
        (1, c, 224 // s, 224 // s) for c, s in zip(net.channels, (4, 8, 16, 32), strict=True)
    ]
