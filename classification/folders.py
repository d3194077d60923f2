"""Check folders of images that are sorted by class, as ImageNet is."""

from pathlib import Path

from backbones.common.files import missing_folder


def check_folder(root: Path) -> list[str]:
    """Return the sorted class names under ``root``.

    Raises:
        ValueError: no such folder, no class folders, or a class folder without images; the message says what was expected where.
    """
    from torchvision.datasets.folder import IMG_EXTENSIONS

    if not root.is_dir():
        raise ValueError(missing_folder(root, "one folder of images per class"))
    classes = sorted(p for p in root.iterdir() if p.is_dir())
    if not classes:
        content = ", ".join(sorted(p.name for p in root.iterdir())[:5]) or "nothing"
        raise ValueError(f"{root} should hold one folder of images per class, and holds no folder (found: {content}).")
    for folder in classes:
        if not any(p.suffix.lower() in IMG_EXTENSIONS for p in folder.rglob("*")):
            raise ValueError(
                f"The class folder {folder} holds no image ({', '.join(IMG_EXTENSIONS)}); fill it or "
                "remove it, since every folder counts as a class."
            )
    return [folder.name for folder in classes]
