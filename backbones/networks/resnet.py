"""Build ResNet-A, -B, -C and -D: section 4.2 and figures 1 and 2 of arXiv 1812.01187.

Parameter names are those of timm's ``resnet50`` and ``resnet50d``, so weights move between the two without a key map.
"""

from collections.abc import Iterator, Sequence

from torch import Tensor, nn

from backbones.networks.architecture import BASIC_DEPTHS, BLOCKS, VARIANTS
from backbones.networks.base import Backbone
from backbones.networks.initialization import initialise

# output stride -> (stride, dilation, dilation of the first block) of stages 3 and 4, as in the FCN of GluonCV and mmseg: the
# first block of a dilated stage keeps the dilation of the stage before it.
DILATED = {
    32: ((2, 1, 1), (2, 1, 1)),
    16: ((2, 1, 1), (1, 2, 1)),
    8: ((1, 2, 1), (1, 4, 2)),
}


def _conv3x3(cin: int, cout: int, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    return nn.Conv2d(cin, cout, 3, stride, padding=dilation, dilation=dilation, bias=False)


def _conv1x1(cin: int, cout: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(cin, cout, 1, stride, bias=False)


class _SamePool(nn.Module):
    """Pool 2x2 averages with stride 1 and keep the size: append a row and a column of zeros, as timm does."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.avg_pool2d(nn.functional.pad(x, (0, 1, 0, 1)), 2, 1)


def _shortcut(cin: int, cout: int, stride: int, variant: str, same_pool: bool) -> nn.Sequential:
    """Return path B of a block that changes shape: a 1x1 convolution, in D after an average pool (figure 2c).

    ``ceil_mode`` and ``count_include_pad=False`` make the pool fit the strided path on maps of odd size. At stride 1 the pool is
    1x1, the identity: in stage 1, and in dilated stages unless ``same_pool``.
    """
    if variant != "d":
        return nn.Sequential(_conv1x1(cin, cout, stride), nn.BatchNorm2d(cout))
    if stride == 1:
        pool = _SamePool() if same_pool else nn.Identity()
    else:
        pool = nn.AvgPool2d(2, stride, ceil_mode=True, count_include_pad=False)
    return nn.Sequential(pool, _conv1x1(cin, cout), nn.BatchNorm2d(cout))


class BasicBlock(nn.Module):
    """Add two 3x3 convolutions to a shortcut; input (N, cin, H, W), output (N, planes, H/stride, W/stride).

    ``__init__`` has seven parameters, as ``Bottleneck`` has, because ``ResNet`` builds both with one call.
    """

    expansion = 1

    def __init__(
        self,
        cin: int,
        planes: int,
        stride: int,
        dilation: int,
        first_dilation: int,
        variant: str,
        same_pool: bool = False,
    ):
        super().__init__()
        self.conv1 = _conv3x3(cin, planes, stride, first_dilation)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = _conv3x3(planes, planes, 1, dilation)
        self.bn2 = nn.BatchNorm2d(planes)
        self.relu = nn.ReLU(inplace=True)
        changes = stride != 1 or cin != planes
        self.downsample = _shortcut(cin, planes, stride, variant, same_pool) if changes else None

    @property
    def last_bn(self) -> nn.BatchNorm2d:
        return self.bn2

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(x)) + shortcut)


class Bottleneck(nn.Module):
    """Add a 1x1, a 3x3 and a 1x1 convolution to a shortcut; output (N, 4 * planes, H/stride, W/stride).

    The stride is in the first 1x1 for variant a and in the 3x3 for b, c and d (figure 2a).
    """

    expansion = 4

    def __init__(
        self,
        cin: int,
        planes: int,
        stride: int,
        dilation: int,
        first_dilation: int,
        variant: str,
        same_pool: bool = False,
    ):
        super().__init__()
        stride1, stride2 = (stride, 1) if variant == "a" else (1, stride)
        cout = planes * self.expansion
        self.conv1 = _conv1x1(cin, planes, stride1)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = _conv3x3(planes, planes, stride2, first_dilation)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = _conv1x1(planes, cout)
        self.bn3 = nn.BatchNorm2d(cout)
        self.relu = nn.ReLU(inplace=True)
        changes = stride != 1 or cin != cout
        self.downsample = _shortcut(cin, cout, stride, variant, same_pool) if changes else None

    @property
    def last_bn(self) -> nn.BatchNorm2d:
        return self.bn3

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        return self.relu(self.bn3(self.conv3(x)) + shortcut)


class ResNet(Backbone):
    """Compute the stages of ResNet-``depth``-``variant``, without its classifier.

    Args:
        depth: 18, 26, 34, 50, 101 or 152.
        variant: 'a' (stride in the first 1x1), 'b' (in the 3x3), 'c' (b with a stem of three 3x3), 'd' (c with an average
            pool in the shortcut). At depths 18 and 34 a and b are the same network.
        base_channels: width of stage 1 (64 as published; stem and stages scale with it). Even, at least 2.
        zero_gamma: gamma of the last BN in each residual block starts at 0, so each block starts as its shortcut.
        shortcut_pool: of the shortcut of D in dilated stages: 'pool1x1' (the identity, as in GluonCV and mmseg) or 'pool2x2'
            (stride 1, as in timm). Both take the same weights and compute different features.
        output_stride, out_indices, frozen_stages, norm_eval, norm_frozen, last_stage: see ``Backbone``.

    ``forward`` takes float (N, 3, H, W) and returns a tuple of (N, ``channels[i]``, ceil(H/s), ceil(W/s)) with s = 4, 8, 16,
    32 (never above the output stride). It works in channels-last memory. Initial values are Xavier-uniform with gamma 1 and
    beta 0 (section 2.1 of the paper). The parameters are the keys of ``model.backbone`` in configs, hence so many.

    Raises:
        ValueError: an argument outside the values above.
    """

    def __init__(
        self,
        depth: int,
        variant: str = "a",
        base_channels: int = 64,
        zero_gamma: bool = False,
        output_stride: int = 32,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        frozen_stages: int = -1,
        norm_eval: bool = False,
        norm_frozen: bool = False,
        last_stage: bool = True,
        shortcut_pool: str = "pool1x1",
    ):
        super().__init__(output_stride, out_indices, frozen_stages, norm_eval, norm_frozen, last_stage)
        self.check("depth", depth, BLOCKS)
        self.check("variant", variant, VARIANTS)
        self.check("shortcut_pool", shortcut_pool, ("pool1x1", "pool2x2"))
        if base_channels < 2 or base_channels % 2:
            raise ValueError(f"ResNet: base_channels is {base_channels}; give an even number of at least 2.")
        self.arch = {"depth": depth, "variant": variant, "base_channels": base_channels}
        block = BasicBlock if depth in BASIC_DEPTHS else Bottleneck
        self.channels = tuple(base_channels * 2**i * block.expansion for i in range(4))
        self._make_stem(base_channels, deep=variant in "cd")
        self._make_stages(block, shortcut_pool)
        initialise(self)
        if zero_gamma:
            for block in self.blocks():
                nn.init.zeros_(block.last_bn.weight)
        if not last_stage:
            del self.layer4
        self._freeze()

    def _make_stem(self, width: int, deep: bool) -> None:
        """Build the stem: a 7x7 of stride 2, or in C and D three 3x3 of width/2, width/2, width (figure 2b); then a max pool.

        The max pool is 3x3 with stride 2.
        """
        if deep:
            half = width // 2
            parts = [_conv3x3(3, half, 2), nn.BatchNorm2d(half), nn.ReLU(inplace=True)]
            parts += [_conv3x3(half, half), nn.BatchNorm2d(half), nn.ReLU(inplace=True), _conv3x3(half, width)]
            self.conv1 = nn.Sequential(*parts)
        else:
            self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)

    def _make_stages(self, block: type[BasicBlock] | type[Bottleneck], shortcut_pool: str) -> None:
        """Build ``layer1`` to ``layer4``; only the first block of a stage has a stride or changes the channels."""
        variant, width = self.arch["variant"], self.arch["base_channels"]
        plan = ((1, 1, 1), (2, 1, 1), *DILATED[self.output_stride])
        cin = width
        for i, (count, (stride, dilation, first_dilation)) in enumerate(zip(BLOCKS[self.arch["depth"]], plan, strict=True)):
            planes = width * 2**i
            same_pool = shortcut_pool == "pool2x2" and dilation > 1
            blocks = [block(cin, planes, stride, dilation, first_dilation, variant, same_pool)]
            cin = self.channels[i]
            blocks += [block(cin, planes, 1, dilation, dilation, variant) for _ in range(count - 1)]
            setattr(self, f"layer{i + 1}", nn.Sequential(*blocks))

    def blocks(self) -> Iterator[BasicBlock | Bottleneck]:
        """Yield the residual blocks in order: 16 at depth 50."""
        for i in range(1, 5):
            yield from getattr(self, f"layer{i}")

    def parts(self, stages: int) -> list[nn.Module]:
        names = [f"layer{i}" for i in range(1, stages + 1)]
        return [self.conv1, self.bn1, *(getattr(self, name) for name in names if hasattr(self, name))]

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        stages = []
        for i in range(self.out_indices[-1] + 1):
            x = getattr(self, f"layer{i + 1}")(x)
            if i in self.out_indices:
                stages.append(x)
        return tuple(stages)
