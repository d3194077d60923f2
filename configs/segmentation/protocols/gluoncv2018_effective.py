"""gluoncv2018 with the learning rate and the auxiliary weight as they act in that code: see its file. Read from it, not run."""

protocol = dict(
    name="gluoncv2018_effective",
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
    aux_weight=1.0,
    avg_non_ignore=True,  # the loss is the mean over labelled pixels
    batch=16,  # in all
    length=dict(epochs=120),
    lr=0.0025,
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
