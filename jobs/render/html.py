"""Pages of one HTML file each: no network, no other file, and everything from outside escaped.

Templates lie in the folder `templates` of a package. Each value that a template shows is made
visible and escaped, except what says by `__html__` that it is HTML: tables, plots, and rendered
templates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from jobs.render.text import visible
from jobs.render.theme import DARK, FAINT, INK, OTHER_COLOUR, PALETTE, PAPER, QUIET


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a page; `blocks` are texts, tables, plots and rendered templates."""

    anchor: str
    name: str
    blocks: Sequence[Any]


def page(
    title: str,
    subject: str,
    sections: Sequence[Section],
    footer: str,
    *,
    style: str = "",
    after: str = "",
) -> str:
    """The whole file; `style` is CSS and `after` HTML of the caller's own, each trusted."""
    greys = [("ink", INK), ("quiet", QUIET), ("line", FAINT), ("paper", PAPER)]
    answers = (*PALETTE, OTHER_COLOUR)
    return render(
        "jobs.render",
        "page.html",
        title=title,
        subject=subject,
        sections=sections,
        footer=footer,
        version=version("deepprune"),
        light=[*greys, *((f"a{place}", shade) for place, shade in enumerate(answers))],
        dark=[(name, DARK[shade]) for name, shade in greys],
        style=asset("jobs.render", "page.css") + Markup(style),
        after=Markup(after),
    )


def render(package: str, template: str, **values: Any) -> Markup:
    """A template of a package, filled in."""
    return Markup(_environment().get_template(f"{package}:{template}").render(values))


def asset(package: str, name: str) -> Markup:
    """A file beside the templates, as it is."""
    return Markup(files(package).joinpath("templates", name).read_text(encoding="utf-8"))


@cache
def _environment() -> Environment:
    return Environment(
        loader=FunctionLoader(lambda name: asset(*name.split(":"))),
        autoescape=True,
        finalize=lambda value: visible(value) if type(value) is str else value,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
