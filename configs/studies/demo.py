"""Run the whole pipeline on few rows: two pretrainings and a control from scratch, each through detection and segmentation.

python tools/study.py run configs/studies/demo.py --scale toy
python tools/study.py run configs/studies/demo.py --scale mini --recipes scratch smooth

Cost: under 9 minutes at toy and about an hour at mini on 2 cores. At toy expect both pretrained rows above scratch in mAP and in
mIoU (docs/LOG.md). Tables 8 and 9 of the paper have B-standard and + smooth, but not scratch.
"""

name = "demo"
recipes = ("scratch", "b_standard", "smooth")
reference = "b_standard"  # gains are relative to this row
configs = dict(
    classification="configs/classification/resnet50_{scale}.py",
    detection="configs/detection/faster_rcnn_fpn_{scale}.py",
    segmentation="configs/segmentation/fcn_{scale}.py",
)
metrics = ("top1", "mAP", "mAP_area", "pixAcc", "mIoU")
published = dict(  # single runs on ImageNet, VOC07 and ADE20K, with another detector (C4)
    table8=[dict(recipe=r, metric=m, column=m) for r in ("b_standard", "smooth") for m in ("top1", "mAP")],
    table9=[dict(recipe=r, metric=m, column=m) for r in ("b_standard", "smooth") for m in ("pixAcc", "mIoU")],
)
