"""Follow GluonCV's scripts/segmentation/train.py for ADE20K at c1e45abc of 2018-12-06, the code closest to the paper.

That commit is of the day after the paper. Its losses go through MXNet's SoftmaxOutput, whose backward pass ignores the incoming
gradient. Its auxiliary weight of 0.5 therefore does not scale gradients. It also sums the means of four GPUs and divides by 16,
so its lr of 0.01 acts like 0.0025 on the mean loss used here (derived from the code, not run). This protocol has the numbers
as that code writes them; gluoncv2018_effective has them as they act. GluonCV published pixAcc 79.0 and mIoU 39.5 with it,
multi-scale and with another backbone; a retest of the weights gave 36.54 (gluon-cv issue 1696).
"""

protocol = dict(
    name="gluoncv2018",
    source="dmlc/gluon-cv c1e45abc: scripts/segmentation/train.py, gluoncv/model_zoo/{fcn,segbase}.py, gluoncv/data/segbase.py",
    chosen=dict(  # values that the source does not give, or that differ here: what and why
        image_scale="the long side has a limit; the source has none, and no image of ADE20K reaches it unless it is 4 to 1",
        test_image_scale="one scale, as in mmseg, for speed; the source tests at several, or on the centre of the image",
        inference="one pass over the whole image, as in mmseg; the source averages several scales and mirror images",
        resampling="the source resizes with Pillow, which smooths an image that it shrinks",
    ),
    networks=("fcn",),
    image_scale=(2080, 520),  # limits of the long and the short side
    ratio_range=(0.5, 2.0),  # times image_scale, drawn for each image
    test_image_scale=(2080, 520),
    crop=480,
    crop_max_ratio=1.0,  # largest part of a crop that one class may fill; 1 accepts any crop
    padding="black",  # of an image smaller than a crop: black before normalisation, or the mean color (0 after it)
    flip=0.5,
    blur=0.5,  # part of the images to blur, by a Gaussian with a random radius in 0..1 px
    photometric=False,  # mmseg's PhotoMetricDistortion
    shortcut_pool="pool1x1",  # shortcut of ResNet-D in dilated stages
    num_convs=1,
    concat_input=False,
    dropout=0.1,
    aux_weight=0.5,
    avg_non_ignore=True,  # the loss is the mean over labelled pixels
    batch=16,  # over all processes
    length=dict(epochs=120),
    lr=0.01,  # for the batch above; scaled with another batch
    head_lr_mult=10.0,
    momentum=0.9,
    weight_decay=1e-4,
    power=0.9,  # power of the polynomial decay
    min_lr=0.0,
    warmup=0,  # updates
    norm="sync",  # statistics over all processes; plain BN with one process
    inference="whole",  # the whole image at one scale
    metric_classes="all",  # mIoU over all 150 classes; an absent class counts 0
    selection="last",
)
