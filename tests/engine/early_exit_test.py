"""--early-exit: exits change the logits of the rows that leave and nothing else, whenever the layers above are run."""
import json
import os
import subprocess
import sys
import tempfile
import unittest

import numpy as np

KINGLET = os.environ["KINGLET"]
MAKE_TINY_MODEL = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tools", "make_tiny_model")
PROMPTS = ["the and of", "one two one two one two", "Once upon a time", "a b c"]


class EarlyExit(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory()
        cls.model = os.path.join(cls.temporary.name, "model.gguf")
        subprocess.run([sys.executable, MAKE_TINY_MODEL, "--arch", "llama", "--type", "q8_0", "--layers", "6", "--context", "1024", "--out",
                        cls.model], check=True)

    @classmethod
    def tearDownClass(cls):
        cls.temporary.cleanup()

    def kinglet(self, *words, status=0):
        done = subprocess.run([KINGLET, *words, "--quiet"], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, status, done.stderr)
        return done.stdout

    def logits(self, ids, *words):
        file, out = (os.path.join(self.temporary.name, name) for name in ("ids.json", "logits.npy"))
        with open(file, "w", encoding="utf-8") as stream:
            json.dump(ids, stream)
        value = json.loads(self.kinglet("eval", self.model, "--ids", file, "--logits", out, "--json", *words))
        return np.load(out), value

    def answers(self, *words):
        file = os.path.join(self.temporary.name, "prompts.jsonl")
        with open(file, "w", encoding="utf-8") as stream:
            stream.writelines(json.dumps({"prompt": prompt}) + "\n" for prompt in PROMPTS)
        lines = self.kinglet("run", self.model, "--prompts", file, "--raw", "--ignore-eos", "-n", "40", "--json", *words).splitlines()
        return [json.loads(line) for line in lines]

    def middle(self, ids):
        """A probability that about half of the rows reach after layer 3."""
        rows, _ = self.logits(ids, "--early-exit", "3:0")
        best = 1 / np.exp(rows - rows.max(1, keepdims=True)).sum(1)
        return float(np.median(best))

    def test_rows_that_stay_have_the_logits_of_the_whole_model(self):
        rng = np.random.default_rng(5)
        ids = [rng.integers(0, 200, 300).tolist(), rng.integers(0, 200, 40).tolist()]
        plain, _ = self.logits(ids)
        shallow, said = self.logits(ids, "--early-exit", "3:0")
        self.assertEqual(said["early_exit"]["drawn"], [340, 0])
        self.assertEqual(said["early_exit"]["mean_layers"], 3)
        never, said = self.logits(ids, "--early-exit", "2:1.5,3:2")
        self.assertTrue(np.array_equal(never, plain))
        self.assertEqual(said["early_exit"]["drawn"], [0, 0, 340])
        enough = self.middle(ids)
        some, said = self.logits(ids, "--early-exit", f"3:{enough}")
        left = np.array([np.array_equal(a, b) for a, b in zip(some, shallow)])
        self.assertEqual(int(left.sum()), said["early_exit"]["drawn"][0])
        self.assertTrue(100 < left.sum() < 240, left.sum())
        self.assertTrue(np.array_equal(some[~left], plain[~left]))
        # One token a pass: those that left early wait, and run the upper layers when another goes there.
        for chunk in ("1", "7"):
            alone, _ = self.logits(ids, "--early-exit", f"3:{enough}", "--prefill-chunk", chunk)
            self.assertTrue(np.array_equal(alone, some))
        two, said = self.logits(ids, "--early-exit", f"2:{enough},4:{enough}", "--prefill-chunk", "1")
        again, _ = self.logits(ids, "--early-exit", f"2:{enough},4:{enough}")
        self.assertTrue(np.array_equal(two, again))
        self.assertTrue(all(count > 0 for count in said["early_exit"]["drawn"]), said)

    def test_a_cut_file_has_the_logits_of_the_exit(self):
        recipe, cut = (os.path.join(self.temporary.name, name) for name in ("cut.yaml", "cut.gguf"))
        ids = [np.random.default_rng(6).integers(0, 200, 90).tolist()]
        for depth in (1, 4):
            with open(recipe, "w", encoding="utf-8") as stream:
                stream.write(f"steps: [{{fold: {{depth: {depth}}}}}]\n")
            self.kinglet("shrink", self.model, "--recipe", recipe, "-o", cut)
            self.assertEqual(json.loads(self.kinglet("inspect", cut, "--json"))["metadata"]["llama.block_count"], depth)
            whole, (shallow, _) = self.model, self.logits(ids, "--early-exit", f"{depth}:0")
            self.model = cut
            alone, _ = self.logits(ids)
            self.model = whole
            self.assertTrue(np.array_equal(alone, shallow))
        for wrong in ("depth: 6", "depth: 2, remove: 1"):
            with open(recipe, "w", encoding="utf-8") as stream:
                stream.write(f"steps: [{{fold: {{{wrong}}}}}]\n")
            self.kinglet("shrink", self.model, "--recipe", recipe, "-o", cut, status=2)

    def test_answers(self):
        plain = [a["token_ids"] for a in self.answers()]
        self.assertEqual([a["token_ids"] for a in self.answers("--early-exit", "3:1.01")], plain)
        enough = str(self.middle([list(range(100))]))
        early = self.answers("--early-exit", "3:" + enough, "--batch", "1")
        tokens = [a["token_ids"] for a in early]
        self.assertNotEqual(tokens, plain)
        self.assertLess(early[-1]["early_exit"]["mean_layers"], 6)
        # Whatever is checked in a pass, the exits decide alike.
        for words in (["--batch", "4"], ["--drafter", "ngram"], ["--drafter", "layers:2", "--batch", "1"], ["--prefill-chunk", "2"]):
            with self.subTest(words=words):
                self.assertEqual([a["token_ids"] for a in self.answers("--early-exit", "3:" + enough, *words)], tokens)

    def test_what_cannot_be_is_refused(self):
        for bad in ("3", "3:", "0:0.5", "6:0.5", "3:0.5,2:0.5", "3:0.5,", "3:-1", "x:1", "3:0.5;4:0.5"):
            self.kinglet("run", self.model, "x", "--early-exit", bad, status=2)
        self.kinglet("run", self.model, "x", "--early-exit", "3:0.5", "--cache-policy", "sink", status=4)


if __name__ == "__main__":
    unittest.main()
