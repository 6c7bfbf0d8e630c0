"""Adds up the JUnit files of ctest and prints what ran; the last line is the count.

Arguments after the options come in fives: preset, suite, seconds, exit status of ctest, file.
Exit status 0 only if at least one test passed and none failed.
"""

import argparse
import sys
import xml.etree.ElementTree as ElementTree

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"


def outcome_of(case):
    status = case.get("status")
    if status == "fail" or case.find("failure") is not None:
        return FAILED
    return PASSED if status == "run" else SKIPPED


def read_cases(path):
    """(name, outcome) of every test case; empty if ctest died before it wrote the file."""
    try:
        root = ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError):
        return []
    return [(case.get("name"), outcome_of(case)) for case in root.iter("testcase")]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--total-seconds", type=int, required=True)
    parser.add_argument("--build-failed", action="store_true")
    parser.add_argument("--left-behind", action="store_true")
    parser.add_argument("suites", nargs="*")
    options = parser.parse_args()

    total = {PASSED: 0, FAILED: 0, SKIPPED: 0}
    failures = []
    fives = [options.suites[i : i + 5] for i in range(0, len(options.suites), 5)]
    for preset, suite, seconds, status, path in fives:
        cases = read_cases(path)
        count = {key: sum(1 for case in cases if case[1] == key) for key in total}
        failures += [f"{name} ({preset})" for name, outcome in cases if outcome == FAILED]
        if status != "0" and count[FAILED] == 0:
            count[FAILED] = 1
            failures.append(f"ctest itself in suite {suite} ({preset}), exit status {status}")
        for key in total:
            total[key] += count[key]
        print(f"{preset:8} {suite:12} {count[PASSED]:5} passed {count[FAILED]:4} failed "
              f"{count[SKIPPED]:4} skipped {int(seconds):5} s")
    if options.build_failed:
        total[FAILED] += 1
        failures.append("the build")
    if options.left_behind:
        total[FAILED] += 1
        failures.append("processes were left behind")
    print(f"in total {options.total_seconds} s, setup and build included")
    for failure in failures:
        print(f"FAILED: {failure}")
    ran = total[PASSED] + total[FAILED]
    if ran == 0:
        print("no test ran")
    skipped = f", {total[SKIPPED]} skipped" if total[SKIPPED] else ""
    print(f"{total[PASSED]} passed, {total[FAILED]} failed{skipped}")
    return 0 if ran > 0 and total[FAILED] == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
