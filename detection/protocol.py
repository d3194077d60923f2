"""What a detection protocol sets in a config."""

from backbones.protocols import set_length


def apply(cfg, protocol: dict) -> None:
    """Sets data, model, optimiser and schedule of a paper-scale config as ``protocol`` says, in place.

    Args:
        cfg: of Faster-RCNN, with ``data_root``.
        protocol: a file of ``configs/detection/protocols``.
    """
    cfg.protocol = protocol
    cfg.batch = protocol["batch"]
    _data(cfg, protocol)
    _proposals(cfg.model, protocol)
    _regions(cfg.model, protocol)
    _norm(cfg, protocol)
    _schedule(cfg, protocol)


def _data(cfg, protocol: dict) -> None:
    scales = [tuple(scale) for scale in protocol["image_scales"]]
    several = dict(type="RandomChoiceResize", scales=scales, keep_ratio=True, resize_type="Resize")
    resize = several if len(scales) > 1 else dict(type="Resize", scale=scales[0], keep_ratio=True)
    pipeline = [
        dict(type="backbones.LoadImage"),
        dict(type="LoadAnnotations", with_bbox=True),
        resize,
        dict(type="RandomFlip", prob=protocol["flip"]),
        dict(type="PackDetInputs"),
    ]
    smallest = protocol["smallest_box"]
    sets = [
        _voc(cfg, name)
        | dict(
            filter_cfg=dict(filter_empty_gt=True, bbox_min_size=smallest or None),
            difficult_in_training=protocol["difficult_in_training"],
            pipeline=pipeline,
        )
        for name in protocol["train"]
    ]
    cfg.train_dataloader.dataset = dict(type="ConcatDataset", datasets=sets) if len(sets) > 1 else sets[0]
    cfg.test_pipeline[1].scale = tuple(protocol["test_image_scale"])
    cfg.test_dataloader.dataset = _voc(cfg, protocol["test"]) | dict(test_mode=True, pipeline=cfg.test_pipeline)


def _voc(cfg, name: str) -> dict:
    """The data set 'VOC2007/trainval'."""
    year, split = name.split("/")
    return dict(
        type="detection.VOCDataset",
        data_root=cfg.data_root,
        ann_file=f"{year}/ImageSets/Main/{split}.txt",
        data_prefix=dict(sub_data_root=f"{year}/"),
    )


def _smooth_l1(beta: float) -> dict:
    kind = dict(type="SmoothL1Loss", beta=beta) if beta else dict(type="L1Loss")
    return kind | dict(loss_weight=1.0)


def _proposals(model, protocol: dict) -> None:
    anchors = model.rpn_head.anchor_generator
    anchors.scales, anchors.ratios = list(protocol["anchor_scales"]), list(protocol["anchor_ratios"])
    model.rpn_head.loss_bbox = _smooth_l1(protocol["rpn_beta"])
    sample, rpn = protocol["rpn_sample"], model.train_cfg.rpn
    rpn.assigner.update(pos_iou_thr=sample["high"], neg_iou_thr=sample["low"], min_pos_iou=sample["low"])
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
    head.bbox_roi_extractor.roi_layer.update(output_size=protocol["roi_size"], sampling_ratio=protocol["roi_sampling"])
    model.test_cfg.rcnn = dict(
        score_thr=protocol["score"],
        nms=dict(type="nms", iou_threshold=protocol["nms"]),
        max_per_img=protocol["detections"],
    )


def _norm(cfg, protocol: dict) -> None:
    """'frozen': statistics, gamma and beta; 'eval': statistics alone; 'sync': trained, over all processes."""
    norm, backbone = protocol["norm"], cfg.model.backbone
    backbone.update(frozen_stages=protocol["frozen_stages"], norm_eval=norm != "sync", norm_frozen=norm == "frozen")
    if norm == "sync":
        cfg.sync_bn = "torch"  # where there are several processes; MMEngine leaves BN as it is in one
    if "last_stage" in cfg:
        cfg.model.roi_head.shared_head.extra_norm = protocol["extra_norm"]


def _schedule(cfg, protocol: dict) -> None:
    _, by_epoch = set_length(cfg, protocol)
    cfg.optim_wrapper = dict(
        type="OptimWrapper",
        optimizer=dict(type="SGD", lr=protocol["lr"], momentum=protocol["momentum"], weight_decay=protocol["weight_decay"]),
        clip_grad=protocol["clip"],
    )
    steps = dict(type="MultiStepLR", milestones=list(protocol["steps"]), gamma=protocol["gamma"], by_epoch=by_epoch)
    cfg.param_scheduler = [steps | (dict(convert_to_iter_based=True) if by_epoch else {})]
    if protocol["warmup"]:
        first = dict(type="LinearLR", start_factor=protocol["warmup_start"], by_epoch=False, begin=0, end=protocol["warmup"])
        cfg.param_scheduler.insert(0, first)
