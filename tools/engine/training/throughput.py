"""How fast a run goes: in all, and but for waiting for data."""

from statistics import median

PACES = {"total": "", "compute": "compute_", "data": "data_"}


def pace(batch: int, begins: list[float], ends: list[float]) -> dict[str, float]:
    """images_per_second by the median time from one update to the next; of that time data_images_per_second is the pace of
    waiting for data alone, compute_images_per_second that of all the rest.

    Args:
        batch: images of an update.
        begins: of each update, when its data was there, seconds.
        ends: of each update, two or more.
    """
    step = median(after - before for before, after in zip(ends, ends[1:], strict=False))
    wait = median(begin - end for end, begin in zip(ends, begins[1:], strict=False))
    return {
        "images_per_second": batch / step,
        "data_images_per_second": batch / max(wait, 1e-9),
        "compute_images_per_second": batch / max(step - wait, 1e-9),
    }
