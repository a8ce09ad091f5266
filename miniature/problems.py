"""Generated arithmetic problems and their worked solutions.

A problem is a chain: a few products, each done in one go, and then a tail of easy additions and
subtractions, all modulo 10. A solution does the products first. A careless author slips in long
products of large factors, the more the worse, and carries on from there: so a reasoner that learned
from one errs at known rates, and nearly everything that can go wrong has gone wrong by the time a
third of a trace is written.

The split that a chain belongs to is a function of its expression, so splits never share a problem.
"""

from __future__ import annotations

import hashlib
import math
import random
from dataclasses import dataclass
from typing import Literal, get_args

from deepprune.traces import Problem

Split = Literal["train", "judge", "demo"]
SPLITS: tuple[Split, ...] = get_args(Split)

MODULUS = 10
NUM_PRODUCTS = 3
SHORT_PRODUCT, LONG_PRODUCT = (2, 3), (4, 5)
MAX_DIFFICULTY = 2
ALL_DIFFICULTIES = range(MAX_DIFFICULTY + 1)
LARGE_FACTOR = 6
SLIP_PER_LARGE_FACTOR, MAX_SLIP = 0.24, 0.72
SLIPS_BY_TWO = 0.65

_QUESTIONS = (
    "What is {} modulo 10?",
    "Compute {} modulo 10.",
    "Find {} modulo 10.",
    "Work out {}, modulo 10.",
)
_OPENINGS = (
    "Okay, let me do the products in my head.",
    "Let me think. The products come before the sums.",
    "Alright, I work modulo 10 all the way.",
    "Okay, only the last digit matters here.",
)
_FIRST = ("First, {}", "To begin, {}", "Let me start: {}")
_NEXT = ("Next, {}", "Then {}", "Now {}", "After that, {}")
_PRODUCT = ("{} leaves {}.", "{} gives {}.", "{} comes to {}.")
_STEP = ("Then {}", "So {}", "Now {}", "Next, {}", "Thus {}", "And {}")
_WRAP = ("{} is {}, which leaves {}.", "{} makes {}, so {} stays.", "{} is {}, hence {}.")
_PLAIN = ("{} is {}.", "{} makes {}.")
_BELOW = ("{} falls below zero, so it wraps to {}.", "{} is negative, hence it becomes {}.")
_CHECKS = (
    "Wait, let me check that again.",
    "Wait, I should check this once more.",
    "But wait, is that right? Let me check.",
)
_RESTATE = ("The products were {}.", "From the products I have {}.")
_AGREES = ("it is {} again", "it is still {}", "I get {} as before")
_ENDINGS = (
    "Therefore the answer is \\boxed{{{}}}.",
    "Hence the answer is \\boxed{{{}}}.",
    "Thus the final answer is \\boxed{{{}}}.",
)


@dataclass(frozen=True, slots=True)
class Chain:
    """Products of digits, summed, followed by signed digits; its value is taken modulo 10."""

    products: tuple[tuple[int, ...], ...]
    tail: tuple[int, ...]

    @property
    def expression(self) -> str:
        """The chain as a formula: what makes two problems the same problem."""
        tail = "".join(f" {'+' if term > 0 else '-'} {abs(term)}" for term in self.tail)
        return " + ".join(_formula(product) for product in self.products) + tail

    @property
    def answer(self) -> int:
        """The value modulo 10."""
        return (sum(math.prod(p) for p in self.products) + sum(self.tail)) % MODULUS

    @property
    def split(self) -> Split:
        """Decided by a hash of the expression: a tenth demo, three tenths judge, the rest train."""
        bucket = hashlib.sha256(self.expression.encode()).digest()[0] * 10 // 256
        return "demo" if bucket == 0 else "judge" if bucket < 4 else "train"


@dataclass(frozen=True, slots=True)
class Example:
    """A problem together with one worked solution of it, which is what the reasoner learns from."""

    problem: Problem
    solution: str


def generate_problems(
    seed: int,
    count: int,
    difficulty: int | range = ALL_DIFFICULTIES,
    split: Split = "demo",
) -> list[Problem]:
    """Draw `count` distinct problems of a split; the difficulty is the number of long products."""
    rng = random.Random(f"problems-{split}-{seed}")
    problems: dict[str, Problem] = {}
    while len(problems) < count:
        chain = _draw_chain(rng, difficulty, split)
        if chain.expression not in problems:
            problem_id = f"miniature/{split}-{seed}-{len(problems)}"
            problems[chain.expression] = _pose(chain, problem_id, rng)
    return list(problems.values())


def generate_examples(
    seed: int,
    count: int,
    difficulty: int | range = ALL_DIFFICULTIES,
    split: Split = "train",
    careless: bool = False,
) -> list[Example]:
    """Draw `count` problems with a worked solution each; expressions may repeat."""
    rng = random.Random(f"examples-{split}-{seed}")
    chains = (_draw_chain(rng, difficulty, split) for _ in range(count))
    return [
        Example(
            _pose(chain, f"miniature/{split}-{seed}-{i}", rng),
            write_solution(chain, rng, careless),
        )
        for i, chain in enumerate(chains)
    ]


def slip_rate(product: tuple[int, ...]) -> float:
    """How often a careless author gets a product wrong."""
    if len(product) not in LONG_PRODUCT:
        return 0.0
    num_large = sum(factor >= LARGE_FACTOR for factor in product)
    return min(MAX_SLIP, SLIP_PER_LARGE_FACTOR * max(0, num_large - 1))


def write_solution(chain: Chain, rng: random.Random, careless: bool = False) -> str:
    """Work a chain out in words: the products, the sum, a second look, the boxed answer."""
    values = [_value(product, rng, careless) for product in chain.products]
    sentences = [rng.choice(_OPENINGS)]
    for i, (product, value) in enumerate(zip(chain.products, values, strict=True)):
        said = rng.choice(_PRODUCT).format(_formula(product), value)
        sentences.append(rng.choice(_NEXT if i else _FIRST).format(said))

    running = [values[0]]
    terms = [*values[1:], *chain.tail]
    for term in terms:
        sentences.append(rng.choice(_STEP).format(_add(running[-1], term, rng)))
        running.append((running[-1] + term) % MODULUS)

    sentences.append(rng.choice(_CHECKS))
    listed = ", ".join(map(str, values[:-1])) + f" and {values[-1]}"
    sentences.append(rng.choice(_RESTATE).format(listed))
    again = [
        f"{_sum(before, term)} leaves {after}"
        for before, term, after in zip(running, terms, running[1:], strict=False)
    ]
    agrees = rng.choice(_AGREES).format(running[-1])
    sentences.append(f"Since {', then '.join(again)}, {agrees}.")
    sentences.append(rng.choice(_ENDINGS).format(running[-1]))
    return " ".join(sentences)


def _draw_chain(rng: random.Random, difficulty: int | range, split: Split) -> Chain:
    while True:
        num_long = difficulty if isinstance(difficulty, int) else rng.choice(difficulty)
        if not 0 <= num_long <= MAX_DIFFICULTY:
            raise ValueError(f"difficulty {num_long} is not between 0 and {MAX_DIFFICULTY}")
        lengths = [LONG_PRODUCT] * num_long + [SHORT_PRODUCT] * (NUM_PRODUCTS - num_long)
        factors = [rng.choice(length) for length in lengths]
        rng.shuffle(factors)
        products = tuple(tuple(rng.randint(2, 9) for _ in range(n)) for n in factors)
        tail = tuple(rng.choice((1, -1)) * rng.randint(1, 9) for _ in range(rng.randint(2, 3)))
        chain = Chain(products, tail)
        if chain.split == split:
            return chain


def _pose(chain: Chain, problem_id: str, rng: random.Random) -> Problem:
    question = rng.choice(_QUESTIONS).format(chain.expression)
    return Problem(problem_id, question, str(chain.answer))


def _value(product: tuple[int, ...], rng: random.Random, careless: bool) -> int:
    if careless and rng.random() < slip_rate(product):
        error = 2 if rng.random() < SLIPS_BY_TWO else rng.choice((-2, -1, 1))
        return (math.prod(product) + error) % MODULUS
    return math.prod(product) % MODULUS


def _formula(product: tuple[int, ...]) -> str:
    return " × ".join(map(str, product))


def _sum(value: int, term: int) -> str:
    return f"{value} {'plus' if term >= 0 else 'minus'} {abs(term)}"


def _add(value: int, term: int, rng: random.Random) -> str:
    said, total = _sum(value, term), value + term
    if total < 0:
        return rng.choice(_BELOW).format(said, total % MODULUS)
    if total >= MODULUS:
        return rng.choice(_WRAP).format(said, total, total % MODULUS)
    return rng.choice(_PLAIN).format(said, total)
