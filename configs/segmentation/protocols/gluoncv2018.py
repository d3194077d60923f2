"""GluonCV's scripts/segmentation/train.py for ADE20K, at c1e45abc of 2018-12-06, the day after the paper: the code nearest to it.

Its losses go through MXNet's SoftmaxOutput, whose backward pass ignores the gradient from above. So its auxiliary weight of 0.5
does not scale gradients, and four GPUs' means are summed and divided by 16: its lr of 0.01 acts like 0.0025 on the mean loss
used here (read from that code, not run). This protocol has the numbers as that code writes them; gluoncv2018_effective as they
act. Published with it: pixAcc 79.0, mIoU 39.5, multi-scale and with another backbone; the weights give 36.54 when tested again
(gluon-cv issue 1696).
"""

protocol = dict(
    name="gluoncv2018",
    source="dmlc/gluon-cv c1e45abc: scripts/segmentation/train.py, gluoncv/model_zoo/{fcn,segbase}.py, gluoncv/data/segbase.py",
    chosen=("test_image_scale", "inference"),  # values that the source does not give: it tests at several scales
    networks=("fcn",),
    image_scale=(2080, 520),  # the long side at most, and the short side
    ratio_range=(0.5, 2.0),  # times image_scale, drawn for each image
    test_image_scale=(2080, 520),
    crop=480,
    crop_max_ratio=1.0,  # largest share of a crop that one class may have; 1: any crop will do
    flip=0.5,
    blur=0.5,  # part of the images that a Gaussian of a radius drawn from 0..1 px blurs
    photometric=False,  # mmseg's PhotoMetricDistortion
    shortcut_pool="pool1x1",  # of ResNet-D in dilated stages
    num_convs=1,
    concat_input=False,
    dropout=0.1,
    aux_weight=0.5,
    avg_non_ignore=True,  # the loss is the mean over labelled pixels
    batch=16,  # over all processes
    length=dict(epochs=120),
    lr=0.01,  # of the batch above; another batch scales it
    head_lr_mult=10.0,
    momentum=0.9,
    weight_decay=1e-4,
    power=0.9,  # of the polynomial decay
    min_lr=0.0,
    warmup=0,  # updates
    norm="sync",  # over all processes; BN in one
    inference="whole",  # the whole image at one scale
    metric_classes="all",  # mIoU over 150, an absent one counts 0
    selection="last",
)
