"""Write the model cards from the figures that the build measured."""

from __future__ import annotations

from collections.abc import Mapping

Metrics = Mapping[str, Mapping[str, float]]

_HEAD = """---
license: apache-2.0
language: en
library_name: transformers
pipeline_tag: text-generation
tags: [miniature, arithmetic, {tag}]
---

"""

_REASONER = """# deepprune miniature: reasoner

A Llama of {parameters:,.0f} parameters ({megabytes:.1f} MB in float16). It computes sums of
products modulo 10 in words, and errs often enough for its traces to disagree. It makes real
sampling, judging and pruning possible on a machine without an accelerator.

## Use

Send one user message through the chat template, for example:

> What is 7 × 8 × 3 + 4 × 9 + 6 × 6 × 2 × 7 + 5 - 2 modulo 10?

Sample at temperature {temperature:g}, up to {max_tokens:.0f} tokens; in vLLM on a CPU with
`dtype="float32"` and `enforce_eager=True`. The answer is in `\\boxed{{}}`.

## Data and training

`miniature/problems.py` generates all problems and worked solutions; there is no other data. The
reasoner trains from random weights with cross-entropy on the solutions, in two stages. First the
solutions are correct. Then they contain errors: products of four or five factors are off by one or
two, more often with more large factors, and the rest of the solution carries the error on. Without
the second stage a model of this size solves nearly every problem, and votes have nothing to decide.
A hash of the expression assigns a problem to its split, so the measured problems are not in the
training data.

`python -m miniature.build` builds all models of the miniature in {duration} on
{cores:.0f} cores with nothing else running.

## Measured

On {num_problems:.0f} held-out problems, {num_traces:.0f} traces each, sampled with vLLM on a CPU.

| figure | value |
|---|---|
| accuracy of one trace | {single_accuracy:.3f} |
| accuracy of the majority | {majority_accuracy:.3f} |
| pairs of traces with the same answer | {same_pair_share:.3f} |
| tokens in a trace, mean | {mean_tokens:.0f} |
| traces that end in a boxed answer | {boxed_share:.4f} |

## Limits

It solves no other task, wording or modulus. Its check of a solution restates the solution and finds
no errors. It says nothing about the reasoning of large models.

## Licence

Apache-2.0.
"""

_JUDGED = """## Measured

On {num_pairs:.0f} pairs of problems outside the training data of both models
(share of pairs with the same answer: {same_share:.2f}).

| figure | value |
|---|---|
| AUROC, pooled | {auroc:.3f} |
| AUROC within a problem, mean of {num_contested_problems:.0f} problems | {auroc_within:.3f} |
| TNR at FNR 0.2 | {tnr:.3f} |
| expected calibration error | {expected_calibration_error:.3f} |
"""

_ENCODER = (
    """# deepprune miniature: encoder judge

A Llama of {parameters:,.0f} parameters ({megabytes:.1f} MB in float16) and a small head,
`head.safetensors`. It reads a problem and the first {checkpoint} tokens of a trace of the
miniature reasoner once, and encodes them as one vector. The head compares two vectors and returns
P(same): the probability that their traces end in the same answer.

## Use

Set `judge: {{kind: encoder, folder: miniature/encoder}}` in a run, as the configuration `laptop`
does. `encoder.json` holds the checkpoint, the calibration and the threshold, {tau:g}.

## Data and training

The pairs are those of the pairwise judge. Training starts from the reasoner's weights. A batch is
all pairs of 16 traces of a problem; the loss is cross-entropy on the label.

"""
    + _JUDGED
    + """
## Limits

It only compares traces of this reasoner, of one problem, at this checkpoint.

## Licence

Apache-2.0.
"""
)

_JUDGE = (
    """# deepprune miniature: judge

A Llama of {parameters:,.0f} parameters ({megabytes:.1f} MB in float16). It reads the first
{checkpoint} tokens of two traces of the miniature reasoner and returns P(same): the probability
that they end in the same answer.

## Use

`judge.json` holds the prompt template, the two answer tokens, the checkpoint, the calibration
(`slope`, `shift`) and the threshold, {tau:g}. The prompt has the earlier trace first, so that
comparisons share its part in the prefix cache, and omits the question. The log-odds of P(same) are
those of `yes` against `no` for the next token, calibrated.

## Data and training

The reasoner samples traces of problems in a split of their own. Pairs are in random order, labelled
by equality of the boxed answers. Training starts from the reasoner's weights. The loss is
cross-entropy on the answer token plus a share of the language-modelling loss on the prefixes.

"""
    + _JUDGED
    + """
Greedy clustering with this judge on {num_problems:.0f} of these problems, 64 traces each. "All at
once" runs every trace to the checkpoint and finishes 20 traces of the largest cluster. "One by one"
launches traces until a cluster has 20.

| rule | accuracy | tokens | traces launched |
|---|---|---|---|
| majority of 64 | {cons_accuracy:.3f} | 1.00 | 64 |
| pruned, all at once | {all_accuracy:.3f} | {all_token_share:.2f} | {all_launched:.0f} |
| pruned, one by one | {lazy_accuracy:.3f} | {lazy_token_share:.2f} | {lazy_launched:.0f} |

Tokens are the reasoner's, without the judge's.

## Limits

It only compares traces of this reasoner, of one problem, at this checkpoint.

## Licence

Apache-2.0.
"""
)


def reasoner_card(metrics: Metrics) -> str:
    """Return the `README.md` of the reasoner."""
    built = metrics["build"]
    if "minutes" in built:
        duration = f"about {built['minutes']:.0f} minutes"
    else:
        duration = (
            f"an estimated {built['estimated_minutes']:.0f} minutes\n"
            "(the shipped weights come from the same steps, run in several parts)"
        )
    figures = {**metrics["reasoner"], **metrics["sampling"], **built, "duration": duration}
    return _HEAD.format(tag="reasoning") + _REASONER.format(**figures)


def encoder_card(metrics: Metrics, checkpoint: int) -> str:
    """Return the `README.md` of the encoder judge."""
    figures = {**metrics["encoder"], "checkpoint": checkpoint}
    return _HEAD.format(tag="judge") + _ENCODER.format(**figures)


def judge_card(metrics: Metrics, checkpoint: int) -> str:
    """Return the `README.md` of the pairwise judge."""
    figures = {**metrics["pruning"], **metrics["judge"], "checkpoint": checkpoint}
    return _HEAD.format(tag="judge") + _JUDGE.format(**figures)
