"""Train Faster-RCNN C4, the detector of the paper's time, on VOC07+12 and test it on VOC07.

python tools/train.py configs/detection/faster_rcnn_c4_paper.py --backbone work_dirs/runs/KEY/card --protocol he2019
Stage 4 of the backbone is the head of the regions. Table 8 reports 77.54 (B-standard) to 81.33 mAP (+ distill w/ mixup).
Protocols: configs/detection/protocols. Untested at this scale.
"""

_base_ = ["../_base_/default_runtime.py", "../_base_/models/faster_rcnn_c4.py", "../_base_/datasets/voc.py"]

scale = "paper"
protocol = "he2019"  # the default of --protocol
