"""`poised`, but that a training saves its state after each step and writes every second row."""

import poised.train
from poised.cli import app

if __name__ == "__main__":
    poised.train.SAVE_EVERY_S = -1.0
    poised.train.LOG_EVERY = 2
    app()
