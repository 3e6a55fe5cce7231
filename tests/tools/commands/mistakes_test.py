"""Mistakes of a first day: each is said before training, in one line with the file and its line and key, or
with the sample.

    mistakes_test.py NESS EXPERIMENTS

A refused mistake ends the command with exit code 2 and leaves no log. A warning is said before the log is
made: a run whose log cannot be written trains nothing, and has said it."""
import json
import os
import pathlib
import re
import resource
import signal
import subprocess
import sys
import tempfile

NESS, EXPERIMENTS = os.path.abspath(sys.argv[1]), pathlib.Path(sys.argv[2]).resolve()
directory = tempfile.TemporaryDirectory(prefix="ness-mistakes-")
root = pathlib.Path(directory.name)
faults = []

EXPERIMENT = """\
title = "a mistake"

[network]
law = "linear"
layers = [2, 2, 1]

[parameters.G]
value = 1.0

[parameters.g]
value = 0.5

[task]
kind = "csv"
train = "points.csv"
test = "more.csv"
inputs = ["x", "y"]
targets = ["z"]

[optimizer]
rate = 0.01

[training]
epochs = 2
"""
POINTS = "x,y,z,class,other\n" + "".join(
    f"{x},{y},{0.3 * x - 0.2 * y + 0.1},{int(x > y)},{i}\n"
    for i, (x, y) in enumerate([(0.5, 1.0), (1.5, -0.5), (-1.0, 0.25), (2.0, 1.0), (-0.5, -1.5), (1.0, 0.75)])
)
MORE = "x,y,z,class,other\n0.1,0.2,0.1,0,7\n0.3,-0.4,0.2,1,8\n"
CLASSES = [
    ('targets = ["z"]', 'targets = ["class"]\nclasses = 2'),
    ("layers = [2, 2, 1]", "layers = [2, 2, 2]"),
]


def line_of(text, start):
    """The number of the line that starts so."""
    lines = [i + 1 for i, line in enumerate(text.split("\n")) if line.startswith(start)]
    assert len(lines) == 1, (start, lines)
    return lines[0]


class Case:
    """An experiment with something changed. `said`: what the message must have, {LINE:start} replaced by the
    line of the experiment (of the bench file: {BENCH:start}) that starts so."""

    def __init__(self, name, said, change=(), points=POINTS, more=MORE, words=(), refused=False, bench=None):
        self.name, self.said, self.change, self.points, self.more = name, said, change, points, more
        self.words, self.refused, self.bench = words, refused, bench


def with_row(text, row, column, value):
    lines = [line.split(",") for line in text.strip().split("\n")]
    lines[row][lines[0].index(column)] = value
    return "\n".join(",".join(line) for line in lines) + "\n"


def without(text, column):
    lines = [line.split(",") for line in text.strip().split("\n")]
    at = lines[0].index(column)
    return "\n".join(",".join(line[:at] + line[at + 1 :]) for line in lines) + "\n"


CASES = [
    # ranges
    Case(
        "an initial value outside its range",
        ["e.toml:{LINE:value = 1.0}: key 'parameters.G.value'", "1 of G[0] is outside 'range', 2 to 5"],
        [("[parameters.G]\nvalue = 1.0", "[parameters.G]\nvalue = 1.0\nrange = [2.0, 5.0]")],
        refused=True,
    ),
    Case(
        "an initial value of one layer outside the range of all",
        ["e.toml:{LINE:value = 9.0}: key 'parameters.G.layer-2.value'", "9 of G[4]"],
        [
            (
                "[parameters.G]\nvalue = 1.0",
                "[parameters.G]\nvalue = 1.0\nrange = [0.5, 5.0]\n\n[parameters.G.layer-2]\nvalue = 9.0",
            )
        ],
        refused=True,
    ),
    Case(
        "drawn initial values outside their range",
        ["e.toml:{LINE:uniform}: key 'parameters.G.uniform'", "6 drawn values lie outside 'range', 2 to 5"],
        [("[parameters.G]\nvalue = 1.0", "[parameters.G]\nuniform = [0.1, 1.0]\nrange = [2.0, 5.0]")],
    ),
    Case(
        "levels beyond what a wire may impose",
        ["e.toml: training sample 1", "a level of 9 kT; wire 'input-1'", "takes -5 to 5 kT"],
        bench=[("high = 3.0", "high = 9.0")],
        refused=True,
    ),
    Case(
        "an initial value beyond what a wire sets",
        ["bench-emulated.toml:{BENCH:limits = [-0.1, 0.1]}: key 'wiring.a-0.limits'", "of a[0] is outside"],
        bench=[("normal = [0.0, 1.0]\nrange", "value = 1.5\nrange")],
        words=[("wiring.a-0", "limits = [-1.9, 1.9]", "limits = [-0.1, 0.1]")],
    ),
    Case(
        "nothing can be trained",
        ["e.toml:{LINE:[parameters.G]}: [parameters]", "no parameter can be trained"],
        [
            ("[parameters.G]\nvalue = 1.0", "[parameters.G]\nvalue = 1.0\ntrainable = false"),
            ("value = 0.5", "value = 0.5\ntrainable = false\n[parameters.mu_ref]\ntrainable = false"),
        ],
        refused=True,
    ),
    # wires
    Case(
        "parameters that no wire sets",
        [
            "bench-emulated.toml:{BENCH:[wiring.input-0]}: [wiring]",
            "no wire sets 9 of 24 parameters (b[0], b[1], b[2], b[3] and 5 more)",
        ],
        bench=[("trainable = false\n", "")],
    ),
    Case(
        "a wire to a node that is not there",
        ["bench-emulated.toml:{BENCH:node = 7}: key 'wiring.read-4.node'", "a node from 0 to 4, found 7"],
        bench=[],
        words=[("wiring.read-4", "node = 4", "node = 7")],
        refused=True,
    ),
    Case(
        "a target that its meter cannot read",
        [
            "e.toml: training sample 1",
            "a target of 2 kT is 0.2 V at the meter of wire 'read-4' (scanner, range 0.1 V",
        ],
        bench=[("target_high = 1.0", "target_high = 2.0"), ("\nhigh = 3.0", "\nhigh = 0.9")],
        words=[("instruments.scanner", "range = 1.0", "range = 0.1")],
    ),
    # labels
    Case(
        "a test label that no output stands for",
        ["more.csv:3: column 'class': 2; expected a class, a whole number below 2"],
        CLASSES,
        more=with_row(MORE, 2, "class", "2"),
        refused=True,
    ),
    Case(
        "a test label that the file allows, but no output stands for",
        ["more.csv:3: a sample of the test set is of class 2, for which no output stands", "has 2 outputs"],
        [CLASSES[1], ('targets = ["z"]', 'targets = ["class"]\nclasses = 5')],
        more=with_row(MORE, 2, "class", "2"),
        refused=True,
    ),
    Case(
        "a class without a sample",
        ["e.toml:{LINE:classes = 3}: key 'task.classes'", "no training sample is of class 2"],
        [
            ('targets = ["z"]', 'targets = ["class"]\nclasses = 3'),
            ("layers = [2, 2, 1]", "layers = [2, 2, 3]"),
        ],
    ),
    Case(
        "a label that is no whole number",
        ["points.csv:4: column 'class'", "0.5; expected a class"],
        CLASSES,
        points=with_row(POINTS, 3, "class", "0.5"),
        refused=True,
    ),
    Case(
        "a test target of neither of two classes",
        ["more.csv:3", "a target of 2 kT; in training it is 0 or 1"],
        [('targets = ["z"]', 'targets = ["class"]')],
        more=with_row(MORE, 2, "class", "2"),
    ),
    # columns
    Case(
        "a target among the inputs",
        ["e.toml:{LINE:targets = [}: key 'task.targets'", "column 'y' is among the inputs too"],
        [('targets = ["z"]', 'targets = ["y"]')],
        refused=True,
    ),
    Case(
        "a column imposed twice",
        ["e.toml:{LINE:inputs = [}: key 'task.inputs'", "column 'x' is imposed at two inputs"],
        [('inputs = ["x", "y"]', 'inputs = ["x", "x"]')],
        refused=True,
    ),
    Case(
        "an input that never varies",
        ["e.toml:{LINE:inputs = [}: key 'task.inputs'", "column 'y' is 1 kT in every training sample"],
        points=re.sub(r"(?m)^([-\d.]+),[-\d.]+,", r"\1,1.0,", POINTS),
    ),
    Case(
        "a target that never varies",
        ["e.toml:{LINE:targets = [}: key 'task.targets'", "column 'z' is 0.25 kT in every training sample"],
        points=re.sub(r"(?m)^([-\d.]+,[-\d.]+),[-\d.]+,", r"\1,0.25,", POINTS),
    ),
    Case(
        "a column that the test file lacks",
        ["more.csv:1: column 'z': not there"],
        more=without(MORE, "z"),
        refused=True,
    ),
    # units
    Case(
        "inputs of 1e9 kT",
        ["points.csv:3: column 'x': a level of 1e+09 kT; is the column in another unit?"],
        points=with_row(POINTS, 2, "x", "1e9"),
        refused=True,
    ),
    Case(
        "inputs of the test set of 1e9 kT",
        ["more.csv:2: column 'y': a level of -1e+09 kT"],
        more=with_row(MORE, 1, "y", "-1e9"),
        refused=True,
    ),
    Case(
        "a column in volts by the hundreds",
        ["points.csv:5: column 'y': a level of 230 kT; is the column in another unit?"],
        points=with_row(POINTS, 4, "y", "230"),
    ),
    Case(
        "a target in another unit",
        ["points.csv:6: column 'z': a target of 450 kT; is the column in another unit?"],
        points=with_row(POINTS, 5, "z", "450"),
    ),
    Case(
        "a scale that overflows",
        ["points.csv:2: column 'x': 0.5", "level is not finite"],
        [('targets = ["z"]', 'targets = ["z"]\ninput_scale = 1e308\ninput_offset = 1.7e308')],
        points=with_row(POINTS, 1, "y", "0"),
        refused=True,
    ),
    # dialects, labels and shares
    Case(
        "decimal commas",
        ["points.csv:2: column 'x': '0,5'", "then decimal_comma = true"],
        points=POINTS.replace(",", ";").replace(".", ","),
        refused=True,
    ),
    Case(
        "decimal commas between commas",
        ["points.csv:2", "10 fields; expected 5", "decimal commas?"],
        points="x,y,z,class,other\n0,5,1,0,0,1,0,0,1,0\n",
        refused=True,
    ),
    Case(
        "a missing value",
        ["points.csv:3: column 'y': 'NA'", "missing value"],
        points=with_row(POINTS, 2, "y", "NA"),
        refused=True,
    ),
    Case(
        "no line of names",
        ["points.csv:1: column 'x': not there", "then header = false"],
        points=POINTS.split("\n", 1)[1],
        refused=True,
    ),
    Case(
        "another capital letter",
        ["points.csv:1: column 'x': not there", "'X'?"],
        points="X" + POINTS[1:],
        refused=True,
    ),
    Case(
        "a quote that is not closed",
        ["points.csv:2: a quote is not closed"],
        points=with_row(POINTS, 1, "other", '"0'),
        refused=True,
    ),
    Case(
        "a range of columns from last to first",
        ["points.csv:1: columns 'y..x'", "expected the first one first"],
        [('inputs = ["x", "y"]', 'inputs = "y..x"')],
        refused=True,
    ),
    Case(
        "a share of the rows beside a test file",
        ["e.toml:{LINE:test_share = 0.5}: key 'task.test_share'", "expected one of the two"],
        [('targets = ["z"]', 'targets = ["z"]\ntest_share = 0.5')],
        refused=True,
    ),
    Case(
        "a share that leaves nothing",
        ["e.toml:{LINE:test_share = 1.0}: key 'task.test_share'", "less than 1"],
        [('test = "more.csv"\n', ""), ('targets = ["z"]', 'targets = ["z"]\ntest_share = 1.0')],
        refused=True,
    ),
    Case(
        "fewer labels than classes",
        ["e.toml:{LINE:labels = [}: key 'task.labels'", "expected as many as classes = 2, found 1"],
        CLASSES + [('classes = 2', 'classes = 2\nlabels = ["0"]')],
        refused=True,
    ),
    Case(
        "a label that is not listed",
        ["points.csv:2: column 'class': '0'; expected a label, one of 'no', 'yes'"],
        CLASSES + [('classes = 2', 'labels = ["no", "yes"]')],
        refused=True,
    ),
    Case(
        "a scale of targets that are classes",
        ["e.toml:{LINE:target_scale = 2.0}: key 'task.target_scale'", "the targets are classes"],
        CLASSES + [('classes = 2', 'classes = 2\ntarget_scale = 2.0')],
        refused=True,
    ),
    # samples
    Case(
        "samples that are both trained on and tested with",
        ["more.csv:2: 1 of 2 samples of the test set is trained on too; the first is", "points.csv:2"],
        more="x,y,z,class,other\n" + POINTS.split("\n")[1] + "\n" + MORE.split("\n")[2] + "\n",
    ),
    Case(
        "test data that are the training data",
        ["points.csv:2: 6 of 6 samples of the test set are trained on too"],
        [('test = "more.csv"', 'test = "points.csv"')],
    ),
    Case(
        "samples that contradict one another",
        ["points.csv:8: the same inputs as", "points.csv:2, but another target"],
        points=POINTS + "0.5,1.0,0.7,0,9\n",
    ),
    Case(
        "an empty cell", ["points.csv:4: column 'y': ''"], points=with_row(POINTS, 3, "y", ""), refused=True
    ),
    Case(
        "a cell that is no number",
        ["more.csv:3: column 'x': 'nan'"],
        more=with_row(MORE, 2, "x", "nan"),
        refused=True,
    ),
    Case(
        "a test file without a sample", ["more.csv: no row of data"], more="x,y,z,class,other\n", refused=True
    ),
    Case(
        "a validation share that leaves no sample",
        ["e.toml:{LINE:validation = 6}: key 'task.validation'", "fewer than the 6 training samples"],
        [('targets = ["z"]', 'targets = ["z"]\nvalidation = 6')],
        refused=True,
    ),
    # keys
    Case(
        "patience without a validation set",
        ["patience 3", "validation"],
        [("epochs = 2", "epochs = 2\nvalidate_every = 1\npatience = 3")],
        refused=True,
    ),
    Case(
        "validations without a validation set",
        ["e.toml:{LINE:validate_every}: key 'training.validate_every'", "there is no validation set"],
        [("epochs = 2", "epochs = 2\nvalidate_every = 1")],
    ),
    Case(
        "a batch larger than the training set",
        ["e.toml:{LINE:batch = 600}: key 'training.batch'", "a batch of 600; the training set has 6 samples"],
        [("epochs = 2", "epochs = 2\nbatch = 600")],
    ),
    Case(
        "a budget below the first step",
        ["e.toml:{LINE:relaxations = 5}: key 'budget.relaxations'", "needs 6 relaxations, the budget is 5"],
        [("[training]", "[budget]\nrelaxations = 5\n\n[training]")],
        refused=True,
    ),
    Case(
        "an output that no input reaches",
        ["e.toml:{LINE:[network]}: [network]", "no edges join output node 3 to any input"],
        [('law = "linear"\nlayers = [2, 2, 1]', 'file = "net.json"')],
        refused=True,
    ),
    Case(
        "an input that leads nowhere",
        ["e.toml:{LINE:[network]}: [network]", "no edge leads from input node 1"],
        [('law = "linear"\nlayers = [2, 2, 1]', 'file = "nowhere.json"')],
    ),
    # a first day: files that are no tables
    Case(
        "an Excel workbook by the name of a CSV file",
        ["points.csv: a ZIP archive, as .xlsx and .ods are", "a spreadsheet saves it as CSV"],
        points=b"PK\x03\x04\x14\x00\x06\x00" + bytes(100),
        refused=True,
    ),
    Case(
        "a web page instead of the file that it shows",
        ["points.csv: a web page", "'Raw'"],
        points="<!DOCTYPE html>\n<html lang=en>\n",
        refused=True,
    ),
    Case("an empty file", ["points.csv: empty; expected a header line"], points="", refused=True),
    Case(
        "text in UTF-16, as Excel's 'Unicode text'",
        ["points.csv: text in UTF-16", "iconv -f utf-16 -t utf-8"],
        points=POINTS.encode("utf-16"),
        refused=True,
    ),
    Case(
        "names in Latin-1",
        ["points.csv:1: column 'Gr\\xF6\\xDFe': text in another encoding; expected UTF-8"],
        points=POINTS.replace("other", "Größe", 1).encode("latin-1"),
        refused=True,
    ),
    Case(
        "a directory instead of a file",
        ["points.csv: a directory; expected a CSV file"],
        points=None,
        refused=True,
    ),
    Case(
        "a file that is not there",
        [
            "e.toml:{LINE:train =}: key 'task.train'",
            "no such file: ",
            "/point.csv",
            "start from the directory",
        ],
        [('train = "points.csv"', 'train = "point.csv"')],
        refused=True,
    ),
    Case(
        "a path of Windows",
        ["e.toml:{LINE:train =}: key 'task.train'", "no such file: ", "a path of Windows?"],
        [('train = "points.csv"', "train = 'data\\points.csv'")],
        refused=True,
    ),
    Case(
        "a path of Windows in double quotes",
        ["e.toml:{LINE:train =}: no TOML", "a backslash in double quotes"],
        [('train = "points.csv"', 'train = "C:\\data\\points.csv"')],
        refused=True,
    ),
    Case(
        "a path that only a shell understands",
        ["e.toml:{LINE:train =}: key 'task.train'", "'~' is for shells"],
        [('train = "points.csv"', 'train = "~/points.csv"')],
        refused=True,
    ),
    Case(
        "an address instead of a file",
        ["e.toml:{LINE:test =}: key 'task.test'", "an address? fetch the file first"],
        [('test = "more.csv"', 'test = "https://example.org/more.csv"')],
        refused=True,
    ),
    # a first day: columns
    Case(
        "another separator than the one stated",
        ["points.csv:1: column 'x': not there", "another separator than the one given?"],
        [('targets = ["z"]', 'targets = ["z"]\nseparator = "semicolon"')],
        refused=True,
    ),
    Case(
        "a column misspelt",
        ["points.csv:1: column 'othr': not there", "did you mean 'other'?"],
        [('inputs = ["x", "y"]', 'inputs = ["x", "othr"]')],
        refused=True,
    ),
    Case(
        "two columns of one name",
        ["points.csv:1: column 'x': is there twice; expected names that differ"],
        points=POINTS.replace("other", "x", 1),
        refused=True,
    ),
    Case(
        "names of columns where header = false",
        ["points.csv:1: column 'x': not there", "header = false: the columns are named by their numbers"],
        [('targets = ["z"]', 'targets = ["z"]\nheader = false')],
        points=POINTS.split("\n", 1)[1],
        refused=True,
    ),
    Case(
        "an index among the inputs",
        [
            "e.toml:{LINE:inputs = }: key 'task.inputs'",
            "column 'Unnamed: 0' counts the rows; is it an index?",
        ],
        [('inputs = ["x", "y"]', 'inputs = ["Unnamed: 0", "x"]')],
        points="Unnamed: 0,x,z\n" + "".join(f"{i},{i % 3 - 1},{0.1 * i}\n" for i in range(9)),
        more="Unnamed: 0,x,z\n1,0.5,0.2\n",
    ),
    Case(
        "a column of texts among the inputs",
        ["points.csv:2: column 'other': 'red'", "leave its column out of 'inputs'"],
        [('inputs = ["x", "y"]', 'inputs = ["x", "other"]')],
        points=with_row(POINTS, 1, "other", "red"),
        refused=True,
    ),
    Case(
        "more columns than inputs",
        ["e.toml:{LINE:layers = }: key 'network.layers'", "has 2 inputs", "have 4 levels"],
        [('inputs = ["x", "y"]', 'inputs = "all"')],
        refused=True,
    ),
    Case(
        "targets in a file of another length",
        ["few.csv: ends after 2 rows; expected as many as in ", "points.csv"],
        [('test = "more.csv"', 'train_targets = "few.csv"')],
        refused=True,
    ),
    # a first day: cells
    Case(
        "a separator at the end of one row",
        ["points.csv:3", "6 fields; expected 5", "a separator at the end of the line?"],
        points=POINTS.replace(",1\n", ",1,\n", 1),
        refused=True,
    ),
    Case(
        "a row that is cut short",
        ["points.csv:7: column 'class': 3 fields; expected 5, as in the header"],
        points=POINTS.rsplit(",", 2)[0] + "\n",
        refused=True,
    ),
    Case(
        "thousands",
        ["points.csv:4: column 'x': '1,234.5'", "thousands are not parted"],
        points=with_row(POINTS, 3, "x", "@").replace("@", '"1,234.5"'),
        refused=True,
    ),
    Case(
        "a percentage",
        ["points.csv:2: column 'y': '12%'", "a percentage? the number alone"],
        points=with_row(POINTS, 1, "y", "12%"),
        refused=True,
    ),
    Case(
        "a date",
        ["points.csv:2: column 'x': '2024-01-31'", "a date or a time? write it as a number"],
        points=with_row(POINTS, 1, "x", "2024-01-31"),
        refused=True,
    ),
    Case(
        "a unit behind a number",
        ["points.csv:5: column 'y': '1.5 mV'", "the number alone"],
        points=with_row(POINTS, 4, "y", "1.5 mV"),
        refused=True,
    ),
    Case(
        "an infinity",
        ["points.csv:5: column 'y': '-Inf'", "no level stands for it"],
        points=with_row(POINTS, 4, "y", "-Inf"),
        refused=True,
    ),
    Case(
        "a number larger than any",
        ["points.csv:5: column 'y': '1e999'", "numbers end at 1.8e+308"],
        points=with_row(POINTS, 4, "y", "1e999"),
        refused=True,
    ),
    Case(
        "a comment between rows",
        ["points.csv:4: '# repaired the lead'", "a comment between rows"],
        points="\n".join(POINTS.split("\n")[:3] + ["# repaired the lead"] + POINTS.split("\n")[3:]),
        refused=True,
    ),
    Case(
        "a decimal point where commas are stated",
        ["points.csv:2: column 'x': '0.5'", "decimal_comma = true expects 0,5"],
        [('targets = ["z"]', 'targets = ["z"]\ndecimal_comma = true')],
        points=POINTS.replace(",", ";"),
        refused=True,
    ),
    # a first day: labels and shares
    Case(
        "labels from 1",
        ["points.csv:2: column 'class': 2; expected a class", 'labels = ["1", "2"]'],
        CLASSES,
        points=re.sub(r"(?m),([01]),(\d)$", lambda m: f",{2 - int(m[1])},{m[2]}", POINTS),
        refused=True,
    ),
    Case(
        "labels of which one is misspelt",
        ["points.csv: column 'class': 3 labels, 'No', 'no', 'yes'; expected as many as classes = 2"],
        CLASSES,
        points=with_row(re.sub(r"(?m),0,(\d)$", r",no,\1", POINTS).replace(",1,", ",yes,"), 1, "class", "No"),
        refused=True,
    ),
    Case(
        "labels as targets without classes",
        ["points.csv:2: column 'class': 'ant'", "'classes' says how many there are"],
        CLASSES[:1] + [("\nclasses = 2", "")],
        points=with_row(POINTS, 1, "class", "ant"),
        refused=True,
    ),
    Case(
        "a label twice",
        ["e.toml:{LINE:labels = }: key 'task.labels'", "expected different labels, found 'a' twice"],
        CLASSES + [("classes = 2", 'classes = 2\nlabels = ["a", "a"]')],
        refused=True,
    ),
    Case(
        "a share in per cent",
        ["e.toml:{LINE:test_share = 20}: key 'task.test_share'", "per cent? 0.2 is 20 %"],
        [('test = "more.csv"\n', ""), ('targets = ["z"]', 'targets = ["z"]\ntest_share = 20')],
        refused=True,
    ),
    Case(
        "validation samples by number and by share",
        ["e.toml:{LINE:validation_share}: key 'task.validation_share'", "expected one of the two"],
        [('targets = ["z"]', 'targets = ["z"]\nvalidation = 2\nvalidation_share = 0.2')],
        refused=True,
    ),
    Case(
        "means and deviations of another number of columns",
        ["e.toml:{LINE:[task]}: [task]", "1 means and deviations in 'standard'", "2 input columns"],
        [('targets = ["z"]', 'targets = ["z"]\nstandardise = true\nstandard = "0.5 1"')],
        refused=True,
    ),
    # a first day: keys
    Case(
        "a key misspelt",
        ["e.toml:{LINE:epoch = 2}: key 'training.epoch'", "did you mean 'epochs'?"],
        [("epochs = 2", "epoch = 2")],
        refused=True,
    ),
    Case(
        "a table misspelt",
        ["e.toml:{LINE:[optimiser]}: ", "'optimiser'", "did you mean 'optimizer'?"],
        [("[optimizer]", "[optimiser]")],
        refused=True,
    ),
    Case(
        "a key in another table",
        ["e.toml:{LINE:rate = 0.01}: key 'training.rate'", "unknown key"],
        [("[optimizer]\nrate = 0.01\n", ""), ("epochs = 2", "epochs = 2\nrate = 0.01")],
        refused=True,
    ),
    Case(
        "a number in quotes",
        ["e.toml:{LINE:rate = }: key 'optimizer.rate'", 'found the string "0.01"'],
        [("rate = 0.01", 'rate = "0.01"')],
        refused=True,
    ),
    Case(
        "a decimal comma in the experiment",
        ["e.toml:{LINE:rate = }: no TOML", "a decimal comma?"],
        [("rate = 0.01", "rate = 0,01")],
        refused=True,
    ),
    Case(
        "a name without quotes",
        ["e.toml:{LINE:kind = csv}: no TOML", "quotes"],
        [('kind = "csv"', "kind = csv")],
        refused=True,
    ),
    Case(
        "a key twice",
        ["e.toml:{LINE:rate = 0.02}: no TOML", "rate"],
        [("rate = 0.01", "rate = 0.01\nrate = 0.02")],
        refused=True,
    ),
    Case(
        "half a batch",
        ["e.toml:{LINE:batch = 2.5}: key 'training.batch'", "expected a whole number >= 0, found 2.5"],
        [("epochs = 2", "epochs = 2\nbatch = 2.5")],
        refused=True,
    ),
    Case(
        "a rate that is negative",
        ["e.toml:{LINE:rate = }: key 'optimizer.rate'", "expected a number > 0, found -0.01"],
        [("rate = 0.01", "rate = -0.01")],
        refused=True,
    ),
    Case(
        "a kind of task that is none",
        ["e.toml:{LINE:kind = }: key 'task.kind'", "'csv'", 'found the string "table"'],
        [('kind = "csv"', 'kind = "table"')],
        refused=True,
    ),
    # a first day: wires
    Case(
        "two wires at one node",
        [
            "bench-emulated.toml:{BENCH:[wiring.read-4]}: [wiring.read-4]",
            "node 3 is read by wire 'read-3' already",
        ],
        bench=[],
        words=[("wiring.read-4", "node = 4", "node = 3")],
        refused=True,
    ),
    Case(
        "a wire to an instrument that is not there",
        ["bench-emulated.toml:", "key 'wiring.read-4.instrument'", "scaner"],
        bench=[],
        words=[("wiring.read-4", 'instrument = "scanner"', 'instrument = "scaner"')],
        refused=True,
    ),
    Case(
        "a wire to a parameter that is not there",
        ["bench-emulated.toml:", "key 'wiring.a-0.parameter'", "a[99]"],
        bench=[],
        words=[("wiring.a-0", 'parameter = "a[0]"', 'parameter = "a[99]"')],
        refused=True,
    ),
]


# Commands that are given what they cannot take: "{log}" is a finished run's.
COMMANDS = [
    (
        "a resume of an experiment file",
        ["train", "--resume", "e.toml"],
        ["'e.toml' (", "is not an HDF5 file, and so no Ness log"],
    ),
    ("a resume of a table", ["train", "--resume", "points.csv"], ["'points.csv' (", "no Ness log"]),
    (
        "a resume of nothing",
        ["train", "--resume", "gone.h5"],
        ["cannot read the log 'gone.h5': No such file"],
    ),
    (
        "a resume of a directory",
        ["train", "--resume", "."],
        ["cannot read the log '.': it is not a regular file"],
    ),
    (
        "a resume with another setting",
        ["train", "--resume", "{log}", "--set", "optimizer.rate=1"],
        ["--resume excludes --set"],
    ),
    (
        "a resume of a log under an experiment",
        ["train", "e.toml", "--resume", "{log}"],
        ["EXPERIMENT excludes --resume"],
    ),
    ("a log over another", ["train", "e.toml", "--log", "{log}"], ["exists already", "--resume"]),
    (
        "a log in a directory that is not there",
        ["train", "e.toml", "--log", "no/run.h5"],
        ["no/run.h5: no log can be made in ", "No such file"],
    ),
    (
        "an experiment that is not there",
        ["train", "gone.toml"],
        ["gone.toml: cannot be read", "expected an experiment file"],
    ),
    (
        "a log in place of an experiment",
        ["train", "{log}", "--log", "new.h5"],
        ["done.h5: an HDF5 file, such as a log; expected TOML"],
    ),
    ("a table in place of an experiment", ["train", "points.csv"], ["points.csv:1: no TOML"]),
    ("an experiment in place of a log", ["evaluate", "e.toml"], ["'e.toml' (", "no Ness log"]),
]


def write(path, content):
    """None: a directory."""
    if content is None:
        path.mkdir()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content)


def numbered(said, texts):
    for kind, text in texts.items():
        said = re.sub(r"\{" + kind + r":(.*?)\}(?=:)", lambda found: str(line_of(text, found.group(1))), said)
    return said


def network(edges):
    return json.dumps(
        {
            "nodes": [{"clamped": True}, {"clamped": True}, {"g": 0.5}, {"g": 0.5}],
            "edges": [{"source": a, "target": b, "law": "linear", "G": 1.0} for a, b in edges],
            "outputs": [3],
            "kT": 1,
            "c_ref": 1,
        }
    )


def changed(text, changes):
    for before, after in changes:
        assert text.count(before) >= 1, before
        text = text.replace(before, after)
    return text


def run(number, case):
    where = root / str(number)
    where.mkdir()
    texts, words = {}, []
    if case.bench is None:
        texts["LINE"] = changed(EXPERIMENT, case.change)
        write(where / "points.csv", case.points)
        write(where / "more.csv", case.more)
        (where / "few.csv").write_text("z\n0.5\n0.25\n")
        (where / "net.json").write_text(network([(0, 2), (1, 2)]))
        (where / "nowhere.json").write_text(network([(0, 2), (2, 3)]))
    else:
        texts["LINE"] = changed((EXPERIMENTS / "xor-bench.toml").read_text(), case.bench)
        bench = (EXPERIMENTS / "bench-emulated.toml").read_text()
        for table, before, after in case.words:
            head, tail = bench.split(f"[{table}]\n")
            assert before in tail, before
            bench = f"{head}[{table}]\n{tail.replace(before, after, 1)}"
        texts["BENCH"] = bench
        (where / "bench-emulated.toml").write_text(bench)
        (where / "xor-bench.toml").write_text(texts["LINE"])
        words = ["--device", "emulated", "--bench", "bench-emulated.toml", "--no-check"]
    (where / "e.toml").write_text(texts["LINE"])
    done = subprocess.run(
        [NESS, "train", "e.toml", "--log", "run.h5", "-q", *words, "--set", "training.epochs=1"],
        cwd=where,
        capture_output=True,
        text=True,
        timeout=120,
    )
    said = [numbered(one, texts) for one in case.said]
    lines = [line for line in done.stderr.split("\n") if all(one in line for one in said)]
    log = (where / "run.h5").exists()
    if len(lines) != 1:
        faults.append(f"{case.name}: expected one line with {said}, found: {done.stderr!r}")
    elif case.refused and (done.returncode != 2 or log):
        faults.append(f"{case.name}: exit code {done.returncode}, expected 2; a log was made: {log}")
    elif not case.refused and (done.returncode != 0 or not log or "warning" not in lines[0]):
        faults.append(f"{case.name}: exit code {done.returncode}, a log: {log}, {done.stderr!r}")
    if case.refused or len(lines) != 1:
        return
    # The same warning comes before training: where no log can be made, nothing is trained.
    before = subprocess.run(
        [NESS, "train", "e.toml", "--log", "no.h5", "-q", *words, "--set", "training.epochs=1"],
        cwd=where,
        capture_output=True,
        text=True,
        timeout=120,
        preexec_fn=no_files,
    )
    if before.returncode == 0 or lines[0] not in before.stderr.split("\n"):
        faults.append(f"{case.name}: not before training: {before.returncode}, {before.stderr!r}")
    (where / "run.h5").unlink()
    told = subprocess.run(
        [NESS, "train", "e.toml", "--log", "run.h5", "-q", *words, "--set", "training.epochs=1", "--json"],
        cwd=where,
        capture_output=True,
        text=True,
        timeout=120,
    )
    warnings = json.loads(told.stdout).get("warnings", [])
    if not any(all(one in line for one in said) for line in warnings):
        faults.append(f"{case.name}: not among the warnings of --json: {warnings}")


def no_files():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def a_sound_experiment_is_silent():
    where = root / "sound"
    where.mkdir()
    (where / "e.toml").write_text(EXPERIMENT)
    (where / "points.csv").write_text(POINTS)
    (where / "more.csv").write_text(MORE)
    done = subprocess.run(
        [NESS, "train", "e.toml", "-q"], cwd=where, capture_output=True, text=True, timeout=120
    )
    if done.returncode != 0 or done.stderr:
        faults.append(f"a sound experiment: exit code {done.returncode}, {done.stderr!r}")


def refused_commands():
    where = root / "commands"
    where.mkdir()
    (where / "e.toml").write_text(EXPERIMENT)
    (where / "points.csv").write_text(POINTS)
    (where / "more.csv").write_text(MORE)
    subprocess.run(
        [NESS, "train", "e.toml", "--log", "done.h5", "-q"], cwd=where, check=True, capture_output=True
    )
    before = (where / "done.h5").read_bytes()
    for name, words, said in COMMANDS:
        done = subprocess.run(
            [NESS, *(word.replace("{log}", "done.h5") for word in words)],
            cwd=where,
            capture_output=True,
            text=True,
            timeout=120,
        )
        lines = done.stderr.splitlines()
        if done.returncode not in (1, 2) or len(lines) != 1 or not all(one in lines[0] for one in said):
            faults.append(
                f"{name}: exit code {done.returncode}, {done.stderr!r}, expected one line with {said}"
            )
        if (where / "done.h5").read_bytes() != before:
            faults.append(f"{name}: the log was changed")


def as_nobody():
    """Root may write anywhere."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)


def a_log_where_none_may_be_made():
    where = root / "closed"
    where.mkdir()
    (where / "e.toml").write_text(EXPERIMENT)
    (where / "points.csv").write_text(POINTS)
    (where / "more.csv").write_text(MORE)
    root.chmod(0o755)
    where.chmod(0o555)
    done = subprocess.run(
        [NESS, "train", "e.toml"],
        cwd=where,
        capture_output=True,
        text=True,
        timeout=120,
        preexec_fn=as_nobody,
    )
    where.chmod(0o755)
    expected = f"ness: e.h5: no log can be made in {where}: Permission denied\n"
    if done.returncode not in (1, 2) or done.stderr != expected:
        faults.append(f"a closed directory: exit code {done.returncode}, {done.stderr!r}, not {expected!r}")


for number, case in enumerate(CASES):
    run(number, case)
refused_commands()
a_log_where_none_may_be_made()
a_sound_experiment_is_silent()
for fault in faults:
    print("DIFFERS:", fault)
print(f"{len(CASES) + len(COMMANDS) + 1} mistakes, {len(faults)} not as they should be")
sys.exit(bool(faults))
