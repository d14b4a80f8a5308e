"""kinglet embed gives the embeddings that an independent numpy forward pass gives: cosine 0.9999 and more."""
import json
import os
import subprocess
import tempfile
import unittest

import numpy as np
import tokenizers

from reference.forward import Reference
from tiny_model import make_tiny_model

KINGLET = os.environ["KINGLET"]
TEXTS = ["The quick brown fox jumps over the lazy dog.", "A", "", "Ein Satz auf Deutsch, mit Umlauten: äöüß.",
         "def f(x): return x + 1", "Cats are animals. Dogs are animals as well, and so are birds. " * 6,
         "What is the capital of France?", "Paris is the capital of France."]


def find_minilm():
    folder = os.environ.get("KINGLET_TEST_MODELS")
    store = os.environ.get("KINGLET_HOME") or os.path.join(
        os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share"), "kinglet")
    places = ([os.path.join(folder, "all-minilm-l6-v2")] if folder else []) + [os.path.join(store, "models", "all-minilm-l6-v2")]
    return next((p for p in places if os.path.isdir(p)), None)


class Embedding(unittest.TestCase):
    def compare(self, folder, texts, *options):
        tokenizer = tokenizers.Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
        tokenizer.no_padding()
        tokenizer.no_truncation()
        ids = [tokenizer.encode(text).ids for text in texts]
        expected = Reference(folder, np.float64).embeddings(ids)
        done = subprocess.run([KINGLET, "embed", folder, *texts, "--json", *options], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        value = json.loads(done.stdout)
        got = np.array(value["embeddings"])
        self.assertEqual(value["dimensions"], expected.shape[1])
        self.assertEqual(got.shape, expected.shape)
        np.testing.assert_allclose(np.linalg.norm(got, axis=1), 1, atol=1e-5)
        cosine = (got * expected).sum(axis=1)
        self.assertGreaterEqual(float(cosine.min()), 0.9999)
        return float(cosine.min())

    def test_tiny_bert(self):
        with tempfile.TemporaryDirectory() as folder:
            model = os.path.join(folder, "bert")
            make_tiny_model(model, arch="bert", format="hf")
            self.compare(model, [t for t in TEXTS if len(t) < 100])

    def test_minilm(self):
        folder = find_minilm()
        if folder is None:
            self.skipTest("all-minilm-l6-v2 is not in the store (tools/fetch_test_models)")
        print(f"all-minilm-l6-v2: least cosine {self.compare(folder, TEXTS):.7f}")


if __name__ == "__main__":
    unittest.main()
