"""Faster-RCNN C4 on the made VOC: stage 4 as the head of the regions; quarter width, images of about 128 px, regions of 7 x 7.

python tools/train.py configs/detection/faster_rcnn_c4_toy.py --backbone work_dirs/runs/KEY/card

"""

_base_ = ["mmdet::_base_/models/faster-rcnn_r50-caffe-c4.py", "../_base_/runtime.py", "../_base_/voc.py"]

scale = "toy"
seconds = 40  # expected on 2 cores; a study's estimate of the time left starts from it
network = "faster_rcnn_c4"
batch, epochs = 8, 3  # batch: in all, over every process
image_scale = (160, 128)  # the long side at most, and the short side
data_root = "{{$DATA_ROOT:data}}/toy/VOCdevkit"
classes = tuple(f"{t}_{s}" for t in ("solid", "striped", "banded", "checked") for s in ("disc", "star"))
rois, proposals = 16, 50
last_stage = "roi_head.shared_head"  # where stage 4 of the backbone is
scratch_backbone = dict(depth=50, variant="b", base_channels=16)
protocol = dict(
    name="faster_rcnn_c4_toy",
    selection="last",
    metric="11-point AP at IoU 0.5, difficult ignored",
    difficult_in_training=True,
    image_scale=image_scale,
    batch=batch,
    epochs=epochs,
)

train_pipeline = [
    dict(type="backbones.LoadImage"),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="Resize", scale=image_scale, keep_ratio=True),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackDetInputs"),
]
test_pipeline = [
    dict(type="backbones.LoadImage"),
    dict(type="Resize", scale=image_scale, keep_ratio=True),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(
        type="PackDetInputs",
        meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor"),
    ),
]
voc2007 = dict(
    type="detection.VOCDataset",
    data_root=data_root,
    data_prefix=dict(sub_data_root="VOC2007/"),
)
train_dataloader = dict(
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=True),
    batch_sampler=dict(type="AspectRatioBatchSampler"),
    dataset=dict(
        ann_file="VOC2007/ImageSets/Main/trainval.txt",
        filter_cfg=dict(filter_empty_gt=True),
        pipeline=train_pipeline,
        **voc2007,
    ),
)
test_dataloader = dict(
    batch_size=1,
    num_workers=1,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        ann_file="VOC2007/ImageSets/Main/test.txt",
        test_mode=True,
        pipeline=test_pipeline,
        **voc2007,
    ),
)

roi_layer = dict(type="RoIAlign", output_size=7, sampling_ratio=2, use_torchvision=True)
model = dict(
    backbone=dict(
        _delete_=True,
        type="backbones.ResNet",
        out_indices=(2,),
        frozen_stages=1,
        norm_eval=True,
    ),
    rpn_head=dict(anchor_generator=dict(scales=[1, 2, 4, 8])),
    roi_head=dict(
        shared_head=dict(_delete_=True, type="backbones.LastStage"),
        bbox_roi_extractor=dict(roi_layer=roi_layer),
        bbox_head=dict(roi_feat_size=4),  # what stage 4 makes of 7 x 7
    ),
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=2 * proposals, max_per_img=proposals),
        rcnn=dict(sampler=dict(num=rois)),
    ),
    test_cfg=dict(
        rpn=dict(nms_pre=proposals, max_per_img=proposals),
        rcnn=dict(score_thr=0.01),
    ),
)
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="SGD", lr=0.02, momentum=0.9, weight_decay=1e-4),
    clip_grad=dict(max_norm=35, norm_type=2),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, by_epoch=False, begin=0, end=50),
    dict(
        type="MultiStepLR",
        milestones=[int(epochs * 0.7), int(epochs * 0.9)],
        gamma=0.1,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(max_epochs=epochs)
