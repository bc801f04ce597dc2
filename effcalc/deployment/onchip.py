"""Whether a network fits a device's own memory, at which storage, and the largest that does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from effcalc.base.errors import InputError
from effcalc.deployment.sizes import Storage, pieces, stored
from effcalc.hardware.files import Device, device_names, load_device
from effcalc.network.arch import Arch
from effcalc.scaling.scale import Scaled
from effcalc.scaling.solve import Fit, largest


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes that a network needs on a chip: its stored weights, and its activations at their peak.

    Activations are those of one image, as wide as the storage has them beside it.
    """

    weights: int
    activations: int


def need(scaled: Scaled, storage: Storage) -> Need:
    """Return what a network needs on a chip in one storage."""
    activations = scaled.peak_activation_bytes * storage.activation_bytes // 4
    return Need(stored(pieces(scaled.network), storage).total, activations)


def holds_weights(device: Device, weights: int) -> bool:
    """Whether a device's own memory holds the weights alone."""
    return weights <= max(device.on_chip_bytes or 0, device.on_chip_weight_bytes)


def holds_both(device: Device, needed: Need) -> bool:
    """Whether it holds the weights and the activations.

    Weights lie in the memory that is for them alone, or all in one memory with the activations.
    """
    memory = device.on_chip_bytes or 0
    in_two_memories = needed.weights <= device.on_chip_weight_bytes and needed.activations <= memory
    return in_two_memories or needed.weights + needed.activations <= memory


def chips(names: str = "all") -> list[Device]:
    """Load devices with on-chip memory by name or file, or all built in, smallest memory first."""
    if names.strip() == "all":
        devices = [d for d in map(load_device, device_names()) if d.on_chip_bytes]
    else:
        devices = [chip(name.strip(), "`on_chip`") for name in names.split(",")]
    return sorted(devices, key=memory)


def chip(name: str, option: str) -> Device:
    """Load a device; raise `InputError` for one without on-chip memory."""
    device = load_device(name, option)
    if not device.on_chip_bytes:
        raise InputError(f"{option}: the file of {device.title} gives no [on_chip] memory_kib")
    return device


def memory(device: Device) -> int:
    """All of a device's own memory, in bytes."""
    return (device.on_chip_bytes or 0) + device.on_chip_weight_bytes


@dataclass(frozen=True, slots=True)
class ChipFit:
    """The largest networks that fit a device in one storage: with weights alone, and with both."""

    storage: Storage
    weights: tuple[Fit, ...]
    both: tuple[Fit, ...]


def largest_on(
    device: Device,
    arch: Arch,
    storages: Sequence[Storage],
    bases: tuple[float, float, float],
    head: bool = True,
) -> Iterator[ChipFit]:
    """Yield, for each storage, the largest φ and the largest width alone that fit a device."""
    for storage in storages:

        def too_heavy(scaled: Scaled, storage: Storage = storage) -> bool:
            return not holds_weights(device, stored(pieces(scaled.network), storage).total)

        def too_large(scaled: Scaled, storage: Storage = storage) -> bool:
            return not holds_both(device, need(scaled, storage))

        fits = [
            tuple(largest(arch, over, bases, 1, head, ("phi", "width")))
            for over in (too_heavy, too_large)
        ]
        yield ChipFit(storage, fits[0], fits[1])
