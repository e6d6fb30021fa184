"""What measuring costs: NC1 against full covariances, the pass against the bare network, CDNV against a loop.

nc1    NC1 of N x D features: `nc1_streaming`, and the D x D covariances with a pseudo-inverse as published
       codes do (float32, batches of 1000). Every turn of every side is a process of its own: its time, and its
       peak memory beyond the features (ratios count less than 1 MiB as 1 MiB).
pass   the default measures of ResNet20 with a 4-layer head over images, against the network alone, in turns:
       `head` the 8 stages of the default layers, `maps` 8 stages from the stem to head.1, five of them feature
       maps, flattened (61 440 numbers per image).
cdnv   K = 1000 class means of width 512: `core.cdnv`, and a double loop over the pairs.

python scripts/bench_measure.py                                   # everything, as in docs/performance.md
python scripts/bench_measure.py pass --images 2000 --rounds 3     # one part, smaller
"""

import argparse
import ctypes
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ncbench.core import ClassMoments, cdnv
from ncbench.measure import measure, nc1_streaming

K = 10
PARTS = ("nc1", "pass", "cdnv")
LAYERS = {
    "head": ["features", "head.1", "head.2", "head.3", "head.4"],
    "maps": [*(f"features.{name}" for name in ("stem", "stage1", "stage2", "stage3")), "features", "head.1"],
}


def main() -> None:
    """Run the parts asked for and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; default: all")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each side (default 5)")
    parser.add_argument("--threads", type=int, default=1, help="intra-op threads (default 1)")
    parser.add_argument("--samples", type=int, default=50_000, help="of part nc1 (default 50000)")
    parser.add_argument("--widths", type=int, nargs="+", default=[512, 2048, 4096], help="of part nc1")
    parser.add_argument("--images", type=int, default=50_000, help="of part pass (default 50000)")
    parser.add_argument("--batch-size", type=int, default=1000, help="of part pass (default 1000)")
    parser.add_argument("--side", help=argparse.SUPPRESS)  # one side of part nc1, in this process
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.side:
        print(json.dumps(_one_side(options.side, options.samples, options.widths[0])))
        return
    unknown = set(options.parts) - set(PARTS)
    if unknown:
        parser.error(f"PART must be of {', '.join(PARTS)}, got {', '.join(sorted(unknown))}")
    print(f"{_processor()}, {options.threads} threads, torch {torch.__version__}, medians of {options.rounds}")
    run: dict[str, Callable[[argparse.Namespace], None]] = {"nc1": _nc1, "pass": _pass, "cdnv": _cdnv}
    for part in options.parts or PARTS:
        run[part](options)


def _nc1(options: argparse.Namespace) -> None:
    print(f"\nnc1, N = {options.samples}, K = {K}{'':14}s (CPU s){'':6}extra MiB   NC1")
    for width in options.widths:
        turns_of: dict[str, list[dict[str, float]]] = {"streaming": [], "covariance": []}
        for _ in range(options.rounds):
            for side, turns in turns_of.items():
                command = [sys.executable, __file__, "--side", side, "--widths", str(width)]
                command += ["--samples", str(options.samples), "--threads", str(options.threads)]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                turns.append(json.loads(done.stdout))
        ours, theirs = ({key: _median(turn[key] for turn in turns) for key in turns[0]} for turns in turns_of.values())
        for side, values in (("streaming", ours), ("covariance + pinv", theirs)):
            cost = f"{values['wall']:9.2f} ({values['cpu']:.2f})"
            print(f"  D = {width:<5} {side:18}{cost:>20}{values['extra'] / 2**20:12.1f}   {values['nc1']:.6g}")
        ratios = [theirs[key] / max(ours[key], floor) for key, floor in (("wall", 0), ("cpu", 0), ("extra", 2**20))]
        print(f"  D = {width:<5} {'ratio':18}{ratios[0]:9.1f} ({ratios[1]:.1f}){'':4}{ratios[2]:12.1f}")


def _one_side(side: str, samples: int, width: int) -> dict[str, float]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, K, (samples,), generator=generator)
    means = torch.randn(K, width, generator=generator)
    H = torch.randn(samples, width, generator=generator)
    for start in range(0, samples, 1000):  # in place: no temporary may hide behind the features' own memory
        H[start : start + 1000] += means[labels[start : start + 1000]]
    compute = {"streaming": _streaming, "covariance": _covariance}[side]
    compute(H[:1000, :32].contiguous(), labels[:1000])  # libraries and threads are loaded before memory is read
    before = _reset_peak()
    wall, cpu = time.perf_counter(), time.process_time()
    value = compute(H, labels)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"wall": wall, "cpu": cpu, "extra": _peak() - before, "nc1": value}


def _batches(H: Tensor, labels: Tensor) -> list[tuple[Tensor, Tensor]]:
    return [(H[start : start + 1000], labels[start : start + 1000]) for start in range(0, len(H), 1000)]


def _streaming(H: Tensor, labels: Tensor) -> float:
    batches = _batches(H, labels)
    moments = ClassMoments.from_batch(*batches[0], K)
    for features, of_batch in batches[1:]:
        moments = moments.merge(ClassMoments.from_batch(features, of_batch, K))
    return float(nc1_streaming(moments.finalise(), batches)[0])


def _covariance(H: Tensor, labels: Tensor) -> float:
    """tr(S_W pinv(S_B)) / K with D x D matrices accumulated in float32, two passes over the batches."""
    totals, counts = torch.zeros(K, H.shape[1]), torch.bincount(labels, minlength=K)
    for features, of_batch in _batches(H, labels):
        totals.index_add_(0, of_batch, features)
    means = totals / counts[:, None]
    within = torch.zeros(H.shape[1], H.shape[1])
    for features, of_batch in _batches(H, labels):
        deviation = features - means[of_batch]
        within += deviation.T @ deviation
    centred = means - means.mean(0)
    between = centred.T @ centred / K
    return float(torch.trace(within / len(H) @ torch.linalg.pinv(between)) / K)


def _pass(options: argparse.Namespace) -> None:
    from ncbench.data import EpochLoader, ImageSet
    from ncbench.models import BackboneWithHead, ResNet20

    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (options.images, 3, 32, 32), generator=generator, dtype=torch.uint8)
    data = ImageSet(pixels, torch.arange(options.images) % K, K)
    loader = EpochLoader(data, options.batch_size, mean=[0.5] * 3, std=[0.25] * 3, shuffle=False, channels_last=True)
    model = BackboneWithHead(depth=4, width=64, backbone=ResNet20, input_shape=(3, 32, 32), num_classes=K, seed=0)
    model.eval()

    def bare() -> None:
        with torch.no_grad():
            for x, _ in loader:
                model(x)

    def pass_over(layers: list[str]) -> Callable[[], Any]:
        return lambda: measure(model, {"train": loader}, layers=layers, num_classes=K)

    sides: dict[str, Callable[[], Any]] = {"bare": bare, **{name: pass_over(of) for name, of in LAYERS.items()}}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    peaks: dict[str, float] = {}
    bare()
    for _ in range(options.rounds):
        for name, side in sides.items():
            before = _reset_peak()
            wall, cpu = time.perf_counter(), time.process_time()
            side()
            times[name].append((time.perf_counter() - wall, time.process_time() - cpu))
            peaks[name] = max(peaks.get(name, 0.0), _peak() - before)
    print(f"\npass, ResNet20 + head, {options.images} images{'':6}s (CPU s){'':3}over bare (CPU)   extra MiB")
    for name, turns in times.items():
        # Turn by turn: a machine that is busy for a while slows both sides of a turn.
        wall, cpu = (_median(t[i] / b[i] for t, b in zip(turns, times["bare"], strict=True)) for i in (0, 1))
        cost = f"{_median(t[0] for t in turns):8.2f} ({_median(t[1] for t in turns):.2f})"
        print(f"  {name:26}{cost:>24}{wall:11.3f} ({cpu:.3f}){peaks[name] / 2**20:12.1f}")


def _cdnv(options: argparse.Namespace) -> None:
    classes, width = 1000, 512
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(5 * classes) % classes
    moments = ClassMoments.from_batch(torch.randn(len(labels), width, generator=generator), labels, classes)
    means, variances = moments.means, moments.class_variances

    def loop() -> float:
        total = 0.0
        for c in range(classes):
            for k in range(c + 1, classes):
                distance = (means[c] - means[k]).square().sum()
                total += float((variances[c] + variances[k]) / (2 * distance))
        return total / (classes * (classes - 1) / 2)

    sides: dict[str, Callable[[], float]] = {"core.cdnv": lambda: float(cdnv(moments)), "double loop": loop}
    times: dict[str, list[float]] = {name: [] for name in sides}
    values: dict[str, float] = {name: side() for name, side in sides.items()}
    for _ in range(options.rounds):
        for name, side in sides.items():
            start = time.perf_counter()
            side()
            times[name].append(time.perf_counter() - start)
    print(f"\ncdnv, K = {classes}, D = {width}{'':12}s   CDNV")
    for name, turns in times.items():
        print(f"  {name:20}{_median(turns):13.4f}   {values[name]:.12g}")
    ratio = _median(b / a for a, b in zip(*times.values(), strict=True))
    print(f"  {'ratio':20}{ratio:13.1f}")


def _reset_peak() -> int:
    """Give free memory back, set the peak of resident memory to what is resident now, and return it (Linux, glibc)."""
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _peak() -> int:
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def _median(values: Iterable[float]) -> float:
    return statistics.median(values)


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {len(names)} cores"


if __name__ == "__main__":
    main()
