"""What a reader of the results must know."""

from ..settings import flatten


def notes_of(settings, trained, text):
    """The notes to a test of a checkpoint.

    settings: the `test` settings. trained: the training's settings, nested; None for a published checkpoint.
    text: the text that the checkpoint was trained with, None without fusion.
    """
    text, trained = text or {}, dict(flatten(trained or {}))
    val, domain, unknown = trained.get("data.val"), settings.domain if text else None, trained.get("text.unknown")
    stand_in, window = text.get("encoder") == "stand-in", settings.window if text else None
    vectors = "on stand-in text features (fixed vectors and known labels), not CLIP's"
    found = [
        (not trained, "a published checkpoint"),
        (stand_in, f"{'trained' if trained else 'tested'} {vectors}"),
        (text and trained.get("text.shuffle"), "trained with shuffled domains: each image got another, random image's"),
        (val == "test-crop", "the checkpoint was chosen on centre crops of the test set, the published way"),
        (trained and val == trained["data.test"], "the checkpoint was chosen on the test set"),
        (domain == "wrong", "tested with the wrong domains: each class's probability was given to the next class"),
        (domain == "uniform", "tested without domains: every image was given all classes equally"),
        (domain == "right" and unknown == 1, "trained without domains, tested with the right ones"),
        (window and trained, f"tested with test.window={window}, trained with {trained.get('model.window')}"),
        (settings.input == "clear", "do no harm: the network was given the clear images in place of the hazy ones"),
        (settings.crop, f"scored on centre crops of {settings.crop} pixels, which is not the reported protocol"),
        (settings.self_ensemble, "self-ensemble: the mean of the outputs for the 8 flips and turns of each image"),
    ]
    return [note for holds, note in found if holds]
