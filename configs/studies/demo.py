"""Run the whole pipeline on few rows: two pretrainings and a control from scratch, each through detection and segmentation.

python tools/study.py run configs/studies/demo.py --scale toy --seeds 3
python tools/study.py run configs/studies/demo.py --scale mini --recipes scratch smooth

With three seeds at toy it is 24 runs, about 8 minutes on 2 cores. What to expect there, lowest to highest of five seeds:

            top-1         mAP           mIoU
scratch     -             15.3 to 20.3   7.8 to 9.3
B-standard  69.3 to 80.3  28.7 to 37.1  12.4 to 17.4
+ smooth    83.5 to 90.3  44.0 to 49.6  24.2 to 27.7

Another CPU rounds otherwise and gives other figures of these ranges. Both pretrained rows are better than scratch in mAP and
mIoU, and + smooth is better than B-standard; docs/results/demo-toy has the table of one run of the demo. At mini it takes about
an hour with one seed. Tables 8 and 9 of the paper have B-standard and + smooth, but not scratch.
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
