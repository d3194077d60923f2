"""Transfer published ResNet-50 weights to detection and segmentation, which one GPU can do without any pretraining.

python tools/study.py plan public_weights --scale paper
python tools/study.py run public_weights --scale paper --seeds 3 --recipes scratch tv_v1 tv_v2 gluon_d_mixup
python tools/study.py run public_weights --scale toy --recipes scratch tv_v1

The command uses files in checkpoints/ or in torch's cache and downloads the others. Without a network it tells which files to
put where. The networks have full width at every scale, so a detection takes minutes even at toy. Each row is one pretraining by
someone else. Seeds are therefore those of the transfer, and a gain belongs to these weights, not necessarily to their recipe.

GluonCV's v1b and v1c have all refinements except mixup and distillation, and are no row of the paper. By its top-1 (79.08 in its
training log), v1d is the mixup row of the model zoo ("+ mixup w/o distill"). Weights trained on images beyond ImageNet-1k are
left out. top1 is at 224 px: as stated by torchvision for its weights, and as measured by timm for all others.
"""

name = "public_weights"
cards = dict(
    tv_v1=dict(
        source="torchvision:resnet50.IMAGENET1K_V1",
        file="resnet50-0676ba61.pth",
        label="torchvision V1 (B)",
        about="torchvision's reference script as it was: 90 epochs, steps",
        top1=76.130,
    ),
    tv_v2=dict(
        source="torchvision:resnet50.IMAGENET1K_V2",
        file="resnet50-11ad3fa6.pth",
        label="torchvision V2 (B)",
        about="600 epochs, cosine, TrivialAugment, random erasing, label smoothing, mixup, CutMix, EMA; trained at 176 px",
        top1=80.858,
    ),
    gluon_b=dict(
        source="timm:resnet50.gluon_in1k",
        file="gluon_resnet50_v1b-0ebe02e2.pth",
        label="GluonCV v1b (B), all but mixup",
        about="zero-gamma, no bias decay, warmup, FP16, batch 1024, cosine, label smoothing, 120 epochs; no row of the paper",
        top1=77.580,
    ),
    gluon_c=dict(
        source="timm:resnet50c.gluon_in1k",
        file="gluon_resnet50_v1c-48092f55.pth",
        label="GluonCV v1c (C), all but mixup",
        about="as GluonCV v1b; no row of the paper",
        top1=78.016,
    ),
    gluon_d_mixup=dict(
        source="timm:resnet50d.gluon_in1k",
        file="gluon_resnet50_v1d-818a1b1b.pth",
        label="GluonCV v1d (D), with mixup",
        about="as GluonCV v1b, with mixup and 200 epochs: the paper's + mixup w/o distill",
        top1=79.080,
    ),
    bt=dict(
        source="timm:resnet50.bt_in1k",
        file="rw_resnet50-86acaeed.pth",
        label="timm bag of tricks (B)",
        about="bag of tricks: SGD, cosine, warmup",
        top1=78.444,
    ),
    ra=dict(
        source="timm:resnet50.ra_in1k",
        file="resnet50_ra-85ebb6e5.pth",
        label="timm RandAugment (B)",
        about="RandAugment, RMSProp, EMA, exponential decay",
        top1=78.820,
    ),
    am=dict(
        source="timm:resnet50.am_in1k",
        file="resnet50_am-6c502b37.pth",
        label="timm AugMix (B)",
        about="AugMix with its consistency loss, SGD, cosine",
        top1=79.004,
    ),
    b1k=dict(
        source="timm:resnet50.b1k_in1k",
        file="resnet50_b1k-532a802a.pth",
        label="timm RSB B1k (B)",
        about="ResNet strikes back, B: RandAugment, RMSProp, exponential decay",
        top1=79.564,
    ),
    c1=dict(
        source="timm:resnet50.c1_in1k",
        file="resnet50_c1-5ba5e060.pth",
        label="timm RSB C1 (B)",
        about="ResNet strikes back, C: SGD with adaptive gradient clipping, cosine",
        top1=79.766,
    ),
    d=dict(
        source="timm:resnet50.d_in1k",
        file="resnet50_d-f39db8af.pth",
        label="timm RSB D (B)",
        about="ResNet strikes back, D: AdamW, binary cross-entropy, cosine",
        top1=79.904,
    ),
    a1=dict(
        source="timm:resnet50.a1_in1k",
        file="resnet50_a1_0-14fe96d1.pth",
        label="timm RSB A1 (B)",
        about="ResNet strikes back, A1: LAMB, binary cross-entropy, cosine, 600 epochs",
        top1=80.382,
    ),
    a1h=dict(
        source="timm:resnet50.a1h_in1k",
        file="resnet50_a1h2_176-001a1197.pth",
        label="timm RSB A1h (B)",
        about="A1 with stronger dropout, stochastic depth and RandAugment; trained at 176 px",
        top1=80.654,
    ),
    a2=dict(
        source="timm:resnet50.a2_in1k",
        file="resnet50_a2_0-a2746f79.pth",
        label="timm RSB A2 (B)",
        about="ResNet strikes back, A2: as A1, 300 epochs",
        top1=79.828,
    ),
    a3=dict(
        source="timm:resnet50.a3_in1k",
        file="resnet50_a3_0-59cae1ef.pth",
        label="timm RSB A3 (B)",
        about="ResNet strikes back, A3: as A1, 100 epochs; trained at 160 px",
        top1=78.052,
    ),
    d_ra2=dict(
        source="timm:resnet50d.ra2_in1k",
        file="resnet50d_ra2-464e36ba.pth",
        label="timm RandAugment 2 (D)",
        about="RandAugment, RMSProp, EMA, exponential decay",
        top1=80.546,
    ),
    d_a1=dict(
        source="timm:resnet50d.a1_in1k",
        file="resnet50d_a1_0-e20cff14.pth",
        label="timm RSB A1 (D)",
        about="ResNet strikes back, A1: LAMB, binary cross-entropy, cosine, 600 epochs",
        top1=80.730,
    ),
    d_a2=dict(
        source="timm:resnet50d.a2_in1k",
        file="resnet50d_a2_0-a3adc64d.pth",
        label="timm RSB A2 (D)",
        about="ResNet strikes back, A2: as A1, 300 epochs",
        top1=80.268,
    ),
    d_a3=dict(
        source="timm:resnet50d.a3_in1k",
        file="resnet50d_a3_0-403fdfad.pth",
        label="timm RSB A3 (D)",
        about="ResNet strikes back, A3: as A1, 100 epochs; trained at 160 px",
        top1=78.742,
    ),
    d_ra4=dict(
        source="timm:resnet50d.ra4_e3600_r224_in1k",
        file="resnet50d.ra4_e3600_r224_in1k.safetensors",
        label="timm RandAugment 4 (D)",
        about="RandAugment, 3600 epochs; mean and std 127.5",
        top1=80.956,
    ),
)
recipes = ("scratch", *cards)
reference = "tv_v1"
configs = dict(
    detection="configs/detection/faster_rcnn_c4_{scale}.py",
    segmentation="configs/segmentation/fcn_{scale}.py",
)
metrics = ("mAP", "mAP_area", "pixAcc", "mIoU")
published = dict()
# recipes: timm's hfdocs/source/hparams.mdx, torchvision's documentation, GluonCV's training commands
published_source = (
    "top-1 at 224 px by torchvision's ResNet50_Weights, else by timm's results/results-imagenet.csv "
    "(huggingface/pytorch-image-models aa4b5850, August 2026)"
)
