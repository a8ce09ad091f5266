"""Features of pairs of prefixes of one problem: the input of the feature judge.

Each prefix is read once. A pair's features depend on its two prefixes and the problem only, and are
the same in either order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache

import numpy as np
from scipy import sparse

from deepprune.prefix_facts import Statements, numbers_in, read_statements
from deepprune.statistics import Floats

TAIL_CHARS = 500
_NUM_HASHES = 2**16
ALL = slice(None)

Weights = Callable[[Statements], Iterable[tuple[str, float]]]


def pair_features(problem: str, prefixes: Sequence[str], columns: slice = ALL) -> dict[str, Floats]:
    """Compute the features of pairs of n prefixes.

    Args:
        problem: its text.
        prefixes: n of them.
        columns: which prefixes to pair with all n; m of them.

    Returns:
        (n, m) for each feature, by name.
    """
    read = [read_statements(prefix) for prefix in prefixes]
    given = numbers_in(problem)
    return {
        **_overlaps(read, given, columns),
        **_agreements(read, given, columns),
        **_claims(read, columns),
        "words": _similarity([s.text for s in read], columns),
        "words_tail": _similarity([s.text[-TAIL_CHARS:] for s in read], columns),
        **_of_single_prefixes(read, given, columns),
    }


@lru_cache(maxsize=1)
def feature_names() -> tuple[str, ...]:
    """The names of the features, in order."""
    return tuple(pair_features("", ("", "")))


def _overlaps(read: Sequence[Statements], given: set[str], columns: slice) -> dict[str, Floats]:
    """Overlap of the facts that two prefixes state, from 0 to 1."""

    def new_numbers(s: Statements) -> Iterable[tuple[str, float]]:
        return ((v, math.sqrt(_weight(v))) for v in s.numbers if v not in given)

    def results(s: Statements) -> Iterable[tuple[str, float]]:
        return ((v, math.sqrt(_weight(v))) for v in s.results)

    def conclusions(s: Statements) -> Iterable[tuple[str, float]]:
        return ((v, 1.0) for v in s.conclusions)

    return {
        "numbers": _jaccard(read, columns, new_numbers),
        "numbers_late": _cosine(read, columns, lambda s: _late(s, s.numbers, 200)),
        "numbers_later": _cosine(read, columns, lambda s: _late(s, s.numbers, 800)),
        "results": _jaccard(read, columns, results),
        "results_late": _cosine(read, columns, lambda s: _late(s, s.results, 400)),
        "conclusions": _jaccard(read, columns, conclusions),
        "conclusions_late": _cosine(read, columns, lambda s: _late(s, s.conclusions, 500)),
    }


def _agreements(read: Sequence[Statements], given: set[str], columns: slice) -> dict[str, Floats]:
    """1 where two prefixes name the same value, -1 where they differ, 0 where one names none."""
    named: dict[str, list[str | None]] = {
        "same_box": [s.boxed for s in read],
        "same_thought": [s.thought for s in read],
        "same_result": [s.last_result for s in read],
        "same_new_number": [
            next((v for v in reversed(s.numbers) if v not in given), None) for s in read
        ],
        "same_conclusion": [s.last_conclusion for s in read],
        "same_candidate": [s.candidate for s in read],
    }
    places: dict[str, list[Mapping[str, int]]] = {
        "numbers": [s.numbers for s in read],
        "results": [s.results for s in read],
        "conclusions": [s.conclusions for s in read],
    }
    stated = {
        f"{name}_in_{place}": _contained(named[f"same_{name}"], where, columns)
        for name in ("candidate", "new_number", "conclusion")
        for place, where in places.items()
    }
    return {**{name: _equal(values, columns) for name, values in named.items()}, **stated}


def _claims(read: Sequence[Statements], columns: slice) -> dict[str, Floats]:
    """Count the quantities to which two prefixes give the same value, and different values."""
    quantity = _incidence(read, lambda s: ((left, 1.0) for left in s.claims))
    claim = _incidence(read, lambda s: ((f"{a}={b}", 1.0) for a, b in s.claims.items()))
    both, same = _product(quantity, columns), _product(claim, columns)
    return {
        "claims_agree": np.log1p(same),
        "claims_differ": np.log1p(both - same),
        "claims_conflict": (both - same) / (both + 1),
    }


def _of_single_prefixes(
    read: Sequence[Statements], given: set[str], columns: slice
) -> dict[str, Floats]:
    """Sum and distance of features of single prefixes: their lengths, counts and progress."""
    single = {
        "length": [len(s.text) / 1000 for s in read],
        "thought_ended": [float(s.thought_end is not None) for s in read],
        "after_thought": [
            0.0 if s.thought_end is None else (len(s.text) - s.thought_end) / 1000 for s in read
        ],
        "boxed": [float(s.boxed is not None) for s in read],
        "doubts": [math.log1p(s.num_doubts) for s in read],
        "num_numbers": [math.log1p(s.num_numbers) for s in read],
        "num_equations": [math.log1p(s.num_equations) for s in read],
        "num_new": [math.log1p(len(s.numbers.keys() - given)) for s in read],
        "digits": [sum(map(len, s.numbers)) / max(1, len(s.numbers)) for s in read],
    }
    features = {}
    for name, values in single.items():
        row = np.array(values)
        features[f"{name}_sum"] = row[:, None] + row[None, columns]
        features[f"{name}_distance"] = np.abs(row[:, None] - row[None, columns])
    return features


def _weight(value: str) -> float:
    """The weight of a value. Long values are shared by chance less often than short ones."""
    return min(3.0, 0.3 + 0.5 * len(value))


def _late(s: Statements, positions: Mapping[str, int], chars: int) -> list[tuple[str, float]]:
    """Weights that decay by a factor of e for every `chars` characters before the end."""
    length = len(s.text)
    return [(v, math.exp(-(length - end) / chars)) for v, end in positions.items()]


def _incidence(read: Sequence[Statements], weights: Weights) -> sparse.csr_matrix:
    """(n, values): the weight of each value in each prefix."""
    columns: dict[str, int] = {}
    entries = [
        (row, columns.setdefault(value, len(columns)), weight)
        for row, statements in enumerate(read)
        for value, weight in weights(statements)
    ]
    rows, places, values = zip(*entries, strict=True) if entries else ((), (), ())
    return sparse.csr_matrix((values, (rows, places)), shape=(len(read), max(1, len(columns))))


def _product(matrix: sparse.csr_matrix, columns: slice) -> Floats:
    """(n, m): the inner products of n rows with m of them."""
    dense: Floats = np.asarray((matrix @ matrix[columns].T).todense(), dtype=np.float64)
    return dense


def _squares(matrix: sparse.csr_matrix) -> Floats:
    """(n,): the inner product of each row with itself."""
    squares: Floats = np.asarray(matrix.multiply(matrix).sum(axis=1), dtype=np.float64).ravel()
    return squares


def _jaccard(read: Sequence[Statements], columns: slice, weights: Weights) -> Floats:
    """Weighted Jaccard index. `weights` gives the square roots of the weights."""
    matrix = _incidence(read, weights)
    shared, own = _product(matrix, columns), _squares(matrix)
    either = own[:, None] + own[None, columns] - shared
    overlap: Floats = shared / np.maximum(either, 1e-9)
    return overlap


def _cosine(read: Sequence[Statements], columns: slice, weights: Weights) -> Floats:
    matrix = _incidence(read, weights)
    norm = np.sqrt(np.maximum(_squares(matrix), 1e-12))
    cosine: Floats = _product(matrix, columns) / (norm[:, None] * norm[None, columns])
    return cosine


def _equal(values: Sequence[str | None], columns: slice) -> Floats:
    codes = {value: code for code, value in enumerate(dict.fromkeys(values))}
    of = np.array([codes[value] for value in values])
    known = np.array([value is not None for value in values])
    both = known[:, None] & known[None, columns]
    return np.where(both, np.where(of[:, None] == of[None, columns], 1.0, -1.0), 0.0)


def _contained(
    values: Sequence[str | None], where: Sequence[Mapping[str, int]], columns: slice
) -> Floats:
    """Whether the other prefix contains the value that one prefix names; the mean of both ways.

    1 where it does, -1 where it does not, 0 where no value is named.
    """

    def stands(names: Sequence[str | None], places: Sequence[Mapping[str, int]]) -> Floats:
        return np.array(
            [[0 if v is None else 1 if v in place else -1 for place in places] for v in names],
            dtype=np.float64,
        ).reshape(len(names), len(places))

    mean: Floats = (stands(values, where[columns]) + stands(values[columns], where).T) / 2
    return mean


def _similarity(texts: Sequence[str], columns: slice) -> Floats:
    """Cosine similarity of the counts of words and of pairs of words."""
    from sklearn.feature_extraction.text import HashingVectorizer

    vectorizer = HashingVectorizer(
        n_features=_NUM_HASHES,
        ngram_range=(1, 2),
        token_pattern=r"\w+|[^\w\s]",
        alternate_sign=False,
    )
    vectors = vectorizer.transform(texts)
    return _product(vectors, columns)
