"""One self-contained HTML page about a data set: what its splits hold, and the offending images side by side."""

import base64
from html import escape

from ..files import write_text
from .report import TEMPLATE, as_jpeg

STYLE = """
figure { margin: 0; }
figcaption { margin: 0 0 6px; overflow-wrap: anywhere; }
figure div { display: flex; gap: 8px; align-items: flex-start; }
figure img { max-width: calc(50% - 4px); border-radius: 6px; }
"""


def write_data_report(path, title, subtitle, table, sections):
    """Write the page, whole or not at all.

    table: a header and lines of texts. sections: of (heading, defects, pictures): objects with the texts `name` and
    `says`, and for the first of them a list of pictures each, H x W x 3 uint8 RGB.
    """
    page = TEMPLATE.read_text(encoding="utf-8")
    head = page[: page.index("</style>")].replace("<title>Results</title>", f"<title>{escape(title)}</title>")
    body = [f"<h1>{escape(title)}</h1>", f'<div class="quiet">{escape(subtitle)}</div>', html_table(*table)]
    for heading, defects, pictures in sections:
        body += [f"<h2>{escape(heading)}</h2>", '<div class="columns">', *map(figure, defects, pictures), "</div>"]
        if len(defects) > len(pictures):
            items = "".join(f"<li>{escape(defect.name)}: {escape(defect.says)}</li>" for defect in defects)
            body.append(f'<details class="card"><summary>All {len(defects):,}</summary><ol>{items}</ol></details>')
    parts = [head + STYLE, "</style>\n</head>\n<body>\n<main>", *body, "</main>\n</body>\n</html>\n"]
    write_text(path, "\n".join(parts))


def html_table(header, lines):
    rows = ["".join(f'<td class="text">{escape(cell)}</td>' for cell in line) for line in lines]
    head = "".join(f'<th class="text">{escape(cell)}</th>' for cell in header)
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return f'<p></p><div class="card"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def figure(defect, pictures):
    images = "".join(f'<img alt="" src="{data_url(picture)}">' for picture in pictures)
    caption = f'<b>{escape(defect.name)}</b> <span class="quiet">{escape(defect.says)}</span>'
    return f'<figure class="card"><figcaption>{caption}</figcaption><div>{images}</div></figure>'


def data_url(picture):
    return f"data:image/jpeg;base64,{base64.b64encode(as_jpeg(picture)).decode()}"
