"""`kinglet audit`: what a suspect says that a reference would hardly say, as `run --guard` judges it."""
import json
import os
import subprocess
import sys
import tempfile
import unittest

KINGLET = os.environ["KINGLET"]
MAKE_TINY_MODEL = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tools", "make_tiny_model")
PROMPTS = ["the and of", "one two one two one two", "Once upon a time"]
TOKENS = 24


class Audit(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory()
        cls.paths = {}
        for name, words in (("suspect", []), ("reference", ["--seed", "5"]), ("gemma", ["--arch", "gemma3"])):
            cls.paths[name] = os.path.join(cls.temporary.name, name + ".gguf")
            subprocess.run([sys.executable, MAKE_TINY_MODEL, "--arch", "llama", "--type", "q8_0", "--context", "256", "--out",
                            cls.paths[name], *words], check=True)
        cls.prompts = os.path.join(cls.temporary.name, "prompts.jsonl")
        with open(cls.prompts, "w", encoding="utf-8") as out:
            out.writelines(json.dumps({"prompt": prompt}) + "\n" for prompt in PROMPTS)

    @classmethod
    def tearDownClass(cls):
        cls.temporary.cleanup()

    def kinglet(self, *words, status=0):
        done = subprocess.run([KINGLET, *words], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, status, done.stderr)
        return done.stdout if status == 0 else done.stderr

    def audit(self, reference, *words, status=0):
        return self.kinglet("audit", self.paths["suspect"], "--guard", self.paths[reference], "--prompts", self.prompts, "-n", str(TOKENS),
                            "--raw", "--ignore-eos", *words, status=status)

    def answers(self, *words):
        lines = self.kinglet("run", self.paths["suspect"], "--prompts", self.prompts, "-n", str(TOKENS), "--raw", "--ignore-eos", "--json",
                             "--quiet", *words)
        return [json.loads(line) for line in lines.splitlines()]

    def test_spans_begin_where_the_guard_would_replace(self):
        plain = self.answers()
        for ratio in ("3", "30"):
            value = json.loads(self.audit("reference", "--json", "--top", "0", "--guard-ratio", ratio))
            self.assertEqual((value["answers"], value["tokens"]), (3, 3 * TOKENS))
            places = {}
            for span in value["spans"]:
                self.assertLessEqual(span["suspicious"], span["tokens"])
                self.assertGreaterEqual(span["ratio"], float(ratio))
                for place in span["places"]:
                    if "<" not in span["text"]:  # control tokens are no text of an answer
                        self.assertIn(span["text"], plain[place["answer"]]["text"])
                    places.setdefault(place["answer"], []).append((place["position"], span["tokens"]))
            for each in places.values():  # spans do not meet
                each.sort()
                self.assertTrue(all(a + tokens < b for (a, tokens), (b, _) in zip(each, each[1:])))
            guarded = self.answers("--guard", self.paths["reference"], "--guard-ratio", ratio)
            first = {i: answer["guard"]["replaced"][0]["position"] for i, answer in enumerate(guarded) if answer["guard"]["replaced"]}
            self.assertEqual({i: each[0][0] for i, each in places.items()}, first)
            self.assertGreater(len(first), 0)
            self.assertEqual([span["log_ratio"] for span in value["spans"]], sorted((s["log_ratio"] for s in value["spans"]), reverse=True))
            self.assertEqual(json.loads(self.audit("reference", "--json", "--top", "1", "--guard-ratio", ratio))["spans"], value["spans"][:1])

    def test_a_model_finds_nothing_in_itself(self):
        value = json.loads(self.audit("suspect", "--json", "--guard-ratio", "1"))
        self.assertEqual((value["suspicious"], value["spans"]), (0, []))
        self.assertIn("0 (0.0 %)", self.audit("suspect"))

    def test_the_table(self):
        lines = self.audit("reference", "--top", "2", "--guard-ratio", "3").splitlines()
        self.assertTrue(lines[0].startswith("3 answers, 72 tokens"), lines[0])
        self.assertEqual(len(lines), 4)

    def test_what_cannot_be_is_refused(self):
        self.assertIn("vocabular", self.audit("gemma", status=2))
        self.assertIn("--prompts", self.kinglet("audit", self.paths["suspect"], "--guard", self.paths["reference"], status=2))
        empty = os.path.join(self.temporary.name, "empty.jsonl")
        with open(empty, "w", encoding="utf-8") as out:
            out.write("\n")
        self.assertIn("no prompt", self.kinglet("audit", self.paths["suspect"], "--guard", self.paths["reference"], "--prompts", empty, status=2))
        with open(empty, "w", encoding="utf-8") as out:
            out.write('{"text": "x"}\n')
        self.assertIn(":1", self.kinglet("audit", self.paths["suspect"], "--guard", self.paths["reference"], "--prompts", empty, status=2))


if __name__ == "__main__":
    unittest.main()
