"""`deepprune report`: what some runs say together, as one HTML file, PNGs and Markdown.

Rows become figures in `summary.py`, sentences in `glance.py`, tables in `tables.py` and
`thresholds.py`, plots in `pareto.py` and `bars.py`, and pages of problems in `pages.py`.
"""

from __future__ import annotations

import argparse


def report(options: argparse.Namespace) -> int:
    """Run the command.

    Raises:
        UserError: a folder is no run's, or the report cannot be written.
    """
    from jobs.report.command import write_report

    return write_report(options.runs, options.out, options.markdown, options.max_text)
