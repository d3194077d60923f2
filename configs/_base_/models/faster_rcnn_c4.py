"""Define Faster-RCNN C4, the detector of the paper's time: stage 4 of the backbone is the head of the regions."""

_base_ = ["mmdet::_base_/models/faster-rcnn_r50-caffe-c4.py", "faster_rcnn.py"]

model = dict(
    # without a card, that of this project's own pretrainings, so that a row from scratch differs in its weights alone
    data_preprocessor=dict(mean=[123.68, 116.779, 103.939], std=[58.393, 57.12, 57.375], bgr_to_rgb=True),
    backbone=dict(_delete_=True, type="backbones.ResNet", out_indices=(2,)),
    roi_head=dict(
        shared_head=dict(_delete_=True, type="backbones.LastStage"),
        bbox_roi_extractor=dict(roi_layer=dict(use_torchvision=True)),
    ),
)
