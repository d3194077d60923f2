"""Train Faster-RCNN with FPN on a small part of VOC2007: 290 training and 140 test images of 256 x 192 px.

python tools/train.py configs/detection/faster_rcnn_fpn_mini.py --backbone work_dirs/runs/KEY/card
"""

_base_ = ["../_base_/default_runtime.py", "../_base_/models/faster_rcnn_fpn.py", "../_base_/datasets/voc.py"]

scale = "mini"
seconds = 620  # on two CPU cores; the first estimate of the time left in a study
num_workers = 1
model = dict(neck=dict(out_channels=128))
protocol = dict(
    name="faster_rcnn_fpn_mini",
    base="voc07",
    source="chosen here, to fit on two cores",
    chosen="all",
    networks=("faster_rcnn_fpn", "faster_rcnn_c4"),  # part of the keys of runs: changed, they would all run again
    image_scales=((256, 192),),  # limits of the long and the short side
    test_image_scale=(256, 192),
    batch=4,  # over all processes
    lr=0.005,  # 0.02 for 16 images; four times as much let the loss go to 207 from ImageNet weights
    length=dict(epochs=6),
    warmup=100,
    anchor_scales=(4,),
    proposals_train=(600, 300),  # before NMS and after
    proposals_test=(300, 300),
    roi_sample=dict(num=64),
)
