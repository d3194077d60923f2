"""Train Faster-RCNN with FPN on the synthetic VOC: networks at a quarter of the width, images of about 96 px.

python tools/train.py configs/detection/faster_rcnn_fpn_toy.py --backbone work_dirs/runs/KEY/card
"""

_base_ = ["../_base_/default_runtime.py", "../_base_/models/faster_rcnn_fpn.py", "../_base_/datasets/toy_voc.py"]

scale = "toy"
seconds = 45  # on two CPU cores; the first estimate of the time left in a study
threads = 1
scratch_backbone = dict(base_channels=16)
model = dict(neck=dict(out_channels=64))
protocol = dict(
    name="faster_rcnn_fpn_toy",
    base="voc07",
    source="chosen here, to fit on two cores",
    chosen="all",
    networks=("faster_rcnn_fpn", "faster_rcnn_c4"),  # part of the keys of runs: changed, they would all run again
    image_scales=((120, 96),),  # limits of the long and the short side
    test_image_scale=(120, 96),
    batch=8,  # over all processes
    lr=0.01,  # mmdet's 0.02 is for 16 images; it let the loss go to 47 without the clip below (docs/LOG.md)
    length=dict(epochs=10),
    warmup=50,
    clip=dict(max_norm=5),
    anchor_scales=(4,),
    proposals_train=(400, 200),  # before NMS and after
    proposals_test=(200, 100),
    roi_sample=dict(num=32),
)
