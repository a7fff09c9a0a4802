"""The ten digits as somebody draws them: strokes of points in a box from (0, 0) to (1, 1)."""

import math

Stroke = list[tuple[float, float]]


def arc(  # noqa: PLR0917 - a table of them is read more easily without names
    x: float, y: float, wide: float, high: float, begin: float, end: float
) -> Stroke:
    """A part of an ellipse around (x, y), between two angles in degrees; 90 is below."""
    angles = [math.radians(begin + (end - begin) * k / 20) for k in range(21)]
    return [(x + wide * math.cos(angle), y + high * math.sin(angle)) for angle in angles]


DIGITS: dict[int, list[Stroke]] = {
    0: [arc(0.5, 0.5, 0.2, 0.32, -90, 270)],
    1: [[(0.38, 0.3), (0.52, 0.16), (0.52, 0.84)]],
    2: [[*arc(0.48, 0.33, 0.18, 0.16, -170, 20), (0.32, 0.82), (0.72, 0.82)]],
    3: [arc(0.47, 0.33, 0.17, 0.16, -150, 80) + arc(0.47, 0.66, 0.2, 0.17, -80, 150)],
    4: [[(0.55, 0.16), (0.28, 0.6), (0.74, 0.6)], [(0.6, 0.42), (0.58, 0.86)]],
    5: [[(0.68, 0.18), (0.38, 0.18), (0.35, 0.46), *arc(0.48, 0.62, 0.19, 0.2, -110, 130)]],
    6: [[(0.6, 0.15), (0.42, 0.34), *arc(0.49, 0.65, 0.17, 0.19, -160, 200)]],
    7: [[(0.3, 0.2), (0.7, 0.2), (0.45, 0.84)], [(0.36, 0.52), (0.64, 0.52)]],
    8: [arc(0.5, 0.33, 0.15, 0.15, 90, -270) + arc(0.5, 0.66, 0.18, 0.18, -90, 270)],
    9: [[*arc(0.49, 0.34, 0.16, 0.17, 0, -360), (0.64, 0.5), (0.56, 0.85)]],
}


def small_and_slanted(strokes: list[Stroke]) -> list[Stroke]:
    """The same in a corner, and not upright."""
    return [[(0.6 * x + 0.08 * y + 0.3, 0.6 * y + 0.05) for x, y in stroke] for stroke in strokes]
