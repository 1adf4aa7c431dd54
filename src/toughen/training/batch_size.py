"""The search for the largest batch that fits."""

from collections.abc import Callable


def largest(fits: Callable[[int], bool], start: int, most: int) -> int | None:
    """The largest batch size up to `most` that fits, to within a sixteenth; None where not even 2 images do.

    Doubles from `start` until a size does not fit, then bisects; halves first where `start` itself does not fit. Larger
    sizes are multiples of 8.

    Args:
        fits: tries a size; called once for each. A size below one that fits is expected to fit.
        start: the first size, at least 2.
        most: no size above.

    >>> tried = []
    >>> largest(lambda size: tried.append(size) or size <= 150, start=32, most=1000), tried
    (144, [32, 64, 128, 256, 192, 160, 144, 152])
    """
    start = min(start, most)
    low: int | None = start if fits(start) else None
    high = start if low is None else None
    while low is None and high is not None and high > 2:
        smaller = max(2, high // 2)
        low, high = (smaller, high) if fits(smaller) else (None, smaller)
    while low is not None and high is None and low < most:
        larger = min(2 * low, most)
        low, high = (larger, None) if fits(larger) else (low, larger)
    while low is not None and high is not None and high - low > max(1, low // 16):
        middle = (low + high) // 2
        rounded = middle - middle % 8
        middle = rounded if rounded > low else middle
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
