"""Poses in the forms of other tools; one file a tool, imported only when it is asked for."""
