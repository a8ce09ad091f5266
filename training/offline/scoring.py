"""Judges over pairs, by name or from a folder: what an evaluation compares.

Every judge gives log-odds that grow with P(same). Those of a similarity mean nothing in
themselves, and are made probabilities on held-out pairs (`fit_platt`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deepprune import judges
from deepprune.config import Reads
from deepprune.errors import UserError
from deepprune.feature_judge import FILE as FEATURES_FILE
from deepprune.feature_judge import FeatureJudge, learn, sampled
from deepprune.judges import ScoredPairs
from deepprune.statistics import MAX_LOGIT, Floats, Ints, Platt, grouped, log_odds
from training.pairs.data import PairSet

OnProgress = Callable[[int], None]
"""Told how many more pairs have been scored."""

BASELINES = ("always-same", "tfidf", "embeddings", "features")
MAX_TOKENS = 2048
"""Longest prompt of a pairwise judge that does not know what it was trained on."""


def open_judge(name: str, training: PairSet, max_tokens: int | None) -> OpenJudge:
    """The judge that a name or a folder means.

    Args:
        name: one of BASELINES, the folder of a judge, or any causal language model, which is asked
            the plain question (zero-shot).
        training: pairs that `features` learns from.
        max_tokens: of a pairwise judge's prompt; longer ones lose the middle of their prefixes.
            Absent: what it was trained on.

    Raises:
        UserError: there is no such judge, or nothing to learn from.
    """
    match name:
        case "always-same":
            return _AlwaysSame()
        case "tfidf":
            return _Similarity(_tfidf)
        case "embeddings":
            return _Similarity(_embeddings)
        case "features":
            return Features(learn_features(training))
    if (Path(name) / FEATURES_FILE).is_file():
        return Features(FeatureJudge.load(Path(name)))
    from actors.encoder_config import ENCODER_FILE
    from actors.models import resolve_model

    folder = Path(resolve_model(name))
    if (folder / ENCODER_FILE).is_file():
        return _Encoder(folder)
    return _Pairwise(name, max_tokens)


def learn_features(training: PairSet) -> FeatureJudge:
    """A feature judge from pairs.

    Raises:
        UserError: all of them agree, or differ, or there are none.
    """
    samples = [
        sampled(group.problem, group.texts, group.first, group.second, training.same[group.pairs])
        for group in by_problem(training)
    ]
    judge = learn(samples)
    if judge is None:
        raise UserError(
            "the feature judge has nothing to learn from: the training pairs are empty or all of "
            "one class; give more problems, or smaller held-out shares"
        )
    return judge


@dataclass(frozen=True)
class Group:
    """The pairs of one problem by one model; `first` and `second` are places in `texts`."""

    problem: str
    texts: list[str]
    pairs: Ints
    first: Ints
    second: Ints


def by_problem(pairs: PairSet) -> Iterator[Group]:
    """Pairs by problem and model, with only the prefixes that are in one."""
    keys: dict[tuple[str, str], int] = {}
    of = np.array(
        [keys.setdefault((p.problem_id, p.model), len(keys)) for p in pairs.prefixes],
        dtype=np.int64,
    )
    for index in grouped(of[pairs.first]):
        of_one = pairs[index].compact()
        texts = [prefix.text for prefix in of_one.prefixes]
        yield Group(of_one.prefixes[0].problem, texts, index, of_one.first, of_one.second)


class OpenJudge:
    """A judge ready to score, problem by problem.

    `is_probability` says that its log-odds are P(same) as they are; `tau` is the threshold it
    brings along; `reads` is what its language model reads, `num_tokens` how much it has so far.
    """

    reads: Reads = "nothing"
    is_probability = True
    tau: float | None = None
    num_tokens = 0

    def score(self, pairs: PairSet, on_progress: OnProgress) -> Floats:
        """(pairs,): log-odds."""
        scores = np.zeros(len(pairs))
        for group in by_problem(pairs):
            scores[group.pairs] = self._score(group)
            on_progress(len(group.pairs))
        return scores

    def _score(self, group: Group) -> Floats:
        """(pairs of the group,): log-odds."""
        raise NotImplementedError


class _AlwaysSame(OpenJudge):
    tau = 0.5

    def _score(self, group: Group) -> Floats:
        return np.full(len(group.pairs), MAX_LOGIT)


class _Similarity(OpenJudge):
    reads = "prefixes"
    is_probability = False

    def __init__(self, similarity: Callable[[Sequence[str]], ScoredPairs]) -> None:
        self._similarity = similarity

    def _score(self, group: Group) -> Floats:
        return self._similarity(group.texts).matrix[group.first, group.second]


class Features(OpenJudge):
    """A feature judge that is there already."""

    def __init__(self, judge: FeatureJudge) -> None:
        self._judge = judge
        self.tau = judge.tau

    def _score(self, group: Group) -> Floats:
        matrix = self._judge.score(group.problem, dict(enumerate(group.texts))).matrix
        return log_odds(matrix[group.first, group.second])


class _Pairwise(OpenJudge):
    """A causal language model that is asked for one of two tokens."""

    reads = "pairs"

    def __init__(self, name: str, max_tokens: int | None) -> None:
        import torch

        from actors.language_model import load_language_model
        from actors.models import load_prompt
        from actors.tokenizer import load_tokenizer
        from training.learners.batches import PairEncoder
        from training.learners.judge import JudgeModel

        prompt = load_prompt(name)
        longest = max_tokens or prompt.max_tokens or MAX_TOKENS
        self._encoder = PairEncoder(prompt, load_tokenizer(name), longest)
        self._device = device()
        dtype = torch.bfloat16 if self._device.type == "cuda" else torch.float32
        model = load_language_model(name, dtype=dtype).eval()
        self._module = JudgeModel(model, self._encoder.answer_ids).to(self._device)
        self._scale = Platt(prompt.slope, prompt.shift)
        self.tau = prompt.tau

    def score(self, pairs: PairSet, on_progress: OnProgress) -> Floats:
        from training.learners.judge import score_sharing

        prompts = self._encoder.encode_all(pairs)
        self.num_tokens += int(prompts.lengths.sum())
        logits = score_sharing(self._module, prompts, pairs.first, self._device, on_progress)
        return self._scale.logits(logits)


class _Encoder(OpenJudge):
    """A language model that reads each prefix once, and a small network for pairs."""

    reads = "prefixes"

    def __init__(self, folder: Path) -> None:
        from actors.judges.prefix_encoder import SavedEncoder

        self._judge = SavedEncoder(folder, device())
        self.tau = self._judge.settings.tau

    def _score(self, group: Group) -> Floats:
        prompts = [self._judge.token_ids(group.problem, text) for text in group.texts]
        self.num_tokens += sum(map(len, prompts))
        vectors = self._judge.encode(prompts)
        return self._judge.log_odds(vectors[group.first], vectors[group.second])


def device() -> Any:
    """The GPU where there is one."""
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _tfidf(texts: Sequence[str]) -> ScoredPairs:
    return judges.tfidf(dict(enumerate(texts)))


def _embeddings(texts: Sequence[str]) -> ScoredPairs:
    from training.offline.embeddings import embed

    return judges.similarity(range(len(texts)), embed(texts))
