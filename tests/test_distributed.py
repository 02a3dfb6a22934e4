"""Several processes do what one does, stop together, and report a mistake once."""

import json
import multiprocessing
import os
import signal
import socket
import time
from datetime import timedelta

import pytest
import torch
from torchvision.models import resnet18

import train
from tests import tiny
from tests.made import Plain
from utils import distributed
from utils.losses import Loss
from utils.settings import Loss as LossSettings
from utils.settings import Train
from utils.training_state import TrainingState

CPU = torch.device("cpu")


def step(weights):
    """One step on this process's share of 4 fixed images: the values of the log, and the gradients."""
    network = Plain()
    hazy, clear = torch.rand(2, 4, 3, 16, 16)
    share = slice(distributed.rank() * 4 // distributed.world_size(), None)
    batch = {"hazy": hazy[share], "clear": clear[share], "prob": torch.ones(4, 1)}
    batch = {name: value[: 4 // distributed.world_size()] for name, value in batch.items()}
    loss = Loss(LossSettings(contrastive=0.1, backbone="resnet18", weights=weights))
    state = TrainingState(network, Train(precision="fp32"), CPU, describe=None)
    stepped = distributed.data_parallel(network, CPU)
    train.optimise(stepped, state, loss, iter([batch]), Train(precision="fp32"), CPU)
    return state.means(), [parameter.grad.flatten().tolist() for parameter in network.parameters()]


def helpers(_):
    """What the small functions return where process 1 has another flag and other items than process 0."""
    rank = distributed.rank()
    return (
        distributed.gather([rank, 10 + rank]),
        distributed.any_process(rank == 1),
        distributed.on_main(lambda value: value)(f"of process {rank}"),
    )


def fail(_):
    distributed.on_main(lambda: int("not a number"))()


def in_process(function, argument, rank, port, results):
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    with distributed.processes("cpu"):
        results.put((rank, function(argument)))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def in_two_processes(function, argument=None):
    """What function(argument) returns in each of two processes, in order of rank, and their exit codes."""
    context, port = multiprocessing.get_context("forkserver"), free_port()  # forks of a process without autograd
    context.set_forkserver_preload([__name__])
    results = context.Queue()
    arguments = [(function, argument, rank, port, results) for rank in range(2)]
    processes = [context.Process(target=in_process, args=given) for given in arguments]
    for process in processes:
        process.start()
    values = dict(results.get(timeout=60) for _ in processes) if function is not fail else {}
    for process in processes:
        process.join(60)
    return [values.get(rank) for rank in range(2)], [process.exitcode for process in processes]


def test_two_processes_take_the_step_that_one_takes(tmp_path):
    torch.manual_seed(1)
    torch.save(resnet18().state_dict(), tmp_path / "resnet18.pt")
    values, gradients = step(str(tmp_path / "resnet18.pt"))
    both, codes = in_two_processes(step, str(tmp_path / "resnet18.pt"))
    assert codes == [0, 0]
    for own, own_gradients in both:
        assert own == pytest.approx(values, rel=1e-5)
        for gradient, expected in zip(own_gradients, gradients, strict=True):
            assert gradient == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_lists_flags_and_what_the_main_process_does_reach_all():
    both, codes = in_two_processes(helpers)
    assert both == [([0, 10, 1, 11], True, "of process 0")] * 2 and codes == [0, 0]


def test_where_the_main_process_fails_the_other_leaves_with_exit_code_2():
    _, codes = in_two_processes(fail)
    assert codes == [1, 2]


def test_a_main_process_that_does_not_answer_is_named_after_a_while(monkeypatch):
    keys = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    for name, value in keys.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(distributed, "RENDEZVOUS", timedelta(seconds=1))
    message = f"MASTER_PORT=127.0.0.1:{keys['MASTER_PORT']}: check that the main process runs there"
    with pytest.raises(ValueError, match=message), distributed.processes("cpu"):
        pass


def test_a_process_that_waits_for_the_main_one_obeys_sigterm():
    context = multiprocessing.get_context("fork")
    process = context.Process(target=in_process, args=(fail, None, 1, free_port(), None))
    process.start()
    time.sleep(1)
    process.terminate()
    process.join(30)
    assert process.exitcode == -signal.SIGTERM


def ours(errors):
    """The lines that are not torchrun's."""
    return [line for line in errors.splitlines() if line.startswith("train.py")]


def test_a_signal_stops_all_processes_at_one_step_a_mistake_is_said_once_and_one_process_goes_on(tmp_path):
    log = tiny.make(tmp_path) / "checkpoints/tiny/log.jsonl"
    options = ("data.workers=1", "train.steps=100000", "train.save_every=100000")
    with tiny.started(tmp_path, *options, processes=2) as process:
        while not (log.exists() and log.read_text().count("\n") > 2):
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.05)
        code, _, errors = tiny.run(tmp_path, *options, processes=2)
        assert code == 1 and len(ours(errors)) == 1, errors
        assert "checkpoints/tiny is in use by another training" in ours(errors)[0]
        os.kill(process.pid, signal.SIGTERM)
        output, errors = process.communicate(timeout=60)
    step = tiny.state(tmp_path)["step"]
    assert f"stopped, run the same command to resume, step {step} of 100000" in output, errors
    assert json.loads(log.read_text().splitlines()[-1])["step"] == step
    with tiny.started(tmp_path, *options) as process:
        assert f"step {step} of 100000" in process.stdout.readline()


def fail_to_start():
    raise RuntimeError("The NVIDIA driver on your system is too old. Please update it")


def test_a_gpu_that_torch_cannot_use_is_named_in_one_line(monkeypatch, capsys):
    monkeypatch.setattr("torch.cuda.init", fail_to_start)
    monkeypatch.setattr("utils.distributed.Path.exists", lambda path: True)
    assert distributed.pick_device("auto").type == "cpu"
    assert "cannot use a GPU here (The NVIDIA driver on your system is too old): running" in capsys.readouterr().err
    with pytest.raises(ValueError, match="device=cuda, but .*: use device=cpu or device=auto"):
        distributed.pick_device("cuda")
