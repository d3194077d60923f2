"""Write a backbone into the config of a dense task, from the facts of a card or with random weights."""

from backbones.common.project import SCRATCH
from backbones.networks.architecture import arch_of, channels_of, type_of
from backbones.resolving import MODES, TRANSFER_HOOK, Request
from backbones.transfer.holdout import test_pipeline

LAST_STAGE = "backbones.LastStage"  # type of the head of regions in a model that uses stage 4 of the backbone there


def plug(cfg, scratch_backbone: dict, request: Request) -> tuple[int, ...]:
    """Set the backbone of a dense task's config, in place.

    A card sets the network (depth, variant and width, or timm's name), mean, std and channel order, and adds the hook that fills
    and certifies the weights. From scratch nothing is frozen and all BN trains; the network is ``scratch_backbone``, or with
    'scratch:CARD' that of the card, with its mean, std and channel order.

    Args:
        cfg: with ``model.backbone``, ``model.data_preprocessor`` and the pipelines.
        scratch_backbone: arguments of the network from scratch.
        request: with the card and the mode.

    Returns:
        Channels of the four stages, from which those of neck and heads follow.

    Raises:
        ValueError: the network cannot be dilated or split as the config requires, or ``load_from`` gives its weights too.
    """
    backbone, mode, card = cfg.model.backbone, request.transfer or MODES[0], request.card
    if card is not None and not card.random and cfg.get("load_from"):
        raise ValueError(
            f"load_from={cfg.load_from} and --backbone {card.folder} both give the weights of the backbone, and the card would "
            "replace those of the checkpoint; leave out one of them (--backbone scratch with load_from)."
        )
    network = card.arch if card else scratch_backbone
    backbone.update(network, type=type_of(network))
    if card:
        # mmcv decodes to BGR
        preprocessing = dict(mean=list(card.mean), std=list(card.std), bgr_to_rgb=card.channel_order == "rgb")
        cfg.model.data_preprocessor.update(preprocessing)
    if card is None or card.random:
        backbone.update(frozen_stages=-1, norm_eval=False, norm_frozen=False)
        cfg.backbone = SCRATCH
    else:
        loader = dict(test_pipeline(cfg)[0])
        hook = dict(type=TRANSFER_HOOK, card=card.folder, loader=loader, priority="VERY_HIGH")
        cfg.custom_hooks = [*cfg.custom_hooks, hook]
        if mode == "frozen":
            backbone.update(frozen_stages=4, norm_eval=True)
        cfg.backbone = card.folder
    arch = arch_of(backbone)
    if path := last_stage_of(cfg.model):
        norm = dict(norm_eval=backbone.norm_eval, norm_frozen=backbone.get("norm_frozen", False))
        cfg.model.roi_head.shared_head.update(arch=arch, frozen=mode == "frozen", **norm)
        backbone.last_stage = False
        if card is not None and not card.random:
            cfg.custom_hooks[-1]["last_stage"] = path
    cfg.transfer = mode
    options = {key: backbone[key] for key in ("output_stride", "out_indices", "last_stage") if key in backbone}
    try:
        return channels_of(arch, **options)
    except ValueError as error:
        raise ValueError(f"Card {card.folder}: {error}" if card else str(error)) from None


def last_stage_of(model) -> str | None:
    """Return the dotted path at which a model has stage 4 apart from its backbone, or None if the backbone has it."""
    head = model.get("roi_head", {}).get("shared_head") or {}
    return "roi_head.shared_head" if head.get("type") == LAST_STAGE else None
