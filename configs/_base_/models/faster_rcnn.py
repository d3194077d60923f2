"""Set what Faster-RCNN with FPN and C4 share: the task, its evaluator, and the backbone of a row without pretraining."""

task = "detection"
default_scope = "mmdet"
custom_imports = dict(imports=["backbones.mmcv_ops"])  # torchvision's operators where mmcv is not compiled
test_evaluator = dict(type="detection.VOCMeanAP", iou=0.5)
scratch_backbone = dict(depth=50, variant="b", base_channels=64)
