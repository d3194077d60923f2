"""The recipes: rows of the paper's tables as named sets of tricks. Table 3 for efficient, Table 6 for the rest.

``parent`` is the row that a recipe is compared with; ``label`` is what the paper's table prints. 'scratch' is no recipe of the
paper: the dense tasks trained from random weights, the control that shows what pretraining is worth.
"""

_efficient = ("large_batch", "low_precision", "zero_gamma", "no_bias_decay", "warmup")
_d_efficient = ("resnet_d", *_efficient)
_cosine = (*_d_efficient, "cosine")

recipes = dict(
    scratch=dict(tricks=None, parent=None, label="scratch"),
    baseline=dict(tricks=(), parent=None, label="baseline"),
    b_standard=dict(tricks=("resnet_b",), parent=None, label="B-standard"),
    efficient=dict(tricks=_efficient, parent="baseline", label="Efficient"),
    d_efficient=dict(tricks=_d_efficient, parent="b_standard", label="D-efficient"),
    cosine=dict(tricks=_cosine, parent="d_efficient", label="+ cosine"),
    smooth=dict(tricks=(*_cosine, "label_smoothing"), parent="cosine", label="+ smooth"),
)
