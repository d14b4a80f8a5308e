"""kinglet route and --route: the ends of the threshold are the models themselves; shares, accuracy and cost add up."""
import json
import os
import random
import subprocess
import sys
import tempfile
import unittest

KINGLET = os.environ["KINGLET"]
MAKE_TINY_MODEL = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tools", "make_tiny_model")
WORDS = ["one", "two", "three", "the", "and", "of", "a", "to"]


class Route(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory()
        cls.paths = {}
        for name, words in (("swift", ["--type", "q4_0"]), ("super", ["--type", "q8_0", "--seed", "5"])):
            cls.paths[name] = cls.file(name + ".gguf")
            subprocess.run([sys.executable, MAKE_TINY_MODEL, "--arch", "llama", "--context", "256", "--out", cls.paths[name], *words],
                           check=True)

    @classmethod
    def tearDownClass(cls):
        cls.temporary.cleanup()

    @classmethod
    def file(cls, name):
        return os.path.join(cls.temporary.name, name)

    def kinglet(self, *words, status=0):
        done = subprocess.run([KINGLET, *words, "--quiet"], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, status, done.stderr)
        return done.stdout

    def write(self, name, lines):
        with open(self.file(name), "w", encoding="utf-8") as out:
            out.writelines(json.dumps(line) + "\n" for line in lines)
        return self.file(name)

    def calibrate(self, data, *words, status=0):
        text = self.kinglet("route", "calibrate", "--data", data, "-o", self.file("pair.route"), "--json", *words, status=status)
        return json.loads(text) if status == 0 else None

    def check_ends(self, data):
        super_, swift = (self.measure(data, "--threshold", end) for end in ("1e300", "-1e300"))
        self.assertEqual((swift["share"], super_["share"]), (1, 0))
        self.assertEqual((swift["accuracy"], super_["accuracy"]), (swift["swift_accuracy"], swift["super_accuracy"]))
        self.assertAlmostEqual(swift["cost"], swift["swift_cost"])
        self.assertAlmostEqual(super_["cost"], swift["swift_cost"] + swift["super_cost"])

    def measure(self, data, *words):
        value = json.loads(self.kinglet("route", "test", self.file("pair.route"), "--data", data, "--json", *words))
        self.assertEqual(sum(one["by"] == "swift" for one in value["routed"]), round(value["share"] * value["items"]))
        self.assertTrue(all((one["score"] >= value["threshold"]) == (one["by"] == "swift") for one in value["routed"]))
        self.assertAlmostEqual(sum(one["right"] for one in value["routed"]) / value["items"], value["accuracy"])
        return value

    def test_logits_from_elsewhere(self):
        rng = random.Random(3)
        lines = []
        for _ in range(300):
            label, ease = rng.randrange(4), rng.random()
            swift = [rng.gauss(0, 1) for _ in range(4)]
            swift[label] += 4 * ease * ease  # sure where it is right
            super_ = [rng.gauss(0, 1) for _ in range(4)]
            super_[label] += 5
            lines.append({"swift": swift, "super": super_, "label": label})
        data = self.write("logits.jsonl", lines[:200])
        value = self.calibrate(data, "--goal", "super")
        self.assertGreaterEqual(value["accuracy"], value["super_accuracy"])
        self.assertGreater(value["area"]["energy"], value["area"]["random"] + 0.02)
        self.assertEqual([point["share"] for point in value["curve"]], sorted(point["share"] for point in value["curve"]))
        tested = self.measure(self.write("held.jsonl", lines[200:]))
        self.assertAlmostEqual(tested["cost"], 1 - tested["share"])
        self.check_ends(data)
        self.assertEqual(self.calibrate(data, "--share", "0.5")["share"], 0.5)
        for bad in ({"swift": [1], "super": [1], "label": 0}, {"swift": [1, 2], "super": [1, 2, 3], "label": 0}, {"label": 0},
                    {"swift": [1, 2], "super": [1, 2], "label": 2}, {"swift": [1, 2], "super": [1, 2]}, {"prompt": "x", "answer": "y"}):
            self.calibrate(self.write("bad.jsonl", [lines[0], bad]), status=2)
        self.calibrate(self.write("bad.jsonl", [{"swift": [1, 2], "super": [2, 1]}]), status=2)  # nothing to choose by
        self.calibrate(self.file("bad.jsonl"), "--share", "1")

    def test_choices(self):
        lines = [{"prompt": "one two " + a + " " + b, "choices": [" one", " two of", " and"], "label": i % 3}
                 for i, (a, b) in enumerate((a, b) for a in WORDS[:4] for b in WORDS[:3])]
        data = self.write("choices.jsonl", lines)
        models = ["--swift", self.paths["swift"], "--super", self.paths["super"], "--raw"]
        value = self.calibrate(data, *models)
        self.assertGreaterEqual(value["accuracy"], max(value["swift_accuracy"], value["super_accuracy"]) - 1e-9)
        tested = self.measure(data, "--raw")
        self.assertEqual((tested["share"], tested["accuracy"]), (value["share"], value["accuracy"]))
        self.assertAlmostEqual(tested["cost"], tested["predicted_cost"], delta=0.05 * tested["cost"])
        self.check_ends(data)
        self.kinglet("run", self.paths["swift"], "x", "--route", self.file("pair.route"), status=2)  # chooses, does not write

    def test_texts(self):
        prompts = [" ".join((a, b, a)) for a in WORDS for b in WORDS[:3]]
        data = self.write("texts.jsonl", [{"prompt": prompt} for prompt in prompts])
        options = ["--raw", "-n", "12"]
        self.calibrate(data, "--swift", self.paths["swift"], "--super", self.paths["super"], "--steps", "4", status=2)
        value = self.calibrate(data, "--swift", self.paths["swift"], "--super", self.paths["super"], "--steps", "4", "--share", "0.5", *options)
        self.assertEqual(value["share"], 0.5)
        file = self.write("prompts.jsonl", [{"prompt": prompt} for prompt in prompts])

        def run(model, *words):
            lines = self.kinglet("run", model, "--prompts", file, "--json", *options, *words).splitlines()
            return [json.loads(line) for line in lines]
        swift, super_ = (run(self.paths[name]) for name in ("swift", "super"))
        routed = run(self.paths["swift"], "--route", self.file("pair.route"))
        by = [one["route"]["by"] for one in routed]
        self.assertEqual(by.count("swift"), len(prompts) // 2)
        for one, own, other in zip(routed, swift, super_):
            self.assertEqual(one["text"], (own if one["route"]["by"] == "swift" else other)["text"])
        for threshold, expected in (("1e300", super_), ("-1e300", swift)):
            self.assertEqual([one["token_ids"] for one in run(self.paths["swift"], "--route", self.file("pair.route"), "--route-threshold", threshold)],
                             [one["token_ids"] for one in expected])
        text = self.kinglet("run", self.paths["swift"], prompts[0], "--route", self.file("pair.route"), *options)
        self.assertEqual(text.rstrip("\n"), routed[0]["text"].rstrip("\n"))  # what streams is what --json says
        self.kinglet("run", self.paths["super"], prompts[0], "--route", self.file("pair.route"), *options, status=4)  # another model

    def test_what_cannot_be_is_refused(self):
        self.kinglet("route", "calibrate", status=2)
        self.kinglet("route", "nothing", status=2)
        self.kinglet("run", self.paths["swift"], "x", "--route", self.paths["super"], status=4)
        self.kinglet("route", "calibrate", "--data", self.write("one.jsonl", [{"prompt": "x"}]), "-o", self.file("x"), status=2)


if __name__ == "__main__":
    unittest.main()
