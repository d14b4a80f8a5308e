"""Weights that do not fit in --weight-memory, and trees of drafts for them: the same tokens, bytes counted, memory kept."""
import json
import os
import subprocess
import sys
import tempfile
import unittest

KINGLET = os.environ["KINGLET"]
MAKE_TINY_MODEL = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tools", "make_tiny_model")
PROMPTS = ["the and of", "one two one two one two", "Once upon a time"]


class Streaming(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory()
        cls.paths = {}
        for name, words in (("large", ["--type", "q8_0"]), ("other", ["--type", "q8_0", "--seed", "5"])):
            cls.paths[name] = os.path.join(cls.temporary.name, name + ".gguf")
            subprocess.run([sys.executable, MAKE_TINY_MODEL, "--arch", "llama", "--context", "256", "--layers", "8", "--width", "128",
                            "--out", cls.paths[name], *words], check=True)
        cls.paths["small"] = os.path.join(cls.temporary.name, "small.gguf")
        subprocess.run([KINGLET, "convert", cls.paths["large"], "--type", "q5_0", "-o", cls.paths["small"], "--quiet"], check=True,
                       stdout=subprocess.DEVNULL)
        cls.plain = cls.answers()
        cls.model = json.loads(subprocess.run([KINGLET, "bench", cls.paths["large"], "--tests", "decode", "--rounds", "1", "--wait", "0", "--json",
                                               "--quiet"], capture_output=True, text=True, check=True).stdout)["model"]

    @classmethod
    def tearDownClass(cls):
        cls.temporary.cleanup()

    @classmethod
    def run_kinglet(cls, *words, **environment):
        return subprocess.run([KINGLET, *words, "--quiet"], capture_output=True, text=True, check=False,
                              env={**os.environ, "TMPDIR": cls.temporary.name, **environment})

    @classmethod
    def answers(cls, *words):
        found = []
        for prompt in PROMPTS:
            done = cls.run_kinglet("run", cls.paths["large"], prompt, "--raw", "--ignore-eos", "-n", "32", "--json", *words)
            if done.returncode != 0:
                raise AssertionError(done.stderr)
            found.append(json.loads(done.stdout))
        return found

    def tokens(self, answers):
        return [answer["token_ids"] for answer in answers]

    def test_streamed_layers_give_the_same_tokens_within_the_memory(self):
        whole = self.model["weight_bytes"]
        for share in (0.6, 0.8):
            cap = int(share * whole)
            for words in ([], ["--no-read-ahead"], ["--threads", "1", "--drafter", "layers:2"])[: 3 if share < 0.7 else 1]:
                with self.subTest(share=share, words=words):
                    answers = self.answers("--weight-memory", str(cap), *words)
                    self.assertEqual(self.tokens(answers), self.tokens(self.plain))
                    for answer in answers:
                        memory = answer["memory"]
                        self.assertLessEqual(memory["weight_bytes"], cap)
                        self.assertGreater(memory["streamed_layers"], 0)
                        # Without reading ahead each layer is read when it is needed, so at most once a pass.
                        if words == ["--no-read-ahead"]:
                            self.assertGreaterEqual(memory["bytes_read"], 32 * (whole - memory["weight_bytes"]))
        answers = self.answers("--weight-memory", str(2 * whole))
        self.assertNotIn("streamed_layers", answers[0]["memory"])

    def test_trees_make_passes_and_bytes_fewer(self):
        cap = str(int(0.6 * self.model["weight_bytes"]))
        control = self.answers("--weight-memory", cap, "--no-read-ahead")
        for small in ("large", "small", "other"):
            for words in (["--with", self.paths[small], "--policy", "llmcad"],
                          ["--drafter", "tree," + self.paths[small], "--branch-prob", "0.02", "--draft-budget", "48", "--tree-passes", "6"]):
                with self.subTest(small=small, words=words):
                    answers = self.answers("--weight-memory", cap, "--no-read-ahead", *words)
                    self.assertEqual(self.tokens(answers), self.tokens(self.plain))
                    said = [answer["speculation"] for answer in answers]
                    self.assertTrue(all(one["accepted"] + one["target_passes"] == 32 for one in said))
                    self.assertGreater(sum(one["drafted"] for one in said), 0)
                    if small != "other" and "--tree-passes" in words:
                        read, before = (sum(a["memory"]["bytes_read"] for a in each) for each in (answers, control))
                        self.assertLess(1.3 * read, before)

    def test_a_smaller_chunk_takes_less_memory(self):
        words = ["--weight-memory", str(int(0.6 * self.model["weight_bytes"])), "--drafter", "tree," + self.paths["small"]]
        peaks = []
        for chunk in ("0", "64", "1"):
            answers = self.answers(*words, "--prefill-chunk", chunk)
            self.assertEqual(self.tokens(answers), self.tokens(self.plain))
            peaks.append(min(answer["memory"]["peak_bytes"] for answer in answers))
        self.assertLess(peaks[1] + 1_000_000, peaks[0])  # two workspaces of 512 rows are some megabytes more

    def test_a_drafter_with_more_rows_than_tokens_drafts_by_way_of_text(self):
        # Its tokens are the target's, its vocabulary is not: it has to bring a tokenizer of its own.
        path = os.path.join(self.temporary.name, "wider.gguf")
        subprocess.run([sys.executable, MAKE_TINY_MODEL, "--arch", "llama", "--context", "256", "--layers", "2", "--width", "128",
                        "--vocabulary", "700", "--out", path], check=True)
        answers = self.answers("--drafter", path)
        self.assertEqual(self.tokens(answers), self.tokens(self.plain))
        self.assertGreater(sum(a["speculation"]["drafted"] for a in answers), 0)
        done = self.run_kinglet("run", self.paths["large"], "x", "--drafter", "tree," + path)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("another vocabulary", done.stderr)

    def test_a_wider_tree_contains_the_chain(self):
        passes = []
        for probability in ("1", "0.02"):
            answers = self.answers("--drafter", "tree," + self.paths["small"], "--tree-passes", "5", "--draft-budget", "64",
                                   "--branch-prob", probability)
            self.assertEqual(self.tokens(answers), self.tokens(self.plain))
            passes.append(sum(a["speculation"]["target_passes"] for a in answers))
        self.assertLessEqual(passes[1], passes[0] + 1)

    def test_too_little_memory_says_what_is_needed(self):
        done = self.run_kinglet("run", self.paths["large"], "x", "--weight-memory", "10kB")
        self.assertEqual(done.returncode, 5, done.stderr)
        self.assertIn("Give at least", done.stderr)
        done = self.run_kinglet("run", self.paths["large"], "x", "--weight-memory", str(int(0.6 * self.model["weight_bytes"])),
                                TMPDIR=os.path.join(self.temporary.name, "none"))
        self.assertEqual(done.returncode, 3, done.stderr)
        self.assertEqual(self.run_kinglet("run", self.paths["large"], "x", "--with", self.paths["small"], "--policy", "llmcad", "--drafter",
                                          "ngram").returncode, 2)

    def test_bench_and_eval_stream_too(self):
        cap = str(int(0.6 * self.model["weight_bytes"]))
        file = os.path.join(self.temporary.name, "text.txt")
        with open(file, "w", encoding="utf-8") as out:
            out.write("the and of one two three " * 40)
        scores = []
        for words in ([], ["--weight-memory", cap]):
            done = self.run_kinglet("eval", self.paths["large"], "--text", file, "--context", "64", "--json", *words)
            scores.append(json.loads(done.stdout)["nll"])
        self.assertEqual(*scores)


if __name__ == "__main__":
    unittest.main()
