"""Time by layer and kernel from recorded events: hosts, backward passes, devices, ranks."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from effcalc.profiling.events import attribute
from effcalc.profiling.live.recording import read_events
from effcalc.profiling.records import (
    BACKWARD,
    COMMUNICATION,
    LAYER,
    LOSS,
    OUTSIDE,
    STEP,
    Event,
    Mark,
    Owner,
    TimeKey,
)
from effcalc.profiling.results import combine

CONV, RELU = Owner("layer", "conv"), Owner("layer", "relu")
LAUNCH, IDLE = TimeKey(Owner("launch"), "", ""), TimeKey(Owner("idle"), "", "")


def step(end, start=0):
    return Event(STEP, "range", start, end)


def layer(path, start, end):
    return Event(f"{LAYER}::{path}", "range", start, end)


def op(name, start, end, **more):
    return Event(name, "op", start, end, **more)


def test_a_moment_belongs_to_the_innermost_range_and_operator():
    # step 0..100: module "" 5..95, conv 10..60 in it with an operator 20..50, relu 70..90.
    events = [
        step(100),
        layer("", 5, 95),
        layer("conv", 10, 60),
        op("aten::mkldnn_convolution", 20, 50),
        op("aten::empty", 25, 27),  # inside the operator: 2 of its 30 are its own
        layer("relu", 70, 90),
        op("aten::clamp_min_", 72, 88),
    ]
    (got,) = attribute(events)
    assert got.time == 100
    assert got.parts == {
        TimeKey(OUTSIDE, "", ""): 10,  # 0..5 and 95..100
        TimeKey(Owner("layer", ""), "forward", ""): 5,  # 5..10: before any layer
        TimeKey(Owner("layer", "", "conv"), "forward", ""): 10,  # 60..70: conv's input is freed
        TimeKey(Owner("layer", "", "relu"), "forward", ""): 5,
        TimeKey(CONV, "forward", ""): 20,  # 10..20, 50..60
        TimeKey(CONV, "forward", "aten::mkldnn_convolution"): 28,
        TimeKey(CONV, "forward", "aten::empty"): 2,
        TimeKey(RELU, "forward", ""): 4,
        TimeKey(RELU, "forward", "aten::clamp_min_"): 16,
    }
    assert got.calls[TimeKey(CONV, "forward", "aten::mkldnn_convolution")] == 1


def test_an_operator_that_only_calls_others_is_dispatch():
    # conv2d spends 96 of its 100 in the kernel: its own 4 are dispatch, and it is no call.
    events = [
        step(100),
        layer("conv", 0, 100),
        op("aten::conv2d", 0, 100),
        op("aten::mkldnn_convolution", 2, 98),
    ]
    (got,) = attribute(events)
    assert got.parts == {
        TimeKey(CONV, "forward", ""): 4,
        TimeKey(CONV, "forward", "aten::mkldnn_convolution"): 96,
    }
    assert sum(got.calls.values()) == 1


def test_an_operator_that_is_stopped_in_one_call_is_no_wrapper_there():
    # A kernel spends half of its time in others; once the system stops it in there.
    events = [
        step(300),
        layer("conv", 0, 300),
        *(op("aten::_slow_conv2d_forward", 10, 30), op("aten::addmm", 15, 25)),
        *(op("aten::_slow_conv2d_forward", 40, 60), op("aten::addmm", 45, 55)),
        *(op("aten::_slow_conv2d_forward", 70, 270), op("aten::addmm", 75, 265)),
    ]
    (got,) = attribute(events)
    own = TimeKey(CONV, "forward", "aten::_slow_conv2d_forward")
    assert got.calls[own] == 3
    assert got.parts[own] == 10 + 10 + 10


def test_a_backward_node_belongs_to_the_module_whose_forward_made_it():
    # conv's forward made nodes 0 and 1, relu's 2, the loss 3.
    marks = [Mark(0, CONV), Mark(2, RELU), Mark(3, Owner("loss")), Mark(4, OUTSIDE)]
    node = "autograd::engine::evaluate_function: "
    events = [
        step(100),
        Event(LOSS, "range", 0, 10),
        Event(BACKWARD, "range", 10, 100),
        op(f"{node}SumBackward0", 10, 20, sequence=3),
        op(f"{node}ReluBackward0", 20, 40, sequence=2),
        op("aten::threshold_backward", 25, 35),
        op(f"{node}ConvolutionBackward0", 40, 80, sequence=1),
        op("aten::convolution_backward", 45, 75),
        op(f"{node}torch::autograd::AccumulateGrad", 80, 90, sequence=-1),
        op("aten::detach", 82, 84),
    ]
    (got,) = attribute(events, marks)
    assert got.parts == {
        TimeKey(Owner("loss"), "", ""): 10,
        TimeKey(Owner("loss"), "backward", ""): 10,
        TimeKey(RELU, "backward", ""): 10,
        TimeKey(RELU, "backward", "aten::threshold_backward"): 10,
        TimeKey(CONV, "backward", ""): 10 + 8,  # around its node, and where its gradient is kept
        TimeKey(CONV, "backward", "aten::convolution_backward"): 30,
        TimeKey(CONV, "backward", "aten::detach"): 2,
        TimeKey(Owner("autograd"), "backward", ""): 10,  # 90..100
    }


def test_a_block_recomputed_in_the_backward_pass_is_its_own():
    # Checkpointing runs the module again inside the backward node.
    node = "autograd::engine::evaluate_function: CheckpointFunctionBackward"
    events = [
        step(50),
        Event(BACKWARD, "range", 0, 50),
        op(node, 0, 50, sequence=0),
        layer("relu", 10, 40),
        op("aten::relu", 10, 40),
    ]
    (got,) = attribute(events, [Mark(0, CONV)])
    assert got.parts == {
        TimeKey(CONV, "backward", ""): 20,
        TimeKey(RELU, "backward", "aten::relu"): 30,
    }


def test_waiting_for_another_threads_communication_is_communication():
    # gloo reduces from 20 to 70 on thread 2; the host waits in the backward pass from 50 to 100.
    events = [
        step(100),
        Event(BACKWARD, "range", 0, 100),
        op("autograd::engine::evaluate_function: X", 0, 50, sequence=0),
        op("gloo:all_reduce", 20, 70, thread=2),
    ]
    (got,) = attribute(events, [Mark(0, CONV)])
    assert got.parts == {
        TimeKey(CONV, "backward", ""): 50,
        TimeKey(COMMUNICATION, "", ""): 20,  # 50..70; the rest is hidden behind computation
        TimeKey(Owner("autograd"), "backward", ""): 30,
    }


def test_several_steps_are_apart_and_other_threads_do_not_count():
    events = [
        step(10),
        step(40, start=20),
        layer("conv", 22, 32),
        op("aten::x", 5, 90, thread=7),
    ]
    first, second = attribute(events)
    assert first.parts == {TimeKey(OUTSIDE, "", ""): 10}
    assert second.parts == {TimeKey(OUTSIDE, "", ""): 10, TimeKey(CONV, "forward", ""): 10}


# --- devices -----------------------------------------------------------------------------------


def host(*launches):
    """A step of 0..1000 whose operator 1 in conv launches at some moments."""
    events = [step(1000), layer("conv", 0, 500), op("aten::conv2d", 0, 500, id=1)]
    for number, start in enumerate(launches, 100):
        events.append(Event("cudaLaunchKernel", "launch", start, start + 5, id=number))
    return events


def kernel(name, start, end, launch, stream=7, op=1):
    return Event(name, "device", start, end, stream, launch, op)


def test_gaps_on_a_device_are_launch_gaps_until_the_host_has_launched():
    # A runs 100..200. B was launched at 250..255 and starts at 260: the device waited 55 for
    # the host and took 5 more to start. C had been launched long before: 10 idle.
    events = [
        *host(50, 250, 60),
        kernel("A", 100, 200, 100),
        kernel("B", 260, 300, 101),
        kernel("C", 310, 400, 102),
    ]
    (got,) = attribute(events)
    assert got.time == 300  # from the first kernel's start to the last one's end
    assert got.host == 1000
    assert got.parts == {
        TimeKey(CONV, "forward", "A"): 100,
        TimeKey(CONV, "forward", "B"): 40,
        TimeKey(CONV, "forward", "C"): 90,
        LAUNCH: 55,
        IDLE: 5 + 10,
    }


def test_kernels_at_once_are_not_counted_twice():
    # A 100..200 and B 150..260 on another stream: B has what is left of it.
    events = [*host(10, 20), kernel("A", 100, 200, 100), kernel("B", 150, 260, 101, stream=8)]
    (got,) = attribute(events)
    assert got.time == 160
    assert got.parts == {TimeKey(CONV, "forward", "A"): 100, TimeKey(CONV, "forward", "B"): 60}


def test_communication_counts_where_nothing_is_computed():
    # NCCL 100..400 beside computation 150..250 and 300..350: 50 + 50 + 50 are exposed.
    name = "ncclDevKernel_AllReduce_Sum_f32_RING_LL(ncclDevKernelArgsStorage<4096ul>)"
    events = [
        *host(10, 20, 30),
        kernel(name, 100, 400, 100, stream=9),
        kernel("A", 150, 250, 101),
        kernel("B", 300, 350, 102),
    ]
    (got,) = attribute(events)
    assert got.time == 300
    assert got.parts == {
        TimeKey(COMMUNICATION, "forward", name): 150,
        TimeKey(CONV, "forward", "A"): 100,
        TimeKey(CONV, "forward", "B"): 50,
    }


def test_a_kernel_without_an_operator_belongs_to_where_it_was_launched():
    events = [
        step(100),
        layer("relu", 10, 50),
        Event("cudaLaunchKernel", "launch", 20, 25, id=5),
        Event("cudaMemcpyAsync", "launch", 60, 65, id=6),
        kernel("triton_poi_fused_relu_0", 30, 40, 5, op=0),
        kernel("Memcpy DtoH", 70, 72, 6, op=0),
    ]
    (got,) = attribute(events)
    assert got.parts[TimeKey(RELU, "forward", "triton_poi_fused_relu_0")] == 10
    assert got.parts[TimeKey(OUTSIDE, "", "Memcpy DtoH")] == 2


def test_kernels_go_to_the_step_that_launched_them():
    # The second step is launched before the kernel of the first has ended.
    events = [
        step(50),
        step(150, start=100),
        layer("conv", 0, 50),
        layer("conv", 100, 150),
        Event("cudaLaunchKernel", "launch", 10, 12, id=1),
        Event("cudaLaunchKernel", "launch", 110, 112, id=2),
        kernel("A", 20, 130, 1, op=0),
        kernel("B", 130, 170, 2, op=0),
    ]
    first, second = attribute(events)
    assert (first.time, second.time) == (110, 40)


def test_backward_kernels_are_launched_by_another_thread():
    # On CUDA autograd runs nodes on a thread of its own, with the same sequence numbers.
    events = [
        step(100),
        op("autograd::engine::evaluate_function: ConvolutionBackward0", 20, 60, thread=3,
           sequence=4),
        op("aten::convolution_backward", 25, 55, thread=3, id=9),
        Event("cudaLaunchKernel", "launch", 30, 32, 3, 77),
        kernel("wgrad", 40, 90, 77, op=9),
    ]  # fmt: skip
    (got,) = attribute(events, [Mark(0, RELU), Mark(4, CONV), Mark(5, OUTSIDE)])
    assert got.parts == {TimeKey(CONV, "backward", "wgrad"): 50}


class Kineto:
    """An event as torch's profiler hands it over."""

    def __init__(self, name, activity, start, duration, **fields):
        self.fields = {
            "name": name, "activity_type": activity, "start_ns": start, "duration_ns": duration,
            "correlation_id": 0, "linked_correlation_id": 0, "sequence_nr": -1,
            "fwd_thread_id": 0, "start_thread_id": 1, "device_resource_id": 0, **fields,
        }  # fmt: skip

    def __getattr__(self, name):
        return lambda: self.fields[name]


def test_reading_what_kineto_records_of_a_gpu():
    # The shape of a recording of one convolution and its backward node on an NVIDIA GPU.
    recorded = [
        Kineto("effcalc::step", "cpu_op", 0, 100, correlation_id=1),
        Kineto("effcalc::layer::conv", "user_annotation", 5, 60, correlation_id=2),
        Kineto("aten::cudnn_convolution", "cpu_op", 10, 40, correlation_id=3, sequence_nr=8),
        Kineto("cudaLaunchKernel", "cuda_runtime", 20, 5, correlation_id=501,
               linked_correlation_id=3),
        Kineto("sm80_xmma_fprop_implicit_gemm_tf32f32", "kernel", 30, 50, correlation_id=501,
               linked_correlation_id=3, device_resource_id=7, start_thread_id=0),
        Kineto("effcalc::layer::conv", "gpu_user_annotation", 30, 50),
        Kineto("Activity Buffer Request", "overhead", 0, 3),
        Kineto("autograd::engine::evaluate_function: ConvolutionBackward0", "cpu_op", 70, 10,
               sequence_nr=8, fwd_thread_id=1),
    ]  # fmt: skip
    events = list(read_events(recorded))
    assert [e.kind for e in events] == ["range", "range", "op", "launch", "device", "op"]
    # Forward operators have the number of a node that they may not make: only nodes keep theirs.
    assert [e.sequence for e in events] == [-1, -1, -1, -1, -1, 8]
    (got,) = attribute(events)
    assert got.parts == {TimeKey(CONV, "forward", "sm80_xmma_fprop_implicit_gemm_tf32f32"): 50}


# --- properties --------------------------------------------------------------------------------


@st.composite
def nested(draw, start=0, end=1000, depth=0):
    """Events that nest as those of one thread do."""
    events = []
    cursor = start
    while cursor < end and draw(st.booleans()):
        begin = draw(st.integers(cursor, end))
        finish = draw(st.integers(begin, end))
        kind = draw(st.sampled_from(("op", "layer", "node")))
        if kind == "op":
            events.append(op(f"aten::{draw(st.integers(0, 3))}", begin, finish))
        elif kind == "layer":
            events.append(layer(f"m{draw(st.integers(0, 3))}", begin, finish))
        else:
            name = "autograd::engine::evaluate_function: N"
            events.append(op(name, begin, finish, sequence=draw(st.integers(-1, 5))))
        if depth < 3:
            events += draw(nested(begin, finish, depth + 1))
        cursor = finish
    return events


@given(nested())
def test_host_parts_sum_to_the_step(events):
    (got,) = attribute([step(1000), *events], [Mark(0, CONV), Mark(3, RELU)])
    assert sum(got.parts.values()) == got.time == 1000
    assert all(time >= 0 for time in got.parts.values())


@given(
    st.lists(
        st.tuples(st.integers(0, 900), st.integers(0, 400), st.integers(0, 900), st.booleans()),
        min_size=1,
        max_size=12,
    )
)
def test_device_parts_sum_to_the_time_from_first_to_last(kernels):
    events = host(*(start for _, _, start, _ in kernels))
    for number, (start, length, _, talks) in enumerate(kernels, 100):
        name = "ncclDevKernel_AllReduce" if talks else "gemm"
        events.append(kernel(name, start, start + length, number, stream=number))
    (got,) = attribute(events)
    first = min(start for start, _, _, _ in kernels)
    last = max(start + length for start, length, _, _ in kernels)
    assert sum(got.parts.values()) == got.time == last - first
    assert all(time >= 0 for time in got.parts.values())


def test_the_half_of_the_runs_nearest_to_the_median_is_kept():
    # 10, 10, 11, 90: median 10.5; kept are the two nearest of it, 10 and 10 (or 11).
    steps = [attribute([step(t), layer("conv", 0, t)])[0] for t in (10, 90, 11, 10)]
    got = combine(steps)
    assert got is not None
    assert got.runs == 4
    assert got.time in (10e-9, 10.5e-9)
    assert abs(sum(got.parts.values()) - got.time) < 1e-15
    assert got.samples[CONV] == (10e-9, 90e-9, 11e-9, 10e-9)
    assert combine([]) is None
