"""Run the whole pipeline on few rows: two pretrainings and a control from scratch, each through detection and segmentation.

python tools/study.py run demo --scale toy --seeds 3
python tools/study.py run demo --scale mini --recipes scratch smooth

With three seeds at toy it is 24 runs, about 8 minutes on 2 cores. What to expect, lowest to highest of eight runs a row (five
seeds with AVX-512, three of them with ATEN_CPU_CAPABILITY=avx2 too):

            top-1         mAP           mIoU
scratch     -             13.7 to 20.4   5.3 to  7.0
B-standard  69.3 to 80.3  27.5 to 37.1  10.6 to 14.5
+ smooth    83.5 to 90.3  41.8 to 49.6  23.1 to 27.5

Another CPU rounds otherwise and gives other figures. With both instruction sets both pretrained rows were better than scratch in
mAP and in mIoU, and + smooth was better than B-standard in all three tasks (docs/LOG.md). docs/results/demo-toy has the table of
one run of the demo. At mini it takes about an hour with one seed.
Tables 8 and 9 of the paper have B-standard and + smooth, but not scratch.
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
