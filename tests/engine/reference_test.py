"""The engine's logits are those of an independent numpy forward pass, for every architecture and block type."""
import json
import os
import subprocess
import tempfile
import unittest

import numpy as np

from reference.forward import Reference
from tiny_model import make_tiny_model

KINGLET = os.environ["KINGLET"]
GENERATORS = ["llama", "qwen2", "qwen3", "gemma2", "gemma3"]
BLOCK_TYPES = ["q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "iq4_nl", "iq4_xs"]


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(command)} ended with status {done.returncode}: {done.stderr}")
    return done.stdout


class ReferenceTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def path(self, name):
        return os.path.join(self.folder, name)

    def make(self, arch, kind="f32", form="gguf", **options):
        out = self.path(f"{arch}-{kind}.gguf" if form == "gguf" else f"{arch}-{kind}")
        return make_tiny_model(out, arch=arch, type=kind, format=form, **options)

    def sequences(self, model, sizes=(70, 1, 23)):
        vocabulary = Reference(model).file.tensors["token_embd.weight"][1][0]
        random = np.random.default_rng(5)
        return [random.integers(0, vocabulary, size).tolist() for size in sizes]

    def kinglet(self, model, sequences, *options):
        with open(self.path("ids.json"), "w", encoding="utf-8") as file:
            json.dump(sequences, file)
        out = self.path("out.npy")
        said = run(KINGLET, "eval", model, "--ids", self.path("ids.json"), "--logits", out, "--json", *options)
        return np.load(out), json.loads(said)

    def assert_close(self, got, expected, bound, what):
        self.assertEqual(got.shape, expected.shape)
        scale = expected.std(axis=1, keepdims=True)
        self.assertLess(float(np.max(np.abs(got - expected) / scale)), bound, what)

    def test_f32_logits_of_every_architecture(self):
        for arch in GENERATORS:
            for options in ({}, {"heads": 6, "kv_heads": 3, "head_length": 24, "width": 96, "layers": 4}):
                model = self.make(arch, **options)
                sequences = self.sequences(model)
                got, said = self.kinglet(model, sequences, "--cache", "f32")
                expected = Reference(model, np.float64).logits(sequences)
                self.assert_close(got, expected, 1e-3, f"{arch} {options}")
                self.assert_scores(said, expected, sequences)

    def assert_scores(self, said, logits, sequences):
        """The perplexity that eval prints is that of the second half of each sequence."""
        total = logits - logits.max(axis=1, keepdims=True)
        log_p = total - np.log(np.exp(total).sum(axis=1, keepdims=True))
        nll, at = [], 0
        for sequence in sequences:
            nll += [-log_p[at + i - 1, sequence[i]] for i in range(len(sequence) // 2 + 1, len(sequence))]
            at += len(sequence)
        self.assertEqual(said["tokens"], len(nll))
        self.assertAlmostEqual(said["nll"], np.mean(nll), places=3)
        self.assertAlmostEqual(said["perplexity"] / np.exp(np.mean(nll)), 1, places=3)

    def test_block_types_within_the_rounding_of_activations(self):
        """Activations are rounded to int8 for block types: about 1 % of a row's spread, and never a different model."""
        for kind in BLOCK_TYPES:
            model = self.make("llama", kind, width=256, feed_forward=512)
            sequences = self.sequences(model, (40,))
            got, _ = self.kinglet(model, sequences, "--cache", "f32")
            expected = Reference(model, np.float64).logits(sequences)
            self.assert_close(got, expected, 0.25, kind)
            error = np.sqrt(np.mean((got - expected) ** 2) / np.mean(expected ** 2))
            self.assertLess(float(error), 0.04, kind)

    def test_half_precision_types(self):
        for kind in ("f16", "bf16"):
            model = self.make("llama", kind)
            sequences = self.sequences(model)
            got, _ = self.kinglet(model, sequences, "--cache", "f32")
            self.assert_close(got, Reference(model, np.float64).logits(sequences), 1e-3, kind)

    def test_cache_types(self):
        model = self.make("gemma3")
        sequences = self.sequences(model)
        expected = Reference(model, np.float64).logits(sequences)
        for cache, bound in (("f16", 0.01), ("bf16", 0.08), ("int8", 0.15)):
            self.assert_close(self.kinglet(model, sequences, "--cache", cache)[0], expected, bound, cache)

    def test_a_hugging_face_folder_is_the_same_model(self):
        for arch in GENERATORS:
            gguf, folder = self.make(arch), self.make(arch, form="hf")
            sequences = self.sequences(gguf)
            a, b = self.kinglet(gguf, sequences)[0], self.kinglet(folder, sequences)[0]
            self.assert_close(b, a, 1e-5, arch)

    def test_another_rope_base(self):
        model = self.make("llama", rope_base=500000.0)
        sequences = self.sequences(model)
        self.assert_close(self.kinglet(model, sequences, "--cache", "f32")[0],
                          Reference(model, np.float64).logits(sequences), 1e-3, "rope base")


if __name__ == "__main__":
    unittest.main()
