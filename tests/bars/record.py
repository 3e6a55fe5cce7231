"""The record of the evidence, docs/evidence.json, and what is made of it: docs/evidence.md and rows of the
README."""
import dataclasses
import json
import math
import pathlib
import re

from figures import FIRST_SEED, Figure, slug

# Rows of the README's table of what Ness reaches: their text is made of the record.
readme_rows = {
    "XOR, simulated quantum dots": "{xor/free/solved} seeds",
    "XOR through emulated instruments": (
        "{bench/ep-centred/solved} seeds, median {bench/ep-centred/relaxations} relaxations"
    ),
    "MNIST, 784-30-10, every relaxation logged": (
        "test accuracy {mnist/784-30-10/test-accuracy} ({mnist/784-30-10/test-accuracy:range}, "
        "{mnist/784-30-10/test-accuracy:of})"
    ),
    "MNIST, gradients measured, with read noise": (
        "test accuracy {mnist-in-situ/784-30-10/test-accuracy-read-with-noise}"
    ),
    "exchanged cables named by `ness check`": "{check/exchanges/named}",
    "killed runs that replay bit for bit": "{log/training/replay-bit-for-bit}",
}


def finite(x):
    """JSON has no infinity: of a number, its text."""
    return str(x) if isinstance(x, float) and not math.isfinite(x) else x


def of_figure(figure):
    entry = {key: finite(value) for key, value in dataclasses.asdict(figure).items()}
    if figure.of == "seeds":
        entry["seeds"] = f"{FIRST_SEED}..{FIRST_SEED + figure.n - 1}"
    return entry


def figure_of(entry):
    fields = {field.name: entry[field.name] for field in dataclasses.fields(Figure)}
    for key in ("median", "min", "max"):
        fields[key] = None if fields[key] is None else float(fields[key])
    return Figure(**fields)


class Record:
    """Groups by name, each with where and when it was measured and its rows; and the short form."""

    def __init__(self, path):
        self.path = pathlib.Path(path)
        found = json.loads(self.path.read_text()) if self.path.exists() else {}
        self.groups = found.get("groups", {})
        self.short = found.get("short", {})

    def write(self):
        """As a whole or not at all."""
        beside = self.path.with_suffix(".json.part")
        beside.write_text(
            json.dumps({"groups": self.groups, "short": self.short}, indent=1, ensure_ascii=False) + "\n"
        )
        beside.replace(self.path)

    def put(self, name, rows, measured):
        self.groups[name] = {
            "command": f"tools/test --bars {name}",
            **measured,
            "rows": [
                {
                    "id": f"{name}/{row.key}",
                    "what": row.what,
                    "bar": row.bar,
                    "met": row.met,
                    "note": row.note,
                    "figures": [of_figure(figure) for figure in row.figures],
                }
                for row in rows
            ],
        }

    def figure(self, identifier):
        """GROUP/ROW/FIGURE; None if it is not in the record."""
        group, key, name = identifier.split("/")
        for row in self.groups.get(group, {}).get("rows", []):
            for entry in row["figures"]:
                if row["id"] == f"{group}/{key}" and slug(entry["name"]) == name:
                    return figure_of(entry)
        return None

    def faults(self):
        """What an entry lacks to be evidence."""
        found = []
        for name, group in self.groups.items():
            for key in ("commit", "date", "seconds", "machine"):
                if group.get(key) in (None, ""):
                    found.append(f"{name}: no {key}")
            if not group["rows"]:
                found.append(f"{name}: no rows")
            identifiers = [
                f"{row['id']}/{slug(figure['name'])}" for row in group["rows"] for figure in row["figures"]
            ]
            for twice in {i for i in identifiers if identifiers.count(i) > 1}:
                found.append(f"{twice}: twice")
            for row in group["rows"]:
                if not row["figures"] and not row["note"]:
                    found.append(f"{row['id']}: no figure")
                for entry in row["figures"]:
                    needs = ("max",) if entry["kind"] == "largest" else ("median", "min", "max")
                    if not entry["n"] >= 1 or not entry["of"]:
                        found.append(f"{row['id']}: {entry['name']}: no n")
                    elif any(entry[key] is None for key in needs):
                        found.append(f"{row['id']}: {entry['name']}: no range")
                    elif len(needs) == 3 and not (
                        float(entry["min"]) <= float(entry["median"]) <= float(entry["max"])
                    ):
                        found.append(f"{row['id']}: {entry['name']}: its median is outside its range")
        return found


def at(measured):
    return (
        f"commit `{measured['commit'][:7]}`{', modified' if measured['modified'] else ''}, "
        f"{measured['date']}, {measured['seconds'] / 60:.1f} min"
    )


def cell(text):
    return text.replace("|", "\\|")


def caption(record, name):
    if name not in record.groups:
        return f"`tools/test --bars {name}`: not measured yet."
    return f"`tools/test --bars {name}`, {at(record.groups[name])}:"


def table(record, name):
    lines = [caption(record, name)]
    if name not in record.groups:
        return lines
    lines += ["", "| what | figure | range | of | bar |", "|---|---|---|---|---|"]
    for row in record.groups[name]["rows"]:
        bar = row["bar"] if row["met"] else f"**short of it:** {row['bar']}"
        note = f" ({row['note']})" if row["note"] else ""
        if not row["figures"]:
            lines.append(f"| {cell(row['what'] + note)} | | | | {cell(bar)} |")
        for i, figure in enumerate(map(figure_of, row["figures"])):
            what = f"{row['what']}{note}: {figure.name}" if i == 0 else f"- {figure.name}"
            lines.append(
                f"| {cell(what)} | {figure.value()} | {figure.range()} | {figure.n:,} {figure.of} "
                f"| {cell(bar) if i == 0 else ''} |"
            )
    return lines


def columns(record, name, names):
    """A row a line, and a column for each of these figures; what all rows have in common is the heading."""
    lines = [caption(record, name)]
    if name not in record.groups:
        return lines
    rows = record.groups[name]["rows"]
    common = rows[0]["what"].rsplit(": ", 1)[0]
    if not all(row["what"].startswith(common + ": ") for row in rows):
        common = "what"
    lines += ["", f"| {cell(common)} | " + " | ".join(names) + " | bar |", "|---" * (len(names) + 2) + "|"]
    for row in rows:
        what = row["what"].removeprefix(common + ": ")
        found = {entry["name"]: figure_of(entry) for entry in row["figures"]}
        cells = [f"{found[n].value()} ({found[n].range()})" if n in found else "" for n in names]
        bar = row["bar"] if row["met"] else f"**short of it:** {row['bar']}"
        lines.append(f"| {cell(what)} | " + " | ".join(cells) + f" | {cell(bar)} |")
    return lines


def measured(record):
    if not record.groups:
        return ["Nothing is in the record yet."]
    commits, machines = {}, []
    for name, group in record.groups.items():
        commit = f"`{group['commit'][:12]}`" + (" (modified)" if group["modified"] else "")
        commits.setdefault(commit, []).append(name)
        if group["machine"] not in machines:
            machines.append(group["machine"])
    lines = [
        f"The rows are of one commit, {next(iter(commits))}."
        if len(commits) == 1
        else "**The rows are of several commits:** "
        + "; ".join(f"{commit}: {', '.join(names)}" for commit, names in commits.items())
        + "."
    ]
    for machine in machines:
        lines.append(
            f"Machine: {machine['processor']}, {machine['cores']} cores, {machine['compiler']}, "
            f"vector target {machine['vector_target']}."
        )
    minutes = sum(group["seconds"] for group in record.groups.values()) / 60
    short = sum(not row["met"] for group in record.groups.values() for row in group["rows"])
    rows = sum(len(group["rows"]) for group in record.groups.values())
    lines.append(f"{rows} rows in {minutes:.0f} minutes; {short} of them short of their bars.")
    return lines


def short_table(record):
    if not record.short:
        return ["Not measured yet."]
    lines = [
        f"Ranges: {at(record.short)}.",
        "",
        "| what | figure | range | of | allowed | why |",
        "|---|---|---|---|---|---|",
    ]
    for row in record.short["rows"]:
        figure = figure_of(row["figure"])
        low, high = format(row["low"], figure.form), format(row["high"], figure.form)
        lines.append(
            f"| {cell(row['what'])}: {figure.name} | {figure.value()} | {figure.range()} "
            f"| {figure.n:,} {figure.of} | {low} to {high} | {row['rule']} |"
        )
    return lines


def filled(record, text):
    """A text with the figures {GROUP/ROW/FIGURE[:range|:of]} filled in; None if one is not in the record."""
    missing = []

    def one(match):
        figure = record.figure(match[1])
        if figure is None:
            missing.append(match[1])
            return ""
        return {"range": figure.range(), "of": f"{figure.n:,} {figure.of}", None: figure.value()}[match[2]]

    text = re.sub(r"\{([^{}:]+/[^{}:]+/[^{}:]+)(?::(range|of))?\}", one, text)
    return None if missing else text


def groups_of(template):
    return re.findall(r"^\{\{(?:table|columns) ([\w-]+)", template, re.M)


def page(record, template):
    lines = ["<!-- Made of evidence.json and tests/bars/evidence.md by tests/bars/evidence.py: no edits. -->"]
    for line in template.splitlines():
        directive = re.fullmatch(r"\{\{(\w+)(?: ([\w-]+)(?:: (.*))?)?\}\}", line)
        if directive is None:
            lines.append(line)
            continue
        kind, name, names = directive.groups()
        made = {
            "measured": lambda: measured(record),
            "short": lambda: short_table(record),
            "table": lambda: table(record, name),
            "columns": lambda: columns(record, name, names.split("; ")),
        }[kind]()
        lines += made
    return "\n".join(lines) + "\n"


def readme(record, text):
    """The README with its rows as the record says; rows whose figures are not in the record stay."""
    for label, form in readme_rows.items():
        row = re.compile(rf"^\| {re.escape(label)} \|.*\|$", re.M)
        if not row.search(text):
            raise ValueError(f"README.md has no row '{label}'")
        made = filled(record, form)
        if made is not None:
            text = row.sub(lambda _: f"| {label} | {made} |", text)
    return text
