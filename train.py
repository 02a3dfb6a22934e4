"""Train a dehazing network.

    python train.py configs/demo.yaml                                       one process, on the GPU if there is one
    python train.py configs/reside6k_s.yaml run=mine train.lr=2e-4          settings that win over the file's
    torchrun --nproc-per-node 4 train.py configs/reside6k_s.yaml            one machine, four GPUs
    python train.py configs/reside6k_s.yaml --dry-run                       print settings and cost, and stop

Run the same command again to resume: checkpoints/<run>/last.pt holds everything.
"""

import math
import sys
from contextlib import nullcontext

import torch
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from datasets.batches import Batches
from datasets.domains import STAND_IN, stand_in_text
from datasets.order import TrainingOrder, same_size_batches
from datasets.pairs import EvaluationSamples, TrainingSamples
from datasets.training_data import count_training_pairs, open_training, validation_crop
from models import (
    build_model,
    describe,
    inference_form,
    kernels_report,
    network_of,
    start_from,
    training_form,
    training_graph,
    use_plain,
)
from models.clip import identify
from utils import checkpoint, distributed
from utils.clock import Clock
from utils.config import load_config, to_yaml
from utils.cost import describe_cost
from utils.data_parallel import shared
from utils.evaluate import DTYPES, autocast, evaluate, mean_scores, pictures
from utils.losses import contrastive_loss, loss_terms
from utils.remedies import refuse_non_finite, refuse_unequal_shares, too_large
from utils.run_folder import RunFolder
from utils.script import config_parser, run
from utils.settings import to_plain, window_pixels
from utils.slowness import tell_of_slowness
from utils.stopping import StopSignal, signals_held
from utils.training_state import TrainingState, learning_rate


def main(argv=None):
    parser = config_parser(__doc__)
    parser.add_argument("--dry-run", action="store_true", help="print settings and cost, and stop")
    args = parser.parse_args(argv)
    config = load_config(args.config, args.overrides)
    with distributed.processes(config.device) as device:
        try:
            train(config, device, args.dry_run)
        except torch.OutOfMemoryError:
            raise ValueError(too_large(config.train)) from None


def train(config, device, dry_run):
    # Start: the same numbers on every run, and full precision where full precision is asked for.
    torch.manual_seed(config.seed)
    torch.backends.cudnn.allow_tf32 = False
    matmul = torch.backends.cuda.matmul  # sums over millions of pixels stay in float32
    matmul.allow_bf16_reduced_precision_reduction = matmul.allow_fp16_reduced_precision_reduction = False
    if config.kernels == "plain":
        use_plain(device)
    settings, rank, world = config.train, distributed.rank(), distributed.world_size()
    on_main = distributed.on_main  # user errors surface in one process, which does the work for all
    refuse_unequal_shares(settings, world)

    if dry_run:
        num_pairs = on_main(lambda: count_training_pairs(config.data, config.seed))
        if rank == 0:
            print(to_yaml(config), cost_of(config, num_pairs, world), sep="\n")
        return

    # Data: pairs to train on, pairs held out for validation, each image with its domain's probabilities.
    data, val_data = on_main(lambda: open_training(config, identify))

    # Run folder: from here on a signal is remembered. The newest readable checkpoint of this run, if there is one.
    stop = StopSignal()
    folder = RunFolder(config, write=rank == 0)
    fingerprint = on_main(lambda: f"{data.fingerprint()} {val_data.fingerprint()}")
    saved = on_main(lambda: folder.open(fingerprint))

    # Network and loss: fresh, or from the weights of model.init; a resumed run needs neither.
    network = on_main(lambda: build_network(config, data.domains and data.domains.text, start=not saved))
    network = network.to(device)
    if device.type == "cuda" and config.kernels == "auto" and rank == 0:
        print("compiling kernels, once", flush=True)
    network = training_form(network, DTYPES[settings.precision], settings.recompute)
    terms = on_main(lambda: loss_terms(config.loss))
    for _, term in terms.values():
        term.to(device)

    # State: all that changes from step to step. A resumed run takes over the checkpoint's.
    state = TrainingState(network, settings, device)
    if saved:
        state.put_back(saved)
    on_main(lambda: folder.start_log(state.step))

    def content():
        return {
            **state.plain(),
            "network": describe(network),
            "settings": to_plain(config),
            "text": data.text_facts(config.text.labels),
            "data": fingerprint,
        }

    # Graphs: on CUDA the network's forward and backward pass are recorded once, for batches of one size.
    stepped = network
    if device.type == "cuda":
        if not settings.sync_batchnorm:
            share = settings.batch // (world * settings.accumulate)
            hazy = torch.zeros(share, 3, settings.crop, settings.crop, device=device)
            prob = torch.full((share, data.prob.shape[1]), 1 / data.prob.shape[1], device=device)
            torch.backends.cudnn.benchmark = True  # one size
            stepped = training_graph(network, hazy, prob, DTYPES[settings.precision])
        folder.log("kernels", state.step, **kernels_report("training"))
    if settings.accumulate > 1:  # gradients that a graph makes lie in its memory: parts are added up outside of it
        for weight in network.parameters():
            weight.grad = torch.zeros_like(weight)

    # Batches: each process reads its share. The order is a function of seed and position alone.
    stepped = shared(stepped, device, settings.sync_batchnorm)
    batches, val_batches = open_batches(config, data, val_data, state.step, device)
    if rank == 0:
        print(
            f"{folder.path}: step {state.step} of {settings.steps}, {len(data)} training pairs, {len(val_data)} for "
            f"validation ({config.data.chosen_on}), {settings.precision} on {device}, {world} process(es)"
        )
        if data.domains and data.domains.encoder == STAND_IN:
            print("note: the text features are stand-ins (fixed vectors and known labels), not CLIP's")
    tell_of_slowness(device, settings.precision)

    # Loop: report, validate, save, stop, step. A stop cuts validation short; it is made again on resuming.
    clock = Clock(device)
    unsaved = not saved  # the first is written before any step: a full disk shows at once
    bar = tqdm(total=settings.steps, initial=state.step, unit="step", disable=None if rank == 0 else True)
    while True:
        done = state.step == settings.steps
        if state.sums and (state.step % settings.log_every == 0 or done):
            means, figures = state.means(), clock.report()
            folder.log("train", state.step, lr=learning_rate(state.step - 1, settings), **means, **figures)
            bar.set_postfix(loss=f"{means['loss']:.4f}", images_per_s=f"{figures['images_per_second']:.1f}")
        if state.validated < state.step and (state.step % settings.eval_every == 0 or done):
            scores = validate(state, val_batches, config, device, stop, folder, bar)
            unsaved |= scores is not None
            if scores and scores["psnr"] > state.best:
                state.best = scores["psnr"]
                on_main(lambda: folder.save_best(content()))
            clock.restart()
        stopping = distributed.any_process(stop.heard)
        if unsaved and (done or stopping or state.step % settings.save_every == 0):
            on_main(lambda: folder.save(content()))
            unsaved = False
        if done or stopping:
            break
        values = optimise(stepped, state, terms, batches, settings, device, clock)
        state.count(values)
        unsaved = True
        bar.update()

    # End.
    bar.close()
    folder.close()
    if rank == 0:
        how = "done" if state.validated == settings.steps else "stopped, run the same command to resume"
        score = f", best validation {state.best:.2f} dB" if state.best > -math.inf else ""
        print(f"{folder.path}: {how}, step {state.step} of {settings.steps}{score}")


def optimise(network, state, terms, batches, settings, device, clock):
    """One step over a batch, run in `accumulate` parts; returns the loss, its terms and the gradient norm."""
    optimizer, scaler = state.optimizer, state.scaler
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(state.step, settings)
    torch.backends.cudnn.benchmark = True  # one size
    network.train()
    optimizer.zero_grad(set_to_none=settings.accumulate == 1)
    sums, names = 0, []
    for part in range(settings.accumulate):
        with clock.waiting():
            batch = next(batches)
        hazy, clear, prob = (batch[name] for name in ("hazy", "clear", "prob"))
        more_parts = part + 1 < settings.accumulate and isinstance(network, DistributedDataParallel)
        with network.no_sync() if more_parts else nullcontext():
            with autocast(device, settings.precision):
                output = network(hazy, prob).float()
                losses = [term(output, clear, hazy) for _, term in terms.values()]
            loss = sum(weight * value for (weight, _), value in zip(terms.values(), losses, strict=True))
            scaler.scale(loss / settings.accumulate).backward()
        sums = sums + torch.stack([loss, *losses]).detach() / settings.accumulate
        names += batch["name"]
    scaler.unscale_(optimizer)
    norm = torch.nn.utils.clip_grad_norm_(network.parameters(), settings.clip or math.inf)
    scaler.step(optimizer)
    scaler.update()
    if state.average:
        state.average.update()
    numbers = torch.cat([distributed.mean_over_processes(sums), norm[None]]).tolist()  # the one wait for the GPU
    values = dict(zip(("loss", *terms, "gradient_norm"), numbers, strict=True))
    if scaler.is_enabled():  # it skips a step whose gradient overflows, and lowers its scale
        values["skipped"] = float(not math.isfinite(values["gradient_norm"]))
        if values["skipped"] and scaler.get_scale() >= 1:
            values["gradient_norm"] = 0.0
    refuse_non_finite(values, state.step + 1, names, settings)
    clock.images += settings.batch
    return values


def validate(state, batches, config, device, stop, folder, bar):
    """Score the held-out pairs, log it and return the mean scores; None where a stop came in between."""
    distributed.share_buffers(state.evaluated)
    torch.backends.cudnn.benchmark = False  # sizes differ
    form = inference_form(state.evaluated, DTYPES[config.train.precision])
    rows = evaluate(form, batches, device, config.train.precision, stop.until_heard)
    if distributed.any_process(stop.heard):
        return None
    scores, state.validated = mean_scores(rows), state.step
    folder.log("val", state.step, psnr=scores["psnr"], ssim=scores["ssim"], pairs=config.data.chosen_on)
    if distributed.rank() == 0:
        text = f"step {state.step}: validation {scores['psnr']:.2f} dB, SSIM {scores['ssim']:.4f}"
        bar.write(text, file=sys.stderr)
        folder.picture("hazy | dehazed | clear", pictures(state.evaluated, batches), state.step)
    return scores


def open_batches(config, data, val_data, step, device):
    """This process's batches: an iterator over those to train on from `step` on, and a loader of those to validate."""
    settings, rank, world = config.train, distributed.rank(), distributed.world_size()
    extra = (config.data.edge_decay, config.data.flip, config.data.rotate, config.data.haze_strength)
    samples = TrainingSamples(data.pairs, data.prob, config.seed, settings.crop, *extra, config.text.unknown)
    span = (step, settings.steps)
    order = TrainingOrder(len(data), settings.batch, config.seed, *span, rank, world, settings.accumulate)
    val_samples = EvaluationSamples(val_data.pairs, val_data.prob, validation_crop(config))
    val_order = same_size_batches(val_samples.sizes, config.test.batch, rank, world)
    with signals_held():
        batches = iter(Batches(samples, order, device, config.data.workers))
    return batches, Batches(val_samples, val_order, device, config.data.workers)


def build_network(config, text, start):
    """A network of the settings and the K x D text, with fresh weights or, if `start` is on, those of model.init."""
    model, text = config.model, None if text is None else torch.from_numpy(text)
    network = build_model(model.size, model.fusion, model.merge, text, window_pixels(model.window, config.train.crop))
    if model.init and start:
        with checkpoint.naming(f"model.init={model.init}"):
            start_from(network, network_of(checkpoint.load(model.init), text))
    return network


def cost_of(config, num_pairs, world):
    """Parameters, multiply-adds, steps, epochs and memory, as lines of text; the text features need not be there."""
    text = None if config.model.fusion == "none" else stand_in_text(len(config.text.classes))
    network, loss = build_network(config, text, start=False), config.loss
    term = contrastive_loss(loss.backbone, None, loss.published_features) if loss.contrastive else None
    share = config.train.batch // (world * config.train.accumulate)
    return describe_cost(network, training_form, term, config, num_pairs, share)


if __name__ == "__main__":
    run(main)
