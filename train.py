"""Train a dehazing network.

    python train.py configs/demo.yaml                                       one process, on the GPU if there is one
    python train.py configs/reside6k_s.yaml run=mine train.lr=2e-4          settings that win over the file's
    torchrun --nproc-per-node 4 train.py configs/reside6k_s.yaml            one machine, four GPUs
    python train.py configs/reside6k_s.yaml --dry-run                       print settings and cost, and stop

Run the same command again to resume: checkpoints/<run>/last.pt holds everything.
"""

import math
from itertools import takewhile

import torch

import models
from datasets.batches import Batches
from datasets.domains import STAND_IN, stand_in_text
from datasets.order import TrainingOrder, same_size_batches
from datasets.pairs import EvaluationSamples, TrainingSamples
from datasets.training_data import count_training_pairs, open_training
from models.clip import identify
from utils import checkpoint, distributed
from utils.clock import Clock, say
from utils.config import load_config, to_yaml
from utils.cost import describe_cost
from utils.distributed import on_main
from utils.evaluate import DTYPES, autocast, evaluate, mean_scores, picture
from utils.losses import Loss
from utils.run_folder import RunFolder
from utils.script import StopSignal, config_parser, run
from utils.settings import window_pixels
from utils.training_state import TrainingState, learning_rate


def main(argv=None):
    parser = config_parser(__doc__)
    parser.add_argument("--dry-run", action="store_true", help="print settings and cost, and stop")
    args = parser.parse_args(argv)
    config = load_config(args.config, args.overrides)
    with distributed.processes(config.device) as device:
        refuse_unfit(config.train, device)
        if args.dry_run:
            print_cost(config)
        else:
            train(config, device)


def train(config, device):
    # Start: the same random numbers on every run.
    settings, main_process = config.train, distributed.rank() == 0
    torch.manual_seed(config.seed)
    torch.backends.cudnn.benchmark = True  # training batches are of one size
    matmul = torch.backends.cuda.matmul  # sums over millions of pixels stay in float32
    matmul.allow_bf16_reduced_precision_reduction = matmul.allow_fp16_reduced_precision_reduction = False
    if config.kernels == "plain":
        models.use_plain(device)

    # Data: pairs to train on, pairs held out for validation, each image with its domain's probabilities.
    data, val_data, identity = open_data(config)

    # Run folder: from here on a signal is remembered. `saved` is the checkpoint to resume from, if there is one.
    stop, folder = StopSignal(), RunFolder(config)
    saved = folder.open(identity, data.domains and data.domains.text_facts(config.text.labels))

    # Network and loss: fresh, or from the weights of model.init; a resumed run needs neither.
    network = build_network(config.model, settings.crop, data.domains and data.domains.text, start=not saved).to(device)
    if device.type == "cuda" and config.kernels == "auto" and main_process:
        print("compiling kernels, once", flush=True)
    network = models.training_form(network, DTYPES[settings.precision], settings.recompute)
    loss = on_main(Loss)(config.loss).to(device)

    # State: everything that changes from step to step. A resumed run takes over the checkpoint's.
    state = TrainingState(network, settings, device, models.describe)
    if saved:
        state.load_state_dict(saved)
    folder.start_log(state.step)
    stepped = graphed(network, data.prob.shape[1], settings, device) if device.type == "cuda" else network
    stepped = distributed.data_parallel(stepped, device, settings.sync_batchnorm)
    if device.type == "cuda":
        folder.log("kernels", state.step, **models.kernels_report("training"))

    # Batches: each process reads its share.
    batches = training_batches(data, config, state.step, device)
    val_batches = validation_batches(val_data, config, device)
    if main_process:
        print(
            f"{folder.path}: step {state.step} of {settings.steps}, {len(data)} training pairs, {len(val_data)} for "
            f"validation ({config.data.chosen_on}), {settings.precision} on {distributed.world_size()} x {device}"
        )
        if data.domains and data.domains.encoder == STAND_IN:
            print("note: the text features are stand-ins (fixed vectors and known labels), not CLIP's")

    # Loop: report, validate, save, stop, step. A stop cuts validation short; the resumed run makes it again.
    clock = Clock(state.step, settings, device)
    unsaved = not saved  # the first checkpoint comes before any step: a full disk shows at once
    while True:
        done = state.step == settings.steps
        if state.sums and (state.step % settings.log_every == 0 or done):
            rate = learning_rate(state.step - 1, settings)
            folder.log("train", state.step, **clock.report(state.step, lr=rate, **state.means()))
        if state.validated < state.step and (state.step % settings.eval_every == 0 or done):
            unsaved |= validate(state, val_batches, settings.precision, stop, folder)
            clock.restart(state.step)
        stopping = distributed.any_process(stop.heard)
        if unsaved and (done or stopping or state.step % settings.save_every == 0):
            folder.save(state)
            unsaved = False
        if done or stopping:
            break
        optimise(stepped, state, loss, batches, settings, device)
        unsaved = True

    # End.
    folder.close()
    if main_process:
        how = "done" if state.validated == settings.steps else "stopped, run the same command to resume"
        score = f", best validation {state.best:.2f} dB" if state.best > -math.inf else ""
        print(f"{folder.path}: {how}, step {state.step} of {settings.steps}{score}")


def optimise(network, state, loss, batches, settings, device):
    """Take one step on a batch, run in `accumulate` parts."""
    network.train()
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate(state.step, settings)
    sums, gradients = 0, None
    for _ in range(settings.accumulate):
        batch = next(batches)
        state.optimizer.zero_grad()
        with autocast(device, settings.precision):
            output = network(batch["hazy"], batch["prob"]).float()
            values = loss(output, batch["clear"], batch["hazy"])
        state.scaler.scale(values["loss"] / settings.accumulate).backward()
        sums = sums + torch.stack(list(values.values())).detach() / settings.accumulate
        if settings.accumulate > 1:
            gradients = state.add_gradients(gradients)
    state.scaler.unscale_(state.optimizer)
    norm = torch.nn.utils.clip_grad_norm_(network.parameters(), settings.clip or math.inf)
    state.scaler.step(state.optimizer)
    state.scaler.update()
    if state.average:
        state.average.update()
    numbers = torch.cat([distributed.mean_over_processes(sums), norm[None]]).tolist()  # the one wait for the GPU
    state.count(dict(zip([*values, "gradient_norm"], numbers, strict=True)))


def validate(state, batches, precision, stop, folder):
    """Score the held-out pairs, log it and keep the best network; returns False where a signal came in between."""
    distributed.share_buffers(state.evaluated)
    torch.backends.cudnn.benchmark = False  # sizes differ
    form = models.inference_form(state.evaluated, DTYPES[precision])
    rows = evaluate(form, takewhile(lambda batch: not stop.heard, batches), precision)
    torch.backends.cudnn.benchmark = True
    if distributed.any_process(stop.heard):
        return False
    scores, state.validated = mean_scores(rows), state.step
    folder.log("val", state.step, psnr=scores["psnr"], ssim=scores["ssim"], pairs=folder.config.data.chosen_on)
    say(f"step {state.step}: validation {scores['psnr']:.2f} dB, SSIM {scores['ssim']:.4f}")
    if distributed.rank() == 0:
        folder.tensorboard.add_image("hazy | dehazed | clear", picture(form, batches.of_one(0)), state.step)
    if scores["psnr"] > state.best:
        state.best = scores["psnr"]
        folder.save_best(state)
    return True


@on_main
def open_data(config):
    """The LabelledPairs to train on and to validate on, and the text by which a resumed run knows them again."""
    data, val_data = open_training(config, identify)
    return data, val_data, f"{data.fingerprint()} {val_data.fingerprint()}"


def training_batches(data, config, step, device):
    """An iterator over this process's share of the batches from `step` on, a function of seed and position alone."""
    settings, share = config.train, (distributed.rank(), distributed.world_size(), config.train.accumulate)
    extra = (config.data.edge_decay, config.data.flip, config.data.rotate, config.data.haze_strength)
    samples = TrainingSamples(data.pairs, data.prob, config.seed, settings.crop, *extra, config.text.unknown)
    order = TrainingOrder(len(data), settings.batch, config.seed, step, settings.steps, *share)
    return iter(Batches(samples, order, device, config.data.workers))


def validation_batches(data, config, device):
    """A loader of this process's share of the validation images, whole or cropped as the settings ask."""
    crop = config.train.crop if config.data.val == "test-crop" else config.data.val_crop
    samples = EvaluationSamples(data.pairs, data.prob, crop)
    order = same_size_batches(samples.sizes, config.test.batch, distributed.rank(), distributed.world_size())
    return Batches(samples, order, device, config.data.workers)


@on_main
def build_network(settings, crop, text, start):
    """A network of the `model` settings and the K x D text, fresh or, if `start` is on, with model.init's weights."""
    text = None if text is None else torch.from_numpy(text)
    window = window_pixels(settings.window, crop)
    network = models.build_model(settings.size, settings.fusion, settings.merge, text, window)
    if settings.init and start:
        with checkpoint.naming(f"model.init={settings.init}"):
            models.start_from(network, models.network_of(checkpoint.load(settings.init), text))
    return network


def graphed(network, num_classes, settings, device):
    """The network whose forward and backward pass are recorded once on CUDA, for batches of one size."""
    if settings.sync_batchnorm:  # its exchange between processes cannot be recorded
        return network
    share = settings.batch // (distributed.world_size() * settings.accumulate)
    hazy = torch.zeros(share, 3, settings.crop, settings.crop, device=device)
    prob = torch.full((share, num_classes), 1 / num_classes, device=device)
    return models.training_graph(network, hazy, prob, DTYPES[settings.precision])


@on_main
def refuse_unfit(settings, device):
    """Raise ValueError where the `train` settings do not suit the processes or the device."""
    if settings.batch % (distributed.world_size() * settings.accumulate):
        parts = f"{distributed.world_size()} process(es) in {settings.accumulate} part(s)"
        raise ValueError(f"train.batch={settings.batch} cannot be shared equally by {parts}: change train.batch")
    if settings.sync_batchnorm and device.type != "cuda":
        raise ValueError("train.sync_batchnorm=true needs CUDA: leave it out on a CPU")


@on_main
def print_cost(config):
    """Print the settings, and what the training costs; the data need not be there."""
    model, num_classes = config.model, len(config.text.classes)
    text = torch.from_numpy(stand_in_text(num_classes))
    network = models.build_model(model.size, model.fusion, model.merge, text)
    num_pairs = count_training_pairs(config.data, config.seed)
    print(to_yaml(config), describe_cost(network, config.train, num_classes, num_pairs), sep="\n")


if __name__ == "__main__":
    run(main)
