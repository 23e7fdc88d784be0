"""A reliability diagram as a picture: how often what has a score is right, bin by bin, beside the diagonal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw, ImageFont

SIDE, LEFT, BELOW, ABOVE, RIGHT = 600, 110, 100, 30, 330
SHADES = ((150, 150, 150), (20, 90, 200), (210, 90, 20), (30, 140, 60), (130, 60, 160))
INK, FAINT = (40, 40, 40), (215, 215, 215)
LARGEST = 26


def diagram(series: Mapping[str, Sequence[Mapping[str, float]]]) -> Image.Image:
    """Draw one or more series, each a list of bins with ``score``, ``right`` and ``candidates``.

    The area of a dot grows with the bin's candidates.
    """
    picture = Image.new("RGB", (LEFT + SIDE + RIGHT, ABOVE + SIDE + BELOW), "white")
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(22)

    def place(score: float, right: float) -> tuple[float, float]:
        return LEFT + score * SIDE, ABOVE + (1 - right) * SIDE

    for tick in (0, 0.2, 0.4, 0.6, 0.8, 1):
        draw.line((*place(tick, 0), *place(tick, 1)), FAINT)
        draw.line((*place(0, tick), *place(1, tick)), FAINT)
        x, y = place(tick, tick)
        draw.text((x, ABOVE + SIDE + 12), f"{tick:g}", INK, font, anchor="ma")
        draw.text((LEFT - 12, y), f"{tick:g}", INK, font, anchor="rm")
    draw.line((*place(0, 0), *place(1, 1)), INK, 2)
    draw.text((LEFT + SIDE / 2, ABOVE + SIDE + 55), "score of the candidates (mean of a bin)", INK, font, anchor="ma")
    upright = Image.new("RGB", (SIDE, 40), "white")
    ImageDraw.Draw(upright).text((SIDE / 2, 20), "share of them that is right", INK, font, anchor="mm")
    picture.paste(upright.rotate(90, expand=True), (10, ABOVE))
    most = max(row["candidates"] for rows in series.values() for row in rows)
    for number, (name, rows) in enumerate(series.items()):
        shade = SHADES[number % len(SHADES)]
        points = [place(row["score"], row["right"]) for row in rows]
        draw.line([value for point in points for value in point], shade, 2)
        for (x, y), row in zip(points, rows):
            radius = max(4.0, LARGEST * (row["candidates"] / most) ** 0.5)
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=shade, width=4)
        at = ABOVE + 20 + 40 * number
        draw.ellipse((LEFT + SIDE + 30, at - 8, LEFT + SIDE + 46, at + 8), outline=shade, width=4)
        draw.text((LEFT + SIDE + 60, at), name, INK, font, anchor="lm")
    return picture
