"""What ends an answer: the tokenizer's end token and those that the model's files name, as vLLM takes them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from helpers.scripted import TINY_ARITH

from t2.errors import T2Error
from t2.sampling import ScriptedSampler, VLLMSampler
from t2.sampling.end_tokens import end_token_ids


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(TINY_ARITH, tmp_path / "model")
    return tmp_path / "model"


def names(folder: Path, file: str, ends: object) -> None:
    content = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps(content | {"eos_token_id": ends}))


@pytest.mark.parametrize(("named", "ends"), [(2, (2,)), (5, (2, 5)), ([7, 2, 5], (2, 5, 7)), (None, (2,))])
def test_the_generation_config_counts_beside_the_tokenizer(
    folder: Path, named: int | list[int] | None, ends: tuple[int, ...]
) -> None:
    names(folder, "generation_config.json", named)
    names(folder, "config.json", 9)
    assert end_token_ids(folder) == ends


def test_without_it_the_config_counts(folder: Path) -> None:
    """The same pool took samples of both: answers ended at other places, and nobody noticed."""
    (folder / "generation_config.json").unlink()
    names(folder, "config.json", [4, 2])
    assert end_token_ids(folder) == (2, 4)


def test_files_that_say_nothing_readable_are_one_line(folder: Path) -> None:
    (folder / "generation_config.json").write_text("{")
    with pytest.raises(T2Error, match=r"generation_config\.json or config\.json in .*Restore the model") as caught:
        end_token_ids(folder)
    assert "\n" not in str(caught.value)


def test_a_sampler_records_its_settings_and_what_ends_an_answer(folder: Path) -> None:
    names(folder, "generation_config.json", [2, 5])
    sampler = VLLMSampler(max_tokens=7)
    assert sampler.recorded(str(folder)) == sampler.settings.as_json() | {"end_token_ids": [2, 5]}
    scripted = ScriptedSampler({})  # its answers end where the script says
    assert scripted.recorded(str(folder)) == scripted.settings.as_json()
