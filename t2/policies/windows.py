"""`ESC` and `Doubling`: stop when a window, or a large share of all answers, agrees."""

from __future__ import annotations

import torch
from torch import Tensor

from t2.errors import T2Error
from t2.policies.base import Replay
from t2.policies.engine_axes import held_tokens
from t2.policies.orders import Orders
from t2.policies.states import vote_states
from t2.policies.stopping import Sequential, TableRule, replay_of, stop_table
from t2.voting import ABSTAINED


class ESC(Sequential):
    """Early-stopping self-consistency (Li et al. 2024, arXiv 2401.10480): windows of `window` samples, one a round.

    Stops after a window in which all answers agree. An abstention breaks unanimity; the last window before the cap may
    be short, and then says nothing by agreeing (one answer always does). The vote is over all drawn samples;
    `answer="window"` takes the unanimous window's answer instead.
    """

    def __init__(self, window: int = 5, cap: int = 32, answer: str = "all") -> None:
        if window < 2:
            raise T2Error(f"Expected an ESC window of at least 2 samples, got {window}.")
        if answer not in ("all", "window"):
            raise T2Error(f"Expected ESC `answer` to be 'all' or 'window', got {answer!r}.")
        self.window, self.cap, self.answer = window, cap, answer

    def replay(self, orders: Orders) -> Replay:
        num = min(self.cap, orders.vote_RQM.shape[2])
        limit_Q = orders.limit_Q.clamp(max=num)
        drawn_N = torch.arange(1, num + 1)
        is_full_N = drawn_N % self.window == 0
        agreed_RQN = is_full_N & (_agreeing_run(orders.vote_RQM[..., :num]) >= self.window)
        stop_RQN = agreed_RQN | (drawn_N >= limit_Q[:, None])
        last_RQ = stop_RQN.int().argmax(2)[..., None]
        correct_RQ = orders.leader_right_RQM.gather(2, last_RQ)
        if self.answer == "window":
            own_RQ = orders.right_RQM.gather(2, last_RQ)
            correct_RQ = torch.where(agreed_RQN.gather(2, last_RQ), own_RQ, correct_RQ)
        used_RQ = last_RQ.squeeze(2) + 1
        rounds_RQ = (used_RQ + self.window - 1) // self.window
        path_RQ, held_RQ = self._axes(orders.tokens_RQM[..., :num], rounds_RQ)
        return replay_of(
            orders,
            correct=correct_RQ.squeeze(2),
            samples=used_RQ,
            tokens=orders.tokens_RQM.cumsum(2).gather(2, last_RQ).squeeze(2),
            rounds=rounds_RQ,
            peak=used_RQ.clamp(max=self.window),
            critical_path=path_RQ,
            held_tokens=held_RQ,
        )

    def _axes(self, tokens_RQN: Tensor, rounds_RQ: Tensor) -> tuple[Tensor, Tensor]:
        """Critical path and most tokens held, from the windows that were drawn; padding has 0 tokens."""
        short = -tokens_RQN.shape[2] % self.window
        tokens_RQWV = torch.nn.functional.pad(tokens_RQN, (0, short))
        tokens_RQWV = tokens_RQWV.reshape(*tokens_RQN.shape[:2], -1, self.window)
        drawn_RQW = torch.arange(tokens_RQWV.shape[2]) < rounds_RQ[..., None]
        return (tokens_RQWV.amax(3) * drawn_RQW).sum(2), (held_tokens(tokens_RQWV) * drawn_RQW).amax(2)


def _agreeing_run(vote_RQN: Tensor) -> Tensor:
    """How many samples, up to and with each, gave the same answer in a row; 0 for an abstention."""
    run_RQN = (vote_RQN > ABSTAINED).long()
    for n in range(1, vote_RQN.shape[2]):
        # 1 starts a run, the run before goes on if the answers are equal, and an abstention stays 0.
        run_RQN[..., n] *= 1 + run_RQN[..., n - 1] * (vote_RQN[..., n] == vote_RQN[..., n - 1])
    return run_RQN


class Doubling(TableRule):
    """Look after 2, 4, 8, ... samples; stop when the leader has at least `share` of all drawn, or at the cap.

    Abstentions count among the drawn. Looks that could not stop whatever comes are skipped, which saves rounds only.
    """

    def __init__(self, share: float = 0.8, cap: int = 32) -> None:
        """Set the share in (0.5, 1] and the cap in samples."""
        if not 0.5 < share <= 1:
            raise T2Error(f"Expected a Doubling share above 0.5 and at most 1, got {share}.")
        states = vote_states(cap)
        looks_S = (states.drawn_S >= 2) & ((states.drawn_S & (states.drawn_S - 1)) == 0)
        agreed_S = states.first_S >= share * states.drawn_S - 1e-9
        self.share = share
        super().__init__(stop_table((looks_S & agreed_S)[None], states))
