"""An evaluation as one HTML file to look at: figures, errors by kind, pictures, maps."""

from poised.report.page import write_report

__all__ = ["write_report"]
