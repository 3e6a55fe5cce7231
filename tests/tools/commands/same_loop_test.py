"""One experiment file on both devices: the loop that trains in simulation trains on emulated instruments.

Usage: same_loop_test.py NESS EXPERIMENTS [--whole]

Gradients of the first steps, read from the logs as (parameters before - after) / rate, differ by what the
instruments' resolution makes of them, and by nothing else. That is propagated independently of the bench: the
simulation alone is run many times with its readings and levels uncertain by the resolution. With ideal
instruments the parameters are the same.
--whole: all figures, one JSON object a line, for tests/bars/bars.py."""
import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import h5py
import numpy

ness, experiments, whole = sys.argv[1], pathlib.Path(sys.argv[2]).resolve(), "--whole" in sys.argv
experiment = experiments / "xor-bench.toml"
directory = tempfile.TemporaryDirectory(
    prefix="ness-same-loop-"
)  # gone when this process ends, however it does
scratch = pathlib.Path(directory.name)

rate = 0.1
sgd = ("optimizer.kind=sgd", "optimizer.clip=0", "training.target_loss=0")
# DAQ970A, 1 V range at 1 NPLC: 3e-6 of the range, at 0.1 V a kT. Without noise all readings of a window round
# alike: their mean is no better than one. QDAC-II, low range: 25 bits of 4 V, times at most 10 a volt. A
# 2400's steps of 50 uV hold 0 V and 0.3 V exactly.
reading_resolution, level_resolution = 3e-6 / 0.1, 4 / 2**25 * 10
deviation = 1 / 12**0.5  # of what is rounded, in steps


def bench(name, **keys):
    text = (experiments / "bench-emulated.toml").read_text()
    ours = f'experiment = "{experiment}"\n' + "".join(
        f"{key} = {json.dumps(value)}\n" for key, value in keys.items()
    )
    changed = text.replace('experiment = "xor-bench.toml"', ours)
    assert changed != text
    path = scratch / f"{name}.toml"
    path.write_text(changed)
    return path


def train(name, *settings, on=None):
    """The run's result, and its log's parameters after each step, whose scale is
    logarithmic, which are trained."""
    log = scratch / f"{name}.h5"
    command = [ness, "train", experiment, "--log", log, "--json", "-q"]
    for setting in settings:
        command += ["--set", setting]
    if on:
        command += ["--device", "emulated", "--bench", on]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=900)
    if done.returncode != 0:
        raise SystemExit(f"FAILED: {' '.join(map(str, command))}: {done.stdout}{done.stderr}")
    with h5py.File(log, "r", locking=False) as file:
        theta = file["/entry/training/theta"][:]
        logarithmic = file["/entry/device/parameters/scale"][:] == 1
    log.unlink()
    return json.loads(done.stdout), theta, logarithmic


def gradients(start, theta, logarithmic):
    """[steps, parameters]: the optimizer acts on log theta where the scale is logarithmic."""
    theta = numpy.vstack([start, theta])
    coordinates = numpy.where(logarithmic, numpy.log(numpy.where(logarithmic, theta, 1)), theta)
    return (coordinates[:-1] - coordinates[1:]) / rate


def of(estimator):
    return (f"estimator.kind={estimator}", *(["estimator.step=0.05"] if estimator == "fd-central" else []))


def compare_gradients(estimator, runs):
    settings = (*sgd, *of(estimator))
    start = train("start", *settings, "optimizer.rate=1e-300", "training.epochs=1")[1][
        0
    ]  # a step too small to change a bit
    ten = (*settings, f"optimizer.rate={rate}", "training.epochs=10")
    _, theta, logarithmic = train("simulated", *ten)
    simulated = gradients(start, theta, logarithmic)
    on = bench("quantised", noise=False, errors=False, loading=False, leads=False)
    result, theta, _ = train("emulated", *ten, on=on)
    assert result["left_out"] == 0, result
    difference = gradients(start, theta, logarithmic) - simulated

    def uncertain(seed):
        theta = train(
            f"uncertain-{seed}",
            *ten,
            f"device.read_noise={reading_resolution * deviation}",
            f"device.write_noise={level_resolution * deviation}",
            f"device.noise_seed={seed}",
            "device.threads=1",
        )[1]
        return gradients(start, theta, logarithmic) - simulated

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        propagated = numpy.array(list(pool.map(uncertain, range(runs))))
    trained = (propagated != 0).any((0, 1))
    assert trained.sum() == 15 and not difference[:, ~trained].any(), trained
    sigma = numpy.sqrt((propagated**2).mean(0))[:, trained]
    z = difference[:, trained] / sigma
    return {
        "figure": "gradients",
        "estimator": estimator,
        "runs": runs,
        "largest_gradient": float(abs(simulated).max()),
        "largest_difference": float(abs(difference).max()),
        "largest_sigma": float(sigma.max()),
        "rms_z": float(numpy.sqrt((z**2).mean())),
        "largest_z": float(abs(z).max()),
    }


def compare_parameters(estimator, steps):
    settings = (
        *sgd,
        *of(estimator),
        f"optimizer.rate={rate}",
        f"training.epochs={steps}",
        "solver.tolerance=1e-12",
    )
    _, simulated, _ = train("simulated", *settings)
    _, emulated, _ = train(
        "ideal",
        *settings,
        on=bench("ideal", noise=False, errors=False, quantised=False, loading=False, leads=False),
    )
    return {
        "figure": "parameters",
        "estimator": estimator,
        "steps": steps,
        "moved": float(abs(simulated[-1] - simulated[0]).max()),
        "largest_difference": float(abs(emulated - simulated).max()),
    }


def compare_solutions(seed):
    both = {
        "simulation": train(f"solved-{seed}", f"seed={seed}")[0],
        "emulated": train(f"solved-on-bench-{seed}", f"seed={seed}", on=experiments / "bench-emulated.toml")[
            0
        ],
    }
    return {
        "figure": "solved",
        "seed": seed,
        **{device: result["train"]["loss"] for device, result in both.items()},
    }


def say(figure):
    print(json.dumps(figure), flush=True)
    return figure


for estimator in ("ep-centred", "fd-central"):
    figure = say(compare_gradients(estimator, 200 if whole else 40))
    if not whole:
        # 150 differences, correlated between steps: of 100 uncertain runs of the simulation itself none had
        # an rms beyond 0.79 to 1.42 of its sigma, or a difference beyond 4.5.
        assert 0.6 < figure["rms_z"] < 1.5 and figure["largest_z"] < 5, figure
        # And the resolution is small enough for that to be a statement about gradients.
        assert figure["largest_sigma"] < 2e-3 * figure["largest_gradient"], figure
    figure = say(compare_parameters(estimator, 50 if whole or estimator == "ep-centred" else 8))
    if not whole:
        assert figure["largest_difference"] < 1e-6 and figure["moved"] > 0.05, figure
if whole:
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for figure in pool.map(compare_solutions, range(1000, 1005)):
            say(figure)
