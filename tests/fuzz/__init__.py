"""Readers fed with damaged files: `make fuzz`, `PYTHONPATH=tests python -m fuzz TARGET ...`."""
