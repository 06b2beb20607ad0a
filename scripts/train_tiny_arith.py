"""Train `assets/tiny-arith`: a Llama of about one million parameters that does chain sums step by step.

    python scripts/train_tiny_arith.py assets/tiny-arith --steps 4000

Every training question is solved along a random valid order of summation, so that different samples take different
paths and err differently: that is what majority voting needs. Terms of three digits and long chains are rare in
training, which leaves questions from easy to hopeless. The vocabulary is single characters.
"""

from __future__ import annotations

import argparse
import math
import random
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from t2.tasks.arith import MARKER, SIZES, chain_text, signed_terms

CHARACTERS = "0123456789+-=;" + MARKER
SPECIAL = ["<pad>", "<s>", "</s>"]
UNUSED_SLOTS = 64 - len(SPECIAL) - len(CHARACTERS)
CHAT_TEMPLATE = "<s>{{ messages[-1]['content'] }}{% if add_generation_prompt %}={% endif %}"
FAMILY_WEIGHTS = {"small": 0.35, "medium": 0.45, "large": 0.20}
SIZE_WEIGHTS = [1.0, 1.0, 1.0, 1.0, 0.8, 0.6, 0.4]
MAX_TOKENS = 160


def build_tokenizer() -> PreTrainedTokenizerFast:
    """One token a character; unused slots fill the vocabulary up to 64 (a budget head serves its logits there)."""
    words = SPECIAL + list(CHARACTERS) + [f"<unused{i}>" for i in range(UNUSED_SLOTS)]
    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<pad>"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex("."), behavior="isolated")
    backend.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", pad_token="<pad>", model_max_length=256
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def solution(rng: random.Random, terms: list[int]) -> str:
    """Running totals along a random order that starts with a positive term: "7+12=19;19-5=14;#14"."""
    order = terms[:]
    rng.shuffle(order)
    first = next(i for i, term in enumerate(order) if term > 0)
    order.insert(0, order.pop(first))
    total, steps = order[0], []
    for term in order[1:]:
        steps.append(f"{total}{term:+d}={total + term};")
        total += term
    return f"{''.join(steps)}{MARKER}{total}"


def example(rng: random.Random, ids: dict[str, int]) -> tuple[list[int], int]:
    """Token ids of one solved question, and how many of them are prompt."""
    family = rng.choices(list(FAMILY_WEIGHTS), list(FAMILY_WEIGHTS.values()))[0]
    terms = signed_terms(rng, family, rng.choices(SIZES, SIZE_WEIGHTS)[0])
    prompt = ["<s>", *chain_text(terms), "="]
    return [ids[c] for c in [*prompt, *solution(rng, terms), "</s>"]], len(prompt)


def batches(rng: random.Random, size: int, ids: dict[str, int]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Token ids and labels (prompt and padding masked with -100), both of shape (size, longest), without end.

    Sixteen batches are drawn at once and sorted by length, which saves half the padding.
    """
    while True:
        pile = sorted((example(rng, ids) for _ in range(16 * size)), key=lambda row: len(row[0]))
        groups = [pile[start : start + size] for start in range(0, len(pile), size)]
        rng.shuffle(groups)
        for group in groups:
            longest = len(group[-1][0])
            tokens = torch.tensor([row + [0] * (longest - len(row)) for row, _ in group])
            labels = tokens.clone()
            for index, (row, prompt_length) in enumerate(group):
                labels[index, :prompt_length] = -100
                labels[index, len(row) :] = -100
            yield tokens, labels


def build_model(vocab_size: int) -> LlamaForCausalLM:
    """Four blocks of width 128: 0.9 M parameters."""
    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=256,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
        tie_word_embeddings=False,
    )
    return LlamaForCausalLM(config)


def train(steps: int, batch_size: int, peak_lr: float, seed: int) -> LlamaForCausalLM:
    """AdamW with linear warm-up over 3% of the steps and cosine decay to zero."""
    torch.manual_seed(seed)
    ids = build_tokenizer().get_vocab()
    model = build_model(len(ids))
    optimizer = torch.optim.AdamW(model.parameters(), lr=peak_lr, weight_decay=0.01, betas=(0.9, 0.98))
    start, running = time.monotonic(), 0.0
    for step, (tokens, labels) in zip(range(steps), batches(random.Random(seed), batch_size, ids), strict=False):
        share = step / steps
        for group in optimizer.param_groups:
            group["lr"] = peak_lr * min(share / 0.03, 0.5 * (1 + math.cos(math.pi * share)))
        loss = model(input_ids=tokens, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        running = 0.98 * running + 0.02 * loss.item()
        if (step + 1) % 50 == 0:
            minutes = (time.monotonic() - start) / 60
            print(f"step {step + 1} loss {running / (1 - 0.98 ** (step + 1)):.4f} {minutes:.1f} min", flush=True)
    return model


def main() -> None:
    """Train and save model and tokenizer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--batch-size", type=int, default=96)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    model = train(args.steps, args.batch_size, args.lr, args.seed)
    model.generation_config.max_length = None
    model.save_pretrained(args.folder)
    build_tokenizer().save_pretrained(args.folder)
    print(f"{args.steps} steps, {sum(p.numel() for p in model.parameters()):,} parameters -> {args.folder}")


if __name__ == "__main__":
    main()
