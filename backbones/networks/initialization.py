"""Initialise convolutions and fully connected layers as the paper says, or as its code does."""

import math

from torch import nn

# Section 2.1 of the paper says Xavier with a = sqrt(6 / (d_in + d_out)); GluonCV's train_imagenet.py has MSRAPrelu, a
# Gaussian of variance 2 / (1 + 0.25^2) over the mean of d_in and d_out (mxnet.initializer), and so has the model zoo.
FORMS = {
    "xavier": nn.init.xavier_uniform_,
    "msra_prelu": lambda weight: nn.init.xavier_normal_(weight, gain=math.sqrt(2 / (1 + 0.25**2))),
}


def initialise(net: nn.Module, form: str = "xavier") -> None:
    """Draw the weights of every convolution and fully connected layer of ``net``, and set their biases to 0.

    Args:
        net: changed in place; all other parameters stay, gamma and beta of norm layers included.
        form: 'xavier' (uniform in [-a, a], a = sqrt(6 / (d_in + d_out)); section 2.1 of the paper) or 'msra_prelu' (normal,
            std = sqrt(2 / (1 + 0.25^2) * 2 / (d_in + d_out)); the paper's code).

    Raises:
        ValueError: ``form`` is unknown.
    """
    if form not in FORMS:
        raise ValueError(f"The initial values {form!r} are not known; allowed: {', '.join(FORMS)}.")
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            FORMS[form](module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
