"""The networks: ResNet-A/B/C/D and those of timm."""

__all__ = ["architecture", "base", "factory", "initialization", "resnet", "timm_backbone"]
