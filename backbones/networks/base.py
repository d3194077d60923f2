"""Define the base class of all backbones: four stages, frozen parts, and a mode for norm layers."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class Backbone(nn.Module):
    """Define a network without classifier, of four stages at strides 4, 8, 16 and 32.

    A subclass sets ``arch`` (the arguments that decide its weights, as in a card) and ``channels`` (of all four stages), defines
    ``parts`` and ``forward``, and calls ``_freeze`` at the end of its ``__init__``.

    Args:
        output_stride: 32, or 16 / 8 by dilating stage 4 / stages 3 and 4.
        out_indices: stages to return, ascending, out of 0..3.
        frozen_stages: -1: none; 0: the stem; k: the stem and stages 1..k. They get no gradient and keep their BN statistics.
        norm_eval: all BN layers use, and keep, their stored statistics while training.
        norm_frozen: with ``norm_eval``, gamma and beta of all BN layers get no gradient.
        last_stage: False leaves out stage 4, which a ``LastStage`` elsewhere then computes.

    The parameters are keys of ``model.backbone`` in configs, hence so many.

    Raises:
        ValueError: an argument outside the values above.
    """

    arch: dict
    channels: tuple[int, ...]
    last = "layer4"  # the module of stage 4, if it can be split off

    def __init__(
        self,
        output_stride: int,
        out_indices: Sequence[int],
        frozen_stages: int,
        norm_eval: bool,
        norm_frozen: bool = False,
        last_stage: bool = True,
    ):
        super().__init__()
        self.check("output_stride", output_stride, (8, 16, 32))
        self.check("frozen_stages", frozen_stages, range(-1, 5))
        if not out_indices or list(out_indices) != sorted(set(out_indices) & set(range(4))):
            raise ValueError(f"{type(self).__name__}: out_indices is {out_indices}; give ascending stages out of 0, 1, 2, 3.")
        if not last_stage and (max(out_indices) == 3 or output_stride != 32):
            raise ValueError(
                f"{type(self).__name__}: without its last stage it is not dilated and returns stages 0, 1, 2 at most."
            )
        self.output_stride, self.out_indices = output_stride, tuple(out_indices)
        self.frozen_stages, self.norm_eval, self.norm_frozen = frozen_stages, norm_eval, norm_frozen

    @classmethod
    def check(cls, name: str, value: object, allowed) -> None:
        """Raise ValueError unless ``value`` is one of ``allowed``."""
        if value not in allowed:
            raise ValueError(f"{cls.__name__}: {name} is {value!r}; allowed: {', '.join(map(str, allowed))}.")

    @property
    def first_dilated(self) -> int:
        """Return the index of the first dilated stage; 4 if none is dilated."""
        return {32: 4, 16: 3, 8: 2}[self.output_stride]

    def parts(self, stages: int) -> list[nn.Module]:
        """Return the modules of the stem and of the first ``stages`` stages."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        raise NotImplementedError

    def _frozen(self) -> list[nn.Module]:
        return self.parts(self.frozen_stages) if self.frozen_stages >= 0 else []

    def _freeze(self) -> None:
        for part in self._frozen():
            part.requires_grad_(False)
        if self.norm_frozen:
            freeze_norms(self)

    def train(self, mode: bool = True) -> "Backbone":
        """Set the mode like ``nn.Module.train``, but keep frozen stages, and with ``norm_eval`` every BN, in evaluation mode."""
        super().train(mode)
        for part in self._frozen():
            part.eval()
        if mode and self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self


def freeze_norms(net: nn.Module) -> None:
    """Stop the gradients of gamma and beta of every BN of ``net``."""
    for module in net.modules():
        if isinstance(module, _BatchNorm):
            module.requires_grad_(False)
