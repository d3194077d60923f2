"""Define an FCN at output stride 8: stages 3 and 4 dilated, an auxiliary head on stage 3 (section 6.2 of 1812.01187).

There is no multi-grid. The head follows PSPNet, EncNet and GluonCV's code. mmseg's own base config is not inherited, because it
sets model.pretrained.
"""

task = "segmentation"
default_scope = "mmseg"
custom_imports = dict(imports=["backbones.mmcv_ops"])  # torchvision's operators where mmcv is not compiled
test_evaluator = dict(type="segmentation.PixelAccuracyAndIoU")
scratch_backbone = dict(depth=50, variant="b", base_channels=64)
_head = dict(type="FCNHead", num_classes=150, norm_cfg=dict(type="BN", requires_grad=True), align_corners=False)
_loss = dict(type="CrossEntropyLoss")
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
    decode_head=dict(in_index=3, loss_decode=_loss, **_head),
    auxiliary_head=dict(in_index=2, num_convs=1, concat_input=False, loss_decode=_loss, **_head),
    train_cfg=dict(),
    test_cfg=dict(mode="whole"),
)
