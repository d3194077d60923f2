"""Train Faster-RCNN with FPN on VOC07 trainval and test it on VOC07 test, 1000 x 600 px.

python tools/train.py configs/detection/faster_rcnn_fpn_paper.py --backbone work_dirs/runs/KEY/card
The paper's detector is C4: do not compare this number with Table 8. Untested at this scale.
"""

_base_ = ["../_base_/default_runtime.py", "../_base_/models/faster_rcnn_fpn.py", "../_base_/datasets/voc.py"]

scale = "paper"
protocol = "voc07"
