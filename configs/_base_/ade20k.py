"""FCN at output stride 8 on ADE20K: what does not depend on the scale.

Stages 3 and 4 dilated, no multi-grid, and an auxiliary head on stage 3 (section 6.2 of the paper after PSPNet and EncNet;
GluonCV's code). 150 classes; label 0 is ignored. All else is the protocol's. mmseg's own base is not inherited: it sets
model.pretrained.
"""

task = "segmentation"

default_scope = "mmseg"
custom_imports = dict(imports=["backbones.mmcv_ops"])  # torchvision's operators where mmcv is not compiled
norm_cfg = dict(type="BN", requires_grad=True)
head = dict(type="FCNHead", num_classes=150, norm_cfg=norm_cfg, align_corners=False)
loss = dict(type="CrossEntropyLoss")
model = dict(
    type="segmentation.FCN",
    data_preprocessor=dict(
        type="SegDataPreProcessor",
        mean=[123.68, 116.779, 103.939],
        std=[58.393, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
    ),
    backbone=dict(
        type="backbones.ResNet",
        output_stride=8,
        out_indices=(0, 1, 2, 3),
        frozen_stages=-1,
        norm_eval=False,
    ),
    decode_head=dict(in_index=3, loss_decode=loss, **head),
    auxiliary_head=dict(in_index=2, num_convs=1, concat_input=False, loss_decode=loss, **head),
    train_cfg=dict(),
    test_cfg=dict(mode="whole"),
)
train_dataloader = dict(
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type="DefaultSampler", shuffle=True),
)
test_dataloader = dict(
    batch_size=1,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type="DefaultSampler", shuffle=False),
)
custom_hooks = []  # the backbone's own is put in with it
train_cfg = dict(by_epoch=True)
test_cfg = dict()
test_evaluator = dict(type="segmentation.PixelAccuracyAndIoU")
