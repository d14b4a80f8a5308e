#!/usr/bin/env python3
"""`kinglet tokenize` equals SentencePiece on models trained here: unigram with NFKC rules, and BPE with byte fallback."""
import io
import json
import os
import struct
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools" / "reference"))

try:
    import sentencepiece
    from tokenizer_lines import make_lines
except ImportError as error:  # the packages of tools/requirements.txt
    print(f"skipped: {error}")
    sys.exit(0)

KINGLET = os.environ.get("KINGLET", str(ROOT / "build" / "release" / "kinglet"))


def fields(data):
    """(number, value) of a protocol buffer message."""
    at = 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(data):
        key = varint()
        if key & 7 == 0:
            yield key >> 3, varint()
        elif key & 7 == 2:
            size = varint()
            at += size
            yield key >> 3, data[at - size : at]
        else:
            size = 4 if key & 7 == 5 else 8
            at += size
            yield key >> 3, struct.unpack("<f" if size == 4 else "<d", data[at - size : at])[0]


def gguf(model, kind):
    """A GGUF file with the vocabulary of a SentencePiece model and no tensors."""
    pieces = [dict(fields(value)) for number, value in fields(model) if number == 1]
    rules = [dict(fields(value)).get(2, b"") for number, value in fields(model) if number == 3][0]

    def string(value):
        return struct.pack("<Q", len(value)) + value

    def array(code, values):
        return struct.pack("<IQ", code, len(values)) + b"".join(values)

    keys = [("general.architecture", 8, string(b"llama")), ("tokenizer.ggml.model", 8, string(kind.encode())),
            ("tokenizer.ggml.tokens", 9, array(8, [string(piece[1]) for piece in pieces])),
            ("tokenizer.ggml.scores", 9, array(6, [struct.pack("<f", piece.get(2, 0.0)) for piece in pieces])),
            ("tokenizer.ggml.token_type", 9, array(5, [struct.pack("<i", piece.get(3, 1)) for piece in pieces])),
            ("tokenizer.ggml.precompiled_charsmap", 9, array(0, [bytes([byte]) for byte in rules])),
            ("tokenizer.ggml.unknown_token_id", 4, struct.pack("<I", 0)), ("tokenizer.ggml.eos_token_id", 4, struct.pack("<I", 2))]
    body = b"".join(string(name.encode()) + struct.pack("<I", code) + value for name, code, value in keys)
    content = b"GGUF" + struct.pack("<IQQ", 3, 0, len(keys)) + body
    return content + bytes(-len(content) % 32)


class SentencePiece(unittest.TestCase):
    def check(self, kind, **options):
        lines = [line.decode("utf-8", "replace") for line in make_lines(3000, seed=3)]
        lines = [line for line in lines if "▁" not in line]  # it is a space to SentencePiece wherever it stands
        model = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter([line for line in lines if all(ord(c) < 0x500 for c in line)]), model_writer=model,
            vocab_size=2000, minloglevel=2, num_threads=1, **options)
        with tempfile.TemporaryDirectory(prefix="kinglet-tokenizer-") as folder:
            path, text = os.path.join(folder, "model.gguf"), os.path.join(folder, "lines.txt")
            with open(path, "wb") as file:
                file.write(gguf(model.getvalue(), kind))
            with open(text, "wb") as file:
                file.write("".join(line + "\n" for line in lines).encode())
            output = subprocess.run([KINGLET, "tokenize", path, "--file", text, "--lines", "--json"], check=True,
                                    stdout=subprocess.PIPE).stdout
        got = [json.loads(line)["ids"] for line in output.splitlines()]
        self.assertEqual(len(got), len(lines))
        processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
        for line, ids in zip(lines, got):
            self.assertEqual(ids, processor.encode(line), repr(line))

    def test_unigram_with_nfkc_rules(self):
        self.check("t5", model_type="unigram", normalization_rule_name="nmt_nfkc")

    def test_bpe_with_byte_fallback(self):
        self.check("llama", model_type="bpe", byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False)


if __name__ == "__main__":
    unittest.main()
