"""Write a backbone into the config of a dense task: from the facts of a card, or with random weights."""

from backbones.common.project import SCRATCH
from backbones.networks.architecture import arch_of, channels_of, type_of
from backbones.resolving import MODES, TRANSFER_HOOK, Request
from backbones.transfer.holdout import test_pipeline

LAST_STAGE = "backbones.LastStage"  # where a model has stage 4 of the backbone as the head of its regions


def plug(cfg, scratch_backbone: dict, request: Request) -> tuple[int, ...]:
    """Set the backbone of a dense task's config, in place.

    From a card: the network (depth, variant and width, or timm's name), mean, std and channel order, and the hook that places
    the weights and certifies them. With 'scratch': the architecture ``scratch_backbone``, nothing frozen, all BN trained.

    Args:
        cfg: with ``model.backbone``, ``model.data_preprocessor`` and the pipelines.
        scratch_backbone: arguments of the network from scratch.
        request: with the card and the mode.

    Returns:
        Channels of the four stages, which neck and heads follow.

    Raises:
        ValueError: a network that cannot be dilated, or split, as the config wants it.
    """
    target, mode, card = cfg.model.backbone, request.transfer or MODES[0], request.card
    if card is None:
        target.update(scratch_backbone, type=type_of(scratch_backbone))
        target.update(frozen_stages=-1, norm_eval=False, norm_frozen=False)
        cfg.backbone = SCRATCH
    else:
        target.update(card.arch, type=card.type)
        # mmcv decodes to BGR
        preprocessing = dict(mean=list(card.mean), std=list(card.std), bgr_to_rgb=card.channel_order == "rgb")
        cfg.model.data_preprocessor.update(preprocessing)
        loader = dict(test_pipeline(cfg)[0])
        own = dict(type=TRANSFER_HOOK, card=card.folder, loader=loader, priority="VERY_HIGH")
        cfg.custom_hooks = [*cfg.custom_hooks, own]
        if mode == "frozen":
            target.update(frozen_stages=4, norm_eval=True)
        cfg.backbone = card.folder
    arch = arch_of(target)
    if path := last_stage_of(cfg.model):
        norm = dict(norm_eval=target.norm_eval, norm_frozen=target.get("norm_frozen", False))
        cfg.model.roi_head.shared_head.update(arch=arch, frozen=mode == "frozen", **norm)
        target.last_stage = False
        if card is not None:
            cfg.custom_hooks[-1]["last_stage"] = path
    cfg.transfer = mode
    return channels_of(arch, **{key: target[key] for key in ("output_stride", "out_indices", "last_stage") if key in target})


def last_stage_of(model) -> str | None:
    """Return where a model has stage 4 of the backbone outside of it, as a dotted path; None where it has not."""
    head = model.get("roi_head", {}).get("shared_head") or {}
    return "roi_head.shared_head" if head.get("type") == LAST_STAGE else None
