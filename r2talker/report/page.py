"""The page around a report's parts: one HTML file that asks for nothing else."""

import html
from pathlib import Path

from r2talker.report.charts import FPS, LEFT, RIGHT, WIDTH


def make_page(title: str, body: str, *, first_frame: int = 0) -> bytes:
    """The whole file. title: plain text. body: HTML. first_frame: number of the picture at which the charts begin."""
    style, script = (Path(__file__).with_name(f"page.{kind}").read_text() for kind in ("css", "js"))
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{style}</style></head>'
        f'<body data-width="{WIDTH}" data-left="{LEFT}" data-right="{RIGHT}" data-fps="{FPS:g}" data-first="{first_frame}">'
        f'<main>{body}</main><div id="at"></div><script>{script}</script></body></html>\n'
    ).encode()
