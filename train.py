"""Train a dehazing network.

    python train.py configs/demo.yaml                                       one process, on the GPU if there is one
    python train.py configs/reside6k_s.yaml run=mine train.lr=2e-4          settings that win over the file's
    torchrun --nproc-per-node 4 train.py configs/reside6k_s.yaml            one machine, four GPUs
    python train.py configs/reside6k_s.yaml --dry-run                       print settings and cost, and stop

Run the same command again to resume: checkpoints/<run>/last.pt holds everything.
"""

import copy
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
from datasets.pairs import EvaluationSamples, Pairs, Subset, TrainingSamples, hold_out
from models import build_model, describe, is_published, load_published, restore, start_from
from models.clip_weights import identify
from utils import checkpoint, distributed
from utils.averaging import averaged
from utils.clock import Clock
from utils.config import load_config, to_yaml
from utils.cost import multiply_adds
from utils.entry import config_parser, run
from utils.evaluate import autocast, evaluate, mean_scores
from utils.losses import contrastive_loss
from utils.run_folder import RunFolder
from utils.settings import to_plain
from utils.stopping import StopSignal, ignore_in_worker, refuse_non_finite
from utils.sync_batchnorm import synchronise


def main(argv=None):
    parser = config_parser(__doc__)
    parser.add_argument("--dry-run", action="store_true", help="print settings and cost, and stop")
    args = parser.parse_args(argv)
    config = load_config(args.config, args.overrides)
    with distributed.processes(config.device) as device:
        train(config, device, args.dry_run)


def train(config, device, dry_run):
    # Start: the same numbers on every run, and full precision where full precision is asked for.
    torch.manual_seed(config.seed)
    torch.backends.cudnn.allow_tf32 = False
    settings, rank, world = config.train, distributed.rank(), distributed.world_size()
    if settings.batch % (world * settings.accumulate):
        parts = f"{world} process(es) in {settings.accumulate} part(s)"
        raise ValueError(f"train.batch={settings.batch} cannot be shared equally by {parts}: change train.batch")

    # Data: pairs to train on, pairs held out for validation, and what is known of each image's domain.
    pairs, val_pairs, val_crop = open_pairs(config)
    domains, prob = open_text(config, pairs)
    _, val_prob = open_text(config, val_pairs)
    samples = TrainingSamples(
        pairs, prob, config.seed, settings.crop, config.data.edge_decay, config.data.flip, config.data.rotate
    )
    val_samples = EvaluationSamples(val_pairs, val_prob, val_crop)

    # Model: built, and started from other weights if asked.
    network = build_network(config, domains)
    if dry_run:
        print(to_yaml(config), describe_cost(network, config, len(pairs)), sep="\n")
        return
    network.to(device)
    terms = {"l1": (1.0, lambda output, clear, hazy: l1_loss(output, clear))}
    if config.loss.contrastive:
        term = contrastive_loss(config.loss.backbone, config.loss.weights, config.loss.published_features)
        terms["contrastive"] = (config.loss.contrastive, term.to(device))

    # State: all that a checkpoint holds.
    optimizer = torch.optim.AdamW(network.parameters(), settings.lr, weight_decay=settings.weight_decay)
    scaler = torch.amp.GradScaler(device.type, enabled=settings.precision == "fp16")
    average = averaged(network, settings.ema) if settings.ema else None
    step, validated, best, sums = 0, 0, -math.inf, {}

    def state():
        return {
            **{"step": step, "validated": validated, "best": best, "sums": sums},
            **{"network": describe(network), "ema": average.module.state_dict() if average else None},
            **{"optimizer": optimizer.state_dict(), "scaler": scaler.state_dict()},
            **{"settings": to_plain(config), "text": text_facts(config, domains), "random": torch.get_rng_state()},
        }

    # Resume: from the newest readable checkpoint of this run, if there is one.
    folder = RunFolder(config, write=rank == 0)
    distributed.wait_for_all()
    saved = folder.load_last()
    if saved:
        network.load_state_dict(saved["network"]["state"])
        optimizer.load_state_dict(saved["optimizer"])
        scaler.load_state_dict(saved["scaler"])
        if average:
            average.module.load_state_dict(saved["ema"])
            average.n_averaged.fill_(saved["step"])
        step, validated, best, sums = (saved[name] for name in ("step", "validated", "best", "sums"))
        torch.set_rng_state(saved["random"])
    folder.start_log(step)

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
    workers = {
        **{"num_workers": config.data.workers, "worker_init_fn": ignore_in_worker},
        **{"pin_memory": device.type == "cuda"},
    }
    batches = iter(DataLoader(samples, batch_sampler=order, **workers))
    val_batches = DataLoader(val_samples, batch_sampler=val_order, **workers)
    if rank == 0:
        print(
            f"{folder.path}: step {step} of {settings.steps}, {len(pairs)} training pairs, {len(val_pairs)} held out "
            f"({describe_val(config)}), {settings.precision} on {device}, {world} process(es)"
        )
        if uses_stand_in(config):
            print("note: the text features are stand-ins (fixed vectors and known labels), not CLIP's")

    # Loop: report, validate, save, stop, step.
    stop, clock = StopSignal(), Clock(device)
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
            validated = step
            scores = mean_scores(evaluate(evaluated, val_batches, device, settings.precision))
            folder.log("val", step, psnr=scores["psnr"], ssim=scores["ssim"], pairs=describe_val(config))
            bar.write(f"step {step}: validation {scores['psnr']:.2f} dB, SSIM {scores['ssim']:.4f}", file=sys.stderr)
            folder.picture("hazy | dehazed | clear", comparison(evaluated, val_samples, device), step)
            if scores["psnr"] > best:
                best = scores["psnr"]
                folder.save_best(state())
            clock.restart()
        stopping = distributed.any_process(stop.heard, device)
        if done or stopping or (step and step % settings.save_every == 0):
            folder.save(state())
        if done or stopping:
            break

        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, settings)
        values = optimise(shared, terms, optimizer, scaler, batches, settings, step, device, clock)
        if average:
            average.update_parameters(network)
        step += 1
        for name, value in {**values, "num": 1}.items():
            sums[name] = sums.get(name, 0) + value
        bar.update()

    # End.
    bar.close()
    folder.close()
    if rank == 0:
        how = "done" if done else "stopped, run the same command to resume"
        print(f"{folder.path}: {how}, step {step} of {settings.steps}, best validation {best:.2f} dB")


def optimise(network, terms, optimizer, scaler, batches, settings, step, device, clock):
    """One step over a batch, run in `accumulate` parts; returns the loss, its terms and the gradient norm."""
    network.train()
    optimizer.zero_grad()
    values, names = dict.fromkeys(["loss", *terms], 0.0), []
    for part in range(settings.accumulate):
        with clock.waiting():
            batch = next(batches)
        hazy, clear, prob = (batch[name].to(device, non_blocking=True) for name in ("hazy", "clear", "prob"))
        more_parts = part + 1 < settings.accumulate and isinstance(network, DistributedDataParallel)
        with network.no_sync() if more_parts else nullcontext():
            with autocast(device, settings.precision):
                output = network(hazy, prob)
                losses = {name: term(output.float(), clear, hazy) for name, (_, term) in terms.items()}
            losses["loss"] = sum(weight * losses[name] for name, (weight, _) in terms.items())
            scaler.scale(losses["loss"] / settings.accumulate).backward()
        names += batch["name"]
        for name, loss in losses.items():
            values[name] += distributed.mean_over_processes(loss.detach()).item() / settings.accumulate
    refuse_non_finite(values, step + 1, names)
    scaler.unscale_(optimizer)
    values["gradient_norm"] = torch.nn.utils.clip_grad_norm_(network.parameters(), settings.clip or math.inf).item()
    if not scaler.is_enabled():  # a scaler skips such a step and lowers its scale
        refuse_non_finite(values, step + 1, names)
    scaler.step(optimizer)
    scaler.update()
    clock.images += settings.batch
    return values


def learning_rate(step, settings):
    """A linear rise over the warm-up, then a cosine to 1 % of the peak."""
    if step < settings.warmup:
        return settings.lr * (step + 1) / settings.warmup
    progress = (step - settings.warmup) / max(settings.steps - settings.warmup, 1)
    return settings.lr * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))


def open_pairs(config):
    """The pairs to train on, those to validate on, and the centre crop of the latter (None: whole images)."""
    data = config.data
    pairs = Pairs(data.folder, data.train, data.max_pixels)
    if data.val == "test-crop":
        return pairs, Pairs(data.folder, data.test, data.max_pixels), config.train.crop
    if isinstance(data.val, str):
        return pairs, Pairs(data.folder, data.val, data.max_pixels), data.val_crop
    kept, held = hold_out(pairs.names, data.val, config.seed)
    return Subset(pairs, kept), Subset(pairs, held), data.val_crop


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
    facts = {
        name: getattr(domains, name) for name in ("encoder", "weights", "source", "zero_shot", "beta2", "beta3")
    }
    return {**facts, "classes": list(domains.classes), "prompts": list(domains.prompts), "labels": config.text.labels}


def build_network(config, domains):
    """A network of the settings, with fresh weights or those of model.init."""
    model = config.model
    text = torch.from_numpy(domains.text) if domains else None
    network = build_model(model.size, model.fusion, model.merge, text)
    if model.init:
        source = checkpoint.load(model.init)
        if checkpoint.is_ours(source):
            start_from(network, restore(source["network"], checkpoint.evaluated_state(source)))
        elif is_published(source):
            start_from(network, load_published(source, text))
        else:
            raise ValueError(f"model.init={model.init} is neither a checkpoint of this project nor a published one")
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
    """Parameters, multiply-adds, steps and epochs, as lines of text."""
    settings = config.train
    parameters = sum(parameter.numel() for parameter in network.parameters())
    macs = multiply_adds(copy.deepcopy(network), settings.crop, settings.crop, len(config.text.classes))
    epochs = settings.steps * settings.batch / num_pairs
    return (
        f"parameters     {parameters:,}\n"
        f"multiply-adds  {macs / 1e9:.2f} G an image of {settings.crop} x {settings.crop}, forward\n"
        f"steps          {settings.steps:,} of batch {settings.batch}: {epochs:,.1f} epochs of {num_pairs:,} pairs"
    )


if __name__ == "__main__":
    run(main)
