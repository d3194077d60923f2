"""Test which networks of timm can be backbones, and that the others are refused in one sentence wherever they are named."""

import pytest
import timm
import torch
from torch import nn

from backbones import TimmBackbone
from backbones.interchange.importer import import_backbone
from backbones.networks.architecture import check_arch
from tests.helpers.convert import one_sentence
from tests.helpers.weight_files import save

FIXED = {  # one of each of timm's families of one image size, and that size; each says so in its own words, or in none
    "botnet26t_256": 256,
    "coat_lite_tiny": 224,
    "coatnet_rmlp_nano_rw_224": 224,
    "efficientformer_l1": 224,
    "efficientformerv2_s0": 224,
    "gcvit_xxtiny": 224,
    "hiera_tiny_224": 224,
    "maxvit_pico_rw_256": 256,
    "swin_tiny_patch4_window7_224": 224,
    "swinv2_tiny_window8_256": 256,
    "swinv2_cr_tiny_224": 224,
}


def one_of_each_family() -> list[str]:
    """Return the first network of each module of timm that has any."""
    return [names[0] for module in timm.list_modules() if (names := timm.list_models(module=module))]


@pytest.mark.parametrize("name", FIXED)
def test_a_network_of_one_image_size_is_refused_with_that_size(name):
    message = f"{name} of timm accepts only images of a fixed size, such as {FIXED[name]} x {FIXED[name]} px"
    with pytest.raises(ValueError, match=message) as error:
        TimmBackbone(name)
    one_sentence(error)


@pytest.mark.slow
@pytest.mark.parametrize("name", one_of_each_family())
def test_a_network_of_any_family_is_refused_in_a_sentence_or_takes_images_of_any_size(name):
    try:
        check_arch({"name": name, "width": 1.0})
    except ValueError as error:
        assert name in str(error) and "\n" not in str(error) and str(error).endswith(" or a ResNet.")
        return
    with torch.device("meta"), torch.no_grad():
        net = TimmBackbone(name).eval()
        for height, width in ((96, 224), (160, 128), (608, 1024)):
            maps = net(torch.empty(1, 3, height, width))
            assert tuple(m.shape[1] for m in maps) == net.channels


# ---- files


def wrapped(net: nn.Module) -> dict:
    return {"model": {f"module.{name}": tensor for name, tensor in net.state_dict().items()}}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vit_tiny_patch16_224", r"holds a vision transformer \(cls_token, patches of 16 x 16 px\), .*not supported"),
        ("beit_base_patch16_224", r"holds a vision transformer \(cls_token, "),
        (
            "swin_tiny_patch4_window7_224",
            r"holds a Swin transformer .*\(relative_position_bias_table\), .*fixed size",
        ),
        ("swinv2_tiny_window8_256", r"holds a Swin transformer or one like it \(cpb_mlp\), .*not supported"),
    ],
)
def test_a_file_of_a_transformer_is_refused_at_once_and_not_sent_to_network(tmp_path, name, message):
    file = save(tmp_path / "net.pth", wrapped(timm.create_model(name)))
    with pytest.raises(ValueError, match=message) as error:
        import_backbone(str(file))
    assert "--network" not in one_sentence(error)


def test_a_file_of_another_network_is_told_which_networks_are_taken(tmp_path):
    net = timm.create_model("mvitv2_small_cls")  # it has a class token, and maps at all four strides
    file = save(tmp_path / "net.pth", net.state_dict())
    with pytest.raises(ValueError, match="with feature maps at strides 4 to 32 of images of any size, add --network timm:NAME"):
        import_backbone(str(file))
