"""Computes a lattice under every BLAS of the system, and fails where a digit differs.

   blas.py NESS

CHOLMOD is linked with BLAS and LAPACK, and brings them along, but Ness asks it for symbolic analyses alone;
KLU, Eigen and Spectra use none. So no digit of a result may depend on which of them the system offers. The
steady state, its eigenvalue, its gradients and a ramp of a square lattice (solved by sparse LU) and of layers
(dense) are computed under the reference BLAS, ATLAS and OpenBLAS, chosen by LD_LIBRARY_PATH. Libraries that
are not installed are named and left out; fewer than two are a failure.
"""
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile

ness = sys.argv[1]
root = pathlib.Path("/usr/lib/x86_64-linux-gnu")
offered = {"reference": ["blas", "lapack"], "ATLAS": ["atlas"], "OpenBLAS": ["openblas-pthread"]}


def lattice(side):
    """Nodes (x, y) of a square, dots to the right and downwards, corners clamped."""
    rng = random.Random(3)
    corners = {0, side - 1, side * (side - 1), side * side - 1}
    nodes = [
        {"clamped": True} if k in corners else {"g": 0.01, "capacity": rng.uniform(0.5, 2)}
        for k in range(side * side)
    ]
    edges = [
        {
            "source": k,
            "target": t,
            "law": "quantum-dot",
            "gamma": rng.uniform(0.5, 2),
            "a": rng.gauss(0, 1),
            "b": rng.gauss(0, 0.5),
        }
        for k in range(side * side)
        for t in ([k + 1] if (k + 1) % side else []) + ([k + side] if k + side < side * side else [])
    ]
    return {"nodes": nodes, "edges": edges, "outputs": [side * side // 2 + side // 2]}


def layers(widths):
    rng = random.Random(5)
    nodes = [{"clamped": True} for _ in range(widths[0])] + [{"g": 0.3} for _ in range(sum(widths[1:]))]
    edges, first = [], 0
    for here, there in zip(widths, widths[1:]):
        edges += [
            {
                "source": first + s,
                "target": first + here + t,
                "law": "quantum-dot",
                "gamma": rng.uniform(0.5, 2),
                "a": rng.gauss(0, 1),
                "b": rng.gauss(0, 0.5),
            }
            for s in range(here)
            for t in range(there)
        ]
        first += here
    return {"nodes": nodes, "edges": edges, "outputs": [len(nodes) - 1]}


def loaded(environment):
    """Which files of BLAS and LAPACK the command is given."""
    lines = subprocess.run(
        ["ldd", ness], env=environment, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    return {
        line.split()[0]: line.split()[2] for line in lines if "libblas.so" in line or "liblapack.so" in line
    }


results, used = {}, {}
with tempfile.TemporaryDirectory() as scratch:
    cases = []
    for name, network, clamp in [
        ("lattice", lattice(24), [3, -2, 1, 0]),
        ("layers", layers([4, 24, 12, 3]), [1, -1, 2, 0.5]),
    ]:
        path = pathlib.Path(scratch) / f"{name}.json"
        path.write_text(json.dumps(network))
        levels = [f"--clamp={','.join(map(str, clamp))}"]
        cases += [[path, *levels, "--target", "0.5"], [path, *levels, "--ramp", "0.5"]]
    for name, folders in offered.items():
        there = [root / folder for folder in folders if (root / folder).is_dir()]
        if not there:
            print(f"{name}: not installed, left out")
            continue
        environment = {**os.environ, "LD_LIBRARY_PATH": ":".join(map(str, there))}
        used[name] = loaded(environment)
        if not any(path.startswith(str(folder)) for path in used[name].values() for folder in there):
            sys.exit(f"{name}: the command does not take its BLAS from {there}: {used[name]}")
        runs = [
            subprocess.run(
                [ness, "solve", *map(str, case), "--json"], env=environment, capture_output=True, text=True
            )
            for case in cases
        ]
        if any(run.returncode for run in runs):
            sys.exit(f"{name}: " + "; ".join(run.stderr for run in runs))
        results[name] = [run.stdout for run in runs]
        print(f"{name}: {used[name]}")

if len(results) < 2:
    sys.exit("fewer than two BLAS are installed: nothing was compared")
first = next(iter(results))
wrong = [name for name in results if results[name] != results[first]]
for name in wrong:
    print(f"{name}: other digits than {first}")
print(
    f"{len(results)} BLAS, {len(cases)} computations of {len(results[first][0])} characters, "
    f"{'some differ' if wrong else 'all digits equal'}"
)
sys.exit(1 if wrong else 0)
