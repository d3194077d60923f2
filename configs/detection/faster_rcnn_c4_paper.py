"""Faster-RCNN C4, the detector of the paper's time: stage 4 of the backbone as the head of the regions. VOC07+12, test VOC07.

python tools/train.py configs/detection/faster_rcnn_c4_paper.py --backbone work_dirs/runs/KEY/card --protocol he2019
Table 8 has 77.54 (B-standard) to 81.33 mAP (+ distill w/ mixup). Protocols: configs/detection/protocols. Never run here on a GPU.
"""

_base_ = ["mmdet::_base_/models/faster-rcnn_r50-caffe-c4.py", "../_base_/runtime.py", "../_base_/voc.py"]

scale = "paper"
network = "faster_rcnn_c4"
protocol = "he2019"  # the default; what it says is set when the run is made
data_root = "{{$DATA_ROOT:data}}/VOCdevkit"
classes = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog"),
    *("horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
last_stage = "roi_head.shared_head"  # where stage 4 of the backbone is
scratch_backbone = dict(depth=50, variant="b", base_channels=64)

test_pipeline = [
    dict(type="backbones.LoadImage"),
    dict(type="Resize", scale=(1000, 600), keep_ratio=True),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(
        type="PackDetInputs",
        meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor"),
    ),
]
train_dataloader = dict(
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=True),
    batch_sampler=dict(type="AspectRatioBatchSampler"),
)
test_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type="DefaultSampler", shuffle=False),
)
model = dict(
    backbone=dict(_delete_=True, type="backbones.ResNet", out_indices=(2,)),
    roi_head=dict(
        shared_head=dict(_delete_=True, type="backbones.LastStage"),
        bbox_roi_extractor=dict(roi_layer=dict(use_torchvision=True)),
    ),
)
