"""Build the networks: ResNet-A/B/C/D and those of timm."""

__all__ = ["architecture", "base", "factory", "initialization", "last_stage", "resnet", "timm_backbone", "timm_networks"]
