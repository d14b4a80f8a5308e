"""run BIG --with SMALL: the ends of the dial are the models themselves, and what lies between is counted."""
import json
import os
import subprocess
import sys
import tempfile
import unittest

KINGLET = os.environ["KINGLET"]
FULL = "--full" in sys.argv
MAKE_TINY_MODEL = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tools", "make_tiny_model")
PROMPTS = ["the and of", "one two one two one two", "Once upon a time"]


class Pair(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory()
        cls.paths = {}
        for name, words in (("large", ["--type", "q8_0"]), ("small", ["--type", "q4_0"]), ("other", ["--type", "q8_0", "--seed", "5"])):
            cls.paths[name] = os.path.join(cls.temporary.name, name + ".gguf")
            subprocess.run([sys.executable, MAKE_TINY_MODEL, "--arch", "llama", "--context", "256", "--out", cls.paths[name], *words],
                           check=True)

    @classmethod
    def tearDownClass(cls):
        cls.temporary.cleanup()

    def answer(self, model, prompt, *words, status=0):
        done = subprocess.run([KINGLET, "run", self.paths[model], prompt, "-n", "40", "--raw", "--ignore-eos", "--json", *words],
                              capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, status, done.stderr)
        return json.loads(done.stdout) if status == 0 else None

    def pair(self, prompt, small, *words):
        value = self.answer("large", prompt, "--with", self.paths[small], *words)
        said = value["pair"]
        self.assertEqual(len(value["token_ids"]), 40)
        self.assertEqual(value["finish_reason"], "length")
        self.assertLessEqual(said["rollbacks"], said["visits"])
        return value["token_ids"], said

    def test_strict_and_always_handing_over_are_the_large_model(self):
        for prompt in PROMPTS:
            expected = self.answer("large", prompt)["token_ids"]
            for small in ("small", "other"):
                ids, said = self.pair(prompt, small, "--rollback", "0", "--fallback", "0")
                self.assertEqual(ids, expected)
                self.assertFalse(said["lossy"])
                ids, said = self.pair(prompt, small, "--fallback", "1.01")
                self.assertEqual(ids, expected)
                self.assertEqual((said["small_tokens"], said["visits"]), (0, 40))

    def test_never_undone_the_small_model_writes_all_but_the_visits(self):
        for prompt in PROMPTS:
            ids, said = self.pair(prompt, "other", "--fallback", "0", "--rollback", "1000")
            self.assertEqual((said["rollbacks"], said["wasted"]), (0, 0))
            self.assertEqual(said["small_tokens"], 40 - 4)  # one token of the large model, then one after every ten
            self.assertEqual(ids[0], self.answer("large", prompt)["token_ids"][0])

    def test_a_model_with_itself_agrees(self):
        ids, said = self.pair(PROMPTS[0], "large", "--fallback", "0", "--rollback", "0")
        self.assertEqual(ids, self.answer("large", PROMPTS[0])["token_ids"])
        self.assertEqual((said["rollbacks"], said["wasted"]), (0, 0))
        self.assertLessEqual(said["visits"], 5)

    def test_a_looser_rollback_undoes_less(self):
        undone = [sum(self.pair(prompt, "other", "--fallback", "0", "--rollback", str(bound))[1]["rollbacks"] for prompt in PROMPTS)
                  for bound in (0, 5, 8, 1000)]
        self.assertGreater(undone[0], 0)
        self.assertEqual(undone[-1], 0)
        self.assertGreaterEqual(undone[0], undone[2])

    def test_what_cannot_be_is_refused(self):
        self.answer("large", "x", "--with", self.paths["small"], "--temperature", "1", status=2)
        self.answer("large", "x", "--with", os.path.join(self.temporary.name, "none.gguf"), status=3)
        value = subprocess.run([KINGLET, "run", self.paths["large"], "x " * 60, "-n", "1000", "--raw", "--ignore-eos", "--json", "--with",
                                self.paths["small"]], capture_output=True, text=True, check=False)
        self.assertEqual(value.returncode, 0, value.stderr)  # the context is full: the answer ends
        self.assertEqual(json.loads(value.stdout)["finish_reason"], "length")


if __name__ == "__main__":
    unittest.main(argv=[a for a in sys.argv if a != "--full"])
