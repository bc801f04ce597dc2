"""One step of a network, operator by operator, as torch's autograd and optimizers run it.

The backward pass runs nodes in the reverse order of the forward (torch's engine takes the
newest node). A node holds its result's gradient and what was kept for it while it makes the
gradients of its operands; gradients of one tensor from several nodes are added up in place where
nothing else holds the memory; a parameter's first gradient is taken over as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from effcalc.base.units import dtype_bytes
from effcalc.footprint.autograd import nodes
from effcalc.footprint.optimizer import state_bytes, update
from effcalc.footprint.prepare import prepared
from effcalc.footprint.region import Region, regions
from effcalc.footprint.step import StepSettings
from effcalc.footprint.tape import Memory, Moment, Tape
from effcalc.network.liveness import births, tensor_bytes
from effcalc.network.network import Network, OperatorCall, Tensor


def run(
    network: Network, step: StepSettings
) -> tuple[list[Moment], list[tuple[OperatorCall, int]]]:
    """Return what is alive at the end of every operator of a step, and what each layer keeps.

    Of repeated blocks the first, the second, the last but one and the last are in the moments.
    What layers keep for the backward pass is in bytes for all repeats of each, memory that several
    keep counted for the first.
    """
    simulation = _Simulation(prepared(network, step), step)
    simulation.run()
    return simulation.tape.moments, [
        (call, simulation.charged[i] * call.count) for i, call in enumerate(simulation.calls)
    ]


RANDOM_STATE = 5056
"""Bytes of the state of torch's generator of random numbers on CPU (a Mersenne Twister)."""


class _Simulation:
    """A step in progress: the memory behind each storage, each kept tensor, each gradient."""

    def __init__(self, network: Network, step: StepSettings) -> None:
        self.network, self.calls, self.step = network, network.calls, step
        self.tape = Tape()
        self.births = births(network)
        self.deaths: dict[int, list[int]] = {}
        for storage, index in network.deaths.items():
            self.deaths.setdefault(index, []).append(storage)
        self.nodes = nodes(network, step.device) if step.train else []
        self.counts = {t.storage: call.count for call in self.calls for t in call.outputs}
        self.charged = [0] * len(self.calls)
        self.values: dict[int, Memory] = {}
        self.kept: dict[int, list[Memory]] = {}
        self.grads: dict[int, Memory] = {}
        self.param_grads: dict[str, Memory] = {}

    def run(self) -> None:
        """Run everything, from before the step until the optimizer is done."""
        self._start()
        parts = regions(self.calls, self.nodes, self.step)
        for region in parts:
            self._enter(region)
        result = {t.storage for t in (*self.network.inputs, *self.network.outputs)}
        # What autocast had cached lives to the end of the forward.
        for storage in [s for s in self.values if s not in result]:
            self._drop_value(storage)
        if not self.step.train:
            return
        loss = self.network.outputs[0]
        seed = self.tape.new(tensor_bytes(loss))  # torch's backward() holds it until it returns
        self.grads[loss.id] = self.tape.hold(seed)
        self.tape.moment("loss", "fill", "backward")
        for region in reversed(parts):
            self._backward(region)
        self.tape.drop(seed)
        update(self.tape, self.network, self.step)

    def _start(self) -> None:
        """Allocate what is there before and stays: weights, state, images and labels."""
        tape, step = self.tape, self.step
        sizes = {False: 0, True: 0}
        for p, count in {
            p.key: (p, call.count) for call in self.calls for p in call.params
        }.values():
            sizes[p.buffer] += p.numel * dtype_bytes(p.dtype) * count
        tape.new(self.step.share(sizes[False], 3), "params")
        tape.new(sizes[True], "buffers")
        if step.train:
            tape.new(self.step.share(state_bytes(self.network, step), 1), "optimizer")
        for t in self.network.inputs:
            self.values[t.storage] = tape.new(tensor_bytes(t), "inputs")
        tape.moment("", "", "start")

    # --- forward ----------------------------------------------------------------------------

    def _enter(self, region: Region) -> None:
        """Run a region's layers for the first time."""
        keep = self.step.train and not region.recomputed
        read = self._read(region) if region.recomputed and region.keepers else []
        for count, places in region.segments:
            with self.tape.repeated(count):
                for storage in read:
                    memory = self.values[storage]
                    if memory.category == "temporary":
                        self.charged[places[0]] += memory.size
                    region.entry[storage] = self.tape.keep(memory)
                if read and self.step.device == "cpu" and not self.step.watched:
                    # torch.utils.checkpoint also keeps the random state, to draw the same dropout.
                    self.charged[places[0]] += RANDOM_STATE
                    region.entry[-1] = self.tape.new(RANDOM_STATE, "saved")
                    self.tape.keep(region.entry[-1])
                    self.tape.drop(region.entry[-1])
                read = []
                with self._gathered(places):
                    for i in places:
                        self._call(i, keep, "forward")

    def _read(self, region: Region) -> list[int]:
        """Storages that a region reads and does not write."""
        written: set[int] = set()
        read: dict[int, None] = {}
        for i in region.places:
            read.update((t.storage, None) for t in self.calls[i].inputs if t.storage not in written)
            written.update(t.storage for t in self.calls[i].outputs)
        return list(read)

    def _recompute(self, region: Region) -> None:
        """Recompute a region's calls, until all that is kept of it is there.

        The last layer of which anything is kept does not run if its operands are all of it.
        """
        stop = region.keepers[-1]
        outer, self.values = self.values, {s: self.tape.hold(m) for s, m in region.entry.items()}
        for count, places in region.segments:
            with self.tape.repeated(count if region.repeats == 1 else 1):
                for i in places:  # in `_backward`, which has gathered the weights
                    if i < stop or (i == stop and self._last_runs(i)):
                        self._call(i, True, "recompute")
                    elif i == stop:
                        extra = self._extra(i)
                        self._keep(i, self._copied(i, "recompute"), extra, "recompute")
                        for memory in extra:
                            self.tape.drop(memory)
        for storage in list(self.values):
            if storage in region.entry or region.repeats > 1:
                self.tape.drop(self.values.pop(storage))
            else:
                self._drop_value(storage)
        self.values = outer

    def _last_runs(self, i: int) -> bool:
        """Whether the last layer of which anything is kept runs: statistics come with its result.

        Noise is drawn before a product, which then does not run.
        """
        saved = self.nodes[i].saved
        return bool(saved.outputs or (saved.extra and not saved.new_storage))

    def _extra(self, i: int) -> list[Memory]:
        """Allocate what a call needs for its backward alone."""
        shapes = self.nodes[i].saved.extra
        return [self.tape.new(tensor_bytes(Tensor(-1, shape, dtype))) for shape, dtype in shapes]

    def _drop_value(self, storage: int) -> None:
        """Drop what a call allocated, in each of its repeats."""
        with self.tape.repeated(self.counts.get(storage, 1)):
            self.tape.drop(self.values.pop(storage))

    def _call(self, i: int, keep: bool, phase: str) -> None:
        """Run one layer."""
        call = self.calls[i]
        copy = self._copied(i, phase) if self.step.train else None
        for storage, size in self.births[i]:
            self.values[storage] = self.tape.new(size)
        extra = self._extra(i) if self.step.train else []
        if keep:
            self._keep(i, copy, extra, phase)
        if call.memory != "view":
            self.tape.moment(call.name, call.op, phase)
        if copy is not None and not keep:
            extra.append(copy)
        for memory in extra:
            self.tape.drop(memory)
        for storage in self.deaths.get(i, ()):
            memory_or_none = self.values.pop(storage, None)
            if memory_or_none is not None:
                self.tape.drop(memory_or_none)

    def _copied(self, i: int, phase: str) -> Memory | None:
        """Copy what a layer is about to overwrite, if its backward reads it."""
        if not self.nodes[i].copied:
            return None
        call = self.calls[i]
        copy = self.tape.new(tensor_bytes(call.operands[0]))
        self.tape.moment(call.name, "clone", phase)
        return copy

    def _keep(self, i: int, copy: Memory | None, extra: list[Memory], phase: str) -> None:
        """Keep what the backward of a layer reads; weights are there anyway."""
        call, node = self.calls[i], self.nodes[i]
        if not node.needed:
            return
        chosen = [call.operands[p] for p in node.operands if not (p == 0 and copy)]
        chosen += [call.outputs[p] for p in node.saved.outputs if p < len(call.outputs)]
        memories = [self.values[t.storage] for t in chosen if t.storage in self.values]
        memories += extra if copy is None else [*extra, copy]
        self.kept[i] = []
        for memory in memories:
            if phase == "forward" and memory.category == "temporary":
                self.charged[i] += memory.size
            self.kept[i].append(self.tape.keep(memory))
        if copy is not None:
            self.tape.drop(copy)

    @contextmanager
    def _gathered(self, places: tuple[int, ...]) -> Iterator[None]:
        """Within the block, the whole weights of a unit are there, where ZeRO shards them."""
        if self.step.zero < 3:
            yield
            return
        held = {p.key: p for i in places for p in self.calls[i].params if not p.buffer}
        size = sum(p.numel * dtype_bytes(p.dtype) for p in held.values())
        memory = self.tape.new(size, "params")
        yield
        self.tape.drop(memory)

    @contextmanager
    def _scattered(self, places: tuple[int, ...]) -> Iterator[None]:
        """After the block, each worker keeps its share of a unit's gradients, if ZeRO shards them.

        Reducing makes the shares before the whole gradients go.
        """
        before = set(self.param_grads)
        yield
        if self.step.zero < 2:
            return
        whole = [m for key, m in self.param_grads.items() if key not in before and m.size]
        if whole:
            self.tape.new(self.step.share(sum(m.size for m in whole), 2), "gradients")
            self.tape.moment(self.calls[places[0]].name, "reduce_scatter", "backward")
        for memory in whole:
            self.tape.drop(memory)

    # --- backward ---------------------------------------------------------------------------

    def _backward(self, region: Region) -> None:
        """Run a region's nodes, recomputing its calls when a node first needs them."""
        waiting = region.recomputed
        with self.tape.repeated(region.repeats):
            for count, places in reversed(region.segments):
                with (
                    self.tape.repeated(count if region.repeats == 1 else 1),
                    self._gathered(places),
                    self._scattered(places),
                ):
                    for i in reversed(places):
                        if waiting and self.nodes[i].keeps and self._asked(i):
                            waiting = False
                            self._recompute(region)
                        self._node(i, region)

    def _asked(self, i: int) -> bool:
        return any(t.id in self.grads for t in self.calls[i].outputs)

    def _node(self, i: int, region: Region) -> None:
        """Run the backward of one layer.

        What was recomputed belongs to the operators of the node, and is gone when the engine
        sums a gradient to its operand's shape; what was kept goes after that. What a region keeps
        of its operands goes with the last node that kept anything of it.
        """
        tape, call, node = self.tape, self.calls[i], self.nodes[i]
        given = [self.grads.pop(t.id) for t in call.outputs if t.id in self.grads]
        gradients: list[tuple[Tensor, Memory]] = []
        if given and node.needed:
            gradients = self._gradients(call, i, given, region.recomputed)
        for memory in given:
            tape.drop(memory)
        for memory in self.kept.pop(i, ()):
            tape.release(memory)
        if region.recomputed and region.keepers and i == region.keepers[0]:
            for memory in region.entry.values():
                tape.release(memory)
        for t, memory in gradients:
            self._deliver(call, t, memory)

    def _gradients(
        self, call: OperatorCall, i: int, given: list[Memory], recomputed: bool
    ) -> list[tuple[Tensor, Memory]]:
        """Make the gradients of a layer's operands."""
        tape, node = self.tape, self.nodes[i]
        result = call.outputs[0]
        gradients: dict[int, Memory] = {}
        new = []
        for p in node.needed:
            if p in node.saved.same and len(given) == len(call.outputs) == 1:
                whole = call.operands[p].numel >= result.numel
                if call.operands[p].numel == result.numel or (node.saved.slices and not whole):
                    gradients[p] = tape.hold(given[0])
                    continue
            new.append(p)
        if node.saved.per_operand:
            for p in reversed(new):  # by name: "other" before "self"
                self._own_gradient(call, p, p == new[-1], gradients, node.saved.scratch)
            for memory in self.kept.pop(i, ()) if recomputed else ():
                tape.release(memory)
            for p in new:
                if call.operands[p].numel != result.numel:
                    full, gradients[p] = gradients[p], tape.new(tensor_bytes(call.operands[p]))
                    tape.moment(call.name, "sum", "backward")
                    tape.drop(full)
        elif new:
            for p in new:
                gradients[p] = tape.new(tensor_bytes(call.operands[p]))
            tape.moment(call.name, f"{call.op}_backward", "backward")
        return [(call.operands[p], gradients[p]) for p in node.needed]

    def _own_gradient(
        self, call: OperatorCall, p: int, last: bool, gradients: dict[int, Memory], scratch: int
    ) -> None:
        """Make one operand's gradient at the result's shape."""
        size = call.outputs[0].numel * dtype_bytes(call.operands[p].dtype)
        beside = [self.tape.new(size) for _ in range(scratch if last else 0)]
        gradients[p] = self.tape.new(size)
        self.tape.moment(call.name, f"{call.op}_backward", "backward")
        for memory in beside:
            self.tape.drop(memory)

    def _deliver(self, call: OperatorCall, t: Tensor, memory: Memory) -> None:
        """Give a gradient to the tensor that it is of."""
        tape = self.tape
        if t.param:
            before = self.param_grads.get(t.param)
            if before is not None:  # a shared parameter: added in place
                tape.drop(memory)
            elif memory.holders == 1:
                tape.move(memory, "gradients")
                self.param_grads[t.param] = memory
            else:  # something else holds it: copied
                self.param_grads[t.param] = tape.new(memory.size, "gradients")
                tape.moment(call.name, "clone", "backward")
                tape.drop(memory)
            return
        before = self.grads.get(t.id)
        if before is None:
            self.grads[t.id] = memory
            return
        if self.step.watched or (before.holders > 1 and memory.holders > 1):
            self.grads[t.id] = tape.new(tensor_bytes(t))
            tape.moment(call.name, "add", "backward")
            tape.drop(before)
            tape.drop(memory)
        elif before.holders == 1:
            tape.drop(memory)
        else:
            self.grads[t.id] = memory
            tape.drop(before)
