"""Keeps docs/evidence.json, the record of what the groups of bars.py measured at which commit, and what is
made of it.

   evidence.py measure --build BUILD [--again] [--modified] [GROUP ..]   (tools/test --evidence [..])
       Measures these groups, or all and the short form ("short"), writes each into the record when it is
       done, and makes docs/evidence.md and the README's rows anew. A group whose figures are of this state
       of the code is left out, unless --again: a run that was stopped goes on. What is not committed is
       refused, or, by --modified, marked.
   evidence.py page
       Makes docs/evidence.md and the README's rows of the record.
   evidence.py check
       Fails unless they are what the record makes, and every row of it has commit, n and range.
   evidence.py short --build BUILD
       Measures the short form again, and fails if a figure leaves its range.

Documents may change between the commits of two groups: no figure depends on them.
"""
import argparse
import datetime
import os
import pathlib
import re
import subprocess
import sys
import time

import bars as table
import record as records
import short
from figures import Measurement, root

NO_DOCUMENTS = ("--", ".", ":(exclude)docs", ":(exclude)*.md")


class Sources:
    """The state of the code in a Git work tree."""

    def __init__(self, folder):
        self.folder = folder

    def git(self, *words):
        return subprocess.run(["git", *words], cwd=self.folder, capture_output=True, text=True)

    def commit(self):
        return self.git("rev-parse", "HEAD").stdout.strip()

    def modified(self):
        done = self.git("status", "--porcelain", *NO_DOCUMENTS)
        if done.returncode != 0:
            raise SystemExit(f"evidence: {done.stderr.strip()}")
        return done.stdout.rstrip().splitlines()

    def same(self, commit):
        """Whether HEAD differs from this commit by documents at most."""
        return self.git("diff", "--quiet", commit, "HEAD", *NO_DOCUMENTS).returncode == 0


def machine(bars):
    processor = re.search(r"^model name\s*: (.*)$", pathlib.Path("/proc/cpuinfo").read_text(), re.M)
    compiler = "unknown compiler"
    cache = bars.build / "CMakeCache.txt"
    found = re.search(r"^CMAKE_CXX_COMPILER:\w+=(.*)$", cache.read_text(), re.M) if cache.exists() else None
    if found:
        said = subprocess.run([found[1], "--version"], capture_output=True, text=True).stdout
        compiler = (said.splitlines() or [compiler])[0]
    targets = table.speed.targets_of(bars)
    return {
        "processor": processor[1] if processor else "unknown processor",
        "cores": os.cpu_count(),
        "compiler": compiler,
        "vector_target": targets[0] if targets else "none",
    }


def measure(bars, record, sources, groups, machine, again=False, modified=False, after=lambda: None):
    """Measures groups (name: function), a group at a time into the record; the number of groups that could
    not be measured. `after` is called after each."""
    changed = sources.modified()
    if changed and not modified:
        raise SystemExit(
            "evidence: figures carry the commit that they are of, and this is not committed (--modified: "
            "measure all the same, marked so):\n" + "\n".join(changed[:20])
        )
    # Commits that differ by documents are one state of the code, named by the first.
    known = [entry for entry in [*record.groups.values(), record.short] if entry and not entry["modified"]]
    of_this = [c for c in dict.fromkeys(entry["commit"] for entry in known) if sources.same(c)]
    commit, failed = (of_this or [sources.commit()])[0], 0
    for name, group in groups.items():
        before = record.short if name == "short" else record.groups.get(name)
        if before and not again and not changed and not before["modified"] and before["commit"] in of_this:
            print(f"== {name}: measured at this commit already", flush=True)
            continue
        print(f"== {name}", flush=True)
        started, bars.rows = time.time(), []
        try:
            result = group(bars)
        except Exception as error:
            print(f"FAILED | {name} | could not be measured | {error}", flush=True)
            failed += 1
            continue
        measured = {
            "commit": commit,
            "modified": bool(changed),
            "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
            "seconds": round(time.time() - started, 1),
            "machine": machine,
        }
        if name == "short":
            record.short = {
                **measured,
                "rows": [
                    {
                        "id": f"short/{row.key}",
                        "what": row.what,
                        "figure": records.of_figure(figure),
                        "low": low,
                        "high": high,
                        "rule": rule,
                    }
                    for row, figure, low, high, rule in result
                ],
            }
        else:
            record.put(name, bars.rows, measured)
        record.write()
        after()
        print(f"== {name}: {measured['seconds']:.0f} s", flush=True)
    return failed


class Documents:
    """What is made of a record, in the work tree of `folder`."""

    def __init__(self, folder, template=None):
        self.page, self.readme = folder / "docs" / "evidence.md", folder / "README.md"
        self.template = (template or pathlib.Path(__file__).with_name("evidence.md")).read_text()

    def made(self, record):
        return {
            self.page: records.page(record, self.template),
            self.readme: records.readme(record, self.readme.read_text()),
        }

    def write(self, record):
        for path, text in self.made(record).items():
            path.write_text(text)

    def faults(self, record, groups):
        found = record.faults()
        for path, text in self.made(record).items():
            is_now = path.read_text().splitlines()
            differing = [pair for pair in zip(is_now, text.splitlines()) if pair[0] != pair[1]]
            if path.read_text() != text:
                line = (
                    f"'{differing[0][0]}', the record '{differing[0][1]}'" if differing else "another length"
                )
                found.append(f"{path.name} says {line}: tests/bars/evidence.py page makes it anew")
        shown = records.groups_of(self.template)
        for name in groups:
            if shown.count(name) != 1:
                found.append(
                    f"evidence.md (template): group {name} is on it {shown.count(name)} times, expected 1"
                )
        found += [f"{name}: no such group" for name in [*record.groups, *shown] if name not in groups]
        if any(line.startswith("|") for line in self.template.splitlines()):
            found.append("evidence.md (template): a row that is not made of the record")
        return found


def run_short(bars, record):
    if not record.short:
        return ["the record has no short form: tools/test --evidence short"]
    measured, started = {}, time.time()
    for row in short.rows:
        if not row.needs():
            print(f"skipped | {row.what}: its data are not there", flush=True)
            continue
        measured[row.key] = row.measure(bars, row.checked)
        print(f"after {time.time() - started:.0f} s | {row.what} | {measured[row.key]}", flush=True)
    return short.judge(record.short["rows"], measured)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["measure", "page", "check", "short"])
    parser.add_argument("--build", type=pathlib.Path)
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--modified", action="store_true")
    parser.add_argument("groups", nargs="*", metavar="GROUP")
    options = parser.parse_intermixed_args()
    groups = {**table.groups, "short": short.record}
    for name in options.groups:
        if name not in groups:
            parser.error(f"no group '{name}': there are {', '.join(groups)}")
    if options.what in ("measure", "short") and options.build is None:
        parser.error("--build is needed")
    record, documents = records.Record(root / "docs" / "evidence.json"), Documents(root)
    faults = []
    if options.what == "page":
        documents.write(record)
    elif options.what == "check":
        faults = documents.faults(record, table.groups)
    elif options.what == "short":
        faults = run_short(Measurement(options.build.resolve()), record)
    else:
        bars = Measurement(options.build.resolve())
        failed = measure(
            bars,
            record,
            Sources(root),
            {name: groups[name] for name in options.groups or groups},
            machine(bars),
            options.again,
            options.modified,
            lambda: documents.write(record),
        )
        documents.write(record)
        for group in record.groups.values():
            for row in group["rows"]:
                if not row["met"]:
                    print(f"SHORT | {row['id']} | {row['bar']}")
        return min(failed, 100)
    for fault in faults:
        print("FAILED:", fault)
    return min(len(faults), 100)


if __name__ == "__main__":
    sys.exit(main())
