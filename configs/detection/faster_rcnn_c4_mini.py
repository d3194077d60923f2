"""Train Faster-RCNN C4 on a small part of VOC2007: 290 training and 140 test images of 256 x 192 px.

python tools/train.py configs/detection/faster_rcnn_c4_mini.py --backbone work_dirs/runs/KEY/card
Stage 4 runs once for every region, which is most of the cost. Few regions of 7 x 7 instead of 14 x 14 and two epochs keep a run
under 8 minutes on two cores. Such a short run learns little, but it tests the whole pipeline.
"""

_base_ = ["../_base_/default_runtime.py", "../_base_/models/faster_rcnn_c4.py", "../_base_/datasets/voc.py"]

scale = "mini"
seconds = 450  # on two CPU cores; the first estimate of the time left in a study
num_workers = 1
protocol = dict(
    name="faster_rcnn_c4_mini",
    base="voc07",
    source="chosen here, to fit on two cores",
    chosen="all",
    networks=("faster_rcnn_fpn", "faster_rcnn_c4"),  # part of the keys of runs: changed, they would all run again
    image_scales=((256, 192),),  # limits of the long and the short side
    test_image_scale=(256, 192),
    batch=2,  # over all processes
    lr=0.0025,  # 0.02 for 16 images; one epoch with 0.01 gave less (docs/LOG.md)
    length=dict(epochs=2),
    warmup=100,
    anchor_scales=(1, 2, 4, 8),
    proposals_train=(128, 64),  # before NMS and after
    proposals_test=(64, 64),
    roi_sample=dict(num=16),
)
