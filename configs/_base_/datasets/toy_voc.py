"""Use the synthetic scenes of scale toy in VOC's layout: four textures times two shapes, images of about 128 px."""

data_root = "toy/VOCdevkit"
num_workers = 1
classes = tuple(f"{texture}_{shape}" for texture in ("solid", "striped", "banded", "checked") for shape in ("disc", "star"))
