"""Two models that answer together: the ends of each dial are the models themselves, and what lies between is counted."""
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

    def test_what_the_large_model_thinks_of_the_answer(self):
        value = self.answer("large", PROMPTS[0], "--logprobs", "1")
        alone = -sum(token["logprob"] for token in value["logprobs"]) / 40
        said = [self.pair(PROMPTS[0], "other", "--fallback", "0", "--rollback", bound)[1]["nll"] for bound in ("0", "1000")]
        self.assertAlmostEqual(said[0], alone, 4)  # strict: its own answer
        self.assertGreater(said[1], alone)
        value = self.answer("large", PROMPTS[0], "--guard", self.paths["other"], "--guard-ratio", "0")
        other = self.answer("other", PROMPTS[0], "--logprobs", "1")
        self.assertAlmostEqual(value["guard"]["nll"], -sum(token["logprob"] for token in other["logprobs"]) / 40, 4)

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

    def guarded(self, prompt, reference, *words):
        value = self.answer("large", prompt, "--guard", self.paths[reference], *words)
        said = value["guard"]
        tokens = len(value["token_ids"])
        self.assertEqual(tokens, 40)
        # Each visit reads at most a block, and each token once, but for those that were undone.
        self.assertLessEqual(said["visits"], -(-tokens // said["block"]) + len(said["replaced"]))
        self.assertLessEqual(said["reference_rows"], value["usage"]["prompt_tokens"] + tokens + said["discarded"])
        return value["token_ids"], said

    def test_a_guard_between_the_suspect_and_the_reference(self):
        for prompt in PROMPTS[:2]:
            suspect, reference = (self.answer(name, prompt)["token_ids"] for name in ("large", "other"))
            self.assertNotEqual(suspect, reference)
            ids, said = self.guarded(prompt, "other", "--guard-ratio", "1e300")
            self.assertEqual((ids, said["replaced"]), (suspect, []))
            ids, said = self.guarded(prompt, "other", "--guard-ratio", "0")
            self.assertEqual(ids, reference)
            # A reference that is the suspect finds nothing suspicious that it would not say itself.
            ids, said = self.guarded(prompt, "large", "--guard-ratio", "1")
            self.assertEqual((ids, said["replaced"]), (suspect, []))

    def test_a_guarded_text_does_not_depend_on_the_block(self):
        found = 0
        for prompt in PROMPTS:
            one, said = self.guarded(prompt, "other", "--guard-ratio", "30", "--guard-block", "1")
            self.assertEqual(said["discarded"], len(said["replaced"]))
            found += len(said["replaced"])
            for replaced in said["replaced"]:
                self.assertGreaterEqual(replaced["ratio"], 30)
            for block in ("2", "4", "8", "64"):
                ids, again = self.guarded(prompt, "other", "--guard-ratio", "30", "--guard-block", block)
                self.assertEqual((ids, again["replaced"]), (one, said["replaced"]))
        self.assertGreater(found, 0)
        self.assertLess(found, 120)

    def test_the_last_tokens_are_checked_too(self):
        # Of three tokens with a block of 64 no block is ever full.
        for ratio, name in (("0", "other"), ("1e300", "large")):
            value = self.answer("large", PROMPTS[0], "--guard", self.paths["other"], "--guard-ratio", ratio, "--guard-block", "64", "-n", "3")
            self.assertEqual(value["token_ids"], self.answer(name, PROMPTS[0], "-n", "3")["token_ids"])

    def test_teams_heed_stop_and_many_prompts(self):
        text = self.answer("large", PROMPTS[0])["text"]
        stop = text[4:7]
        for words in (["--guard", self.paths["large"]], ["--with", self.paths["small"], "--rollback", "0"]):
            value = self.answer("large", PROMPTS[0], *words, "--stop", stop)
            self.assertEqual((value["text"], value["finish_reason"]), (text[:text.index(stop)], "stop"))
            file = os.path.join(self.temporary.name, "prompts.jsonl")
            with open(file, "w", encoding="utf-8") as out:
                out.writelines(json.dumps({"prompt": prompt}) + "\n" for prompt in PROMPTS)
            lines = subprocess.run([KINGLET, "run", self.paths["large"], "--prompts", file, "-n", "40", "--raw", "--ignore-eos", "--json",
                                    "--quiet", *words], capture_output=True, text=True, check=True).stdout.splitlines()
            self.assertEqual([json.loads(line)["token_ids"] for line in lines],
                             [self.answer("large", prompt)["token_ids"] for prompt in PROMPTS])

    def test_chat_eval_and_bench_know_teams(self):
        guard = ["--guard", self.paths["large"], "--guard-ratio", "1"]
        answers = [subprocess.run([KINGLET, "chat", self.paths["large"], "-n", "12", "--json", "--quiet", *words], input="Hi\nAnd again\n",
                                  capture_output=True, text=True, check=True).stdout for words in ([], guard)]
        self.assertEqual(*answers)
        file = os.path.join(self.temporary.name, "text.txt")
        with open(file, "w", encoding="utf-8") as out:
            out.write("the and of one two three " * 40)

        def score(name, *words):
            return json.loads(subprocess.run([KINGLET, "eval", self.paths[name], "--text", file, "--context", "64", "--json", "--quiet", *words],
                                             capture_output=True, text=True, check=True).stdout)
        large, other = score("large"), score("other")
        self.assertAlmostEqual(score("large", "--guard", self.paths["other"], "--guard-ratio", "1e300")["nll"], large["nll"], 6)
        both = score("large", "--guard", self.paths["other"], "--guard-ratio", "0")
        self.assertGreater(both["pair"]["replaced"], 0.5)  # everywhere but where both agree on the best
        some = score("large", "--with", self.paths["other"], "--fallback", "1.01")
        self.assertAlmostEqual(some["nll"], large["nll"], 6)
        self.assertEqual(some["pair"]["handed_over"], 1)
        self.assertAlmostEqual(score("large", "--with", self.paths["other"], "--fallback", "0", "--rollback", "1000")["nll"], other["nll"], 6)
        tasks = os.path.join(self.temporary.name, "tasks.jsonl")
        with open(tasks, "w", encoding="utf-8") as out:
            out.write(json.dumps({"task": "prose", "prompt": "The end"}) + "\n")
        table = json.loads(subprocess.run([KINGLET, "bench", self.paths["large"], "--strategies", "--only", "ngram", "--tasks", tasks, "--rounds",
                                           "1", "-n", "12", "--ignore-eos", "--json", *guard], capture_output=True, text=True, check=True).stdout)
        self.assertEqual([one["strategy"] for one in table["strategies"]], ["none", "ngram", "--guard " + self.paths["large"]])
        self.assertTrue(all(one["same_tokens"] for one in table["strategies"]))

    def test_what_cannot_be_is_refused(self):
        self.answer("large", "x", "--guard", self.paths["other"], "--with", self.paths["small"], status=2)
        self.answer("large", "x", "--guard", self.paths["other"], "--regex", "a+", status=2)
        self.answer("large", "x", "--guard", self.paths["other"], "--drafter", "ngram", status=2)
        self.answer("large", "x", "--with", self.paths["small"], "--temperature", "1", status=2)
        self.answer("large", "x", "--with", os.path.join(self.temporary.name, "none.gguf"), status=3)
        value = subprocess.run([KINGLET, "run", self.paths["large"], "x " * 60, "-n", "1000", "--raw", "--ignore-eos", "--json", "--with",
                                self.paths["small"]], capture_output=True, text=True, check=False)
        self.assertEqual(value.returncode, 0, value.stderr)  # the context is full: the answer ends
        self.assertEqual(json.loads(value.stdout)["finish_reason"], "length")


if __name__ == "__main__":
    unittest.main(argv=[a for a in sys.argv if a != "--full"])
