"""The whole chain, narrow: two pretrainings and a control from scratch, each through detection and segmentation.

python tools/study.py run configs/studies/demo.py --scale toy
python tools/study.py run configs/studies/demo.py --scale mini --recipes scratch smooth

Cost: under 9 minutes at toy and about an hour at mini on 2 cores. What to expect at toy: both pretrained rows above scratch in
mAP and in mIoU (docs/LOG.md). Table 8 and Table 9 of the paper have B-standard and + smooth, not scratch.
"""

name = "demo"
recipes = ("scratch", "b_standard", "smooth")
reference = "b_standard"  # gains are shown over this row
configs = dict(
    classification="configs/classification/resnet50_{scale}.py",
    detection="configs/detection/faster_rcnn_fpn_{scale}.py",
    segmentation="configs/segmentation/fcn_{scale}.py",
)
metrics = ("top1", "mAP", "pixAcc", "mIoU")
margin = 1.0  # a difference within this many points counts as none
published = dict(
    source="arXiv 1812.01187v2, Tables 8 and 9: single runs on ImageNet, VOC07 and ADE20K; another detector (C4)",
    top1=dict(b_standard=76.14, smooth=78.34),
    mAP=dict(b_standard=77.54, smooth=80.71),
    pixAcc=dict(b_standard=78.08, smooth=78.64),
    mIoU=dict(b_standard=37.05, smooth=38.75),
)
