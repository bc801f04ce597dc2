"""Fit the factors of `effcalc predict` to timm's published tables, and test them on others.

    python benchmarks/fit_prediction.py TABLES --cache FOLDER [--write]

TABLES is a folder of timm's `results/benchmark-*.csv`, named as `TABLES` below. Each model of them
is traced once on the meta device (kept in the cache). Families are held out in ten folds; the
errors and the quantiles of what is held out are printed, and with --write the factors go to
`effcalc/prediction/factors/`, the measurements to `effcalc/prediction/measured/`.
Needs torch, timm and SciPy; takes about half an hour on two cores.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.stats import kendalltau

from effcalc.hardware.files import load_device
from effcalc.models.count import count
from effcalc.prediction.measured import FOLDER, file_name
from effcalc.prediction.model import (
    ARITHMETIC,
    Factors,
    Setting,
    call_seconds,
    element_bytes,
    narrowness,
)
from effcalc.prediction.work import CLASSES, PRODUCTS, works

torch.set_default_dtype(torch.float64)
K = len(CLASSES)
OUT = Path(__file__).parents[1] / "effcalc" / "prediction"


class Table(NamedTuple):
    """One of timm's tables: its file, the device and how the models ran."""

    file: str
    device: str
    setting: Setting
    torch: str


TABLES = (
    Table("infer-amp-nchw-pt240-cu124-rtx3090", "rtx-3090", Setting(), "2.4.0"),
    Table("infer-amp-nchw-pt240-cu124-rtx4090", "rtx-4090", Setting(), "2.4.0"),
    Table("infer-amp-nchw-pt291-cu130-pro6000maxq", "rtx-pro-6000-max-q", Setting(), "2.9.1"),
    Table("infer-amp-nhwc-pt240-cu124-rtx3090", "rtx-3090", Setting("amp", True), "2.4.0"),
    Table("infer-amp-nhwc-pt240-cu124-rtx4090", "rtx-4090", Setting("amp", True), "2.4.0"),
    Table(
        "infer-amp-nchw-pt240-cu124-rtx4090-dynamo",
        "rtx-4090",
        Setting("amp", compiled=True),
        "2.4.0",
    ),
    Table(
        "infer-amp-nchw-pt291-cu130-pro6000maxq-dynamo",
        "rtx-pro-6000-max-q",
        Setting("amp", compiled=True),
        "2.9.1",
    ),
    Table("train-amp-nchw-pt112-cu113-rtx3090", "rtx-3090", Setting(mode="train"), "1.12"),
    Table(
        "infer-fp32-nchw-pt240-cpu-i7_12700h-dynamo",
        "core-i7-12700h",
        Setting("fp32", compiled=True),
        "2.4.0",
    ),
)
GLOBALS = (
    "compute",
    "memory",
    "narrow",
    "narrow_linear",
    "misaligned",
    "inner",
    "product",
    "launch",
)
CALIBRATION = 0.2  # how strongly few networks are held to the factors of other devices
START = (0.3, 0.3, 0.2, 0.0, 0.2, -2.0, -1.5, 0.0)


class Traced(NamedTuple):
    """A model as counted: exact parameters and MACs, and the array of its distinct works."""

    name: str
    size: int
    params: int
    macs: int
    works: (
        np.ndarray
    )  # class, count, macs, inputs, weights, outputs, fixed, attention, channels, off


def trace(name: str, size: int, cache: Path) -> Traced | None:
    """Count a model of timm's at an image size, or read what was counted before."""
    path = cache / f"{name}-{size}.json.gz"
    if path.exists():
        with gzip.open(path, "rt") as file:
            data = json.load(file)
    else:
        import timm

        try:
            with torch.device("meta"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    model = timm.create_model(name, img_size=size)
                except TypeError:
                    model = timm.create_model(name)
            channels = model.default_cfg.get("input_size", (3,))[0]
            network = count(model, torch.empty(1, channels, size, size, device="meta"))
        except Exception as error:  # a model that this timm does not make
            print(f"left out: {name}: {error}".splitlines()[0])
            return None
        calls = [list(work) for work in works(network)]
        data = {"name": name, "size": size, "calls": calls}
        data["params"] = sum(p.numel() for p in model.parameters())
        with gzip.open(path, "wt") as file:
            json.dump(data, file)
    merged: dict[tuple[Any, ...], int] = {}
    for call in data["calls"]:
        key = (CLASSES.index(call[1]), *call[3:])
        merged[key] = merged.get(key, 0) + call[2]
    array = np.array([(k[0], n, *k[1:]) for k, n in merged.items()], dtype=np.float64)
    macs = int((array[:, 1] * array[:, 2]).sum())
    return Traced(name, size, data["params"], macs, array)


class Measured:
    """The rows of a table whose models are traced, as arrays of their works."""

    def __init__(self, table: Table, folder: Path, cache: Path) -> None:
        self.table = table
        self.rows: list[tuple[Traced, int, float]] = []
        seen = set()
        with open(folder / f"{table.file}.csv", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                pre = "infer" if "infer_step_time" in row else "train"
                key = (row["model"], int(row[f"{pre}_img_size"]))
                if key in seen:
                    continue
                seen.add(key)
                traced = trace(*key, cache)
                # Another version of timm: the model that was measured is another one.
                printed = float(row["param_count"])
                if traced is None or abs(traced.params / 1e6 - printed) > max(
                    0.01 * printed, 0.006
                ):
                    continue
                counted = float(row.get("infer_gmacs") or 0)
                off = abs(traced.macs / 1e9 / counted - 1) if counted > 0.2 else 0.0
                if off > 0.1 and kind_of(traced) != "attention":
                    continue  # as after fusing branches, which keeps few parameters
                rate = float(row[f"{pre}_samples_per_sec"])
                self.rows.append((traced, int(row[f"{pre}_batch_size"]), rate))
        device = load_device(table.device)
        precision = table.setting.precision
        peak = device.peaks[ARITHMETIC[precision]]
        parts = [traced.works for traced, _, _ in self.rows]
        at = np.repeat(np.arange(len(parts)), [len(p) for p in parts])
        data = np.concatenate(parts)
        batch = np.array([b for _, b, _ in self.rows])[at]
        kind, n, macs, inputs, weights, outputs, fixed, attention, channels, off = data.T
        grows = np.where(fixed == 1, 1, batch)
        kind = kind.astype(int)
        sizes = np.array([element_bytes(c, precision) for c in CLASSES])[kind]
        moved = (inputs + outputs) * grows * sizes[:, 0] + weights * sizes[:, 1]
        is_product = kind == CLASSES.index("product")
        narrow = np.isin(kind, [CLASSES.index(c) for c in ("conv", "conv_1x1", "conv_grouped")])

        def tensor(values: Any) -> torch.Tensor:
            return torch.tensor(np.asarray(values, dtype=np.float64))

        self.at, self.kind = torch.tensor(at), torch.tensor(kind)
        self.count = tensor(n)
        self.arithmetic = tensor(2 * macs * grows / peak)
        self.traffic = tensor(moved / (device.bandwidth or 1.0))
        self.off = tensor(off)
        self.inner = tensor((attention == 1) & ~is_product)
        self.product = tensor((attention == 1) & is_product)
        self.narrow, self.linear = tensor(narrow), tensor(kind == CLASSES.index("linear"))
        self.channels = tensor(np.clip(channels, 4, 512))
        self.log = torch.tensor(np.log([b / rate for _, b, rate in self.rows]))
        self.families = [re.split(r"[\d_]", t.name.split(".")[0])[0] for t, _, _ in self.rows]
        self.kinds = np.array([kind_of(t) for t, _, _ in self.rows])

    def predict(self, theta: torch.Tensor) -> torch.Tensor:
        """Log of the seconds of a step of every row."""
        g = dict(zip(GLOBALS, theta[2 * K :], strict=True))
        exponent = g["narrow"] * self.narrow + g["narrow_linear"] * self.linear
        arithmetic = self.arithmetic * torch.exp(
            theta[:K][self.kind] + g["compute"] + g["misaligned"] * self.off
        )
        arithmetic = arithmetic * narrowness(self.channels, exponent)
        inner = torch.exp(g["inner"] * self.inner)
        traffic = self.traffic * torch.exp(
            theta[K : 2 * K][self.kind] + g["memory"] + g["product"] * self.product
        )
        launch = torch.exp(g["launch"]) * 1e-6 * inner
        seconds = call_seconds(arithmetic, traffic * inner, launch, torch.maximum)
        return torch.zeros(len(self.rows)).index_add(0, self.at, seconds * self.count).log()


def kind_of(traced: Traced) -> str:
    """Whether a network has attention, depthwise convolutions, or neither."""
    kinds = {CLASSES[int(k)] for k in traced.works[:, 0]}
    if "softmax" in kinds:
        return "attention"
    return "depthwise" if "conv_depthwise" in kinds else "plain"


def start() -> torch.Tensor:
    """Parameters to begin with, towards which those of all classes are shrunk."""
    return torch.cat((torch.zeros(2 * K), torch.tensor(START)))


def fit(
    tables: Sequence[Measured],
    trains: Sequence[np.ndarray],
    center: torch.Tensor | None = None,
    shrink: float = 0.001,
) -> torch.Tensor:
    """Return the parameters that fit the rows `trains` best, shrunk to `center`."""
    prior = start() if center is None else center
    weight = torch.ones(len(prior))
    weight[2 * K :] = 0.1
    theta = prior.clone().requires_grad_(True)
    chosen = [torch.tensor(train) for train in trains]
    search = torch.optim.LBFGS(
        [theta], lr=0.7, max_iter=60, history_size=20, line_search_fn="strong_wolfe"
    )
    scale = 0.08  # beyond which an error counts by its size, not its square

    def loss() -> torch.Tensor:
        search.zero_grad()
        total = torch.zeros(())
        for table, train in zip(tables, chosen, strict=True):
            off = (table.predict(theta) - table.log)[train]
            total = total + ((torch.sqrt(1 + (off / scale) ** 2) - 1) * scale**2).mean()
        total = total / len(tables) + shrink * (weight * (theta - prior) ** 2).mean()
        total.backward()
        return total

    search.step(loss)  # type: ignore[arg-type]
    return theta.detach()


def folds(families: Sequence[str], n: int = 10) -> np.ndarray:
    """Give each family one of n folds."""
    names = sorted(set(families))
    order = np.random.RandomState(0).permutation(len(names))
    number = {names[p]: i % n for i, p in enumerate(order)}
    return np.array([number[family] for family in families])


def errors(table: Measured, predicted: np.ndarray, label: str) -> np.ndarray:
    """Print how far predictions are off; return the logs of measured over predicted."""
    log = table.log.numpy()
    off = np.abs(np.exp(predicted - log) - 1)
    batch = np.log([b for _, b, _ in table.rows])
    tau = kendalltau(predicted - batch, log - batch)[0]
    print(
        f"| {table.table.device} | {table.table.setting.name} | {label} | {len(log):,} | "
        f"{off.mean() * 100:.1f}% | {np.median(off) * 100:.1f}% | "
        f"{(off < 0.1).mean() * 100:.0f}% | {tau:.3f} |",
        flush=True,
    )
    return log - predicted


def held_out(table: Measured, groups: np.ndarray, center: torch.Tensor | None = None) -> np.ndarray:
    """Predict each group of rows from factors fitted to the others."""
    predicted = np.zeros(len(table.rows))
    for group in sorted(set(groups)):
        theta = fit([table], [groups != group], center)
        with torch.no_grad():
            predicted[groups == group] = table.predict(theta).numpy()[groups == group]
    return predicted


def other_devices(table: Measured, others: Sequence[Measured], n: int = 10) -> np.ndarray:
    """Predict each family from other families on other devices: what a data sheet allows."""
    fold = folds(table.families, n)
    number = dict(zip(table.families, fold, strict=True))
    predicted = np.zeros(len(table.rows))
    for k in range(n):
        trains = [np.array([number.get(f, -1) != k for f in other.families]) for other in others]
        theta = fit(others, trains)
        with torch.no_grad():
            predicted[fold == k] = table.predict(theta).numpy()[fold == k]
    return predicted


def factors_of(theta: torch.Tensor) -> Factors:
    """Write parameters as factors."""
    values = theta.tolist()
    g = dict(zip(GLOBALS, values[2 * K :], strict=True))
    exp = lambda x: float(np.exp(x))  # noqa: E731
    return Factors(
        compute={c: exp(values[i] + g["compute"]) for i, c in enumerate(CLASSES) if c in PRODUCTS},
        memory={c: exp(values[K + i] + g["memory"]) for i, c in enumerate(CLASSES)},
        narrow=g["narrow"],
        narrow_linear=g["narrow_linear"],
        misaligned=exp(g["misaligned"]),
        attention_inner=exp(g["inner"]),
        attention_product=exp(g["product"]),
        launch=exp(g["launch"]) * 1e-6,
    )


QUANTILES = (0.05, 0.10, 0.90, 0.95)


def quantiles(off: np.ndarray) -> list[float]:
    """Measured over predicted: the quantiles that bound 90% and 80% of what was held out."""
    return [round(float(np.exp(q)), 4) for q in np.quantile(off, QUANTILES)]


def siblings(a: Measured, b: Measured, log_a: np.ndarray, log_b: np.ndarray) -> np.ndarray:
    """Logs of measured over predicted, where the same network was measured on another device.

    The prediction is what it took there, times the ratio of what is predicted for both.
    """
    places = {(t.name, t.size): i for i, (t, _, _) in enumerate(b.rows)}
    off = []
    for i, (traced, batch, _) in enumerate(a.rows):
        j = places.get((traced.name, traced.size))
        if j is not None:
            there = b.log[j].item() - np.log(b.rows[j][1]) + np.log(batch)
            ratio = log_a[i] - (log_b[j] - np.log(b.rows[j][1]) + np.log(batch))
            off.append(a.log[i].item() - (there + ratio))
    return np.array(off)


def calibrated(table: Measured, center: torch.Tensor, k: int, times: int = 4) -> np.ndarray:
    """Logs of measured over predicted for unseen families, after k measured networks."""
    random = np.random.RandomState(1)
    off = []
    for _ in range(times):
        chosen = random.choice(len(table.rows), k, replace=False)
        seen = {table.families[i] for i in chosen}
        train = np.zeros(len(table.rows), bool)
        train[chosen] = True
        theta = fit([table], [train], center, shrink=CALIBRATION)
        with torch.no_grad():
            predicted = table.predict(theta).numpy()
        rest = np.array([family not in seen for family in table.families])
        off.append((table.log.numpy() - predicted)[rest])
    return np.concatenate(off)


def toml_of(factors: Factors, heading: str) -> list[str]:
    """Lines of one set of factors."""
    lines = [f"[{heading}]"]
    names = ("narrow", "narrow_linear", "misaligned", "attention_inner", "attention_product")
    lines += [f"{name} = {getattr(factors, name):.4g}" for name in names]
    lines.append(f"launch_us = {factors.launch * 1e6:.4g}")
    for part in ("compute", "memory"):
        lines += ["", f"[{heading}.{part}]"]
        lines += [f"{kind} = {value:.4g}" for kind, value in getattr(factors, part).items()]
    return [*lines, ""]


def main() -> None:
    """Fit, test and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", type=Path)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--folds", type=int, default=10)
    parser.add_argument("--only", default="", help="part of a setting's name")
    asked = parser.parse_args()
    asked.cache.mkdir(exist_ok=True)
    print("| Device | Setting | Held out | Rows | MAPE | Median | Within 10% | Kendall τ |")
    print("| --- | --- | --- | ---: | ---: | ---: | ---: | ---: |")
    groups: dict[Setting, list[Measured]] = {}
    for table in TABLES:
        if asked.only in table.setting.name:
            measured = Measured(table, asked.tables, asked.cache)
            groups.setdefault(table.setting, []).append(measured)
    written = []
    for setting, tables in groups.items():
        common = fit(tables, [np.ones(len(t.rows), bool) for t in tables])
        lines = [
            f'title = "{setting.name}"',
            'source = "fitted by benchmarks/fit_prediction.py to timm\'s published tables"',
            "",
            "[setting]",
            f'precision = "{setting.precision}"',
            f"channels_last = {str(setting.channels_last).lower()}",
            f"compiled = {str(setting.compiled).lower()}",
            f'mode = "{setting.mode}"',
            "",
            *toml_of(factors_of(common), "common"),
        ]
        off: dict[str, list[np.ndarray]] = {"table": [], "data_sheet": [], "sibling": []}
        off |= {"calibrated_5": [], "calibrated_10": []}
        logs = []
        for table in tables:
            fold = folds(table.families, asked.folds)
            logs.append(held_out(table, fold))
            off["table"].append(errors(table, logs[-1], "families"))
            errors(table, held_out(table, table.kinds), "kinds")
            theta = fit([table], [np.ones(len(table.rows), bool)], common)
            lines += toml_of(factors_of(theta), f"devices.{table.table.device}")
            others = [t for t in tables if t is not table]
            if others:
                sheet = other_devices(table, others, asked.folds)
                off["data_sheet"].append(errors(table, sheet, "families and the device"))
                center = fit(others, [np.ones(len(t.rows), bool) for t in others])
                for k in (5, 10):
                    off[f"calibrated_{k}"].append(calibrated(table, center, k))
                    wrong = np.abs(np.exp(-off[f"calibrated_{k}"][-1]) - 1)
                    print(
                        f"| {table.table.device} | {setting.name} | the device, but {k} networks | "
                        f"{len(wrong):,} | {wrong.mean() * 100:.1f}% | "
                        f"{np.median(wrong) * 100:.1f}% | {(wrong < 0.1).mean() * 100:.0f}% | |",
                        flush=True,
                    )
        for i, a in enumerate(tables):
            for j, b in enumerate(tables):
                if i != j:
                    off["sibling"].append(siblings(a, b, logs[i], logs[j]))
                    wrong = np.abs(np.exp(-off["sibling"][-1]) - 1)
                    print(
                        f"| {a.table.device} | {setting.name} | measured on {b.table.device} | "
                        f"{len(wrong):,} | {wrong.mean() * 100:.1f}% | "
                        f"{np.median(wrong) * 100:.1f}% | {(wrong < 0.1).mean() * 100:.0f}% | |",
                        flush=True,
                    )
        lines.append(
            "# Measured over predicted where it was held out: its 5%, 10%, 90% and 95% points."
        )
        lines.append("[quantiles]")
        lines += [f"{k} = {quantiles(np.concatenate(v))}" for k, v in off.items() if v]
        written.append((setting, "\n".join(lines) + "\n"))
    if asked.write:
        for setting, text in written:
            path = OUT / "factors" / f"{setting.stem}.toml"
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        write_measured([t for tables in groups.values() for t in tables])


def write_measured(tables: Sequence[Measured]) -> None:
    """Write the extract of the tables that `effcalc predict` answers from."""
    FOLDER.mkdir(exist_ok=True)
    for table in tables:
        path = FOLDER / file_name(table.table.device, table.table.setting)
        with open(path, "w", encoding="utf-8", newline="") as file:
            out = csv.writer(file, lineterminator="\n")
            out.writerow(("name", "px", "params", "macs", "batch", "images_per_second"))
            for traced, batch, rate in table.rows:
                row = (traced.name, traced.size, traced.params, traced.macs, batch, rate)
                out.writerow(row)


if __name__ == "__main__":
    main()
