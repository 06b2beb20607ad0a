"""What a pool looks like on disk: folder layout, Parquet schemas, format version. `docs/FORMATS.md` describes it."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

POOL_FORMAT = "t2-pool"
POOL_FORMAT_VERSION = 1
IMPORTED_FORMAT_VERSION = 3
"""Of imported pools, whose further columns decide grades and cost: a reader of version 1 must not ignore them."""
NFKC_FORMAT_VERSION = 2
"""Of imported pools whose given classes were compared by NFKC and lower case, for which 10⁶ was 106."""

SAMPLE_SCHEMA = pa.schema(
    [
        ("question_id", pa.string()),
        ("draw", pa.int32()),  # 0..M-1; GREEDY_DRAW (-1) is the greedy answer
        ("num_tokens", pa.int32()),  # generated tokens, the end token included
        ("token_ids", pa.list_(pa.int32())),
        ("text", pa.string()),
        ("finish_reason", pa.string()),  # "stop" is finished, all others abstain
        ("engine_seed", pa.int64()),
        ("writer", pa.string()),
        ("attempt", pa.int32()),  # ordinal of the labelling process in this pool, from 1
    ]
)

QUESTION_SCHEMA = pa.schema(
    [
        ("question_id", pa.string()),
        ("text", pa.string()),
        ("answer", pa.string()),
        ("dedup_key", pa.string()),
        ("family", pa.string()),
        ("size", pa.int32()),
        ("prompt_ids", pa.list_(pa.int32())),
    ]
)


IMPORTED_SAMPLE_SCHEMA = pa.schema(
    [
        *SAMPLE_SCHEMA,
        ("given_class", pa.string()),  # by the file's own flags or string equality; null abstains
        ("given_answer", pa.string()),  # the bare answer, which graders read; null: they read the text
    ]
)

IMPORTED_QUESTION_SCHEMA = pa.schema([*QUESTION_SCHEMA, ("prompt_tokens", pa.int32())])  # 0: unknown


class PoolPaths:
    """Names inside a pool's folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.spec = root / "pool.json"
        """model, prompt and sampling of the pool; written once"""
        self.questions = root / "questions.parquet"
        """questions with their prompts; replaced whole when questions are added"""
        self.origins = root / "origins.jsonl"
        """where questions came from that the config alone does not decide: a data set's commit on the hub"""
        self.shards = root / "shards"
        """immutable sample shards; only those that a manifest names count"""
        self.manifests = root / "manifests"
        """one append-only JSONL a writer: shard, rows, bytes, SHA-256"""
        self.grades = root / "grades"
        """sidecars keyed by grader version; derived, safe to delete"""
        self.lock = root / "lock"
        """held by the labelling process"""
        self.heartbeat = root / "heartbeat.json"
        """who labels, how far it is, when it last said so"""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PoolPaths) and self.root == other.root

    def __hash__(self) -> int:
        return hash(self.root)
