"""Follow MoCo's VOC protocol: detectron2's with nothing frozen, SyncBN and a BN after the last stage.

MoCo reports 81.3 AP50 for a supervised backbone, std 0.2 over 5 runs.
"""

protocol = dict(
    name="moco",
    base="detectron2",
    source="facebookresearch/moco: detection/configs/pascal_voc_R_50_C4_24k.yaml, Base-RCNN-C4-BN.yaml",
    chosen=dict(
        best_anchors="as in detectron2",
        boxes="as in detectron2",
        resampling="as in detectron2",
        bn_statistics="the running ones; the source recomputes them over 200 batches before the test (PRECISE_BN)",
    ),
    length=dict(updates=24000),
    steps=(3 / 4, 11 / 12),
    frozen_stages=-1,
    norm="sync",
    extra_norm=True,
)
