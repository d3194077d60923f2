"""Wrap any network of timm that gives feature maps as a backbone."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from backbones.networks.architecture import check_timm_network
from backbones.networks.base import Backbone
from backbones.networks.initialization import initialise
from backbones.networks.timm_networks import create


class TimmBackbone(Backbone):
    """Compute the feature maps of timm's ``name`` at strides 4, 8, 16 and 32.

    Tensors keep the names that they have in timm's ``features_only`` form.

    Args:
        name: of a network of timm, such as 'inception_v3', 'mobilenetv1_100' or 'resnext50_32x4d', without a tag.
        width: factor on the channels of every convolution and norm, and on the number of groups, so a group keeps its size.
        zero_gamma: gamma of the last BN in each residual block starts at 0.
        output_stride, out_indices, frozen_stages, norm_eval, norm_frozen, last_stage: see ``Backbone``.

    Initial values are Xavier-uniform with gamma 1 and beta 0 (section 2.1 of the paper), not timm's own. The
    parameters are keys of ``model.backbone`` in configs, hence so many.

    Raises:
        ValueError: timm has no such network; it has no feature maps at those strides, or takes images of one size only; it
            cannot be dilated to that output stride; its channels times ``width`` are not whole; zero_gamma, if no residual block
            ends in a BN; last_stage=False, if the network is no ResNet of timm.
    """

    last = "net.layer4"

    def __init__(
        self,
        name: str,
        width: float = 1.0,
        zero_gamma: bool = False,
        output_stride: int = 32,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        frozen_stages: int = -1,
        norm_eval: bool = False,
        norm_frozen: bool = False,
        last_stage: bool = True,
    ):
        super().__init__(output_stride, out_indices, frozen_stages, norm_eval, norm_frozen, last_stage)
        self.arch = {"name": name, "width": width}
        check_timm_network(name)
        self.net = create(name, output_stride)
        info = self.net.feature_info.get_dicts()
        self._levels, self._skip = [level["module"] for level in info], len(info) - 4
        self._channels_last = getattr(self.net, "output_fmt", "NCHW") == "NHWC"  # MambaOut, for example
        _scale_width(self.net, width, name)
        self.channels = tuple(round(level["num_chs"] * width) for level in info[-4:])
        initialise(self.net)
        for module in self.net.modules():
            if isinstance(module, _BatchNorm):
                nn.init.ones_(module.weight)
                nn.init.zeros_(module.bias)
        if zero_gamma:
            self._zero_gamma(name)
        if not last_stage:
            self._leave_out_last(name)
        self._inside: dict[int, list[nn.Module]] = {}
        self._freeze()

    def _leave_out_last(self, name: str) -> None:
        if [level["module"] for level in self.net.feature_info.get_dicts()][-4:] != ["layer1", "layer2", "layer3", "layer4"]:
            raise ValueError(
                f"The last stage of {name} cannot be split off for a C4 detector; take a ResNet, of this project or of timm, or "
                "an FPN detector."
            )
        del self.net.layer4
        self.net.return_layers = {layer: out for layer, out in self.net.return_layers.items() if layer != "layer4"}

    def _zero_gamma(self, name: str) -> None:
        blocks = [module for module in self.net.modules() if hasattr(module, "zero_init_last")]
        if not blocks:
            raise ValueError(
                f"zero_gamma needs residual blocks that end in a BN, and {name} has none; leave it out, as the paper's code "
                "does for Inception-V3 and MobileNet."
            )
        for block in blocks:
            block.zero_init_last()

    def parts(self, stages: int) -> list[nn.Module]:
        """Return all modules up to the end of stage ``stages`` (0: up to stride 2), in order of registration."""
        if stages not in self._inside:
            level = self._skip + stages - 1
            self._inside[stages] = _modules_until(self.net, self._levels[level]) if level >= 0 else []
        return self._inside[stages]

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        stages = self.net(x)[self._skip :]
        if self._channels_last:
            stages = [stage.permute(0, 3, 1, 2) for stage in stages]
        return tuple(stages[i] for i in self.out_indices)


def _scale_width(net: nn.Module, width: float, name: str) -> None:
    """Multiply the channels of every convolution and BN by ``width``, except the image's three."""
    if width == 1.0:
        return

    def scaled(count: int) -> int:
        if count * width % 1 or count * width < 1:
            raise ValueError(f"The network {name} cannot have {width:g} times its width: {count} channels do not divide so.")
        return int(count * width)

    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            module.in_channels = module.in_channels if module.in_channels == 3 else scaled(module.in_channels)
            module.out_channels = scaled(module.out_channels)
            module.groups = 1 if module.groups == 1 else scaled(module.groups)
            shape = (module.out_channels, module.in_channels // module.groups, *module.kernel_size)
            module.weight = nn.Parameter(module.weight.new_empty(shape))
            if module.bias is not None:
                module.bias = nn.Parameter(module.bias.new_zeros(module.out_channels))
        elif isinstance(module, _BatchNorm):
            module.num_features = scaled(module.num_features)
            for tensor in ("weight", "bias"):
                setattr(module, tensor, nn.Parameter(getattr(module, tensor).new_empty(module.num_features)))
            module.running_mean = module.running_mean.new_zeros(module.num_features)
            module.running_var = module.running_var.new_ones(module.num_features)
        elif any(True for _ in module.parameters(recurse=False)):
            raise ValueError(
                f"The network {name} cannot have {width:g} times its width: it has a {type(module).__name__}, and only "
                "convolutions and BN are made narrower."
            )


def _modules_until(net: nn.Module, level: str) -> list[nn.Module]:
    """Return the modules of ``net`` up to the module ``level``, without those that also contain a later module.

    timm's features_only form registers modules in the order of computation. It may rename ``features.norm0`` to
    ``features_norm0``.
    """
    flat = level.replace(".", "_")
    named = [(name.replace(".", "_"), module) for name, module in net.named_modules()]
    last = max(i for i, (name, _) in enumerate(named) if name == flat or name.startswith(flat + "_"))
    later = [name for name, _ in named[last + 1 :]]
    return [m for name, m in named[1 : last + 1] if not any(after.startswith(name + "_") for after in later)]
