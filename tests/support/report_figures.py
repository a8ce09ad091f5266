"""Figures of a report, by hand."""

from jobs.report.load import load_runs
from jobs.report.summary import summarise
from tests.support.sample_runs import write_run


def scenarios_of(folder, rows):
    return summarise(load_runs([write_run(folder, rows)]))
