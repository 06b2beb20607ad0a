"""The server against itself without T2: `python benchmarks/serving.py [--config C --model M --head H] [--soak MIN]`.

Prints two Markdown tables. *Decision overhead*: one client, streams in turn (A B A B ...), time to the first text of a
request whose samples T2 decides over that of a stock request for as many, and prompt tokens that the engine computes;
each request has a prefix cache of its own. *Closed loop*: so many clients ask the same questions, each the next one
when it has its answer, with an empty prefix cache; T2 in one round, T2 in at most two, and adaptive self-consistency,
against the smallest fixed number that is as right as T2 in one round by the exact curves of the pool's samples. Ratios
of means, medians and percentiles have 95% intervals by the paired bootstrap over questions; of the KV cache the largest
use that was seen is compared.

`--soak` instead: so many minutes of mixed load, see `serving_soak.py`; with `--stock` of vLLM's own server and its own
requests alone, to tell whose memory grows.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from measure import ROOT, TINY, cpu_name
from serving_client import Asked, Client, Loop, closed_loop, started_server
from serving_soak import soak

from t2.answering.asking import grader_of
from t2.budget_head import BudgetHead
from t2.curves.labels import budget_labels
from t2.pools.load import load_pool
from t2.spec import Question
from t2.stats.bootstrap import Interval, resampled_rows

ONE_ROUND = 100.0
"""Accuracy points that a second wait would have to bring."""
RESAMPLES = 1000


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=TINY, help="folder of the LLM")
    parser.add_argument("--head", default=str(ROOT / "assets" / "heads" / "tiny-arith"), help="folder of the export")
    parser.add_argument("--config", default=str(ROOT / "configs" / "tiny-arith.yaml"), help="of the labelled pool")
    parser.add_argument("--questions", type=int, default=200, help="that the head has not seen")
    parser.add_argument("--first-tokens", type=int, default=100, help="questions of the decision overhead")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--times", type=int, default=3, help="that each closed loop runs")
    parser.add_argument("--soak", type=float, default=0.0, help="minutes of mixed load instead")
    parser.add_argument("--stock", action="store_true", help="soak vLLM's own server")
    args, flags = parser.parse_known_args()
    print(f"{cpu_name()}, {os.cpu_count()} cores; {Path(args.model).name}, {args.clients} clients\n")
    print("\n".join(asyncio.run(measured(args, flags))), flush=True)


async def measured(args: argparse.Namespace, flags: Sequence[str]) -> list[str]:
    """The last lines, after those that are printed as they come; `flags` go to the server."""
    head, loaded = BudgetHead.from_pretrained(args.head), load_pool(Path(args.config))
    rows = [i for i, question in enumerate(loaded.questions) if not head.has_seen(question.dedup_key)]
    rows = rows[: args.questions]
    questions = [loaded.questions[i] for i in rows]
    async with started_server(args.model, args.head, flags, args.stock) as (server, http):
        name = (await http.get("/v1/models")).json()["data"][0]["id"]
        client = Client(http, name, head.prompt, grader_of(head.record))
        if args.soak:
            return await soak(server, client, questions, args.soak * 60, args.clients, args.stock)
        await asyncio.gather(*(client.auto(question) for question in questions[: args.clients]))  # warm
        # Printed as it comes: on a real LLM the loops take half an hour.
        print("\n".join([*await overhead(client, questions[: args.first_tokens]), ""]), flush=True)
        pool = loaded.pool.take(torch.tensor(rows))
        curve_QN = budget_labels(pool, tuple(range(1, head.grid[-1] + 1)), 0.02).acc_QK.double()
        return await loops(client, questions, head.grid, curve_QN, args.clients, args.times)


async def overhead(client: Client, questions: Sequence[Question]) -> list[str]:
    """Time to the first text, and prompt tokens computed, with T2 over without."""
    ratios, seconds, tokens = [], [], []
    for question in questions:
        before = await client.computed_prompt_tokens()
        with_t2, samples = await client.first_text(question, None)
        between = await client.computed_prompt_tokens()
        without, _ = await client.first_text(question, samples)
        after = await client.computed_prompt_tokens()
        ratios.append(with_t2 / without)
        seconds.append((with_t2, without))
        tokens.append((between - before) - (after - between))
    own, bare = (statistics.median(column) for column in zip(*seconds, strict=True))
    low, high = _interval(torch.tensor(ratios), lambda values: float(values.median()))
    return [
        "| decision overhead | with T2 | without | ratio | target |",
        "|---|---|---|---|---|",
        f"| time to the first text, median of {len(questions)} | {1e3 * own:.1f} ms | {1e3 * bare:.1f} ms | "
        f"{statistics.median(ratios):.3f} [{low:.3f}, {high:.3f}] x | at most 1.10 x |",
        f"| prompt tokens computed | | | {statistics.median(tokens):.0f} more, at most {max(tokens):.0f} | one block |",
    ]


async def loops(
    client: Client,
    questions: Sequence[Question],
    grid: Sequence[int],
    curve_QN: torch.Tensor,
    clients: int,
    times: int,
) -> list[str]:
    """The closed loops, against the fixed number that is as right; exact curves of the pool's samples say which it is.

    All ways run in turn (A B C D A B C D ...), since a machine's speed changes from minute to minute.
    """
    ran: dict[str, Loop] = {}

    async def run(name: str, ask: Callable[[Question], Awaitable[Asked]]) -> None:
        again = await closed_loop(name, client, ask, questions, clients)
        ran[name] = ran[name].and_then(again) if name in ran else again

    n, expected = 0, 0.0
    for _ in range(times):
        await run("T2, one round", lambda q: client.auto(q, t2_round_price=ONE_ROUND))
        if not n:  # by one draw of each question the fixed number would be chosen by luck
            drawn_Q = ran["T2, one round"].of("samples")[:, 0].long()
            expected = float(curve_QN.gather(1, drawn_Q[:, None] - 1).mean())
            n = next((each for each in grid if float(curve_QN[:, each - 1].mean()) >= expected), grid[-1])
        await run("T2, at most 2 rounds", lambda q: client.auto(q, t2_max_rounds=2))
        await run(f"fixed n = {n}", partial(client.fixed, samples=n))
        await run("ASC 0.95, one by one", lambda q: client.asc(q, grid[-1]))
    one, two, fixed, asc = ran.values()
    lines = [
        f"| closed loop, {len(questions)} questions {times} times | right | samples | waits | questions/s | p50 | p95 "
        "| tokens a question | KV cache at most |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for each in (one, two, fixed, asc):
        seconds = each.of("seconds")
        right, samples, rounds, tokens = (each.of(field).mean() for field in ("right", "samples", "rounds", "tokens"))
        p50, p95 = (1e3 * seconds.quantile(q) for q in (0.5, 0.95))
        lines.append(
            f"| {each.name} | {right:.3f} | {samples:.2f} | {rounds:.2f} | {clients / seconds.mean():.2f} | "
            f"{p50:.0f} ms | {p95:.0f} ms | {tokens:.1f} | {each.peak_kv_use:.3f} |"
        )
    own = float(curve_QN[:, n - 1].mean())
    lines += ["", f"Right by the pool's exact curves: T2 in one round {expected:.3f}, fixed n = {n} {own:.3f}."]
    lines += ["", f"| over {fixed.name} | questions/s | p50 | p95 | tokens | KV cache |", "|---|---|---|---|---|---|"]
    for each in (one, two, asc):
        parts = [str(ratio) for ratio in ratios_of(each, fixed)]
        peak = each.peak_kv_use / fixed.peak_kv_use if fixed.peak_kv_use else float("nan")
        lines.append(f"| {each.name} | {' | '.join(parts)} | {peak:.2f} |")
    return lines


def ratios_of(ours: Loop, bare: Loop) -> list[Interval]:
    """Questions a second (as clients over mean time of a question), p50, p95 and tokens; ours over bare."""
    ours_QT, bare_QT = ours.of("seconds"), bare.of("seconds")
    token_Q2 = torch.stack([ours.of("tokens").mean(1), bare.of("tokens").mean(1)], 1)

    def statistic(rows: torch.Tensor | slice) -> list[float]:
        a_QT, b_QT, tokens = ours_QT[rows], bare_QT[rows], token_Q2[rows].sum(0)
        speed = float(b_QT.mean() / a_QT.mean())
        slow = (float(a_QT.quantile(q) / b_QT.quantile(q)) for q in (0.5, 0.95))
        return [speed, *slow, float(tokens[0] / tokens[1])]

    drawn = torch.tensor([statistic(rows) for rows in resampled_rows(len(ours_QT), RESAMPLES)], dtype=torch.float64)
    bounds = torch.quantile(drawn, torch.tensor([0.025, 0.975], dtype=torch.float64), dim=0).T.tolist()
    return [Interval(value, *bound) for value, bound in zip(statistic(slice(None)), bounds, strict=True)]


def _interval(value_Q: torch.Tensor, statistic: Callable[[torch.Tensor], float]) -> tuple[float, float]:
    drawn = torch.tensor([statistic(value_Q[rows]) for rows in resampled_rows(len(value_Q), RESAMPLES)])
    low, high = torch.quantile(drawn, torch.tensor([0.025, 0.975])).tolist()
    return low, high


if __name__ == "__main__":
    main()
