"""Small parts of a classifier for tests: a network of two convolutions, and a preprocessor in float64."""

from torch import nn

from classification.model import ImagePreprocessor


class TwoConvolutions(nn.Module):
    """Serve as the smallest backbone: two convolutions, with or without a BN."""

    def __init__(self, norm: bool = False):
        super().__init__()
        self.channels = (5, 6)
        self.conv1 = nn.Conv2d(3, 5, 3, 2)
        self.bn = nn.BatchNorm2d(5) if norm else nn.Identity()
        self.conv2 = nn.Conv2d(5, 6, 3, 2)

    def forward(self, x):
        x = self.bn(self.conv1(x)).relu()
        return x, self.conv2(x).relu()


class DoublePreprocessor(ImagePreprocessor):
    """Normalise images in float64."""

    def __init__(self, mean, std):
        super().__init__(mean, std)
        self.double()
