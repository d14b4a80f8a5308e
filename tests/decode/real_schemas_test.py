"""Schemas of the packages kubernetes-validate and check-jsonschema, with random instances that another validator judges."""
import copy
import glob
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import unittest

from source_archive import unpacked

try:
    import fastjsonschema
except ImportError:
    fastjsonschema = None

KINGLET = os.environ["KINGLET"]
MAKE_TINY_MODEL = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tools", "make_tiny_model")
KUBERNETES = ("kubernetes-validate", "1.33.1", "53635bf66a5e04901209ae7f6aff0e8c19efa145cc9a90872344c92a31353a99")
CHECK_JSONSCHEMA = ("check-jsonschema", "0.39.0", "33340a2f885e207411c7a7d1db0a052ba24a4e58c92a47f54231e4a128af2764")
# What stands in the error of those that Kinglet refuses.
REFUSED = {"bitbucket-pipelines.json": "additionalProperties", "citation-file-format.json": "uniqueItems", "compose-spec.json": "unevaluatedProperties",
           "github-issue-forms.json": "uniqueItems", "meltano.json": "unevaluatedProperties", "readthedocs.json": "contains", "travis.json": "uniqueItems"}
WORDS = ("a", "web", "v1", "main", "10", "true", "x-y", "5s", "nginx:1.27", "https://example.org/x", "2024-01-31", "Ärger \"1\"\n")


def definition_with_its_own(definitions, name):
    """A schema that holds what the definition refers to and nothing else."""
    needed, waiting = {}, [name]
    while waiting:
        at = waiting.pop()
        if at not in needed:
            needed[at] = definitions[at]
            waiting += re.findall(r'"#/\$defs/([^"]+)"', json.dumps(definitions[at]))
    return {"$ref": "#/$defs/" + name, "$defs": needed}


class Writer:
    """Random values that often meet a schema, with properties in the schema's order."""

    def __init__(self, schema, seed):
        self.root, self.random = schema, random.Random(seed)

    def follow(self, ref):
        at = self.root
        for part in ref.lstrip("#/").split("/"):
            at = at[part.replace("~1", "/").replace("~0", "~")]
        return at

    def value(self, schema, depth=0):
        if not isinstance(schema, dict):
            return self.random.choice(WORDS)
        if isinstance(schema.get("$ref"), str) and schema["$ref"].startswith("#/"):
            return self.value(self.follow(schema["$ref"]), depth + 1)
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return self.random.choice(schema["enum"])
        for keyword in ("oneOf", "anyOf", "allOf"):
            if schema.get(keyword) and "properties" not in schema:
                return self.value(self.random.choice(schema[keyword]), depth + 1)
        kind = schema.get("type", "object" if "properties" in schema else "string")
        kind = self.random.choice(kind) if isinstance(kind, list) else kind
        if kind == "object":
            return self.object(schema, depth)
        if kind == "array":
            items = schema.get("items", {})
            count = max(schema.get("minItems", 0), self.random.randint(0, 2) if depth < 6 else 0)
            return [self.value(items[i] if isinstance(items, list) and i < len(items) else items, depth + 1) for i in range(min(count, 3))]
        if kind in ("integer", "number"):
            low = schema.get("minimum", 0)
            return self.random.choice([low, low + 1, low + 80, 1.5 if kind == "number" else low + 2])
        return {"boolean": self.random.random() < 0.5, "null": None}.get(kind, self.random.choice(WORDS))

    def object(self, schema, depth):
        out = {}
        for name, part in schema.get("properties", {}).items():
            if name in schema.get("required", ()) or self.random.random() < (0.4 if depth < 2 else 0.15 if depth < 5 else 0):
                out[name] = self.value(part, depth + 1)
        other = schema.get("additionalProperties")
        patterns = list(schema.get("patternProperties", {}).values())
        if (isinstance(other, dict) or patterns) and depth < 5:
            out[self.random.choice(("a", "web", "x-more"))] = self.value(other if isinstance(other, dict) else patterns[0], depth + 1)
        return out

    def broken(self, value):
        """With one random change somewhere."""
        value = copy.deepcopy(value)
        places = []

        def walk(at):
            if isinstance(at, (dict, list)):
                for key in list(at) if isinstance(at, dict) else range(len(at)):
                    places.append((at, key))
                    walk(at[key])

        walk(value)
        if not places:
            return self.random.choice([None, 7, "x", [], {"unknown": 1}])
        at, key = self.random.choice(places)
        change = self.random.random()
        if change < 0.3:
            del at[key]
        elif change < 0.5 and isinstance(at, dict):
            at["unknown property"] = 1
        else:
            at[key] = self.random.choice([None, True, -1, 1.5, "x", [], {}, ["x"], {"x": 1}])
        return value


def no_network(uri):
    raise ValueError(uri)


def judged(schema, seed, count=8):
    """[{"data", "valid"}], or None where the other validator cannot read the schema."""
    try:
        validate = fastjsonschema.compile(schema, handlers={"http": no_network, "https": no_network}, use_default=False)
    except Exception:  # other documents, or a pattern that Python's re does not know
        return None
    writer, tests, seen = Writer(schema, seed), [], set()
    for _ in range(count):
        good = writer.value(schema)
        for data in (good, writer.broken(good)):
            text = json.dumps(data)
            if text in seen:
                continue
            seen.add(text)
            try:
                validate(copy.deepcopy(data))
                valid = True
            except fastjsonschema.JsonSchemaValueException:
                valid = False
            tests.append({"data": data, "valid": valid})
    return tests


@unittest.skipIf(fastjsonschema is None, "fastjsonschema is not installed (tools/setup)")
class RealSchemas(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = temporary.name

    def package(self, name, version, sha256, wanted):
        folder = unpacked(name, version, sha256, self.folder, wanted)
        if folder is None:
            self.skipTest(f"{name} {version} could not be downloaded from PyPI")
        return folder

    def check(self, schemas, least_verdicts):
        """Verdicts in any order are the other validator's, and in the schema's order but for the order."""
        cases = [(name, schema, tests) for seed, (name, schema) in enumerate(schemas) if (tests := judged(schema, seed)) is not None]
        path, model = os.path.join(self.folder, "cases.jsonl"), os.path.join(self.folder, "tiny.gguf")
        with open(path, "w", encoding="utf-8") as file:
            for _, schema, tests in cases:
                file.write(json.dumps({"schema": schema, "tests": tests}) + "\n")
        subprocess.run([sys.executable, MAKE_TINY_MODEL, "--arch", "llama", "--type", "q8_0", "--out", model], check=True)
        verdicts = {True: 0, False: 0}
        for options in ([], ["--any-order"]):
            done = subprocess.run([KINGLET, "grammar", "test", model, "--cases", path, *options, "--json"], capture_output=True, text=True,
                                  check=False)
            self.assertEqual(done.returncode, 0, done.stderr)
            results = [json.loads(line) for line in done.stdout.splitlines()]
            self.assertEqual(len(results), len(cases))
            for (name, _, tests), result in zip(cases, results):
                if result["error"] is not None:
                    with self.subTest(schema=name):
                        self.assertIn(f'"{REFUSED.get(name)}"', result["error"])
                    continue
                for test, got in zip(tests, result["tests"]):
                    with self.subTest(schema=name, options=options, data=json.dumps(test["data"])):
                        self.assertEqual(got["accepted"] or got.get("out_of_order", False), test["valid"])
                    verdicts[test["valid"]] += 1
        self.assertGreater(min(verdicts.values()), least_verdicts, verdicts)

    def test_kubernetes(self):
        local = "/v1.33.0-local/_definitions.json"
        folder = self.package(*KUBERNETES, lambda name: name.endswith(local))
        with open(glob.glob(folder + "/src/*/*" + local)[0], encoding="utf-8") as file:
            definitions = json.load(file)["$defs"]
        schemas = []
        for name in sorted(definitions)[::7]:
            schema = definition_with_its_own(definitions, name)
            if len(json.dumps(schema)) < 40_000:
                schemas.append((name, schema))
        self.assertGreater(len(schemas), 70)
        self.check(schemas, 300)

    def test_files_of_build_systems(self):
        folder = self.package(*CHECK_JSONSCHEMA, lambda name: "/builtin_schemas/vendor/" in name and name.endswith(".json"))
        schemas = []
        for path in sorted(glob.glob(folder + "/src/check_jsonschema/builtin_schemas/vendor/*.json")):
            with open(path, encoding="utf-8") as file:
                text = file.read()
            if len(text) < 100_000:
                schemas.append((os.path.basename(path), json.loads(text)))
        self.assertGreater(len(schemas), 15)
        self.check(schemas, 30)


if __name__ == "__main__":
    unittest.main()
