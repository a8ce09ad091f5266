"""The tables on disk: one Arrow schema for each kind of Parquet file this project writes.

A run is a folder that holds `config.yaml` and some of these tables, each a folder of parts.
Problem ids are `benchmark/id`. `cell` identifies a policy with its settings, judge and seed
(`deepprune.cells`): traces and scores belong to the outcome with the same `problem_id`, `model` and
`cell`. It is null in tables from before it was recorded.
"""

from __future__ import annotations

from dataclasses import fields

import pyarrow as pa

from deepprune.ledger import Ledger

LEDGER_FIELDS = [
    (field.name, pa.float64() if field.name.endswith("_s") else pa.int64())
    for field in fields(Ledger)
]

TRACES = pa.schema(
    [
        pa.field("benchmark", pa.string(), nullable=False),
        pa.field("problem_id", pa.string(), nullable=False),
        ("problem", pa.string()),
        ("reference", pa.string()),
        ("model", pa.string()),
        ("policy", pa.string()),
        ("cell", pa.string()),
        ("sample", pa.int32()),
        ("seed", pa.int64()),
        ("text", pa.string()),
        ("token_ids", pa.list_(pa.int32())),
        ("num_tokens", pa.int32()),
        ("prefix_chars", pa.int32()),
        ("prefix_tokens", pa.int32()),
        ("finish_reason", pa.string()),
        ("closed_tokens", pa.int32()),
        ("fate", pa.string()),
        ("reason", pa.string()),
        ("answer", pa.string()),
        ("confidence", pa.list_(pa.float32())),
        ("confidence_window", pa.int32()),
        ("error", pa.string()),
    ]
)
"""One row per launched trace.

`seed` is the trace's own; `prefix_chars` and `prefix_tokens` say where it was judged; `policy` and
`cell` are null where traces were only collected; `closed_tokens` are those at which its thought was
closed, null if it was not; `error` says what became of a trace that was lost.
The `confidence` readings are group confidences, one as soon as `confidence_window` tokens are
there, one every sixteenth of a window after that, and one at the end.
"""

SCORES = pa.schema(
    [
        pa.field("benchmark", pa.string(), nullable=False),
        pa.field("problem_id", pa.string(), nullable=False),
        ("model", pa.string()),
        ("policy", pa.string()),
        ("cell", pa.string()),
        ("judge", pa.string()),
        ("reads", pa.string()),
        ("checkpoint", pa.string()),
        ("first", pa.int32()),
        ("second", pa.int32()),
        ("p_same", pa.float32()),
    ]
)
"""One row per judged pair: P(same) of the prefixes of samples `first` and `second`, as shown.

`policy` and `cell` are null where all pairs were scored, for no policy in particular. `reads` says
what the judge's language model had to read for all of them: nothing, prefixes, or (also if null)
pairs.
"""

_VOTE = pa.struct(
    [
        ("answer", pa.string()),
        ("count", pa.int32()),
        ("samples", pa.list_(pa.int32())),
        ("weight", pa.float64()),
    ]
)
_END = pa.struct(
    [
        ("sample", pa.int32()),
        ("fate", pa.string()),
        ("reason", pa.string()),
        ("num_tokens", pa.int32()),
    ]
)
_EVENT = pa.struct([("kind", pa.string()), ("sample", pa.int32())])

OUTCOMES = pa.schema(
    [
        pa.field("benchmark", pa.string(), nullable=False),
        pa.field("problem_id", pa.string(), nullable=False),
        ("reference", pa.string()),
        ("model", pa.string()),
        ("driver", pa.string()),
        ("policy", pa.string()),
        ("cell", pa.string()),
        ("judge", pa.string()),
        ("num_traces", pa.int32()),
        ("checkpoint", pa.string()),
        ("tau", pa.float64()),
        ("settings", pa.string()),
        ("seed", pa.int64()),
        ("answer", pa.string()),
        ("correct", pa.bool_()),
        ("complete", pa.bool_()),
        ("votes", pa.list_(_VOTE)),
        ("clusters", pa.list_(pa.list_(pa.int32()))),
        ("ends", pa.list_(_END)),
        ("events", pa.list_(_EVENT)),
        ("rounds", pa.int32()),
        ("sequential_tokens", pa.int64()),
        *LEDGER_FIELDS,
    ]
)
"""One row per problem, model, policy with its settings, judge and seed.

`driver` is `live` or `replay`; `settings` is the policy's section of the configuration as JSON, of
which `num_traces`, `checkpoint` and `tau` are repeated as columns; `judge` is null where nothing is
judged. Samples are those of the traces table, also where a replay drew them in another order.
`votes` come with the weight they carried; `ends` holds each launched trace; `events` the order in
which the policy was told what happened (empty in a replay: it follows from the seed); `rounds` is
the longest chain of generations each of which had to wait for the one before, `sequential_tokens`
the tokens of the longest such chain (null in runs from before it was recorded). The ledger's
entries are columns, its seconds virtual in a replay.
"""
