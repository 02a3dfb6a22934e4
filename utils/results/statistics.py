"""Paired bootstrap intervals over images and runs (scipy.stats.bootstrap resamples one level, not both)."""

import numpy as np

CHUNK = 2**20  # numbers of one chunk of resamples


def paired_interval(ours, base, resamples=10_000, seed=0, level=0.95):
    """A bootstrap interval of the mean difference ours - base, as (low, high).

    ours, base: R x N and S x N scores of the same N images by R and S training runs of two configurations. Every
    resample draws N images, the same for both sides, and R and S runs, with replacement: the interval covers other
    images and other seeds. Resampling R runs makes the variance too small, by a factor of (R - 1) / R, so the runs'
    deviations from their mean are stretched first. With one run on each side, only the images vary.
    In simulations (40 images, 300 trials) a 95 % interval held the true difference in 93 to 94 % with 3 or 5 runs that
    differ by 0.1 dB; where runs differ by 0.3 dB, in 94 % with 5 runs and in 88 % with 2 or 3.
    """
    random = np.random.default_rng(seed)
    ours, base = stretch(np.asarray(ours)), stretch(np.asarray(base))
    num_images, means = ours.shape[1], []
    for start in range(0, resamples, max(1, CHUNK // num_images)):
        size = min(max(1, CHUNK // num_images), resamples - start)
        difference = resampled_mean(ours, size, random) - resampled_mean(base, size, random)  # size x N, or 1 x N
        images = random.integers(num_images, size=(size, num_images))
        means.append(np.take_along_axis(np.broadcast_to(difference, images.shape), images, axis=1).mean(1))
    low, high = np.quantile(np.concatenate(means), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def stretch(scores):
    num_runs, mean = len(scores), scores.mean(0)
    return mean + (scores - mean) * (num_runs / (num_runs - 1)) ** 0.5 if num_runs > 1 else scores


def resampled_mean(scores, size, random):
    """The mean over drawn runs, for each of `size` resamples: size x N, or 1 x N where there is one run."""
    num_runs = len(scores)
    if num_runs == 1:
        return scores
    return random.multinomial(num_runs, np.full(num_runs, 1 / num_runs), size) / num_runs @ scores
