"""The page: what stands on it, and in which order."""

from __future__ import annotations

import html
from pathlib import Path

from poised.files import write_text
from poised.metrics.errors import error_kinds
from poised.metrics.evaluation import Evaluation
from poised.reading import json_text
from poised.report.curves import how_near, kind_bars
from poised.report.errors import slices, what_it_costs
from poised.report.maps import heatmaps
from poised.report.markup import heading, number, page, paragraph, table
from poised.report.people import rows_of_people
from poised.report.words import boxes, meaning, measure, subject


def write_report(done: Evaluation, path: Path, seed: int = 0) -> None:
    """Write the page, whole or not at all; it needs nothing beside it and asks for nothing."""
    matched = done.matched
    if not matched.people:
        raise ValueError("nobody who counts is labelled: there is nothing to report on")
    kinds = error_kinds(matched)
    images = len({person.image_id for person in matched.people})
    figures = [(name, number(v), meaning(name, done)) for name, v in done.figures.items()]
    parts = [
        paragraph(f"{len(matched.people)} labelled people in {images} images; {boxes(done)}"),
        table(("figure", "", ""), figures, [1]),
        paragraph(measure(done)),
        heading("What each kind of error costs"),
        what_it_costs(done, kinds),
        heading("What is wrong, joint by joint"),
        kind_bars(matched, kinds),
        rows_of_people(done, kinds, seed),
        heading("How near"),
        how_near(done),
        heading("Where it is hard"),
        slices(done, kinds),
        "" if done.predictor is None else heatmaps(matched, done.predictor, seed),
        heading("How it was measured"),
        f"<pre>{html.escape(json_text(done.protocol, indent=1))}</pre>",
    ]
    write_text(path, page(subject(done), parts))
