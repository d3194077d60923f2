"""Resolve the values of a detector's config, a protocol and a backbone to the MMEngine config that trains it."""

from backbones.resolving import SAMPLER, Request, check_backbone, data_folder, milestones, start
from backbones.transfer import protocols
from backbones.transfer.holdout import tune
from backbones.transfer.plug import last_stage_of, plug
from backbones.transfer.protocols import choose_protocol, set_length
from detection.schema import DetectionProtocol

CONSUMED = ("seconds", "data_root", "num_workers", "scratch_backbone")
# keys of a resolved config that are derived -> the value to change instead
FOLLOWS = protocols.FOLLOWS | {
    "optim_wrapper.clip_grad": "protocol.clip",
    "model.roi_head.bbox_head.num_classes": "classes",
    "model.roi_head.bbox_head.in_channels": "the backbone and the neck",
    "model.roi_head.bbox_roi_extractor.out_channels": "the backbone and the neck",
    "model.rpn_head.in_channels": "the backbone and the neck",
    "model.rpn_head.feat_channels": "the backbone and the neck",
    "model.neck.in_channels": "the backbone",
    "model.neck.num_outs": "the strides of the anchors",
    "model.backbone.frozen_stages": "protocol.frozen_stages",
    "model.backbone.norm_eval": "protocol.norm",
    "model.backbone.norm_frozen": "protocol.norm",
    "train_dataloader.dataset.metainfo": "classes",
    "test_dataloader.dataset.metainfo": "classes",
}


def resolve(values, request: Request):
    """Return the resolved config of a transfer, before overrides of derived keys and ``complete``.

    Args:
        values: checked values of a config (an MMEngine Config); not modified.
        request: the backbone (a card, or scratch) and the protocol.

    Raises:
        ValueError: the request has tricks or no backbone, the protocol or the card cannot be used, or a class is named twice.
    """
    check_backbone(values.task, request)
    if repeated := [name for i, name in enumerate(values.classes) if name in values.classes[:i]]:
        raise ValueError(f"classes names {repeated[0]!r} twice; name each class once.")
    cfg = start(values, request)
    cfg.network = "faster_rcnn_fpn" if "neck" in cfg.model else "faster_rcnn_c4"
    protocol = choose_protocol(values, DetectionProtocol, cfg.network, request.protocol, request.protocol_changes)
    cfg.protocol, cfg.batch = protocol, protocol["batch"]
    _data(cfg, values, protocol)
    _proposals(cfg.model, protocol)
    _regions(cfg.model, protocol)
    _norm(cfg, protocol)
    _schedule(cfg, protocol)
    tune(cfg, request.lr_factor, request.hold_out)
    _widths(cfg, plug(cfg, values.scratch_backbone, request))
    for key in CONSUMED:
        cfg.pop(key, None)
    return cfg


def _data(cfg, values, protocol: dict) -> None:
    scales = [tuple(scale) for scale in protocol["image_scales"]]
    several = dict(type="RandomChoiceResize", scales=scales, keep_ratio=True, resize_type="Resize")
    train = [
        dict(type="backbones.LoadImage"),
        dict(type="LoadAnnotations", with_bbox=True),
        several if len(scales) > 1 else dict(type="Resize", scale=scales[0], keep_ratio=True),
        dict(type="RandomFlip", prob=protocol["flip"]),
        dict(type="PackDetInputs"),
    ]
    test = [
        dict(type="backbones.LoadImage"),
        dict(type="Resize", scale=tuple(protocol["test_image_scale"]), keep_ratio=True),
        dict(type="LoadAnnotations", with_bbox=True),
        dict(type="PackDetInputs", meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")),
    ]
    training = dict(
        filter_cfg=dict(filter_empty_gt=True, bbox_min_size=protocol["smallest_box"] or None),
        difficult_in_training=protocol["difficult_in_training"],
        pipeline=train,
    )
    sets = [_voc(values, name) | training for name in protocol["train"]]
    workers = dict(num_workers=values.num_workers, persistent_workers=True)
    cfg.model.data_preprocessor.pad_size_divisor = protocol["pad_divisor"]
    cfg.train_dataloader = dict(
        sampler=dict(type=SAMPLER),
        batch_sampler=dict(type="AspectRatioBatchSampler"),
        dataset=dict(type="ConcatDataset", datasets=sets) if len(sets) > 1 else sets[0],
        **workers,
    )
    cfg.test_dataloader = dict(
        batch_size=1,
        drop_last=False,
        sampler=dict(type="DefaultSampler", shuffle=False),
        dataset=_voc(values, protocol["test"]) | dict(test_mode=True, pipeline=test),
        **workers,
    )


def _voc(values, name: str) -> dict:
    """Return the config of a dataset such as 'VOC2007/trainval'."""
    year, split = name.split("/")
    return dict(
        type="detection.VOCDataset",
        data_root=data_folder(values),
        ann_file=f"{year}/ImageSets/Main/{split}.txt",
        data_prefix=dict(sub_data_root=f"{year}/"),
        metainfo=dict(classes=tuple(values.classes)),
    )


def _smooth_l1(beta: float) -> dict:
    kind = dict(type="SmoothL1Loss", beta=beta) if beta else dict(type="L1Loss")
    return kind | dict(loss_weight=1.0)


def _proposals(model, protocol: dict) -> None:
    anchors = model.rpn_head.anchor_generator
    anchors.scales, anchors.ratios = list(protocol["anchor_scales"]), list(protocol["anchor_ratios"])
    model.rpn_head.loss_bbox = _smooth_l1(protocol["rpn_beta"])
    sample, rpn = protocol["rpn_sample"], model.train_cfg.rpn
    if sample["low"] > sample["high"]:
        limits = f"rpn_sample.low={sample['low']:g} above high={sample['high']:g}"
        raise ValueError(f"The protocol has {limits}; an anchor would be both.")
    rpn.assigner.update(pos_iou_thr=sample["high"], neg_iou_thr=sample["low"], min_pos_iou=sample["best"])
    rpn.sampler.update(num=sample["num"], pos_fraction=sample["positive"])
    rpn.allowed_border = protocol["rpn_border"]
    for cfg, counts in ((model.train_cfg.rpn_proposal, "proposals_train"), (model.test_cfg.rpn, "proposals_test")):
        before, after = protocol[counts]
        cfg.update(nms_pre=before, max_per_img=after, min_bbox_size=protocol["smallest_proposal"])
        cfg.nms = dict(type="nms", iou_threshold=protocol["proposal_nms"])


def _regions(model, protocol: dict) -> None:
    sample, rcnn = protocol["roi_sample"], model.train_cfg.rcnn
    rcnn.assigner.update(pos_iou_thr=sample["iou"], neg_iou_thr=sample["iou"], min_pos_iou=sample["iou"])
    rcnn.sampler.update(num=sample["num"], pos_fraction=sample["positive"])
    head = model.roi_head
    head.bbox_head.bbox_coder.target_stds = list(protocol["box_std"])
    head.bbox_head.loss_bbox = _smooth_l1(protocol["roi_beta"])
    layer = dict(output_size=protocol["roi_size"], sampling_ratio=protocol["roi_sampling"], aligned=protocol["roi_aligned"])
    head.bbox_roi_extractor.roi_layer.update(layer)
    if last_stage_of(model):
        head.shared_head.extra_norm = protocol["extra_norm"]
        head.bbox_head.roi_feat_size = -(-protocol["roi_size"] // 2)  # stage 4 has stride 2 and halves a region
    else:
        head.bbox_head.roi_feat_size = protocol["roi_size"]
    model.test_cfg.rcnn = dict(
        score_thr=protocol["score"],
        nms=dict(type="nms", iou_threshold=protocol["nms"]),
        max_per_img=protocol["detections"],
    )


def _norm(cfg, protocol: dict) -> None:
    """Set how BN trains.

    'frozen' fixes statistics, gamma and beta. 'eval' fixes only the statistics. 'sync' trains all of them, with statistics over
    all processes.
    """
    norm = protocol["norm"]
    frozen = dict(frozen_stages=protocol["frozen_stages"], norm_eval=norm != "sync", norm_frozen=norm == "frozen")
    cfg.model.backbone.update(frozen)
    if norm == "sync":
        cfg.sync_bn = "torch"  # MMEngine applies it only with several processes


def _schedule(cfg, protocol: dict) -> None:
    length, by_epoch = set_length(cfg, protocol)
    cfg.optim_wrapper = dict(
        type="OptimWrapper",
        optimizer=dict(type="SGD", lr=protocol["lr"], momentum=protocol["momentum"], weight_decay=protocol["weight_decay"]),
        clip_grad=protocol["clip"],
    )
    if not protocol["decay_norms"]:
        cfg.optim_wrapper.paramwise_cfg = dict(norm_decay_mult=0.0)
    epochs = milestones(length, protocol["steps"])
    steps = dict(type="MultiStepLR", milestones=epochs, gamma=protocol["gamma"], by_epoch=by_epoch)
    cfg.param_scheduler = [steps | (dict(convert_to_iter_based=True) if by_epoch else {})]
    if protocol["warmup"]:
        # MMEngine reaches the full rate at update end - 1, the sources at ``warmup``
        first = dict(type="LinearLR", start_factor=protocol["warmup_start"], by_epoch=False, begin=0, end=protocol["warmup"] + 1)
        cfg.param_scheduler.insert(0, first)
    cfg.test_cfg = dict()


def _widths(cfg, channels: tuple[int, ...]) -> None:
    """Set the widths of the neck and the heads to match the backbone, and those of the heads to match a neck."""
    model = cfg.model
    model.roi_head.bbox_head.num_classes = len(cfg.classes)
    if "neck" in model:
        model.neck.in_channels = list(channels)
        width = regions = model.neck.out_channels
        model.roi_head.bbox_head.fc_out_channels = 4 * width
    else:
        width, regions = channels[2], channels[3]
    model.rpn_head.update(in_channels=width, feat_channels=width)
    model.roi_head.bbox_roi_extractor.out_channels = width
    model.roi_head.bbox_head.in_channels = regions
