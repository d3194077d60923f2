"""What Faster-RCNN has with either neck: the task, its evaluator, and the backbone that a row from scratch starts from."""

task = "detection"
default_scope = "mmdet"
custom_imports = dict(imports=["backbones.mmcv_ops"])  # torchvision's operators where mmcv is not compiled
test_evaluator = dict(type="detection.VOCMeanAP", iou=0.5)
scratch_backbone = dict(depth=50, variant="b", base_channels=64)
