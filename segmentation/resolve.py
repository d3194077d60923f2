"""Resolve the values of a segmenter's config, a protocol and a backbone to the MMEngine config that trains it.

A protocol is a named set of training and test settings; a card holds the weights of a pretrained backbone.
"""

from backbones.resolving import SAMPLER, Request, check_backbone, data_folder, start
from backbones.transfer import protocols
from backbones.transfer.holdout import tune
from backbones.transfer.plug import plug
from backbones.transfer.protocols import choose_protocol, set_length
from segmentation.schema import SegmentationProtocol

LOADER = dict(type="backbones.LoadImage")
MASK = dict(type="segmentation.LoadMask")
PACK = dict(type="PackSegInputs")
INFERENCE = {
    "whole": dict(mode="whole"),
    "slide": dict(mode="slide"),
    "multi_scale": dict(mode="whole", scales=(0.5, 0.75, 1.0, 1.25, 1.5, 1.75), flip=True),
}
CONSUMED = ("seconds", "data_root", "num_workers", "scratch_backbone")
# keys of a resolved config that are derived -> the value to change instead
FOLLOWS = protocols.FOLLOWS | {
    "model.decode_head.num_classes": "the dataset, which has 150 classes",
    "model.auxiliary_head.num_classes": "the dataset, which has 150 classes",
    "model.decode_head.in_channels": "the backbone",
    "model.decode_head.channels": "the backbone",
    "model.auxiliary_head.in_channels": "the backbone",
    "model.auxiliary_head.channels": "the backbone",
    "model.data_preprocessor.size": "protocol.crop",
    "test_evaluator.classes": "protocol.metric_classes",
    "model.test_cfg.mode": "protocol.inference",
}


def resolve(values, request: Request):
    """Return the resolved config of a transfer, before overrides of derived keys and ``complete``.

    Args:
        values: checked values of a config (an MMEngine Config); not modified.
        request: the card or training from scratch, the protocol and other options.

    Raises:
        ValueError: tricks are given, no backbone is given, or the protocol or card cannot be used.
    """
    check_backbone(values.task, request)
    cfg = start(values, request)
    cfg.network = "fcn"
    protocol = choose_protocol(values, SegmentationProtocol, cfg.network, request.protocol, request.protocol_changes)
    cfg.protocol, cfg.batch = protocol, protocol["batch"]
    _data(cfg, values, protocol)
    _heads(cfg, protocol)
    _schedule(cfg, protocol)
    set_inference(cfg, protocol["inference"])
    tune(cfg, request.lr_factor, request.hold_out)
    channels = plug(cfg, values.scratch_backbone, request)
    if cfg.model.backbone.type == "backbones.ResNet":
        cfg.model.backbone.shortcut_pool = protocol["shortcut_pool"]
    else:
        cfg.protocol["shortcut_pool"] = "timm's own"
    # as in GluonCV, heads have a quarter of the channels of their stage: 4, and 3 for the auxiliary head
    for head, width in ((cfg.model.decode_head, channels[3]), (cfg.model.auxiliary_head, channels[2])):
        head.update(in_channels=width, channels=width // 4)
    for key in CONSUMED:
        cfg.pop(key, None)
    return cfg


def set_inference(cfg, name: str) -> None:
    """Set the inference mode of a segmenter, in place, and in the protocol that the record stores.

    Args:
        cfg: config with its protocol.
        name: 'whole' (one pass over the whole image), 'slide' (mmseg's windows of the crop size, two thirds of it apart)
            or 'multi_scale' (the mean probability over 0.5, 0.75, 1, 1.25, 1.5 and 1.75 times the image size, each with its
            mirror image).

    Raises:
        ValueError: an unknown name.
    """
    if name not in INFERENCE:
        raise ValueError(f"There is no inference {name!r} for segmentation; allowed: {', '.join(INFERENCE)}.")
    crop = cfg.protocol["crop"]
    windows = dict(crop_size=(crop, crop), stride=(2 * crop // 3, 2 * crop // 3))
    cfg.protocol["inference"] = name
    cfg.model.test_cfg = dict(**INFERENCE[name], **(windows if name == "slide" else {}))


def _data(cfg, values, protocol: dict) -> None:
    """Set pipelines, loaders and what else depends on the images, in place."""
    size = (protocol["crop"], protocol["crop"])
    scale, ratios = tuple(protocol["image_scale"]), tuple(protocol["ratio_range"])
    if ratios[0] > ratios[1]:
        raise ValueError(f"protocol.ratio_range is {ratios}; give the smaller ratio first.")
    train = [
        LOADER,
        MASK,
        dict(type="RandomResize", scale=scale, ratio_range=ratios, keep_ratio=True),
        dict(type="RandomFlip", prob=protocol["flip"]),
    ]
    if protocol["padding"] == "black":  # else the preprocessor pads what is smaller than a crop, after normalisation
        train.append(dict(type="Pad", size=size, pad_val=dict(img=(0, 0, 0), seg=255)))  # 255 is ignored
    train.append(dict(type="RandomCrop", crop_size=size, cat_max_ratio=protocol["crop_max_ratio"]))
    if protocol["blur"]:
        train.append(dict(type="segmentation.RandomBlur", prob=protocol["blur"]))
    if protocol["photometric"]:
        train.append(dict(type="PhotoMetricDistortion"))
    # the mask is loaded after Resize, since predictions are compared at its original size
    test = [LOADER, dict(type="Resize", scale=tuple(protocol["test_image_scale"]), keep_ratio=True), MASK, PACK]
    workers = dict(num_workers=values.num_workers, persistent_workers=True)
    root = data_folder(values)
    cfg.train_dataloader = dict(
        drop_last=True,
        sampler=dict(type=SAMPLER),
        dataset=_split(root, "training") | dict(pipeline=[*train, PACK]),
        **workers,
    )
    cfg.test_dataloader = dict(
        batch_size=1,
        drop_last=False,
        sampler=dict(type="DefaultSampler", shuffle=False),
        dataset=_split(root, "validation") | dict(test_mode=True, pipeline=test),
        **workers,
    )
    cfg.model.data_preprocessor.size = size
    cfg.test_evaluator.classes = protocol["metric_classes"]


def _split(root: str, name: str) -> dict:
    """Return the config of a split's dataset, without its pipeline."""
    return dict(
        type="segmentation.ADE20KDataset",
        data_root=root,
        data_prefix=dict(img_path=f"images/{name}", seg_map_path=f"annotations/{name}"),
    )


def _heads(cfg, protocol: dict) -> None:
    """Set both heads and their BN as the protocol says, in place."""
    model = cfg.model
    if not model.get("auxiliary_head"):
        raise ValueError("model.auxiliary_head is missing; keep it, and give protocol.aux_weight=0 to train without it.")
    model.decode_head.update(num_convs=protocol["num_convs"], concat_input=protocol["concat_input"])
    for head, weight in ((model.decode_head, 1.0), (model.auxiliary_head, protocol["aux_weight"])):
        head.dropout_ratio = protocol["dropout"]
        head.loss_decode.update(loss_weight=weight, avg_non_ignore=protocol["avg_non_ignore"])
    if protocol["norm"] == "sync":
        cfg.sync_bn = "torch"  # for several processes; MMEngine does not convert BN in a single one


def _schedule(cfg, protocol: dict) -> None:
    """Set length, optimiser and schedulers as the protocol says, in place."""
    length, by_epoch = set_length(cfg, protocol)
    if protocol["min_lr"] > protocol["lr"]:
        raise ValueError(f"The protocol has min_lr={protocol['min_lr']:g} above lr={protocol['lr']:g}; lower protocol.min_lr.")
    head_lr = dict(lr_mult=protocol["head_lr_mult"])
    optimizer = dict(type="SGD", lr=protocol["lr"], momentum=protocol["momentum"], weight_decay=protocol["weight_decay"])
    cfg.optim_wrapper = dict(
        type="OptimWrapper",
        optimizer=optimizer,
        paramwise_cfg=dict(custom_keys={"decode_head": head_lr, "auxiliary_head": head_lr}),
    )
    poly = dict(type="PolyLR", power=protocol["power"], eta_min=protocol["min_lr"], begin=0, end=length, by_epoch=by_epoch)
    cfg.param_scheduler = [poly | (dict(convert_to_iter_based=True) if by_epoch else {})]
    if protocol["warmup"]:
        warmup = dict(type="LinearLR", start_factor=1e-3, by_epoch=False, begin=0, end=protocol["warmup"] + 1)
        cfg.param_scheduler.insert(0, warmup)
    cfg.test_cfg = dict()
