"""Train a dehazing network.

    python train.py configs/demo.yaml                                       one process, on the GPU if there is one
    python train.py configs/reside6k_s.yaml run=mine train.lr=2e-4          settings that win over the file's
    torchrun --nproc-per-node 4 train.py configs/reside6k_s.yaml            one machine, four GPUs
    python train.py configs/reside6k_s.yaml --dry-run                       print settings and cost, and stop

Run the same command again to resume: checkpoints/<run>/last.pt holds everything.
"""

import hashlib
import math
import sys
from contextlib import nullcontext

import torch
from torch.nn.functional import l1_loss
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader
from tqdm import tqdm

from datasets.augment import centre_crop
from datasets.domains import STAND_IN, open_domains, prob_of
from datasets.order import TrainingOrder, same_size_batches
from datasets.pairs import EvaluationSamples, Pairs, TrainingSamples, hold_out
from models import (
    build_model,
    describe,
    inference_form,
    kernels_report,
    network_of,
    start_from,
    training_form,
    use_plain,
)
from models.clip import identify
from utils import checkpoint, distributed
from utils.averaging import Average
from utils.clock import Clock
from utils.config import load_config, to_yaml
from utils.cost import by_pixels, bytes_for_backward, multiply_adds
from utils.entry import config_parser, run
from utils.evaluate import DTYPES, autocast, evaluate, mean_scores
from utils.losses import contrastive_loss
from utils.run_folder import RunFolder, put_back
from utils.settings import to_plain, window_pixels
from utils.stopping import StopSignal, refuse_non_finite, signals_held
from utils.sync_batchnorm import synchronise


def main(argv=None):
    parser = config_parser(__doc__)
    parser.add_argument("--dry-run", action="store_true", help="print settings and cost, and stop")
    args = parser.parse_args(argv)
    config = load_config(args.config, args.overrides)
    with distributed.processes(config.device) as device:
        try:
            train(config, device, args.dry_run)
        except torch.OutOfMemoryError:
            settings = config.train
            more_parts = settings.batch % (2 * settings.accumulate * distributed.world_size()) == 0
            remedies = ["set train.recompute=true"] * (not settings.recompute)
            remedies += [f"run a batch in more parts, train.accumulate={2 * settings.accumulate}"] * more_parts
            raise ValueError(
                f"the GPU's memory is too small for train.batch={settings.batch} at train.crop={settings.crop}: "
                f"{', or '.join([*remedies, 'lower one of them'])}"
            ) from None


def train(config, device, dry_run):
    # Start: the same numbers on every run, and full precision where full precision is asked for.
    torch.manual_seed(config.seed)
    torch.backends.cudnn.allow_tf32 = False
    if config.kernels == "plain":
        use_plain(device)
    settings, rank, world = config.train, distributed.rank(), distributed.world_size()
    on_main = distributed.on_main  # what a user's mistake can stop, is done by one process for all

    # Data: pairs to train on, pairs held out for validation, and what is known of each image's domain.
    pairs, val_pairs, val_crop = on_main(lambda: open_pairs(config, world))
    domains, prob = on_main(lambda: open_text(config, pairs))
    _, val_prob = on_main(lambda: open_text(config, val_pairs))
    extra = (config.data.edge_decay, config.data.flip, config.data.rotate, config.data.haze_strength)
    samples = TrainingSamples(pairs, prob, config.seed, settings.crop, *extra)
    val_samples = EvaluationSamples(val_pairs, val_prob, val_crop)
    if dry_run:
        if rank == 0:
            print(to_yaml(config), describe_cost(build_network(config, domains), config, len(pairs)), sep="\n")
        return

    # Run folder: from here on a signal is remembered; the newest readable checkpoint of this run, if there is one.
    stop = StopSignal()
    folder = RunFolder(config, write=rank == 0)
    data = fingerprint(pairs, prob, domains)
    saved = on_main(lambda: folder.open(data))

    # Model: fresh, or from the weights of model.init; a resumed run needs neither.
    network = on_main(lambda: build_network(config, domains, start=not saved))
    network = training_form(network, settings.recompute).to(device)
    terms = {"l1": (1.0, lambda output, clear, hazy: l1_loss(output, clear))}
    if config.loss.contrastive:
        loss = config.loss
        term = on_main(lambda: contrastive_loss(loss.backbone, loss.weights, loss.published_features))
        terms["contrastive"] = (config.loss.contrastive, term.to(device))

    # State: all that a checkpoint holds.
    optimizer = torch.optim.AdamW(network.parameters(), settings.lr, weight_decay=settings.weight_decay)
    scaler = torch.amp.GradScaler(device.type, enabled=settings.precision == "fp16")
    average = Average(network, settings.ema) if settings.ema else None
    step, validated, best, sums = 0, 0, -math.inf, {}

    def state():
        return {
            **{"step": step, "validated": validated, "best": best, "sums": sums},
            **{"network": describe(network), "ema": average.module.state_dict() if average else None},
            **{"optimizer": optimizer.state_dict(), "scaler": scaler.state_dict(), "random": torch.get_rng_state()},
            **{"settings": to_plain(config), "text": text_facts(config, domains), "data": data},
        }

    # Resume.
    if saved:
        put_back(saved, network, optimizer, scaler, average)
        step, validated, best, sums = (saved[name] for name in ("step", "validated", "best", "sums"))
    on_main(lambda: folder.start_log(step))

    # Processes: each reads its share of every batch; the order is a function of seed and position alone.
    evaluated = average.module if average else network
    if world > 1:
        network = synchronise(network, device) if settings.sync_batchnorm else network
        shared = DistributedDataParallel(network, [device] if device.type == "cuda" else None)
    else:
        shared = network
    order = TrainingOrder(
        len(pairs), settings.batch, config.seed, step, settings.steps, rank, world, settings.accumulate
    )
    val_order = same_size_batches(val_samples.sizes, config.test.batch, rank, world)
    loading = {"num_workers": config.data.workers, "pin_memory": device.type == "cuda"}
    loading["generator"] = torch.Generator()  # so that torch's own, whose state is saved, is left alone
    with signals_held():
        batches = iter(DataLoader(samples, batch_sampler=order, **loading))
    val_batches = DataLoader(val_samples, batch_sampler=val_order, **loading)
    if rank == 0:
        print(
            f"{folder.path}: step {step} of {settings.steps}, {len(pairs)} training pairs, {len(val_pairs)} for "
            f"validation ({describe_val(config)}), {settings.precision} on {device}, {world} process(es)"
        )
        if uses_stand_in(config):
            print("note: the text features are stand-ins (fixed vectors and known labels), not CLIP's")
        if device.type == "cuda" and config.kernels == "auto":
            print("compiling kernels, once", flush=True)

    # Loop: report, validate, save, stop, step. A stop cuts validation short, which is then made on resuming.
    clock, unsaved, first = Clock(device), False, step
    bar = tqdm(total=settings.steps, initial=step, unit="step", disable=None if rank == 0 else True)
    while True:
        done = step == settings.steps
        if sums and (step % settings.log_every == 0 or done):
            means = {name: total / sums["num"] for name, total in sums.items() if name != "num"}
            figures = clock.report()
            folder.log("train", step, lr=learning_rate(step - 1, settings), **means, **figures)
            bar.set_postfix(loss=f"{means['loss']:.4f}", images_per_s=f"{figures['images_per_second']:.1f}")
            sums = {}
        if validated < step and (step % settings.eval_every == 0 or done):
            distributed.share_buffers(evaluated)
            torch.backends.cudnn.benchmark = False  # sizes differ
            form = inference_form(evaluated, DTYPES[settings.precision])
            rows = evaluate(form, val_batches, device, settings.precision, stop.until_heard)
            if not distributed.any_process(stop.heard):
                scores, validated, unsaved = mean_scores(rows), step, True
                folder.log("val", step, psnr=scores["psnr"], ssim=scores["ssim"], pairs=describe_val(config))
                if rank == 0:
                    text = f"step {step}: validation {scores['psnr']:.2f} dB, SSIM {scores['ssim']:.4f}"
                    bar.write(text, file=sys.stderr)
                    folder.picture("hazy | dehazed | clear", comparison(evaluated, val_samples, device), step)
                if scores["psnr"] > best:
                    best = scores["psnr"]
                    on_main(lambda: folder.save_best(state()))
            clock.restart()
        stopping = distributed.any_process(stop.heard)
        if unsaved and (done or stopping or step % settings.save_every == 0):
            on_main(lambda: folder.save(state()))
            unsaved = False
        if done or stopping:
            break

        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, settings)
        torch.backends.cudnn.benchmark = True
        values = optimise(shared, terms, optimizer, scaler, batches, settings, step + 1, device, clock)
        if average:
            average.update()
        if step == first and device.type == "cuda":
            folder.log("kernels", step + 1, **kernels_report(device))  # they have been tried now
        step, unsaved = step + 1, True
        for name, value in {**values, "num": 1}.items():
            sums[name] = sums.get(name, 0) + value
        bar.update()

    # End.
    bar.close()
    folder.close()
    if rank == 0:
        how = "done" if validated == settings.steps else "stopped, run the same command to resume"
        score = f", best validation {best:.2f} dB" if best > -math.inf else ""
        print(f"{folder.path}: {how}, step {step} of {settings.steps}{score}")


def optimise(network, terms, optimizer, scaler, batches, settings, step, device, clock):
    """One step over a batch, run in `accumulate` parts; returns the loss, its terms and the gradient norm."""
    network.train()
    optimizer.zero_grad()
    sums, names = 0, []
    for part in range(settings.accumulate):
        with clock.waiting():
            batch = next(batches)
        hazy, clear, prob = (batch[name].to(device, non_blocking=True) for name in ("hazy", "clear", "prob"))
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
    numbers = torch.cat([distributed.mean_over_processes(sums), norm[None]]).tolist()  # the one wait for the GPU
    values = dict(zip(("loss", *terms, "gradient_norm"), numbers, strict=True))
    if scaler.is_enabled():  # it skips a step whose gradient overflows, and lowers its scale
        values["skipped"] = float(not math.isfinite(values["gradient_norm"]))
        if values["skipped"] and scaler.get_scale() >= 1:
            values["gradient_norm"] = 0.0
    refuse_non_finite(values, step, names, settings)
    clock.images += settings.batch
    return values


def learning_rate(step, settings):
    """A linear rise over the warm-up, then a cosine to 1 % of the peak."""
    if step < settings.warmup:
        return settings.lr * (step + 1) / settings.warmup
    progress = (step - settings.warmup) / max(settings.steps - settings.warmup, 1)
    return settings.lr * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))


def open_pairs(config, world):
    """The pairs to train on, those to validate on, and the centre crop of the latter (None: whole images)."""
    data, settings = config.data, config.train
    if settings.batch % (world * settings.accumulate):
        parts = f"{world} process(es) in {settings.accumulate} part(s)"
        raise ValueError(f"train.batch={settings.batch} cannot be shared equally by {parts}: change train.batch")
    pairs = Pairs(data.folder, data.train, data.max_pixels)
    if data.val == "test-crop":
        return pairs, Pairs(data.folder, data.test, data.max_pixels), settings.crop
    if isinstance(data.val, str):
        return pairs, Pairs(data.folder, data.val, data.max_pixels), data.val_crop
    kept, held = hold_out(pairs.names, data.val, config.seed)
    return pairs.subset(kept), pairs.subset(held), data.val_crop


def describe_val(config):
    """How the best checkpoint is chosen, in words."""
    if config.data.val == "test-crop":
        return "centre crops of the TEST set, the published way"
    return f"split {config.data.val}" if isinstance(config.data.val, str) else "of the training set"


def open_text(config, pairs):
    """The Domains of the pairs' split, and the pairs' N x K probabilities; a network without fusion needs neither."""
    if config.model.fusion == "none":
        return None, torch.zeros(len(pairs), 1).numpy()
    domains = open_domains(pairs.folder, config.text, identify(config.text.weights))
    return domains, prob_of(domains, pairs.names, config.text.labels, config.seed if config.text.shuffle else None)


def uses_stand_in(config):
    return config.model.fusion != "none" and config.text.encoder == STAND_IN


def text_facts(config, domains):
    """What a checkpoint says of its text features."""
    if domains is None:
        return None
    facts = {name: getattr(domains, name) for name in ("encoder", "weights", "source", "zero_shot", "beta2", "beta3")}
    return {**facts, "classes": list(domains.classes), "prompts": list(domains.prompts), "labels": config.text.labels}


def fingerprint(pairs, prob, domains):
    """A hash by which a resumed run knows its training data again: the images' names, labels and text features."""
    digest = hashlib.sha256("\n".join(pairs.names).encode() + prob.tobytes())
    digest.update(domains.text.tobytes() if domains else b"")
    return digest.hexdigest()


def build_network(config, domains, start=True):
    """A network of the settings, with fresh weights or, if `start` is on, those of model.init."""
    model = config.model
    text = torch.from_numpy(domains.text) if domains else None
    network = build_model(model.size, model.fusion, model.merge, text, window_pixels(model.window, config.train.crop))
    if model.init and start:
        source = checkpoint.load(model.init)
        try:
            start_from(network, network_of(source, text))
        except ValueError as error:
            raise ValueError(f"model.init={model.init}: {error}") from None
    return network


def comparison(network, samples, device, num=3, crop=256):
    """Centre crops of some held-out images as rows of hazy | dehazed | clear: 3 x H x W in [0, 1]."""
    network.eval()
    rows = []
    for index in torch.linspace(0, len(samples.pairs) - 1, min(num, len(samples.pairs))).long().unique().tolist():
        sample = samples[index]
        hazy, clear = (centre_crop(sample[name].permute(1, 2, 0), crop).permute(2, 0, 1) for name in ("hazy", "clear"))
        with torch.no_grad():
            output = network(hazy[None].to(device), torch.from_numpy(sample["prob"])[None].to(device))[0].cpu()
        row = torch.cat([hazy, output.clamp(-1, 1), clear], dim=2)
        rows.append(torch.nn.functional.pad(row, (0, 3 * crop - row.shape[2], 0, crop - row.shape[1]), value=1.0))
    return torch.cat(rows, dim=1) * 0.5 + 0.5


def describe_cost(network, config, num_pairs):
    """Parameters, multiply-adds, steps, epochs and memory, as lines of text."""
    settings, pixels = config.train, config.train.crop**2
    parameters = sum(parameter.numel() for parameter in network.parameters())
    epochs = settings.steps * settings.batch / num_pairs
    share = settings.batch // (distributed.world_size() * settings.accumulate)
    prob = torch.full((1, len(config.text.classes)), 1 / len(config.text.classes))
    term = config.loss.contrastive and contrastive_loss(config.loss.backbone, None, config.loss.published_features)
    weights = [*network.parameters(), *(term.parameters() if term else ())]

    def macs(side):
        return multiply_adds(lambda: network(torch.rand(1, 3, side, side), prob))

    def activations(side):
        hazy, clear = torch.rand(2, 1, 3, side, side)

        def loss():
            with autocast(torch.device("cpu"), settings.precision):
                output = network.train()(hazy, prob).float()
                return l1_loss(output, clear) + (term(output, clear, hazy) if term else 0)

        return bytes_for_backward(loss, weights)

    fixed_macs, macs_a_pixel = by_pixels(macs)
    network = training_form(network, settings.recompute)
    fixed, a_pixel = by_pixels(activations)
    fixed += 4 * (parameters * (4 if settings.ema else 3) + sum(weight.numel() for weight in weights))
    return (
        f"parameters     {parameters:,}\n"
        f"multiply-adds  {(fixed_macs + macs_a_pixel * pixels) / 1e9:.2f} G an image of crop {settings.crop}, forward\n"
        f"steps          {settings.steps:,} of batch {settings.batch}: {epochs:,.1f} epochs of {num_pairs:,} pairs\n"
        f"memory         at least {(fixed + a_pixel * share * pixels) / 1e9:.1f} GB a process: {fixed / 1e9:.2f} GB of "
        f"weights, gradients, optimiser, and {a_pixel * pixels / 1e9:.2f} GB an image for the backward pass"
    )


if __name__ == "__main__":
    run(main)
