#!/usr/bin/env python3
"""Compares `kinglet tokenize` with the reference tokenizers line by line.

    tools/reference/compare_tokenizers.py MODEL... [--lines 24000] [--seed 1] [--special] [--program build/release/kinglet]

MODEL is a GGUF file or a Hugging Face folder. The exit status is 1 where any line differs.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from tokenizer_lines import make_lines  # noqa: E402
from tokenizer_oracles import oracles_of  # noqa: E402


def kinglet_ids(program, model, lines, special=False):
    """The ids that the program prints for each line."""
    with tempfile.NamedTemporaryFile(suffix=".txt") as file:
        file.write(b"".join(line + b"\n" for line in lines))
        file.flush()
        command = [program, "tokenize", model, "--file", file.name, "--lines", "--json"] + ["--special"] * special
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    ids = [json.loads(line)["ids"] for line in output.splitlines()]
    if len(ids) != len(lines):
        raise SystemExit(f"{program} printed {len(ids)} lines for {len(lines)}")
    return ids


def compare(program, model, lines, special=False, shown=3):
    """Prints one row an oracle; the number of lines that differ from any."""
    got = kinglet_ids(program, model, lines, special)
    worst = 0
    for name, oracle in oracles_of(model, special):
        wrong = 0
        for line, ids in zip(lines, got):
            expected = list(oracle.encode(line))
            if ids == expected:
                continue
            wrong += 1
            if wrong <= shown:
                print(f"  {line[:200]!r}\n    expected {expected[:60]}\n    got      {ids[:60]}")
        tokens = sum(map(len, got))
        mode = "special" if special else "plain"
        print(f"{model} ({name}, {mode}): {len(lines) - wrong} of {len(lines)} lines equal, {tokens} tokens")
        worst = max(worst, wrong)
    return worst


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("models", nargs="+")
    parser.add_argument("--lines", type=int, default=24000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--special", action="store_true")
    parser.add_argument("--program", default=os.path.join(os.path.dirname(__file__), "../../build/release/kinglet"))
    arguments = parser.parse_args()
    lines = make_lines(arguments.lines, arguments.seed)
    broken = sum(line.decode("utf-8", "replace").encode() != line for line in lines)
    print(f"{len(lines)} lines, {sum(map(len, lines))} bytes, {broken} lines with ill-formed UTF-8")
    wrong = [compare(arguments.program, model, lines, arguments.special) for model in arguments.models]
    return 1 if any(wrong) else 0


if __name__ == "__main__":
    sys.exit(main())
