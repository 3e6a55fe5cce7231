"""Compares `ness solve` with an independent calculation to 40 digits.

   truth.py NESS [--networks N] [--seed S] [--json]

Random networks of all laws, with cycles, unequal temperatures and capacities, mu0 != 0, and bistable
ones from either side. The equations are written here anew, from the issue's conventions: node k has
sum of currents in - sum out - g (mu - mu_ref) = C dmu/dt. The branch is found by following that
equation in time in floating point from mu_init (Runge-Kutta under error control); the root is then
polished by Newton's method, and every derivative taken by differences of re-polished roots, with
mpmath. Each block of results (potentials, currents, conductance matrix, each kind of gradient, ..)
must agree to 1e-10 of its largest entry.
"""
import argparse
import json
import math
import pathlib
import random
import subprocess
import sys
import tempfile

from mpmath import mp, mpf, matrix, lu_solve, exp

mp.dps = 40
TOLERANCE = 1e-10


def network(rng, kind):
    """A random network: (description, clamp levels, targets)."""
    inputs, free = rng.choice([(1, 1), (2, 3), (3, 4), (2, 5)]) if kind != "bistable" else (1, 2)
    nodes = [
        {"clamped": True, "T": math.exp(0.3 * rng.gauss(0, 1)), "mu0": 0.3 * rng.gauss(0, 1)}
        for _ in range(inputs)
    ]
    for _ in range(free):
        nodes.append(
            {
                "g": math.exp(rng.gauss(-1, 0.5)),
                "mu_ref": rng.gauss(0, 0.5),
                "T": math.exp(0.3 * rng.gauss(0, 1)),
                "capacity": math.exp(rng.gauss(0, 0.7)),
                "mu0": 0.3 * rng.gauss(0, 1),
                "mu_init": rng.gauss(0, 0.5),
            }
        )
    edges = []

    def edge(s, t):
        law = (
            rng.choice(["linear", "quantum-dot", "enzyme"])
            if kind == "mixed"
            else {"dots": "quantum-dot", "enzymes": "enzyme", "bistable": "linear"}[kind]
        )
        e = {"source": s, "target": t, "law": law}
        if law == "linear":
            e["G"] = math.exp(rng.gauss(-0.5, 0.5))
        elif law == "quantum-dot":
            e.update(gamma=math.exp(rng.gauss(0, 0.7)), a=rng.gauss(0, 1), b=rng.gauss(0, 1.5))
            if rng.random() < 0.4:
                e["d"] = rng.choice([1, rng.gauss(0, 0.5)])
        else:
            e.update(
                Vf=math.exp(rng.gauss(0, 0.7)), Ka=math.exp(rng.gauss(0, 0.5)), Kb=math.exp(rng.gauss(0, 0.5))
            )
            if rng.random() < 0.7:
                e["Ki"] = math.exp(rng.gauss(0, 0.7))
        edges.append(e)

    for t in range(inputs, inputs + free):  # every free node hangs on something earlier
        edge(rng.randrange(t), t)
    for _ in range(inputs + 2 * free):  # and cycles
        s, t = rng.sample(range(inputs + free), 2)
        edge(s, t)
    if kind == "bistable":
        # The node of which the dot's level passes the node's own potential while the source is far
        # above: two stable states.
        nodes[1].update(g=0.5, mu_ref=-5, T=1, mu_init=rng.choice([-6, -3, 3, 7]))
        nodes[0]["T"] = 1
        edges = [
            {"source": 0, "target": 1, "law": "quantum-dot", "gamma": 6, "a": 22, "b": -3},
            {"source": 1, "target": 2, "law": "linear", "G": 0.02},
        ]
        clamp = [8 + 0.2 * rng.gauss(0, 1)]
    else:
        clamp = [rng.uniform(-2, 2) for _ in range(inputs)]
    # T is refused where no dot takes note of it, and at pools.
    for k, node in enumerate(nodes):
        laws = {e["law"] for e in edges if k in (e["source"], e["target"])}
        if "enzyme" in laws or "quantum-dot" not in laws:
            node["T"] = 1
    outputs = rng.sample(range(inputs, inputs + free), rng.randint(1, free))
    description = {
        "nodes": nodes,
        "edges": edges,
        "outputs": outputs,
        "kT": rng.choice([1, 0.8]) if kind != "bistable" else 1,
        "c_ref": rng.choice([1, 1.4]),
    }
    return description, clamp, [rng.gauss(0, 1) for _ in outputs]


class Equations:
    """The equations of a description, for floats and for mpf."""

    def __init__(self, d):
        self.d = d
        self.free = [k for k, n in enumerate(d["nodes"]) if not n.get("clamped")]
        self.clamped = [k for k, n in enumerate(d["nodes"]) if n.get("clamped")]
        self.enzyme = {k for e in d["edges"] if e["law"] == "enzyme" for k in (e["source"], e["target"])}

    def current(self, e, mu, ex, one):
        s, t, d = e["source"], e["target"], self.d
        ns, nt, kT = d["nodes"][s], d["nodes"][t], one * d["kT"]
        if e["law"] == "linear":
            return e["G"] * (mu[s] - mu[t])
        if e["law"] == "quantum-dot":
            eps = e["a"] + e["b"] * (mu[s] - mu[t]) + e.get("d", 0) * (mu[s] + mu[t]) / 2
            f = lambda m, T: 1 / (1 + ex((eps - m) / (kT * T)))
            return e["gamma"] * (f(mu[s], one * ns.get("T", 1)) - f(mu[t], one * nt.get("T", 1)))
        c = lambda k: d["c_ref"] * ex((mu[k] - one * d["nodes"][k].get("mu0", 0)) / kT)
        Keq = ex(-(one * nt.get("mu0", 0) - one * ns.get("mu0", 0)) / kT)
        Vr = e["Vf"] * e["Kb"] / (e["Ka"] * Keq)
        inhibition = c(s) ** 2 / (e["Ka"] * e["Ki"]) if "Ki" in e else 0
        return (e["Vf"] * c(s) / e["Ka"] - Vr * c(t) / e["Kb"]) / (
            1 + c(s) / e["Ka"] + c(t) / e["Kb"] + inhibition
        )

    def unbalanced(self, mu, ex=exp, one=mpf(1)):
        """F of each free node; mu of all nodes."""
        F = {
            k: -one * self.d["nodes"][k].get("g", 0) * (mu[k] - one * self.d["nodes"][k].get("mu_ref", 0))
            for k in self.free
        }
        for e in self.d["edges"]:
            I = self.current(e, mu, ex, one)
            if e["target"] in F:
                F[e["target"]] += I
            if e["source"] in F:
                F[e["source"]] -= I
        return [F[k] for k in self.free]

    def capacity(self, k, mu_k, ex, one):
        n, kT = self.d["nodes"][k], one * self.d["kT"]
        C = one * n.get("capacity", 1)
        return C * self.d["c_ref"] * ex((mu_k - one * n.get("mu0", 0)) / kT) / kT if k in self.enzyme else C

    def full(self, clamp, potential):
        mu = [None] * len(self.d["nodes"])
        for k, x in zip(self.clamped, clamp):
            mu[k] = x
        for k, x in zip(self.free, potential):
            mu[k] = x
        return mu

    def integrate(self, clamp):
        """Follows the relaxation from mu_init in floating point until the rates vanish."""
        y = [float(self.d["nodes"][k].get("mu_init", 0)) for k in self.free]

        def rate(p):
            F = self.unbalanced(self.full(clamp, p), math.exp, 1.0)
            return [f / self.capacity(k, x, math.exp, 1.0) for f, k, x in zip(F, self.free, p)]

        # Bogacki-Shampine 3(2): the error control also keeps the steps within the stability limit.
        h, k1 = 1e-3, rate(y)
        for _ in range(400000):
            if max(abs(r) for r in k1) < 1e-4:
                return y
            try:
                k2 = rate([a + h / 2 * b for a, b in zip(y, k1)])
                k3 = rate([a + 0.75 * h * b for a, b in zip(y, k2)])
                z = [a + h * (2 * b + 3 * c + 4 * d) / 9 for a, b, c, d in zip(y, k1, k2, k3)]
                k4 = rate(z)
                error = (
                    max(abs(h * (-5 * b / 72 + c / 12 + d / 9 - e / 8)) for b, c, d, e in zip(k1, k2, k3, k4))
                    / 1e-7
                )
            except OverflowError:
                error = 1e9
            if error <= 1:
                y, k1 = z, k4
            h *= min(4.0, max(0.1, 0.9 / max(error, 1e-9) ** (1 / 3)))
        raise RuntimeError("the integration did not come to rest")

    def slope(self, mu_full):
        """dF/dmu, free x free, by differences at 40 digits: truncation 1e-26, rounding 1e-27."""
        h, n = mpf(10) ** -13, len(self.free)
        J = matrix(n, n)
        for j, k in enumerate(self.free):
            up, down = list(mu_full), list(mu_full)
            up[k] += h
            down[k] -= h
            for i, (a, b) in enumerate(zip(self.unbalanced(up), self.unbalanced(down))):
                J[i, j] = (a - b) / (2 * h)
        return J

    def root(self, clamp, start):
        y = [mpf(v) for v in start]
        for _ in range(60):
            mu = self.full([mpf(x) for x in clamp], y)
            delta = lu_solve(self.slope(mu), -matrix(self.unbalanced(mu)))
            y = [a + b for a, b in zip(y, delta)]
            if max(abs(v) for v in delta) < mpf(10) ** -30:
                return y
        raise RuntimeError("no root near the integrated state")


def widen(d):
    """The description with every number an mpf, so that files' doubles are taken exactly."""
    if isinstance(d, dict):
        return {k: widen(v) for k, v in d.items()}
    if isinstance(d, list):
        return [widen(v) for v in d]
    return mpf(d) if isinstance(d, float) else d


def reference(d, clamp, target):
    floats = Equations(d)
    integrated = floats.integrate(clamp)
    eq = Equations(widen(d))
    root = eq.root(clamp, integrated)
    moved = max(abs(float(a) - b) for a, b in zip(root, integrated))
    if moved > 2e-2:
        raise RuntimeError(f"the integration stopped {moved} from the root")
    mu = eq.full([mpf(x) for x in clamp], root)
    J = eq.slope(mu)
    n = len(eq.free)
    C = [eq.capacity(k, mu[k], exp, mpf(1)) for k in eq.free]
    scaled = matrix(n, n)
    for i in range(n):
        for j in range(n):
            scaled[i, j] = J[i, j] / C[i]
    eigenvalues, _ = mp.eig(scaled)

    def loss(description, levels):
        e = Equations(description)
        p = e.full([mpf(x) for x in levels], e.root(levels, root))
        return sum((p[k] - mpf(t)) ** 2 for k, t in zip(d["outputs"], target))

    def by(change, value):
        h = mpf(10) ** -12 * max(1, abs(value))
        return (change(value + h) - change(value - h)) / (2 * h)

    edges = []
    for i, e in enumerate(d["edges"]):
        out = {}
        for name in [k for k in e if k not in ("source", "target", "law")]:

            def change(v, i=i, name=name):
                w = widen(d)
                w["edges"][i][name] = v
                return loss(w, clamp)

            out[name] = by(change, mpf(e[name]))
        edges.append(out)
    leaks = []
    for k in eq.free:
        out = {"node": k}
        for name in ("g", "mu_ref"):

            def change(v, k=k, name=name):
                w = widen(d)
                w["nodes"][k][name] = v
                return loss(w, clamp)

            out[name] = by(change, mpf(d["nodes"][k].get(name, 0)))
        leaks.append(out)
    clamps = []
    for i in range(len(clamp)):

        def change(v, i=i):
            levels = [mpf(x) for x in clamp]
            levels[i] = v
            return loss(widen(d), levels)

        clamps.append(by(change, mpf(clamp[i])))
    return {
        "potentials": mu,
        "edge_currents": [eq.current(e, mu, exp, mpf(1)) for e in eq.d["edges"]],
        "conductance_matrix": [[J[i, j] for j in range(n)] for i in range(n)],
        "max_real_eigenvalue": max(mp.re(v) for v in eigenvalues),
        "loss": sum((mu[k] - mpf(t)) ** 2 for k, t in zip(d["outputs"], target)),
        "edges": edges,
        "leaks": leaks,
        "clamps": clamps,
    }


def flat(x):
    if isinstance(x, list):
        return [v for y in x for v in flat(y)]
    return [x]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("ness")
    parser.add_argument("--networks", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="the worst of each network, as the last line")
    options = parser.parse_args()
    worst, failures, states, of_networks = {}, 0, set(), []
    with tempfile.TemporaryDirectory() as scratch:
        path = pathlib.Path(scratch) / "network.json"
        for i in range(options.networks):
            kind = ["mixed", "dots", "enzymes", "bistable"][i % 4]
            d, clamp, target = network(random.Random(options.seed * 1000 + i), kind)
            path.write_text(json.dumps(d))
            run = subprocess.run(
                [
                    options.ness,
                    "solve",
                    str(path),
                    "--clamp=" + ",".join(map(repr, clamp)),
                    "--target=" + ",".join(map(repr, target)),
                    "--json",
                ],
                capture_output=True,
                text=True,
            )
            if run.returncode != 0:
                print(
                    f"network {i} ({kind}): exit code {run.returncode}: "
                    f"{run.stderr.strip()} {run.stdout[:200]}"
                )
                failures += 1
                continue
            got, want = json.loads(run.stdout), reference(d, clamp, target)
            if kind == "bistable":
                states.add(round(got["potentials"][1]))
            names = sorted({name for e in want["edges"] for name in e})
            blocks = {
                key: (flat(got[key]), flat(want[key]))
                for key in (
                    "potentials",
                    "edge_currents",
                    "conductance_matrix",
                    "loss",
                    "max_real_eigenvalue",
                )
            }
            for name in names:
                blocks["gradient " + name] = (
                    [
                        g.get(name, math.nan)
                        for g, e in zip(got["gradients"]["edges"], want["edges"])
                        if name in e
                    ],
                    [e[name] for e in want["edges"] if name in e],
                )
            for name in ("g", "mu_ref"):
                blocks["gradient " + name] = (
                    [g[name] for g in got["gradients"]["leaks"]],
                    [e[name] for e in want["leaks"]],
                )
            blocks["gradient clamps"] = (got["gradients"]["clamps"], want["clamps"])
            if [g["node"] for g in got["gradients"]["leaks"]] != [e["node"] for e in want["leaks"]] or got[
                "status"
            ] != "converged":
                print(f"network {i} ({kind}): leaks of other nodes, or status {got['status']}")
                failures += 1
            of_networks.append(0.0)
            for name, (a, b) in blocks.items():
                largest = max((abs(v) for v in b), default=mpf(0))
                error = max((float(abs(mpf(x) - y)) for x, y in zip(a, b)), default=0.0)
                relative = error / float(largest) if largest > mpf(10) ** -30 else error
                worst[name] = max(worst.get(name, 0), relative)
                of_networks[-1] = max(of_networks[-1], relative)
                if len(a) != len(b) or not relative <= TOLERANCE:
                    print(
                        f"network {i} ({kind}): {name} differs by {relative:.3g} of its largest entry, "
                        f"expected at most {TOLERANCE}"
                    )
                    failures += 1
    for name, value in worst.items():
        print(f"{name:24s} worst {value:.2e}")
    if options.networks >= 8 and len(states) < 2:
        print("only one of the bistable network's states was reached")
        failures += 1
    print(f"{options.networks} networks, {failures} failures")
    if options.json:
        print(json.dumps(of_networks))
    return 1 if failures else 0


sys.exit(main())
