"""`deepprune report`: what some runs say together, as one HTML file, PNGs and Markdown.

Rows become figures in `summary.py`, sentences in `verdict.py`, tables in `tables.py` and
`thresholds.py`, plots in `pareto.py`, `bars.py` and `lanes.py`, and pages of problems in
`pages.py`.
"""
