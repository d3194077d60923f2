"""Read the images of detection and segmentation, the same way in both."""

from mmcv.transforms import BaseTransform

from backbones.common.images import read_bgr


class LoadImage(BaseTransform):
    """Read ``img_path`` into ``img``, BGR uint8 (H, W, 3); set ``img_shape`` and ``ori_shape``.

    ``backbones.common.images`` documents how image files are decoded.

    Raises:
        BadImage: the file is missing or is no image.
        ValueError: the size differs from the ``height`` and ``width`` of the annotation; its boxes fit only one of them.
    """

    def transform(self, results: dict) -> dict:
        image = read_bgr(results["img_path"])
        height, width = image.shape[:2]
        annotated = (results.get("width", width), results.get("height", height))
        if annotated != (width, height):
            raise ValueError(
                f"The image {results['img_path']} is {width} x {height}, and {annotated[0]} x {annotated[1]} in its annotation, "
                "whose boxes fit one of them only; take both from one release, or correct the annotation."
            )
        return results | {"img": image, "img_shape": (height, width), "ori_shape": (height, width)}
