"""One self-contained HTML page about a data set: what its splits hold, and the offending images side by side."""

from html import escape

from ..files import write_text
from .report import TEMPLATE, data_url

STYLE = """
figure { margin: 0 0 18px; }
figcaption { margin: 0 0 6px; overflow-wrap: anywhere; }
figure div { display: flex; gap: 8px; align-items: flex-start; }
figure img { max-width: calc(50% - 4px); border-radius: 6px; }
.defects { max-height: 320px; overflow: auto; margin: 0; padding-left: 22px; }
"""


def write_data_report(path, title, subtitle, table, sections):
    """Write the page, whole or not at all.

    table: a header and lines of texts. sections: of (heading, defects, shown): all defects as (name, what is wrong),
    and those to be shown as (name, what is wrong, pictures), H x W x 3 uint8 RGB each.
    """
    page = TEMPLATE.read_text(encoding="utf-8")
    style = page[page.index("<style>") : page.index("</style>")] + STYLE + "</style>"
    body = [f"<h1>{escape(title)}</h1>", f'<div class="quiet">{escape(subtitle)}</div>', html_table(*table)]
    for heading, defects, shown in sections:
        body.append(f"<h2>{escape(heading)}</h2>")
        body += [figure(*item) for item in shown]
        if len(defects) > len(shown):
            items = "".join(f"<li>{escape(name)}: {escape(says)}</li>" for name, says in defects)
            body.append(f'<details class="card"><summary>All</summary><ol class="defects">{items}</ol></details>')
    head = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n{style}\n</head>\n"
    )
    write_text(path, head + "<body>\n<main>\n" + "\n".join(body) + "\n</main>\n</body>\n</html>\n")


def html_table(header, lines):
    rows = ["".join(f'<td class="text">{escape(cell)}</td>' for cell in line) for line in lines]
    head = "".join(f'<th class="text">{escape(cell)}</th>' for cell in header)
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return f'<p></p><div class="card"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def figure(name, says, pictures):
    images = "".join(f'<img alt="" src="{data_url(picture)}">' for picture in pictures)
    return (
        f'<figure class="card"><figcaption><b>{escape(name)}</b> <span class="quiet">{escape(says)}</span></figcaption>'
        f"<div>{images}</div></figure>"
    )
