"""Train digits.toml, scaled, on scikit-learn's handwritten digits, and print its accuracy.

The 1,797 images of 8 x 8 pixels are enlarged to the size asked for. The accuracy is the mean over
four folds, each trained with a seed of its own: on so few images one run says little.

    python train.py --depth 1.2 --width 1.1 --image-size 18
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch.nn import functional as F

import effcalc
from effcalc.models.build import build

FOLDS = 4
BATCH = 64


def accuracy(
    depth: float,
    width: float,
    pixels: int,
    epochs: int,
    x: torch.Tensor,
    y: torch.Tensor,
    fold: int,
) -> float:
    """Train on all folds but one, and return the share of that one that is right."""
    torch.manual_seed(fold)
    file = str(Path(__file__).with_name("digits.toml"))
    net = build(effcalc.scale(file, depth=depth, width=width, image_size=pixels).network)
    test = torch.arange(len(x)) % FOLDS == fold
    train = (~test).nonzero().flatten()
    optimizer = torch.optim.AdamW(net.parameters(), lr=4e-3, weight_decay=0.02)
    steps = epochs * (len(train) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 8e-3, total_steps=steps)
    net.train()
    for _ in range(epochs):
        order = train[torch.randperm(len(train))]
        for batch in order[: len(order) // BATCH * BATCH].view(-1, BATCH):
            optimizer.zero_grad()
            F.cross_entropy(net(x[batch]), y[batch], label_smoothing=0.05).backward()
            optimizer.step()
            schedule.step()
    net.eval()
    with torch.no_grad():
        return (net(x[test]).argmax(1) == y[test]).float().mean().item()


def main() -> None:
    """Print each fold's accuracy, and last their mean."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--depth", type=float, required=True)
    parser.add_argument("--width", type=float, required=True)
    parser.add_argument("--image-size", type=int, required=True)
    parser.add_argument("--epochs", type=int, default=4)
    args = parser.parse_args()
    torch.set_num_threads(1)
    digits = load_digits()
    x = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 8 - 1
    x = F.interpolate(x, size=(args.image_size,) * 2, mode="bilinear", align_corners=False)
    y = torch.tensor(digits.target)
    found = [
        accuracy(args.depth, args.width, args.image_size, args.epochs, x, y, fold)
        for fold in range(FOLDS)
    ]
    print(f"folds: {', '.join(f'{value:.4f}' for value in found)}")
    print(f"{sum(found) / len(found):.4f}")


if __name__ == "__main__":
    main()
