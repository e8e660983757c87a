"""The page's pieces of HTML: its style, tables, pictures. What they are given is plain text."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

STYLE = """
:root{color-scheme:light dark;--ink:#1c1c1c;--soft:#555;--paper:#fff;--line:#ccc}
@media (prefers-color-scheme:dark){:root{--ink:#e6e6e6;--soft:#aaa;--paper:#161616;--line:#444}}
*{box-sizing:border-box} body{font:16px/1.5 system-ui,sans-serif;max-width:1000px;margin:1rem auto;
padding:0 1rem;color:var(--ink);background:var(--paper);overflow-wrap:anywhere}
h1{font-size:1.5rem;line-height:1.25} h2{font-size:1.2rem;margin:2.5rem 0 .5rem}
table{border-collapse:collapse;margin:.5rem 0} td,th{padding:.3rem .9rem .3rem 0;text-align:left;
vertical-align:top;border-bottom:1px solid var(--line);overflow-wrap:normal}
th{font-weight:600;font-size:.85rem}
td.number{white-space:nowrap}.number{text-align:right;font-variant-numeric:tabular-nums}
.curves{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,400px),1fr));gap:1rem}
.pictures{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(46%,220px),1fr));gap:10px}
.curves figure{max-width:480px} figure{margin:0}
figure img,figure svg{display:block;width:100%;height:auto}
.curves svg{fill:currentColor} .maps figure{margin-bottom:1rem} .maps img{width:auto;max-width:100%}
figcaption,small{color:var(--soft);font-size:.85rem;line-height:1.35} figcaption{margin-top:.2rem}
pre{white-space:pre-wrap;font-size:.8rem}
"""


def page(title: str, parts: Iterable[str]) -> str:
    """The whole file; parts are HTML."""
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<style>{STYLE}</style><h1>{html.escape(title)}</h1>{''.join(parts)}</html>\n"
    )


def heading(text: str) -> str:
    """Of a section."""
    return f"<h2>{html.escape(text)}</h2>"


def paragraph(text: str) -> str:
    """Plain text."""
    return f"<p>{html.escape(text)}</p>"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers: Iterable[int]) -> str:
    """Cells of plain text, columns of numbers to the right; a cell's second line is small."""
    right = set(numbers)

    def line(kind: str, cells: Sequence[str]) -> str:
        inner = (
            f"<{kind}{' class=number' if column in right else ''}>{_lines(cell)}</{kind}>"
            for column, cell in enumerate(cells)
        )
        return f"<tr>{''.join(inner)}</tr>"

    return f"<table>{line('th', head)}{''.join(line('td', row) for row in rows)}</table>"


def _lines(cell: str) -> str:
    first, _, second = html.escape(cell).partition("\n")
    return f"{first}<br><small>{second}</small>" if second else first


def picture(bgr: NDArray[np.uint8], label: str, caption: str) -> str:
    """A JPEG within the page."""
    data = base64.b64encode(cv2.imencode(".jpg", bgr)[1].tobytes()).decode("ascii")
    return (
        f'<figure><img alt="{html.escape(label)}" src="data:image/jpeg;base64,{data}">'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
    )


def number(value: float, digits: int = 1, sign: str = "") -> str:
    """A figure; a dash where there is none."""
    return "–" if np.isnan(value) else f"{value:{sign}.{digits}f}"  # noqa: RUF001
