"""Tasks: where questions come from. Each question has one gold answer that its task's grader reads."""

from t2.tasks.arith import ArithTask
from t2.tasks.hub import HubTask
from t2.tasks.jsonl import JsonlTask
from t2.tasks.math_steps import MathStepsTask
from t2.tasks.pool import PoolTask
from t2.tasks.puzzles import PuzzleTask
from t2.tasks.reasoning_gym import ReasoningGymTask

__all__ = ["ArithTask", "HubTask", "JsonlTask", "MathStepsTask", "PoolTask", "PuzzleTask", "ReasoningGymTask"]
