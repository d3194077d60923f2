"""Measure the pace of a run: in total, of computing alone and of loading data alone."""

from statistics import median

PACES = {"total": "", "compute": "compute_", "data": "data_"}


def pace(batch: int, begins: list[float], ends: list[float]) -> dict[str, float]:
    """Return images_per_second, data_images_per_second and compute_images_per_second.

    images_per_second is by the median time from the end of one update to the end of the next. data_images_per_second is the pace
    if a run only waited for data, and compute_images_per_second the pace if it never waited.

    Args:
        batch: images in an update.
        begins: the time at which each update had its data, in seconds.
        ends: the time at which each update ended; two or more.
    """
    step = median(after - before for before, after in zip(ends, ends[1:], strict=False))
    wait = median(begin - end for end, begin in zip(ends, begins[1:], strict=False))
    return {
        "images_per_second": batch / step,
        "data_images_per_second": batch / max(wait, 1e-9),
        "compute_images_per_second": batch / max(step - wait, 1e-9),
    }
