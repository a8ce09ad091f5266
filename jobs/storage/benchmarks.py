"""Benchmarks by name: from the Hugging Face hub at a pinned revision, a local file, or generated.

A problem's text is what the model is asked, with the benchmark's instruction below it. A problem
that is empty stays in the list, so that its failure is recorded where its traces would be.
"""

from __future__ import annotations

import hashlib
import os
import random
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from deepprune.answers import AnswerKind
from deepprune.errors import UserError, reason
from deepprune.table_io import FORMATS, data_files, read_rows
from deepprune.traces import Problem

MATH_INSTRUCTION = "Please reason step by step, and put your final answer within \\boxed{}."
CHOICE_INSTRUCTION = (
    "Please reason step by step, and put the letter of your choice, alone, within \\boxed{}."
)
MINIATURE = "miniature"
MINIATURE_SEED = 2026
MINIATURE_COUNT = 24
SHUFFLE_SEED = 0
HUB_TIMEOUT_S = 5.0
FILE_COLUMNS = ("problem_id", "problem", "question", "reference", "answer")

_AIME_URL = re.compile(r"([0-9]{4})_AIME_(I+)_Problems/Problem_([0-9]+)")
_FINAL_NUMBER = re.compile(r"####\s*(.+)")

_Item = tuple[str, str, str | None]
"""The problem's id, the question, the reference."""


@dataclass(frozen=True, slots=True)
class Benchmark:
    """Problems, and in `source` what must be the same for them to be the same problems."""

    name: str
    problems: tuple[Problem, ...]
    source: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Hub:
    """Where a benchmark lies on the hub, and how one of its rows becomes a problem."""

    dataset: str
    revision: str
    split: str
    count: int
    read: Callable[[int, Mapping[str, Any], str | None], _Item | None]
    configs: tuple[str | None, ...] = (None,)
    kind: AnswerKind = "math"
    instruction: str = MATH_INSTRUCTION


def _aime(year: str) -> _Hub:
    def read(_: int, row: Mapping[str, Any], __: str | None) -> _Item | None:
        found = _AIME_URL.search(row["url"])
        if found is None or found[1] != year:
            return None
        return f"{found[2]}-{found[3]}", row["problem"], str(row["answer"])

    return _Hub(
        "AI-MO/aimo-validation-aime", "fca73e80df967c49ef6e20f88ce0a9fdb44bccc0", "train", 30, read
    )


def _aime25(index: int, row: Mapping[str, Any], config: str | None) -> _Item:
    exam = str(config).rpartition("-")[2]
    return f"{exam}-{index + 1}", row["question"], str(row["answer"])


def _math500(_: int, row: Mapping[str, Any], __: str | None) -> _Item:
    name = str(row["unique_id"]).removeprefix("test/").removesuffix(".json")
    return name, row["problem"], str(row["answer"])


def _gsm8k(index: int, row: Mapping[str, Any], _: str | None) -> _Item:
    return str(index), row["question"], _final_number(row["answer"])


def _gpqa(_: int, row: Mapping[str, Any], __: str | None) -> _Item:
    right = row["Correct Answer"].strip()
    options = [right, *(row[f"Incorrect Answer {number}"].strip() for number in (1, 2, 3))]
    random.Random(f"{SHUFFLE_SEED}/{row['Record ID']}").shuffle(options)
    listed = "\n".join(f"({letter}) {o}" for letter, o in zip("ABCD", options, strict=True))
    reference = "ABCD"[options.index(right)]
    return str(row["Record ID"]), f"{row['Question'].strip()}\n\n{listed}", reference


HUB: dict[str, _Hub] = {
    "aime22": _aime("2022"),
    "aime23": _aime("2023"),
    "aime24": _aime("2024"),
    "aime25": _Hub(
        "opencompass/AIME2025",
        "a6ad95f611d72cf628a80b58bd0432ef6638f958",
        "test",
        30,
        _aime25,
        ("AIME2025-I", "AIME2025-II"),
    ),
    "math500": _Hub(
        "HuggingFaceH4/MATH-500",
        "ff5b20257d8185524591543f8ff5993951537bb8",
        "test",
        500,
        _math500,
    ),
    "gpqa-diamond": _Hub(
        "Idavidrein/gpqa",
        "633f5ee89ab8ad4522a9f850766b73f62147ffdd",
        "train",
        198,
        _gpqa,
        ("gpqa_diamond",),
        "choice",
        CHOICE_INSTRUCTION,
    ),
    "gsm8k": _Hub(
        "openai/gsm8k",
        "740312add88f781978c0658806c59bc2815b9866",
        "test",
        1319,
        _gsm8k,
        ("main",),
    ),
}


def load_benchmark(
    name: str,
    problems: slice = slice(None),
    *,
    kind: AnswerKind | None = None,
    instruction: str | None = None,
) -> Benchmark:
    """The problems of `name`: a benchmark, `miniature`, `miniature:SPLIT`, or a file.

    `kind` and `instruction` replace those of the benchmark; a file has none of its own.

    Raises:
        UserError: there is no such benchmark or file, the hub cannot be reached, or the file is
            damaged, lacks a column or has a problem twice.
    """
    if name in HUB:
        benchmark = _from_hub(name, kind, instruction)
    elif name.partition(":")[0] == MINIATURE:
        benchmark = _miniature(name, problems.stop, kind or "auto")
    elif Path(name).exists():
        benchmark = _from_files(Path(name), kind or "auto", instruction)
    else:
        names = ", ".join((*HUB, MINIATURE))
        raise UserError(
            f"there is no benchmark {name!r}: give one of {names}, or a file: {FORMATS}"
        )
    chosen = benchmark.problems[problems]
    if not chosen:
        raise UserError(f"{name} has {len(benchmark.problems)} problems, and none of these")
    return replace(benchmark, problems=chosen)


def _from_hub(name: str, kind: AnswerKind | None, instruction: str | None) -> Benchmark:
    hub = HUB[name]
    kind = kind or hub.kind
    instruction = hub.instruction if instruction is None else instruction
    items = [
        item
        for config in hub.configs
        for index, row in enumerate(_rows(name, hub, config))
        if (item := hub.read(index, row, config)) is not None
    ]
    items = [(f"{name}/{item_id}", text, reference) for item_id, text, reference in items]
    if len(items) != hub.count:
        raise UserError(f"{name}: {len(items)} problems in {hub.dataset}, expected {hub.count}")
    source = {"name": name, "dataset": hub.dataset, "revision": hub.revision}
    return _benchmark(name, items, kind, instruction, source)


def _rows(name: str, hub: _Hub, config: str | None) -> Iterable[Mapping[str, Any]]:
    instead = f"give a file with columns problem and reference instead: {FORMATS}"
    if not _hub_is_there():
        os.environ["HF_HUB_OFFLINE"] = "1"  # what is cached will do; else refuse at once
    try:
        import datasets
    except ImportError:
        raise UserError(
            f"{name} is read from the Hugging Face hub, which needs the package datasets (`pip "
            f"install deepprune[hub]`); or {instead}"
        ) from None
    try:
        rows: Iterable[Mapping[str, Any]] = datasets.load_dataset(
            hub.dataset, config, split=hub.split, revision=hub.revision
        )
    except Exception as error:  # noqa: BLE001 - the hub's client raises whatever its layers raise
        raise UserError(
            f"cannot get {hub.dataset} from the Hugging Face hub ({reason(error)}): check the "
            f"network, for a gated dataset log in with `hf auth login`, or {instead}"
        ) from None
    return rows


def _hub_is_there() -> bool:
    """Asked once: the hub's client would repeat each of its requests for half a minute."""
    import httpx

    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    try:
        httpx.head(endpoint, timeout=HUB_TIMEOUT_S)
    except httpx.HTTPError:
        return False
    return True


def _miniature(name: str, count: int | None, kind: AnswerKind) -> Benchmark:
    from miniature.problems import SPLITS, generate_problems

    split = name.partition(":")[2] or "demo"
    if split not in SPLITS:
        raise UserError(f"{name}: miniature has the splits {', '.join(SPLITS)}")
    if count is not None and count < 1:
        raise UserError(f"{name}: its problems are generated, so count them from the first")
    # The same difficulty as the demo's, where four in five pairs of traces share their answer.
    problems = generate_problems(MINIATURE_SEED, count or MINIATURE_COUNT, range(2), split)
    source = {"name": name, "seed": MINIATURE_SEED, "answer_kind": kind}
    return Benchmark(name, tuple(replace(p, answer_kind=kind) for p in problems), source)


def _from_files(path: Path, kind: AnswerKind, instruction: str | None) -> Benchmark:
    items: list[_Item] = []
    name = (path.with_suffix("") if path.suffix == ".gz" else path).stem
    for file in data_files(path):
        for row in read_rows(file, dict.fromkeys(FILE_COLUMNS, "value")):
            text = _first_of(row, ("problem", "question"), file)
            reference = _first_of(row, ("reference", "answer"), file)
            problem_id = row.get("problem_id") or str(len(items))
            if "/" not in problem_id:
                problem_id = f"{name}/{problem_id}"
            items.append((problem_id, text or "", reference and _final_number(reference)))
    digest = hashlib.sha256(repr(items).encode()).hexdigest()[:16]
    source = {"name": name, "sha256": digest}
    return _benchmark(name, items, kind, instruction or "", source)


def _benchmark(
    name: str, items: Sequence[_Item], kind: AnswerKind, instruction: str, source: dict[str, Any]
) -> Benchmark:
    problems: dict[str, Problem] = {}
    for problem_id, question, reference in items:
        if problem_id in problems:
            raise UserError(f"{name}: problem {problem_id} is there twice: keep one of them")
        asked = f"{question}\n\n{instruction}" if instruction and question.strip() else question
        problems[problem_id] = Problem(problem_id, asked, reference, kind)
    if not problems:
        raise UserError(f"{name} holds no problems")
    source = source | {"answer_kind": kind, "instruction": instruction}
    return Benchmark(name, tuple(problems.values()), source)


def _first_of(row: Mapping[str, Any], names: Sequence[str], file: Path) -> str | None:
    for name in names:
        if name in row:
            value: str | None = row[name]
            return value
    raise UserError(f"{file} is no table of problems: it has no column {' or '.join(names)}")


def _final_number(answer: str) -> str:
    """The reference of a worked solution that ends in `#### 42`, as GSM8K's do."""
    found = _FINAL_NUMBER.findall(answer)
    return str(found[-1]).strip().replace(",", "") if found else answer
