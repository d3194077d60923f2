"""Faster-RCNN on VOC: what does not depend on the scale. Difficult boxes are trained on and none is left out for its size.

Never mmdet's own voc0712.py: it drops training boxes under 32 px and difficult ones, and repeats the data three times.
"""

task = "detection"
default_scope = "mmdet"
custom_imports = dict(imports=["backbones.mmcv_ops"])  # torchvision's operators where mmcv is not compiled
custom_hooks = []  # the backbone's own is put in with it
train_cfg = dict(by_epoch=True)
test_cfg = dict()
test_evaluator = dict(type="detection.VOCMeanAP", iou=0.5)
