"""The official JSON-Schema-Test-Suite (draft 2020-12), as it travels in the source distribution of jsonschema 4.23.0."""
import json
import os
import subprocess
import sys
import tempfile
import unittest

from source_archive import unpacked

KINGLET = os.environ["KINGLET"]
MAKE_TINY_MODEL = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tools", "make_tiny_model")
SHA256 = "d71497fef26351a33265337fa77ffeb82423f3ea21283cd9467bb03999266bc4"
FILES = ("additionalProperties allOf anchor anyOf boolean_schema const default defs dependentRequired dependentSchemas enum exclusiveMaximum "
         "exclusiveMinimum if-then-else infinite-loop-detection items maxItems maxLength maxProperties maximum minItems minLength minProperties "
         "minimum multipleOf not oneOf pattern patternProperties prefixItems properties propertyNames ref required type").split()
FORMATS = "date date-time duration ipv4 ipv6 uuid".split()
# Refused by name: these words stand in the error.
REFUSED = ("unevaluatedProperties", "another document")


def suite(folder):
    """The folder of the tests, or None where the network lacks them."""
    tests = os.path.join("json", "tests", "draft2020-12")
    package = unpacked("jsonschema", "4.23.0", SHA256, folder, lambda name: f"/{tests}/" in name)
    return package and os.path.join(package, tests)


class JsonSchemaSuite(unittest.TestCase):
    def test_every_verdict_is_the_suites(self):
        with tempfile.TemporaryDirectory() as folder:
            tests = suite(folder)
            if tests is None:
                self.skipTest("jsonschema 4.23.0 could not be downloaded from PyPI")
            groups = []
            for name in FILES + [os.path.join("optional", "format", f) for f in FORMATS]:
                with open(os.path.join(tests, name + ".json"), encoding="utf-8") as file:
                    groups += [(name, group) for group in json.load(file)]
            cases = os.path.join(folder, "cases.jsonl")
            with open(cases, "w", encoding="utf-8") as file:
                for _, group in groups:
                    file.write(json.dumps({"schema": group["schema"], "tests": group["tests"]}) + "\n")
            model = os.path.join(folder, "tiny.gguf")
            subprocess.run([sys.executable, MAKE_TINY_MODEL, "--arch", "llama", "--type", "q8_0", "--out", model], check=True)
            done = subprocess.run([KINGLET, "grammar", "test", model, "--cases", cases, "--any-order", "--json"], capture_output=True, text=True,
                                  check=False)
            self.assertEqual(done.returncode, 0, done.stderr)
            results = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertEqual(len(results), len(groups))
        verdicts = 0
        for (name, group), result in zip(groups, results):
            if result["error"] is not None:
                self.assertTrue(any(word in result["error"] for word in REFUSED), f"{name}: {group['description']}: {result['error']}")
                continue
            for test, got in zip(group["tests"], result["tests"]):
                verdicts += 1
                with self.subTest(file=name, group=group["description"], test=test["description"]):
                    self.assertEqual(got["accepted"], test["valid"])
        self.assertGreater(verdicts, 850)


if __name__ == "__main__":
    unittest.main()
