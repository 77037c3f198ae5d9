#!/usr/bin/env python3
"""Tells what the tests have taken of the branches of src/ and ext/; `make coverage` runs it.

It asks gcov for every object of build/coverage that has counts, adds them up by source line, and
prints a table by file. Then it compares with docs/coverage.md: of each file that has a section
there, every branch that was not taken must have an entry, with its reason,

    - `function`: `text of its line` (1 of 2)
      Reason.

where the text is in exactly one line of the function that has branches, or in several that one
reason fits, and (1 of 2) is how many of their branches may be left out at most. Exit status 1 if
one has none, or an entry fits nothing. An entry whose branches were taken after all is told: where
it hangs on who is faster that may be so now and then. With --table, for a selection of the tests, it
prints the table and compares nothing.
"""
import collections
import glob
import json
import os
import re
import subprocess
import sys

BUILD = "build/coverage"
PAGE = "docs/coverage.md"
BATCH = 16  # objects for one call of gcov

Line = collections.namedtuple("Line", "function count branches")


def gcov(objects):
    """What gcov says of some objects: for each source file of ours its lines."""
    run = subprocess.run(["gcov", "-b", "--json-format", "--stdout"] + objects,
                         stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    for document in run.stdout.splitlines():
        for file in json.loads(document)["files"]:
            if file["file"].startswith(("src/", "ext/")):
                yield file["file"], file["lines"]


def add(lines, number, line):
    """Add what another object has of a line; a branch may be compiled in only one of them."""
    counts = [branch["count"] for branch in line["branches"]]
    before = lines.get(number)
    if before is None:
        lines[number] = Line(line.get("function_name", ""), line["count"], counts)
        return
    more = max(counts, before.branches, key=len)
    if len(counts) == len(before.branches):
        more = [a + b for a, b in zip(counts, before.branches)]
    lines[number] = Line(before.function or line.get("function_name", ""),
                         before.count + line["count"], more)


def collect():
    files = collections.defaultdict(dict)
    objects = sorted(glob.glob(BUILD + "/**/*.gcda", recursive=True))
    for i in range(0, len(objects), BATCH):
        for name, lines in gcov(objects[i:i + BATCH]):
            for line in lines:
                add(files[name], line["line_number"], line)
    return files


def percent(part, whole):
    return 100.0 * part / whole if whole else 100.0


def print_row(name, sums):
    lines, lines_run, branches, taken = sums
    print("%-26s %6d %6d %6.1f %% %8d %6d %6.1f %%" %
          (name, lines, lines_run, percent(lines_run, lines), branches, taken,
           percent(taken, branches)))


def print_table(files):
    print("%-26s %6s %6s %8s %8s %6s %8s" % ("file", "lines", "run", "", "branches", "taken", ""))
    total = [0] * 4
    for name in sorted(files, key=lambda name: (os.path.dirname(name), name)):
        lines = files[name].values()
        branches = [count for line in lines for count in line.branches]
        sums = [len(lines), sum(line.count > 0 for line in lines), len(branches),
                sum(count > 0 for count in branches)]
        total = [a + b for a, b in zip(total, sums)]
        print_row(name, sums)
    print_row("all", total)


def read_page():
    """The entries of the page: for each file a list of (function, text, left out, of)."""
    entries = {}
    section = None
    for line in open(PAGE):
        heading = re.match(r"^### `(.+)`$", line)
        entry = re.match(r"^- `(\w+)`: `(.+)` \((\d+) of (\d+)\)$", line)
        if heading:
            section = entries.setdefault(heading.group(1), [])
        elif line.startswith("#"):
            section = None
        elif entry and section is not None:
            section.append((entry.group(1), entry.group(2), int(entry.group(3)),
                            int(entry.group(4))))
        elif line.startswith("- ") and section is not None:
            sys.exit("%s: this is no entry: %s" % (PAGE, line.strip()))
    return entries


def check_file(name, lines, entries):
    """How many things are wrong with what the page says of a file."""
    source = open(name).read().split("\n")
    wrong = 0
    explained = set()
    for function, text, most, of in entries:
        fits = [number for number, line in lines.items()
                if line.function == function and line.branches and text in source[number - 1]]
        counts = [count for number in fits for count in lines[number].branches]
        missed = counts.count(0)
        explained.update(fits)
        what = "%s: %s: `%s`" % (name, function, text)
        if not fits:
            print("%s is listed, but there is no such line" % what)
            wrong += 1
        elif len(counts) != of or missed > most:
            print("%s: %d of %d branches not taken, but %d of %d are listed" %
                  (what, missed, len(counts), most, of))
            wrong += 1
        elif missed < most:
            print("%s: only %d of the %d that are listed were not taken" % (what, missed, most))
    for number in sorted(lines):
        line = lines[number]
        missed = line.branches.count(0)
        if missed and number not in explained:
            print("%s:%d: %s: %d of %d branches not taken: %s" %
                  (name, number, line.function, missed, len(line.branches),
                   source[number - 1].strip()))
            wrong += 1
    return wrong


def main():
    files = collect()
    if not files:
        sys.exit("%s has no counts" % BUILD)
    print_table(files)
    if "--table" in sys.argv[1:]:
        return 0
    wrong = 0
    for name, entries in read_page().items():
        if name not in files:
            print("%s has a section in %s, but no counts" % (name, PAGE))
            wrong += 1
        else:
            wrong += check_file(name, files[name], entries)
    print("%d branches that are not as %s has them" % (wrong, PAGE))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
