"""The report as one HTML file: no network, no other file; everything from outside is escaped."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files

from jobs.render.format import percent, percent_range, points, points_range
from jobs.render.text import visible
from jobs.render.theme import common_part, one_line
from jobs.report.pages import Page, Pages
from jobs.report.summary import Setting
from jobs.report.tables import Cell, Table
from jobs.report.verdict import Glance

MAX_ID_CHARS = 80
TEXT_COLUMNS = ("settings",)


@dataclass(frozen=True, slots=True)
class Plot:
    """A drawn figure: where it comes from as PNG, how it is inlined, and what it says in words."""

    file: str
    uri: str
    alt: str
    caption: str


def page(title: str, subject: str, sections: Sequence[tuple[str, str, str]], footer: str) -> str:
    """The whole file; sections are (anchor, name, HTML)."""
    links = "".join(
        f'<li><a href="#{anchor}">{text(name)}</a></li>' for anchor, name, _ in sections
    )
    main = "\n".join(
        f'<section id="{anchor}" aria-labelledby="{anchor}-h">'
        f'<h2 id="{anchor}-h">{text(name)}</h2>\n{body}</section>'
        for anchor, name, body in sections
    )
    parts = {
        "title": text(title),
        "heading": text(title),
        "subject": text(subject),
        "sections": links,
        "main": main,
        "footer": text(footer),
        "style": _asset("page.css"),
        "script": _asset("page.js"),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _asset("page.html"))


def text(value: str) -> str:
    """Text as HTML, with nothing in it that could act."""
    return escape(visible(value), quote=True)


def glance_card(glance: Glance) -> str:
    """The answer for a setting."""
    facts = "".join(f"<li>{text(fact)}</li>" for fact in glance.facts)
    return (
        f'<article class="glance {glance.verdict}">'
        f'<p class="where">{text(glance.setting.name)}</p>'
        f'<p class="headline">{_with_strong(glance)}</p>'
        f"{_numbers(glance)}{f'<ul>{facts}</ul>' if facts else ''}</article>"
    )


def table(data: Table) -> str:
    """A table that scrolls by itself where it is too wide."""
    groups = ""
    if data.groups:
        cells = (
            f'<th colspan="{span}" scope="colgroup">{text(name)}</th>'
            if name
            else f'<td colspan="{span}"></td>'
            for name, span in data.groups
        )
        groups = f'<tr class="groups">{"".join(cells)}</tr>'
    head = "".join(
        f'<th scope="col"{_class(_column_class(data, place))}>{text(heading)}</th>'
        for place, heading in enumerate(data.headings)
    )
    body = "".join(_row(data, row) for row in data.rows)
    notes = "".join(f"<li>{text(note)}</li>" for note in data.notes)
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{text(data.title)}"><table>'
        f"<caption>{text(data.title)}</caption><thead>{groups}<tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
        + (f'<ul class="notes">{notes}</ul>' if notes else "")
    )


def plot(data: Plot) -> str:
    """A plot with its words for those who do not see it."""
    return (
        f'<figure><div class="wide"><img src="{data.uri}" alt="{text(data.alt)}"></div>'
        f"<figcaption>{text(data.caption)} File: {text(data.file)}.</figcaption></figure>"
    )


def problems(setting: Setting, glance: Glance, built: Pages, number: int) -> str:
    """A closed line for each problem; a browser builds what is behind it when it is opened."""
    plain = setting.baseline()
    names = [label.label for label in (plain, glance.pick) if label is not None]
    pick = glance.pick.label if glance.pick else (names[0] if names else "")
    ids = [page.problem_id for page in built.pages]
    common = common_part(ids) if len(ids) > 1 else ""
    lines = "".join(
        _problem(page, common, names, pick, f"problem-{number}-{place}")
        for place, page in enumerate(built.pages)
    )
    options = {"all": "all problems", "wrong": "where one of them is wrong"}
    if len(names) > 1:
        options["differs"] = "where their answers differ"
    choices = "".join(f'<option value="{key}">{name}</option>' for key, name in options.items())
    return (
        f"<h3>{text(setting.name)}</h3>"
        f'<p class="quiet">{text(built.note)} Open a problem, choose an entry, and open a lane to '
        "read its trace.</p>"
        "<noscript><p>The traces are packed; reading them takes JavaScript.</p></noscript>"
        f'<div><p class="filter" hidden><label>Show <select>{choices}</select></label>'
        f'<span class="quiet">of {text(" and ".join(names))}</span></p>{lines}</div>'
    )


def _problem(page: Page, common: str, names: Sequence[str], pick: str, anchor: str) -> str:
    rows = [(name, page.rows[name]) for name in names if name in page.rows]
    who = "".join(
        f'<span class="who">{text(name)} {_mark(row.correct)}</span>' for name, row in rows
    )
    kinds = ["wrong"] if any(row.correct is False for _, row in rows) else []
    if len({row.answer for _, row in rows}) > 1:
        kinds.append("differs")
    shown = one_line(page.problem_id.removeprefix(common) or page.problem_id, MAX_ID_CHARS)
    return (
        f'<details class="problem" id="{anchor}" data-pick="{text(pick)}" '
        f'data-kinds="{" ".join(kinds)}"><summary><span class="id">{text(shown)}</span>'
        f'<span class="what">{text(page.excerpt)}</span>{who}</summary>'
        f'<div class="content"><p class="quiet">Unpacking…</p></div>'
        f'<script type="application/octet-stream">{page.packed}</script></details>\n'
    )


def _mark(correct: bool | None) -> str:
    if correct is None:
        return '<span aria-label="unknown">?</span>'
    word = "right" if correct else "wrong"
    return f'<span class="{word}" role="img" aria-label="{word}">{"✓" if correct else "✗"}</span>'


def _with_strong(glance: Glance) -> str:
    headline = text(glance.headline)
    label = text(glance.pick.label) if glance.pick else ""
    return headline.replace(label, f"<strong>{label}</strong>", 1) if label else headline


def _numbers(glance: Glance) -> str:
    pick = glance.pick
    if pick is None or pick.versus is None or not pick.versus.tokens or not pick.accuracy:
        return ""
    share, change = pick.versus.tokens, pick.versus.accuracy
    shown = [("tokens, share of cons", percent(share.value), percent_range(share))]
    shown.append(("accuracy", percent(pick.accuracy.value), percent_range(pick.accuracy)))
    if change:
        shown.append(("points against cons", points(change.value), points_range(change)))
    if pick.versus.same_answer:
        same = pick.versus.same_answer
        shown.append(("same answer as cons", percent(same.value), percent_range(same)))
    cells = "".join(
        f"<div><dt>{name}</dt><dd>{text(value)}<small>{text(below)}</small></dd></div>"
        for name, value, below in shown
    )
    return f'<dl class="numbers">{cells}</dl>'


def _row(data: Table, row: Sequence[Cell]) -> str:
    first = row[0]
    cells = []
    for place, cell in enumerate(row):
        below = f"<small>{text(cell.below)}</small>" if cell.below else ""
        style = " ".join(filter(None, (_column_class(data, place), _kind(cell))))
        if place == 0:
            cells.append(f'<th scope="row"{_class(_kind(cell))}>{text(cell.text)}</th>')
        else:
            cells.append(f"<td{_class(style)}>{text(cell.text)}{below}</td>")
    return f"<tr{_class('first' if first.text else '')}>{''.join(cells)}</tr>"


def _column_class(data: Table, place: int) -> str:
    if data.headings[place] in TEXT_COLUMNS:
        return "text"
    return "name" if place < data.num_names else ""


def _kind(cell: Cell) -> str:
    return cell.kind if cell.kind in ("limit", "published") else ""


def _class(name: str) -> str:
    return f' class="{name}"' if name else ""


def _asset(name: str) -> str:
    return files("jobs.report").joinpath("page", name).read_text(encoding="utf-8")
