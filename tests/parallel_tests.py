"""Runs a module's test cases side by side: for tests that wait (servers, pauses) rather than compute, and share nothing.

Fixtures of classes and modules are not run: setUp() and addCleanup() are what each case has for itself.
"""
import sys
import unittest
from concurrent.futures import ThreadPoolExecutor


def _run(case):
    result = unittest.TestResult()
    case.run(result)
    return result


def main(threads=6):
    module = sys.modules["__main__"]
    cases = [case for group in unittest.defaultTestLoader.loadTestsFromModule(module) for case in group
             if len(sys.argv) == 1 or any(word in case.id() for word in sys.argv[1:])]
    with ThreadPoolExecutor(threads) as pool:
        results = list(pool.map(_run, cases))
    bad = [(case, text) for result in results for case, text in result.errors + result.failures]
    bad += [(case, "succeeded, and should not") for result in results for case in result.unexpectedSuccesses]
    skipped = [(case, why) for result in results for case, why in result.skipped]
    for case, text in bad:
        print(f"FAILED {case.id()}\n{text}")
    for case, why in skipped:
        print(f"skipped {case.id()}: {why}")
    ran = sum(result.testsRun for result in results)
    print(f"ran {ran} tests, {len(bad)} failed, {len(skipped)} skipped")
    sys.exit(1 if bad or ran == 0 else 0)
