"""What a segmentation protocol sets in a config."""

from backbones.protocols import set_length

LOADER = dict(type="backbones.LoadImage")
MASK = dict(type="segmentation.LoadMask")
PACK = dict(type="PackSegInputs")


def apply(cfg, protocol: dict) -> None:
    """Sets data, model, optimiser and schedule of an FCN's config as ``protocol`` says, in place.

    Args:
        cfg: of an FCN, with ``data_root``.
        protocol: a file of ``configs/segmentation/protocols``, or what a small scale has in its config.
    """
    cfg.protocol = protocol
    cfg.batch = protocol["batch"]
    _data(cfg, protocol)
    _model(cfg, protocol)
    _schedule(cfg, protocol)


def _data(cfg, protocol: dict) -> None:
    size = (protocol["crop"], protocol["crop"])
    scale, ratios = tuple(protocol["image_scale"]), tuple(protocol["ratio_range"])
    pipeline = [
        LOADER,
        MASK,
        dict(type="RandomResize", scale=scale, ratio_range=ratios, keep_ratio=True),
        dict(type="Pad", size=size, pad_val=dict(img=(0, 0, 0), seg=255)),  # smaller images; 255 is ignored
        dict(type="RandomCrop", crop_size=size, cat_max_ratio=protocol["crop_max_ratio"]),
        dict(type="RandomFlip", prob=protocol["flip"]),
        *[dict(type="segmentation.RandomBlur", prob=protocol["blur"])] * bool(protocol["blur"]),
        *[dict(type="PhotoMetricDistortion")] * protocol["photometric"],
        PACK,
    ]
    # the mask after Resize: it is compared at its own size
    cfg.test_pipeline = [LOADER, dict(type="Resize", scale=tuple(protocol["test_image_scale"]), keep_ratio=True), MASK, PACK]
    cfg.train_dataloader.dataset = _split(cfg, "training") | dict(pipeline=pipeline)
    cfg.test_dataloader.dataset = _split(cfg, "validation") | dict(test_mode=True, pipeline=cfg.test_pipeline)
    cfg.model.data_preprocessor.size = size
    cfg.test_evaluator.classes = protocol["metric_classes"]


def _split(cfg, name: str) -> dict:
    return dict(
        type="segmentation.ADE20KDataset",
        data_root=cfg.data_root,
        data_prefix=dict(img_path=f"images/{name}", seg_map_path=f"annotations/{name}"),
    )


def _model(cfg, protocol: dict) -> None:
    model = cfg.model
    model.decode_head.update(num_convs=protocol["num_convs"], concat_input=protocol["concat_input"])
    for head, weight in ((model.decode_head, 1.0), (model.auxiliary_head, protocol["aux_weight"])):
        head.dropout_ratio = protocol["dropout"]
        head.loss_decode.update(loss_weight=weight, avg_non_ignore=protocol["avg_non_ignore"])
    if protocol["norm"] == "sync":
        cfg.sync_bn = "torch"  # where there are several processes; MMEngine leaves BN as it is in one


def _schedule(cfg, protocol: dict) -> None:
    length, by_epoch = set_length(cfg, protocol)
    faster = dict(lr_mult=protocol["head_lr_mult"])
    optimizer = dict(type="SGD", lr=protocol["lr"], momentum=protocol["momentum"], weight_decay=protocol["weight_decay"])
    cfg.optim_wrapper = dict(
        type="OptimWrapper",
        optimizer=optimizer,
        paramwise_cfg=dict(custom_keys={"decode_head": faster, "auxiliary_head": faster}),
    )
    poly = dict(type="PolyLR", power=protocol["power"], eta_min=protocol["min_lr"], begin=0, end=length, by_epoch=by_epoch)
    cfg.param_scheduler = [poly | (dict(convert_to_iter_based=True) if by_epoch else {})]
    if protocol["warmup"]:
        first = dict(type="LinearLR", start_factor=1e-3, by_epoch=False, begin=0, end=protocol["warmup"])
        cfg.param_scheduler.insert(0, first)
