"""Questions of reasoning-gym: one answer that our graders read and its scorer accepts, seeds that share nothing."""

from __future__ import annotations

import math
import pickle
import re
from fractions import Fraction
from pathlib import Path

import pytest

from t2.config import read_data
from t2.errors import T2Error
from t2.tasks import ReasoningGymTask
from t2.tasks.reasoning_gym import GENERATORS, SEED_STRIDE

NUMBERS = [name for name, generator in GENERATORS.items() if generator.numbers]
TEXTS = [name for name, generator in GENERATORS.items() if not generator.numbers]


@pytest.mark.parametrize("name", GENERATORS)
def test_answers_are_read_and_accepted(name: str) -> None:
    """By the package's own scorer too, which is asked for 1.0: it gives parts for less."""
    import reasoning_gym

    task = ReasoningGymTask({name: {}}, 40, seed=2)
    questions = task.questions()
    settings = dict(GENERATORS[name].settings)
    data = reasoning_gym.create_dataset(name, seed=2 * SEED_STRIDE, size=60, **settings)
    items = {item["question"].strip(): item for item in (data[i] for i in range(60))}
    assert len({question.id for question in questions}) == 40
    for question in questions:
        assert task.grader.gold_class(question.answer) is not None
        assert task.grader.answer_class(f"Let me see.\n#### {question.answer}") == task.grader.gold_class(
            question.answer
        )
        item = items[question.text]
        assert data.score_answer(item["answer"], item) == 1.0
        if name != "coin_flip":
            assert question.answer == item["answer"]
        assert question.family == name


def test_coin_flips_are_exact() -> None:
    """The package's answer is rounded to ten digits, so that the exact probability would be wrong."""
    told = 0
    for question in ReasoningGymTask({"coin_flip": {"min_trials": 12}}, 40).questions():
        if found := re.search(r"exactly (\d+) heads in (\d+) fair", question.text):
            heads, flips = map(int, found.groups())
            assert Fraction(question.answer) == Fraction(math.comb(flips, heads), 2**flips)
            told += 1
    assert told > 10


@pytest.mark.parametrize("names", [NUMBERS, TEXTS], ids=["numbers", "texts"])
def test_a_larger_task_has_the_smaller_as_a_prefix(names: list[str]) -> None:
    def task(num_questions: int) -> ReasoningGymTask:
        return ReasoningGymTask({name: {} for name in names}, num_questions)

    assert task(30).questions() == task(90).questions()[:30]
    assert {question.family for question in task(30).questions()} == set(names)


def test_neighbouring_seeds_share_nothing() -> None:
    """Item i of the package's seed s is drawn from s + i: 1 and 2 share all items but one."""
    first, second = (ReasoningGymTask({"chain_sum": {}}, 300, seed) for seed in (1, 2))
    assert not {q.text for q in first.questions()} & {q.text for q in second.questions()}


def test_settings_and_sizes() -> None:
    questions = ReasoningGymTask({"chain_sum": {"min_terms": 3, "max_terms": 5}, "gcd": None}, 60).questions()
    assert {question.size for question in questions if question.family == "chain_sum"} == {3, 4, 5}
    assert {question.size for question in questions if question.family == "gcd"} == {2}


def test_tasks_are_sent_to_labellers() -> None:
    task = ReasoningGymTask({"gsm_symbolic": {}, "gcd": {}}, 10)
    assert pickle.loads(pickle.dumps(task)).questions() == task.questions()
    assert pickle.loads(pickle.dumps(task)).questions() == task.questions()


@pytest.mark.parametrize(
    ("generators", "message"),
    [
        ({"countdown": {}}, r"generators with one right answer, got \['countdown'\]\. Those are .*chain_sum"),
        ({}, "at least one question and one family"),
        ({"chain_sum": {}, "word_sorting": {}}, "numbers from chain_sum and texts from word_sorting"),
        ({"chain_sum": {"terms": 3}}, "Expected settings of chain_sum that reasoning-gym takes, got"),
        ({"chain_sum": {"min_terms": 9, "max_terms": 2}}, "Expected settings of chain_sum that reasoning-gym takes"),
        ({"chain_sum": {"min_terms": "many"}}, "Expected settings of chain_sum that reasoning-gym takes"),
        ({"chain_sum": {"seed": 3}}, "Expected no setting 'seed' of chain_sum, got 3"),
        ({"fraction_simplification": {"styles": ["latex_frac"]}}, "Expected no setting 'styles'"),
    ],
)
def test_impossible_tasks(generators: dict[str, dict[str, object] | None], message: str) -> None:
    with pytest.raises(T2Error, match=message):
        ReasoningGymTask(generators).questions()


def test_a_config_names_generators_and_settings(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    generators = "{chain_sum: {min_terms: 3, max_terms: 3}, gcd: {}, lcm: null}"
    task = f"{{class_path: ReasoningGymTask, init_args: {{num_questions: 9, generators: {generators}}}}}"
    path.write_text(f"data: {{pool: {{path: p, model: m, task: {task}}}}}", encoding="utf-8")
    task_of_config = read_data(path).pool.task
    assert isinstance(task_of_config, ReasoningGymTask)
    assert (
        task_of_config.questions()
        == ReasoningGymTask({"chain_sum": {"min_terms": 3, "max_terms": 3}, "gcd": {}, "lcm": {}}, 9).questions()
    )


def test_seeds_out_of_range() -> None:
    with pytest.raises(T2Error, match="Expected `seed` from 0 to 4293, got -1"):
        ReasoningGymTask({"gcd": {}}, seed=-1)


def test_another_version_is_refused() -> None:
    task = ReasoningGymTask({"gcd": {}})
    task.pin([task.origin(), {"path": "openai/gsm8k", "revision": "x"}])
    with pytest.raises(T2Error, match=r"Expected reasoning-gym 0\.0\.1, which filled this pool, got 0\.1\."):
        task.pin([{"path": "reasoning-gym", "revision": "0.0.1"}])
