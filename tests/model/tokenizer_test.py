#!/usr/bin/env python3
"""`kinglet tokenize` gives the reference tokenizers' ids on 2,000 lines, for each real model that is present.

The models are those of KINGLET_TEST_MODELS (a folder), or of Kinglet's store.
"""
import os
import sys
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools" / "reference"))

try:
    from compare_tokenizers import compare
    from tokenizer_lines import make_lines
except ImportError as error:  # the packages of tools/requirements.txt
    print(f"skipped: {error}")
    sys.exit(0)

KINGLET = os.environ.get("KINGLET", str(ROOT / "build" / "release" / "kinglet"))
LINES = 2000


def find_model(*names):
    store = os.environ.get("KINGLET_HOME") or os.path.join(
        os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share"), "kinglet")
    for folder in (os.environ.get("KINGLET_TEST_MODELS"), os.path.join(store, "models"), store):
        for name in names:
            if folder and os.path.exists(os.path.join(folder, name)):
                return os.path.join(folder, name)
    return None


class Tokenize(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lines = make_lines(LINES)

    def check(self, *names):
        model = find_model(*names)
        if model is None:
            self.skipTest(f"{names[0]} is not in KINGLET_TEST_MODELS nor in the store")
        for special in (False, True):
            self.assertEqual(compare(KINGLET, model, self.lines, special), 0, "lines differ from the reference")

    def test_smollm2(self):
        self.check("smollm2-135m-instruct.gguf")

    def test_gemma(self):
        self.check("gemma-3-270m.gguf")

    def test_qwen(self):
        self.check("qwen2.5-coder-0.5b-instruct.gguf")

    def test_minilm(self):
        self.check("all-minilm-l6-v2")


if __name__ == "__main__":
    unittest.main()
