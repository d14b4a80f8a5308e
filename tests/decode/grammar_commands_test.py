"""Structured output as the commands give it, on a tiny random model."""
import itertools
import json
import os
import subprocess
import sys
import tempfile
import unittest

KINGLET = os.environ["KINGLET"]
MAKE_TINY_MODEL = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tools", "make_tiny_model")
SCHEMA = {"type": "object",
          "properties": {"identifier": {"type": "string", "maxLength": 6}, "kind": {"enum": ["alphabetical", "alphanumeric"]},
                         "measurements": {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 99}, "minItems": 2, "maxItems": 3},
                         "confirmed": {"const": True}},
          "required": ["identifier", "kind", "measurements", "confirmed"], "additionalProperties": False}


class StructuredOutput(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory()
        cls.folder = cls.temporary.name
        cls.model = os.path.join(cls.folder, "tiny.gguf")
        subprocess.run([sys.executable, MAKE_TINY_MODEL, "--arch", "llama", "--type", "q8_0", "--context", "512", "--out", cls.model],
                       check=True)
        cls.schema = os.path.join(cls.folder, "schema.json")
        with open(cls.schema, "w", encoding="utf-8") as file:
            json.dump(SCHEMA, file)

    @classmethod
    def tearDownClass(cls):
        cls.temporary.cleanup()

    def kinglet(self, *words, status=0, stdin=""):
        done = subprocess.run([KINGLET, *words], capture_output=True, text=True, check=False, input=stdin)
        self.assertEqual(done.returncode, status, done.stderr)
        return done.stdout if status == 0 else done.stderr

    def run_json(self, *words):
        return json.loads(self.kinglet("run", self.model, "--raw", *words, "--json"))

    def check(self, text):
        value = json.loads(text)
        self.assertEqual(list(value), SCHEMA["required"])
        self.assertLessEqual(len(value["identifier"]), 6)
        self.assertIn(value["kind"], SCHEMA["properties"]["kind"]["enum"])
        self.assertIn(len(value["measurements"]), (2, 3))
        for item in value["measurements"]:
            self.assertTrue(item == int(item) and 0 <= item <= 99)  # 7.0 is an integer too
        self.assertIs(value["confirmed"], True)

    def test_forced_text_costs_no_pass_and_changes_no_token(self):
        forced = 0
        for style, temperature in itertools.product(([], ["--compact"]), ("0", "1.2")):
            words = ["A thing.", "--schema", self.schema, "-n", "400", "--temperature", temperature, "--top-k", "20", "--seed", "3", *style]
            plain = self.run_json(*words, "--no-jump-ahead")
            self.assertEqual(plain["grammar"]["forced_tokens"], 0)
            for drafter in ("none", "ngram"):
                value = self.run_json(*words, "--drafter", drafter)
                self.assertEqual(value["token_ids"], plain["token_ids"])
                self.assertEqual(list(value["grammar"]), ["compile_ms", "mask_us_p50", "mask_us_p99", "forced_tokens"])
                self.assertGreater(value["grammar"]["compile_ms"], 0)
                self.assertGreaterEqual(value["grammar"]["mask_us_p99"], value["grammar"]["mask_us_p50"])
                forced += value["grammar"]["forced_tokens"]
            if plain["finish_reason"] == "stop":
                self.check(plain["text"])
        self.assertGreater(forced, 50)

    def test_each_line_of_a_batch_has_its_own_grammar_state(self):
        prompts = os.path.join(self.folder, "prompts.jsonl")
        with open(prompts, "w", encoding="utf-8") as file:
            for word in ("one", "two words", "three little words", "and", "so on"):
                file.write(json.dumps({"prompt": word}) + "\n")
        words = ["--schema", self.schema, "--compact", "--json", "-n", "200"]
        lines = [json.loads(line) for line in self.kinglet("run", self.model, "--raw", "--prompts", prompts, "--batch", "3", *words).splitlines()]
        self.assertEqual([line["index"] for line in lines], list(range(5)))
        for line, prompt in zip(lines, ("one", "two words", "three little words", "and", "so on")):
            alone = json.loads(self.kinglet("run", self.model, prompt, "--raw", *words))
            self.assertEqual(line["token_ids"], alone["token_ids"])
            self.assertEqual(line["grammar"]["forced_tokens"], alone["grammar"]["forced_tokens"])

    def test_eval_scores_texts_of_the_grammar(self):
        text = os.path.join(self.folder, "text.json")
        with open(text, "w", encoding="utf-8") as file:
            json.dump({"identifier": "abc", "kind": "alphabetical", "measurements": [1, 22], "confirmed": True}, file)
        free = json.loads(self.kinglet("eval", self.model, "--text", text, "--json"))
        held = json.loads(self.kinglet("eval", self.model, "--text", text, "--schema", self.schema, "--json"))
        self.assertEqual(held["tokens"], free["tokens"])
        self.assertLess(held["nll"], free["nll"] / 2)
        self.kinglet("eval", self.model, "--text", text, "--choice", "yes,no", status=2)

    def test_bench_and_chat_take_a_grammar(self):
        value = json.loads(self.kinglet("bench", self.model, "--tests", "decode", "--rounds", "1", "--wait", "0", "--schema", self.schema, "--json"))
        self.assertGreater(value["decode"]["unconstrained"]["tokens_per_second"], 0)
        self.assertGreater(value["decode"]["unconstrained"]["ratio"], 0)
        answers = [json.loads(line)["text"] for line in
                   self.kinglet("chat", self.model, "--choice", "yes,no,perhaps", "--json", stdin="Well?\nSure?\n").splitlines()]
        self.assertEqual(len(answers), 2)
        self.assertTrue(set(answers) <= {"yes", "no", "perhaps"}, answers)

    def test_masks_are_what_trying_every_token_gives(self):
        cases = os.path.join(self.folder, "cases.jsonl")
        with open(cases, "w", encoding="utf-8") as file:
            for schema, data in ((SCHEMA, {"identifier": "abc", "kind": "alphabetical", "measurements": [1, 22], "confirmed": True}),
                                 ({"items": {"anyOf": [{"pattern": "^[^\\n]*$", "maxLength": 30}, {"type": "number"}]}}, ["text", 1.5, "more"])):
                file.write(json.dumps({"schema": schema, "tests": [{"data": data, "valid": True}]}) + "\n")
        lines = self.kinglet("grammar", "test", self.model, "--cases", cases, "--json", "--check-every", "1").splitlines()
        for result in map(json.loads, lines):
            self.assertEqual(result["checked_masks"], len(result["mask_us"]))
            self.assertGreater(result["checked_masks"], 9)
            self.assertEqual(result["differing_tokens"], 0)
            self.assertTrue(result["tests"][0]["accepted"])

    def test_two_kinds_at_once_are_a_mistake(self):
        self.kinglet("run", self.model, "x", "--regex", "a", "--choice", "a,b", status=2)

    def test_flags_without_what_they_are_for_are_a_mistake(self):
        for flag in ("--any-order", "--compact"):
            self.assertIn(flag, self.kinglet("run", self.model, "x", flag, status=2))
            self.assertIn(flag, self.kinglet("run", self.model, "x", "--regex", "a", flag, status=2))

    def test_errors_of_a_file_name_it(self):
        for option, text, status, part in (("--schema", '{"type":"object"', 4, "not valid JSON"), ("--schema", '{"uniqueItems":true}', 4, "uniqueItems"),
                                           ("--grammar", "root ::= foo", 2, "foo"), ("--grammar", 'root ::= "a" root', 2, "no text belongs"),
                                           ("--tags", '{"triggers":["a"]}', 2, "tags")):
            path = os.path.join(self.folder, "broken")
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
            error = self.kinglet("run", self.model, "x", option, path, status=status)
            self.assertIn("broken", error)
            self.assertIn(part, error)

    def test_an_ambiguous_grammar_says_so(self):
        grammar = 'root ::= "a" root? root? root?'
        cases = os.path.join(self.folder, "cases.jsonl")
        with open(cases, "w", encoding="utf-8") as file:
            file.write(json.dumps({"grammar": grammar, "tests": [{"data": "a" * 90, "valid": True}, {"data": "aaa", "valid": True}]}) + "\n")
        long, short = json.loads(self.kinglet("grammar", "test", self.model, "--cases", cases, "--json"))["tests"]
        self.assertIn("too ambiguous", long["error"])
        self.assertFalse(long["accepted"])
        self.assertEqual((short["accepted"], "error" in short), (True, False))


if __name__ == "__main__":
    unittest.main()
