"""Faster-RCNN with FPN, trained on VOC07 trainval, tested on VOC07 test, 1000 x 600 px.

python tools/train.py configs/detection/faster_rcnn_fpn_paper.py --backbone work_dirs/runs/KEY/card
Not the paper's detector, which is C4: never put this number beside Table 8. Untested at this scale.
"""

_base_ = ["../_base_/default_runtime.py", "../_base_/models/faster_rcnn_fpn.py", "../_base_/datasets/voc.py"]

scale = "paper"
protocol = "voc07"
