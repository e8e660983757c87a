"""Every reader that is fuzzed, by name."""

from fuzz.data_targets import DATA_TARGETS
from fuzz.model_targets import MODEL_TARGETS

TARGETS = {**DATA_TARGETS, **MODEL_TARGETS}
