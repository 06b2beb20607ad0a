"""The benchmarks' own checks: against linear programs, and that each fails where its promise is broken."""

from __future__ import annotations

import importlib
import runpy
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import linprog

from t2.api.conversation import HeadPrompt
from t2.policies.batch_budget import allocate
from t2.spec import PromptSpec, Question, Shot

FOLDER = Path(__file__).parents[2] / "benchmarks"
GRID = (1, 3, 5, 7, 9, 12, 16, 24, 32)
PARTS = (
    "curves",
    "features",
    "backbone",
    "label",
    "batch_budget",
    "bootstrap",
    "curse",
    "planner",
    "carried",
    "voting",
)


@pytest.fixture(scope="module")
def benchmark() -> Iterator[Callable[[str], ModuleType]]:
    """Import a benchmark as `benchmarks/run.py` does, and forget its short name afterwards."""
    before = set(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        yield importlib.import_module
    for name in set(sys.modules) - before:
        if Path(getattr(sys.modules[name], "__file__", None) or "/").parent == FOLDER:
            del sys.modules[name]


@pytest.fixture(scope="module")
def batch_budget(benchmark: Callable[[str], ModuleType]) -> ModuleType:
    return benchmark("batch_budget")


def rough_batch(num: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Any curves: most budgets are off the hull."""
    rng = np.random.default_rng(seed)
    return rng.random((num, len(GRID))), rng.uniform(5, 200, (num, 1)) * GRID


def whole_batch(num: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Small whole numbers: equal slopes, budgets on a line, totals that are spent exactly."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 5, (num, len(GRID))) / 4, rng.integers(1, 3, (num, 1)) * np.array(GRID, dtype=float)


def totals(tokens: np.ndarray, shares: tuple[float, ...]) -> list[float]:
    low, high = tokens[:, 0].sum(), tokens[:, -1].sum()
    return [float(np.ceil(low + share * (high - low))) for share in shares]


def linear_relaxation(accuracy: np.ndarray, tokens: np.ndarray, total: float) -> float:
    """The largest accuracy where a question may have parts of several budgets: a linear program."""
    num, budgets = accuracy.shape
    one_each = np.kron(np.eye(num), np.ones(budgets))
    found = linprog(-accuracy.ravel(), tokens.reshape(1, -1), [total], one_each, np.ones(num), bounds=(0, 1))
    assert found.success
    return -float(found.fun)


@pytest.mark.parametrize("batch", [rough_batch, whole_batch])
@pytest.mark.parametrize("seed", range(5))
def test_bound_is_the_linear_programs(batch_budget: ModuleType, batch: Callable[..., Any], seed: int) -> None:
    """The price's bound, and the steps taken until the total is spent, the last one in part."""
    accuracy, tokens = batch(12, seed)
    steps = batch_budget.hull_steps(accuracy, tokens)
    assert (np.diff(steps.slope) <= 0).all()
    spent, won = (np.concatenate([[0.0], np.cumsum(of)]) for of in (steps.cost, steps.gain))
    for total in totals(tokens, (0, 0.01, 0.2, 0.4, 0.7, 1, 1.5)):
        expected = linear_relaxation(accuracy, tokens, total)
        bound, step_gain = batch_budget.lagrangian_bound(accuracy, tokens, total, steps)
        assert bound == pytest.approx(expected, abs=1e-7)
        assert accuracy[:, 0].sum() + np.interp(total - tokens[:, 0].sum(), spent, won) == pytest.approx(bound)
        refused = steps.gain[spent[1:] > total - tokens[:, 0].sum() + 1e-9]
        assert step_gain >= (refused[0] if len(refused) else 0) - 1e-12
        assert (step_gain > 0) == bool(len(refused))


def test_hull_by_hand(batch_budget: ModuleType) -> None:
    """A late rise takes two budgets off the chain, budgets on a line are steps of their own, falling ends count not."""
    accuracy = np.array([[0, 0.2, 0.25, 0.9], [0.25, 0.5, 0.75, 0.5], [0.4, 0.3, 0.2, 0.1], [0, 0.5, 0.25, 0.5]])
    steps = batch_budget.hull_steps(accuracy, np.array([[1.0, 2, 3, 4]] * 4))
    assert [tuple(step) for step in zip(*steps, strict=True)] == [
        (0.5, 1, 0.5),
        (pytest.approx(0.3), 3, 0.9),
        (0.25, 1, 0.25),
        (0.25, 1, 0.25),
    ]


# Allocations that keep the promises, and that break one


def greedy(accuracy: np.ndarray, tokens: np.ndarray, total: float) -> np.ndarray:
    return allocate(torch.tensor(accuracy), torch.tensor(tokens), total).numpy()


def overspending(accuracy: np.ndarray, tokens: np.ndarray, total: float) -> np.ndarray:
    """Steps that do not fit are taken too."""
    return greedy(accuracy, tokens, 1.01 * total)


def two_steps_short(accuracy: np.ndarray, tokens: np.ndarray, total: float) -> np.ndarray:
    index, less = greedy(accuracy, tokens, total), total
    for _ in range(2):
        spent = np.take_along_axis(tokens, index[:, None], 1).sum()
        while (found := greedy(accuracy, tokens, less := min(less, spent) - 1)).tolist() == index.tolist():
            pass
        index = found
    return index


def off_the_hull(accuracy: np.ndarray, tokens: np.ndarray, total: float) -> np.ndarray:
    """Climbs while the very next budget is better: stops before a late rise."""
    rising = np.minimum.accumulate(np.diff(accuracy, axis=1) > 0, axis=1).sum(1)
    known = np.where(np.arange(accuracy.shape[1]) <= rising[:, None], accuracy, 0)
    return greedy(known, tokens, total)


def same_for_all(accuracy: np.ndarray, tokens: np.ndarray, total: float) -> np.ndarray:
    largest = int(np.flatnonzero(tokens.sum(0) <= total)[-1])
    return np.full(len(tokens), largest)


def filling(accuracy: np.ndarray, tokens: np.ndarray, total: float) -> np.ndarray:
    """What is left goes to whatever later step still fits: a better allocation, but not nested."""
    index = greedy(accuracy, tokens, total)
    left = total - np.take_along_axis(tokens, index[:, None], 1).sum()
    for question in range(len(tokens)):
        for budget in range(int(index[question]) + 1, tokens.shape[1]):
            cost = tokens[question, budget] - tokens[question, index[question]]
            if cost <= left and accuracy[question, budget] > accuracy[question, index[question]]:
                left, index[question] = left - cost, budget
    return index


PROMISES = ("worst_overspent", "worst_gap_in_steps", "worst_given_less")


def broken_promises(figures: dict[str, Any]) -> set[str]:
    limits = dict(zip(PROMISES, (0, 1, 0), strict=True))
    return {name for name, limit in limits.items() if figures[name] > limit}


@pytest.mark.parametrize("batch", [rough_batch, whole_batch])
@pytest.mark.parametrize("seed", range(10))
def test_greedy_keeps_its_promises(batch_budget: ModuleType, batch: Callable[..., Any], seed: int) -> None:
    accuracy, tokens = batch(60, seed)
    allocations = [(t, greedy(accuracy, tokens, t)) for t in totals(tokens, (0, 0.1, 0.3, 0.301, 0.31, 0.8, 1, 2))]
    figures = batch_budget.checked(accuracy, tokens, batch_budget.hull_steps(accuracy, tokens), allocations)
    assert batch_budget.broken(figures) == []
    assert figures["worst_overspent"] <= 0 <= figures["worst_gap_in_steps"] <= 1


@pytest.mark.parametrize(
    ("mutant", "promises", "words"),
    [
        (overspending, {"worst_overspent"}, "tokens more than the total"),
        (two_steps_short, {"worst_gap_in_steps"}, "hull steps below the Lagrangian bound, expected at most 1"),
        (off_the_hull, {"worst_gap_in_steps"}, "hull steps below the Lagrangian bound, expected at most 1"),
        (same_for_all, {"worst_gap_in_steps"}, "hull steps below the Lagrangian bound, expected at most 1"),
        (filling, {"worst_given_less"}, "a larger total gave less to"),
    ],
)
def test_each_check_fails(
    batch_budget: ModuleType, mutant: Callable[..., np.ndarray], promises: set[str], words: str
) -> None:
    """Only the promise that is broken is told of."""
    accuracy, tokens = rough_batch(200, seed=3)
    allocations = [(t, mutant(accuracy, tokens, t)) for t in totals(tokens, (0.2, 0.202, 0.21))]
    figures = batch_budget.checked(accuracy, tokens, batch_budget.hull_steps(accuracy, tokens), allocations)
    assert broken_promises(figures) == promises
    (told,) = batch_budget.broken(figures)
    assert words in told


def test_a_broken_promise_is_no_row(batch_budget: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = {"seconds": 3.6, "peak_mib": 1000.0, "inputs_mib": 400.0, "ratio": 15.0, "worst_choices": 0}
    figures |= {"worst_overspent": -8.0, "worst_gap_in_steps": 0.4, "worst_given_less": 0}
    rough = {"worst_overspent": -9.0, "worst_gap_in_steps": 0.5, "worst_given_less": 0}
    monkeypatch.setattr(batch_budget, "medians", lambda measured, repeats: dict(figures))
    monkeypatch.setattr(batch_budget, "in_process", lambda measured: rough)
    assert "8.000 tokens or more left, 0.500 hull steps or less" in batch_budget.rows(1)[0]
    rough["worst_given_less"] = 2
    with pytest.raises(SystemExit, match=r"^BatchBudget: a larger total gave less to 2 questions$"):
        batch_budget.rows(1)


@pytest.mark.parametrize("size", [1, 700])
def test_small_batch_budget(batch_budget: ModuleType, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    threads = torch.get_num_threads()
    monkeypatch.setattr(batch_budget, "QUESTIONS", size)
    monkeypatch.setattr(batch_budget, "PLAIN_QUESTIONS", 100)
    try:
        figures, rough = batch_budget.measured(), batch_budget.rough_curves()
    finally:
        torch.set_num_threads(threads)
    assert figures["worst_choices"] == 0
    assert batch_budget.broken(figures) == batch_budget.broken(rough) == []
    assert min(figures["worst_gap_in_steps"], rough["worst_gap_in_steps"]) > 0.99, "all but a step"


def test_rough_curves_are_rough(batch_budget: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the smooth ones a policy without a hull would pass, on the rough ones there is less to sort."""
    monkeypatch.setattr(batch_budget, "QUESTIONS", 1000)
    smooth, rough = ([x.double().numpy() for x in batch_budget._inputs(noise)] for noise in (0.0, 0.05))
    assert len(batch_budget.hull_steps(*smooth).cost) > 7000
    assert len(batch_budget.hull_steps(*rough).cost) < 4000


# Repeats


@pytest.mark.parametrize("name", PARTS)
def test_each_benchmark_repeats(
    benchmark: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Four of six took `repeats` and ran once, or three times, whatever it was."""
    part, asked = benchmark(name), []

    def runs(*arguments: Any, **_: Any) -> None:
        asked.append(arguments[-1])
        raise InterruptedError

    for how in ("medians", "in_turn", "in_process"):
        monkeypatch.setattr(part, how, runs, raising=False)
    with pytest.raises(InterruptedError):
        part.rows(7)
    assert asked == [7]


def test_medians_and_the_worst(benchmark: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch) -> None:
    measure, runs = benchmark("measure"), iter([(1.0, 0), (9.0, 3), (2.0, 1)])
    monkeypatch.setattr(
        measure, "in_process", lambda _: dict(zip(("seconds", "worst_choices"), next(runs), strict=True))
    )
    assert measure.medians(lambda: {}, 3) == {"seconds": 2.0, "worst_choices": 3}
    assert next(runs, None) is None


def test_a_process_gets_its_arguments(benchmark: Callable[[str], ModuleType]) -> None:
    measure = benchmark("measure")
    assert measure.in_process(measure.peak_mib) > 1


def test_run_passes_repeats(
    benchmark: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = benchmark("run")
    assert set(run.PARTS) == set(PARTS)
    monkeypatch.setattr(run, "PARTS", {"curves": lambda repeats: [f"| {repeats} |"]})
    monkeypatch.setattr(sys, "argv", ["run.py", "--repeats", "5"])
    run.main()
    assert "| 5 |" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["run.py", "--repeats", "0"])
    with pytest.raises(SystemExit):
        run.main()
    assert "expected --repeats of at least 1, got 0" in capsys.readouterr().err


def test_the_gpu_s_benchmark_needs_one_and_names_it(
    benchmark: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gpu = benchmark("gpu")
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--repeats", "5"])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="Expected an NVIDIA GPU that torch sees, got none"):
        gpu.main()
    for part in (gpu.features, gpu.backbone):
        monkeypatch.setattr(part, "rows", lambda repeats, case: [f"| {case}, {repeats} runs |"])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "A GPU")
    gpu.main()
    printed = capsys.readouterr().out
    assert printed.startswith("A GPU, torch ")
    assert printed.count("| 1.5b, 5 runs |") == 2


def test_ratios_of_serving_are_those_of_the_same_questions(benchmark: Callable[[str], ModuleType]) -> None:
    """Twice as fast on every question, with a third of the tokens: no interval is left, since questions are paired."""
    serving, client = benchmark("serving"), benchmark("serving_client")
    seconds = np.random.default_rng(0).uniform(0.1, 2.0, (2, 40))

    def loop(name: str, part: float, tokens: int) -> Any:
        first, again = (
            client.Loop(name, [[client.Asked(part * s, tokens * i, True, 3, 1)] for i, s in enumerate(times, 1)], 0.5)
            for times in seconds
        )
        return first.and_then(again)

    bare, ours = loop("bare", 1.0, 30), loop("ours", 0.5, 10)
    assert ours.of("seconds").shape == (40, 2)
    expected = [2.0, 0.5, 0.5, 1 / 3]
    for interval, value in zip(serving.ratios_of(ours, bare), expected, strict=True):
        assert [interval.value, interval.low, interval.high] == pytest.approx([value] * 3)
    slower = serving.ratios_of(bare, ours)
    assert [interval.value for interval in slower] == pytest.approx([1 / value for value in expected])


def test_a_benchmark_that_is_run_by_itself_finds_its_functions(
    benchmark: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`python benchmarks/voting.py` ended in a traceback: its functions are of `__main__` there."""
    measure = benchmark("measure")
    (tmp_path / "some.py").write_text("def figures(*given): return {'sum': sum(given)}\ndef wrong(): return 1 / 0\n")
    monkeypatch.setattr(measure, "FOLDER", str(tmp_path))
    some = runpy.run_path(str(tmp_path / "some.py"), run_name="__main__")
    assert measure.in_process(some["figures"], 3, 4) == {"sum": 7}
    with pytest.raises(SystemExit, match=r"some\.wrong ended with 1:(.|\n)*ZeroDivisionError"):
        measure.in_process(some["wrong"])


def test_stock_requests_and_t2s_have_the_prompt_of_the_head(benchmark: Callable[[str], ModuleType]) -> None:
    """T2 would complete a bare question, and a stock request would have a shorter prompt: nothing could be compared."""
    spec = PromptSpec(system="Be brief.", shots=[Shot("1+1", "2")], template_arguments={"enable_thinking": False})
    question = Question("q", "3+4", "7", "3+4")
    client = benchmark("serving_client").Client(None, "llm", spec, None)
    body = client.body(question)
    assert HeadPrompt(spec).completed(body) == (body, "as sent")
    assert [message["content"] for message in body["messages"]] == ["Be brief.", "1+1", "2", "3+4"]
    assert body["chat_template_kwargs"] == {"enable_thinking": False}
    client.forget_prompts()
    salted = client.body(question)
    assert salted.pop("cache_salt")
    assert salted == body
