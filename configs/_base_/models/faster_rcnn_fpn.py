"""Define Faster-RCNN with a feature pyramid (FPN).

The paper uses C4 instead. Do not compare these numbers with Table 8.
"""

_base_ = ["mmdet::_base_/models/faster-rcnn_r50_fpn.py", "faster_rcnn.py"]

model = dict(
    # without a card, that of this project's own pretrainings, so that a row from scratch differs in its weights alone
    data_preprocessor=dict(mean=[123.68, 116.779, 103.939], std=[58.393, 57.12, 57.375], bgr_to_rgb=True),
    backbone=dict(_delete_=True, type="backbones.ResNet", out_indices=(0, 1, 2, 3)),
    roi_head=dict(bbox_roi_extractor=dict(roi_layer=dict(use_torchvision=True))),
)
