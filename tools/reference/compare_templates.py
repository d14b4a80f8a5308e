#!/usr/bin/env python3
"""Compares `kinglet template` with python3-jinja2, set up as transformers sets it up.

compare_templates.py PROGRAM           renders every case both ways, prints the differences and a count
compare_templates.py --write FILE      writes the small cases with jinja2's results, for the unit tests
"""
import argparse
import functools
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from template_cases import EXPRESSIONS, STATEMENTS, VARIABLES  # noqa: E402

TESTS = os.path.join(HERE, "..", "..", "tests", "model", "chat")


class GenerationTag(jinja2.ext.Extension):
    """{% generation %} marks what a model wrote; for the text it is a block like any other."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller):
        return caller()


def make_environment():
    def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[GenerationTag, jinja2.ext.loopcontrols])
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    return environment


ENVIRONMENT = make_environment()
compiled = functools.cache(ENVIRONMENT.from_string)  # one template meets many conversations


def reference(template, variables):
    """The text that jinja2 gives, or None where it refuses."""
    try:
        return compiled(template).render(**{"tools": None, "documents": None, **variables})
    except Exception:  # every way in which a template or its messages can be wrong
        return None


def small_cases():
    for template in ["{{ " + expression + " }}" for expression in EXPRESSIONS] + STATEMENTS:
        yield template, VARIABLES


def family_cases(folder=None):
    """Every family's template with every conversation, with and without a generation prompt."""
    folder = folder or os.path.join(TESTS, "templates")
    with open(os.path.join(TESTS, "conversations.json"), encoding="utf-8") as file:
        conversations = json.load(file)
    for name in sorted(os.listdir(folder)):
        with open(os.path.join(folder, name), encoding="utf-8", newline="") as file:
            source = file.read()
        for conversation in conversations:
            for prompt in (True, False):
                variables = {"messages": conversation["messages"], "bos_token": "<s>", "eos_token": "</s>",
                             "add_generation_prompt": prompt, **conversation.get("variables", {})}
                if "tools" in conversation:
                    variables["tools"] = conversation["tools"]
                yield name, conversation["name"], source, variables


def kinglet(program, folder, number, template, variables):
    """The text that Kinglet gives, or None where it refuses; raises where it neither renders nor refuses."""
    base = os.path.join(folder, str(number))
    with open(base + ".jinja", "w", encoding="utf-8", newline="") as file:
        file.write(template)
    rest = dict(variables)
    for name, part in (("messages", rest.pop("messages", [])), ("variables", rest)):
        with open(base + "." + name, "w", encoding="utf-8") as file:
            json.dump(part, file)
    done = subprocess.run(
        [program, "template", base + ".jinja", "--messages", base + ".messages", "--variables", base + ".variables", "--json"],
        capture_output=True, timeout=60)
    if done.returncode == 0:
        return json.loads(done.stdout)["text"]
    if done.returncode not in (2, 4, 5) or not done.stderr:
        raise RuntimeError(f"exit status {done.returncode}: {done.stderr.decode(errors='replace')}")
    return None


def compare(program, cases):
    """How many were rendered or refused alike, and a list of differences."""
    alike, rendered, differences = 0, 0, []
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
        jobs = [(label, template, variables, pool.submit(kinglet, program, folder, number, template, variables))
                for number, (label, template, variables) in enumerate(cases)]
        for label, template, variables, job in jobs:
            expected, found = reference(template, variables), job.result()
            if expected == found:
                alike += 1
                rendered += expected is not None
            else:
                differences.append((label, expected, found))
    return alike, rendered, differences


def all_cases():
    for template, variables in small_cases():
        yield template[:80], template, variables
    for name, conversation, source, variables in family_cases():
        yield f"{name}, {conversation}, prompt {variables['add_generation_prompt']}", source, variables


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", nargs="?")
    parser.add_argument("--write")
    options = parser.parse_args()
    if options.write:
        cases = [{"template": template, "text": reference(template, variables)} for template, variables in small_cases()]
        with open(options.write, "w", encoding="utf-8") as file:
            json.dump({"variables": VARIABLES, "cases": cases}, file, ensure_ascii=False, indent=0)
            file.write("\n")
        print(f"{len(cases)} cases written")
        return 0
    alike, rendered, differences = compare(options.program or os.environ["KINGLET"], all_cases())
    for label, expected, found in differences:
        print(f"--- {label}\n  jinja2: {expected!r}\n  kinglet: {found!r}")
    print(f"{alike} equal ({rendered} texts, {alike - rendered} refused by both), {len(differences)} different")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
