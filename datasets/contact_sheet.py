"""A picture with examples of every class and their probabilities, for people to look at: <split>/domains.png."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .images import read_image, shrink, write_image

EXAMPLES = 6  # images a row; each class has a row of the most certain and one of the least certain
SIDE = 200  # pixels of a thumbnail's longer side
LINE = 16  # height of a line of text in pixels


def write_contact_sheet(folder, domains):
    """Write <folder>/domains.png: two rows a class, the most certain and the least certain images labelled so."""
    rows, labels, certainty = [], domains.prob.argmax(1), domains.prob.max(1)
    for number, name in enumerate(domains.classes):
        own = np.flatnonzero(labels == number)
        own = own[np.argsort(-certainty[own], kind="stable")]
        for how, indices in (("most", own[:EXAMPLES]), ("least", own[EXAMPLES:][-EXAMPLES:][::-1])):
            if len(indices):
                rows.append((f"{name}: {len(own)} of {len(domains.names)} images, {how} certain", indices))
    sheet = Image.new("RGB", (EXAMPLES * SIDE, len(rows) * (SIDE + 2 * LINE)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(LINE - 4)
    for row, (title, indices) in enumerate(rows):
        top = row * (SIDE + 2 * LINE)
        draw.text((2, top), title, "black", font)
        for column, index in enumerate(indices):
            thumbnail = Image.fromarray(shrink(read_image(Path(folder) / "hazy" / domains.names[index]), SIDE))
            sheet.paste(thumbnail, (column * SIDE, top + LINE))
            how = "by hand" if domains.given[index] else f"{certainty[index]:.2f}"
            caption = f"{how}  {domains.names[index]:.22}"
            draw.text((column * SIDE + 2, top + LINE + thumbnail.height), caption, "black", font)
    write_image(Path(folder) / "domains.png", np.asarray(sheet))
