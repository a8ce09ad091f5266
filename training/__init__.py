"""Training of judges."""

TARGET_ERROR = 0.05
"""Share of agreeing pairs that a calibrated threshold may take for different. At 0.2, where the
paper reports true negative rates, clusters of one answer fall apart: docs/judges.md."""
