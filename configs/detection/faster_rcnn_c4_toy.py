"""Train Faster-RCNN C4 on the synthetic VOC: a quarter of the width, images of about 128 px, regions of 4 x 4.

python tools/train.py configs/detection/faster_rcnn_c4_toy.py --backbone work_dirs/runs/KEY/card
"""

_base_ = ["../_base_/default_runtime.py", "../_base_/models/faster_rcnn_c4.py", "../_base_/datasets/toy_voc.py"]

scale = "toy"
seconds = 40  # on two CPU cores; the first estimate of the time left in a study
threads = 1
scratch_backbone = dict(base_channels=16)
protocol = dict(
    name="faster_rcnn_c4_toy",
    base="voc07",
    source="chosen here, to fit on two cores",
    chosen="all",
    networks=("faster_rcnn_fpn", "faster_rcnn_c4"),  # part of the keys of runs: changed, they would all run again
    image_scales=((160, 128),),  # limits of the long and the short side
    test_image_scale=(160, 128),
    batch=8,  # over all processes
    lr=0.05,  # with 0.02 it learns too slowly, with 0.1 worse (docs/LOG.md)
    length=dict(epochs=10),
    warmup=50,
    clip=dict(max_norm=5),  # with 35 the loss from scratch reaches 11, and mAP stays at 2 (docs/LOG.md)
    anchor_scales=(1, 2, 4, 8),
    proposals_train=(50, 32),  # before NMS and after
    proposals_test=(50, 32),
    roi_size=4,
    roi_sample=dict(num=16),
)
