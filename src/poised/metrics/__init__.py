"""Figures that can be compared: each function says exactly what it measures."""
