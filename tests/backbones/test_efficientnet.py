"""Import the files of efficientnet_pytorch: the network that wrote a file gives the features and logits of the imported one."""

from importlib import import_module

import pytest
import torch
from torch import nn

from backbones.card import BackboneCard
from backbones.interchange.efficientnet import network_of
from backbones.interchange.importer import import_backbone
from backbones.networks.factory import build
from tests.helpers.convert import assert_same, calibrated, hooked
from tests.helpers.weight_files import save, true_weights, under

LITE = ("lite0", "lite1", "lite2", "lite3", "lite4")
PLAIN = ("b0", "b1", "b2", "b3", "b4", "b5", "b6", "b7")
LARGE = ("b8", "l2")
TRUE = ("lite0", "lite1", "lite2")  # whose ImageNet weights pip can install


def source_network(member: str, **options) -> nn.Module:
    """Return a network of efficientnet_pytorch, or of efficientnet_lite_pytorch, with random weights."""
    package = "efficientnet_lite_pytorch" if member in LITE else "efficientnet_pytorch"
    return import_module(package).EfficientNet.from_name(f"efficientnet-{member}", **options).eval()


@pytest.fixture(scope="module")
def b0() -> dict:
    return calibrated(source_network("b0", num_classes=5)).state_dict()


@pytest.fixture(scope="module")
def lite0() -> dict:
    return calibrated(source_network("lite0", num_classes=5)).state_dict()


@torch.no_grad()
def assert_same_outputs(card: BackboneCard, logits: nn.Module, source: nn.Module) -> None:
    """Compare features and logits in float64, at the image size that the source network pads for."""
    side = source._global_params.image_size
    x = torch.randn(1, 3, side, side, dtype=torch.float64)
    blocks, theirs = hooked(source, list(source._blocks), x)
    maps = list({block.shape[-1]: block for block in blocks}.values())  # the last block of each resolution
    net = build(card.arch).double().eval()
    card.place(net)
    assert_same(net(x), maps[-4:])
    assert_same([logits(x)], [theirs])


@pytest.mark.parametrize("member", ["b0", "b2", "lite0", "lite1", "lite2", "lite4"])
def test_an_imported_network_has_the_features_and_logits_of_its_source(member, tmp_path):
    source = calibrated(source_network(member, num_classes=5))
    imported = import_backbone(save(tmp_path / "net.pth", source.state_dict()))
    card = imported.write(tmp_path / "card")
    assert card.arch == {"name": f"tf_efficientnet_{member}", "width": 1.0}
    assert_same_outputs(card, imported.stock.logits, source)


@pytest.mark.parametrize("member", TRUE)
def test_true_weights_give_the_features_and_logits_of_their_network(member, tmp_path):
    source = source_network(member)
    source.load_state_dict(torch.load(true_weights(member), weights_only=True), strict=True)
    imported = import_backbone(true_weights(member))
    card = imported.write(tmp_path / "card")
    assert card.source["network"] == f"timm:tf_efficientnet_{member}.in1k" and card.mean == card.std == [127.5] * 3
    assert_same_outputs(card, imported.stock.logits, source)


@pytest.mark.parametrize("member", [*PLAIN, *LITE, *(pytest.param(member, marks=pytest.mark.slow) for member in LARGE)])
def test_every_member_is_told_from_the_others(member):
    with torch.device("meta"):
        source = source_network(member)
    assert network_of("net.pth", source.state_dict()) == f"timm:tf_efficientnet_{member}"


def test_the_network_that_was_found_is_said(b0, tmp_path):
    imported = import_backbone(save(tmp_path / "net.pth", {"model": under("module.", b0)}))
    said = "net.pth has the names of efficientnet_pytorch, and the tensors of timm:tf_efficientnet_b0. "
    assert imported.notes[0].startswith(said)
    assert imported.facts["mean"] == [123.675, 116.28, 103.53]


def test_a_lite_network_has_the_input_format_of_timm(lite0, tmp_path):
    imported = import_backbone(save(tmp_path / "net.pth", lite0))
    assert imported.facts["mean"] == imported.facts["std"] == [127.5, 127.5, 127.5]


def test_a_file_without_the_counters_of_bn_is_found(lite0, tmp_path):
    """Weights that were converted from TensorFlow have none."""
    tensors = {name: tensor for name, tensor in lite0.items() if "num_batches" not in name}
    imported = import_backbone(save(tmp_path / "net.pth", tensors))
    assert imported.facts["source"]["network"] == "timm:tf_efficientnet_lite0.in1k"


def test_a_tag_of_an_efficientnet_gives_its_facts(b0, tmp_path):
    imported = import_backbone(save(tmp_path / "net.pth", b0), network="timm:tf_efficientnet_b0.ap_in1k")
    assert imported.facts["mean"] == [127.5, 127.5, 127.5]  # as AdvProp was trained


@pytest.mark.parametrize(("member", "other"), [("b0", "efficientnet_b0"), ("lite0", "efficientnet_lite0")])
def test_a_network_of_the_same_tensors_and_another_padding_is_refused(member, other, request, tmp_path):
    file = save(tmp_path / "net.pth", request.getfixturevalue(member))
    with pytest.raises(ValueError, match=f"whose network is timm:tf_{other}, not timm:{other}; leave out --network"):
        import_backbone(file, network=f"timm:{other}")


@pytest.mark.parametrize(("member", "range_"), [("b0", "b0 to tf_efficientnet_l2"), ("lite0", "lite0 to tf_efficientnet_lite4")])
def test_an_efficientnet_that_timm_lacks_is_refused(member, range_, request, tmp_path):
    tensors = request.getfixturevalue(member) | {"_blocks.3._expand_conv.weight": torch.ones(1, 1, 1, 1)}
    with pytest.raises(ValueError, match=f"the tensors of none of tf_efficientnet_{range_}"):
        import_backbone(save(tmp_path / "net.pth", tensors))
