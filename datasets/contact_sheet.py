"""A picture with examples of every class and their probabilities, for people to look at: <split>/domains.png."""

from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .images import read_image, write_image
from .unlabelled import eight_bit

EXAMPLES = 6  # images a row; each class has a row of the most certain and one of the least certain
THUMBNAIL = (150, 200)  # height, width in pixels
LINE = 16  # height of a line of text in pixels


def write_contact_sheet(folder, domains):
    """Write <folder>/domains.png: two rows a class, the most certain and the least certain images labelled so."""
    rows = [
        (f"{name}: {many} of {len(domains.names)} images, {how} certain", indices)
        for name, many, *both in examples(domains)
        for how, indices in zip(("most", "least"), both, strict=True)
        if len(indices)
    ]
    height, width = THUMBNAIL
    sheet = Image.new("RGB", (EXAMPLES * width, len(rows) * (height + 2 * LINE)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(LINE - 4)
    for row, (title, indices) in enumerate(rows):
        top = row * (height + 2 * LINE)
        draw.text((2, top), title, "black", font)
        for column, index in enumerate(indices):
            thumbnail = shrunk(read_image(Path(folder) / "hazy" / domains.names[index]))
            sheet.paste(Image.fromarray(thumbnail), (column * width, top + LINE))
            draw.text((column * width + 2, top + LINE + height), caption(domains, index), "black", font)
    write_image(Path(folder) / "domains.png", np.asarray(sheet))


def examples(domains):
    """Yield for every class its name, the number of its images, indices of the most and of the least certain."""
    labels, certainty = domains.prob.argmax(1), domains.prob.max(1)
    for number, name in enumerate(domains.classes):
        own = np.flatnonzero(labels == number)
        own = own[np.argsort(-certainty[own], kind="stable")]
        yield name, len(own), own[:EXAMPLES], own[EXAMPLES:][-EXAMPLES:][::-1]


def caption(domains, index):
    how = "by hand" if domains.given[index] else f"{domains.prob[index].max():.2f}"
    name = domains.names[index]
    return f"{how}  {name if len(name) <= 22 else name[:20] + '...'}"


def shrunk(image):
    """An image fitted into the thumbnail's size, on grey."""
    height, width = THUMBNAIL
    scale = min(height / image.shape[0], width / image.shape[1])
    size = [max(round(side * scale), 1) for side in (image.shape[1], image.shape[0])]
    small = cv2.resize(eight_bit(image), size, interpolation=cv2.INTER_AREA)
    framed = np.full((height, width, 3), 230, np.uint8)
    framed[: small.shape[0], : small.shape[1]] = small
    return framed
